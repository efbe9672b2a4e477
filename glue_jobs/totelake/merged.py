"""Merges: which batches of a zone have been written together, and where.

A merge copies closed batches of each table into larger folders (``merged/<table>/batch=<name>``),
one or two for each run of batches; a numbered manifest (``_merged/00000001.json``), created only
if absent, makes it exist. The batches themselves, and their manifests, stay as they are: jobs
read those. Merges are for readers of the catalogue alone.

A merged row carries the id of its batch as ``row_batch``. The latest row of each key lies in a
folder whose name sorts after the run's last batch, its older rows in one whose name sorts right
after the first. So "the latest by ``batch``" is the same row before a merge and after it, and
while the catalogue has both.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from totelake import __version__
from totelake.errors import ConflictError, LakeError
from totelake.lake import DataFile, Zone, read_document, to_json

MERGE_VERSION = 1
MERGES, MERGED = "_merged", "merged"


@dataclass(frozen=True)
class Folder:
    """A merged folder: the value of its partition, and its files."""

    partition: str
    rows: int
    files: list[DataFile]


@dataclass(frozen=True)
class Run:
    """Consecutive batches of one table that were written together.

    Attributes:
        batches: Their ids, oldest first.
        columns: Spark type of each column by its name, as manifests have them.
        folders: Where their rows are now.
    """

    batches: list[str]
    columns: dict[str, str]
    folders: list[Folder]


@dataclass(frozen=True)
class Merge:
    """What one compaction merged.

    Attributes:
        number: Position among the merges of the zone, from 1.
        through: The newest batch that it looked at; the next one continues after it.
        tables: The runs of each table that had any.
        committed_at: UTC, ISO 8601.
    """

    number: int
    through: str
    tables: dict[str, list[Run]]
    committed_at: str
    code_version: str = __version__
    merge_version: int = MERGE_VERSION


def read_merges(zone: Zone) -> list[Merge]:
    """The zone's merges, oldest first.

    Raises:
        LakeError: If one is missing or cannot be read.
    """
    return [_read(zone, name) for name in _names(zone)]


def merges_from(zone: Zone, batch: str) -> list[Merge]:
    """The merges that a batch, or a later one, can be in: of a new batch that is none."""
    found: list[Merge] = []
    for name in reversed(_names(zone)):
        merge = _read(zone, name)
        if merge.through < batch:
            break
        found.append(merge)
    return found[::-1]


def _names(zone: Zone) -> list[str]:
    names = [name for name in zone.names(MERGES) if name.endswith(".json")]
    for number, name in enumerate(names, 1):
        if name != _name(number):
            raise LakeError(
                f"{zone.uri}/{MERGES}: expected manifests {_name(1)} to {names[-1]}, found none "
                f"of number {number}; restore the object, it says which batches were merged"
            )
    return names


def _name(number: int) -> str:
    return f"{number:08d}.json"


def _read(zone: Zone, name: str) -> Merge:
    return read_document(zone, MERGES, name, "merge", MERGE_VERSION, _merge)


def _merge(content: dict[str, Any]) -> Merge:
    tables = {table: [_run(run) for run in runs] for table, runs in content["tables"].items()}
    return Merge(**{**content, "tables": tables})


def _run(content: dict[str, Any]) -> Run:
    folders = [
        Folder(**{**folder, "files": [DataFile(**file) for file in folder["files"]]})
        for folder in content["folders"]
    ]
    return Run(**{**content, "folders": folders})


def commit(zone: Zone, merge: Merge) -> None:
    """Make a merge exist, in one step.

    Raises:
        ConflictError: If another compaction committed first.
    """
    try:
        zone.create(to_json(asdict(merge)), MERGES, _name(merge.number))
    except FileExistsError as error:
        # A retried request can meet the manifest that its first try wrote.
        if _read(zone, _name(merge.number)) != merge:
            raise ConflictError(
                f"{zone.uri}: another compaction committed merge {merge.number} first; nothing is "
                "lost or doubled, the next run continues after it"
            ) from error


def runs_of(merges: Iterable[Merge], table: str) -> list[Run]:
    """A table's runs in some merges."""
    return [run for merge in merges for run in merge.tables.get(table, [])]


def merged_away(merges: Iterable[Merge], table: str) -> set[str]:
    """The batches whose rows of a table are in merged folders."""
    return {batch for run in runs_of(merges, table) for batch in run.batches}


def latest_name(batches: list[str]) -> str:
    """Partition of the latest row of each key: it sorts after the last batch, before the next.

    >>> latest_name(["20261120T100000Z", "20261120T102000Z"])
    '20261120T102000Z-from-20261120T100000Z'
    """
    return f"{batches[-1]}-from-{batches[0]}"


def older_name(batches: list[str]) -> str:
    """Partition of all other rows: it sorts after the first batch, before the second.

    >>> older_name(["20261120T100000Z", "20261120T102000Z"])
    '20261120T100000Z-to-20261120T102000Z'
    """
    return f"{batches[0]}-to-{batches[-1]}"


def merged_uri(zone: Zone, table: str, partition: str) -> str:
    """URI of a merged folder. Not below the table's own, where a crawler would find it."""
    return "/".join([zone.uri.rstrip("/"), MERGED, table, f"batch={partition}"])
