"""Does the Data Catalog hold what a zone holds? Every committed batch of a table, just once.

A batch is registered by its own partition or, once its rows were written together with others',
by the merged folders of its run: by all of them, for each has some of its rows. What no manifest
names is not registered at all. A table that no crawler has made yet is no fault: its batches are
registered once it is there.

Jobs go on meanwhile, so the order matters: the manifests given were read before, then come the
catalogue, the merges, and what was committed since, which may be registered or not. So what is
named has been wrong for as long as that took, but for a compaction at work.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from totelake import merged, runtime
from totelake.batch import Manifest
from totelake.catalog import filled
from totelake.errors import CatalogError
from totelake.lake import Zone
from totelake.merged import Run

_NAMED = 10


@dataclass(frozen=True)
class Catalogued:
    """One table of a zone and what the catalogue holds of it.

    Attributes:
        database: The zone's database.
        table: The table.
        batches: Committed batches that have rows of it.
        partitions: Its partitions in the catalogue; None if no crawler has made the table yet.
        differences: What is wrong; empty when each batch is registered just once.
    """

    database: str
    table: str
    batches: int
    partitions: int | None
    differences: tuple[str, ...] = ()


def compare(
    glue: Any,
    database: str,
    zone: Zone,
    known: Sequence[Manifest],
    newest_first: Iterator[Manifest],
) -> list[Catalogued]:
    """Hold a database of the catalogue against its zone, table by table.

    Args:
        glue: A client of Glue.
        database: The zone's.
        zone: The zone.
        known: Its manifests of some moment before.
        newest_first: Its manifests now; only those that came since are taken.

    Returns:
        A report on each table that has rows or is in the catalogue.

    Raises:
        CatalogError: If the catalogue cannot be read.
    """
    tables = list(known[-1].tables)
    found = _partitions(glue, database, tables)
    merges = merged.read_merges(zone)
    since = list(takewhile(lambda manifest: manifest.batch > known[-1].batch, newest_first))
    reports = []
    for table in tables:
        ids, new = (
            [manifest.batch for manifest in manifests if table in filled(manifest)]
            for manifests in (known, since)
        )
        if table in found:
            runs = merged.runs_of(merges, table)
            differences = _differences(zone, table, found[table], ids, new, runs)
            reports.append(
                Catalogued(database, table, len(ids), len(found[table]), tuple(differences))
            )
        elif ids:
            reports.append(Catalogued(database, table, len(ids), None))
    return reports


def _partitions(glue: Any, database: str, tables: Collection[str]) -> dict[str, dict[str, str]]:
    """Per table of the catalogue, the folder of each partition by its value."""
    try:
        pages = glue.get_paginator("get_tables").paginate(DatabaseName=database)
        there = [table["Name"] for page in pages for table in page["TableList"]]
        return {name: _folders(glue, database, name) for name in there if name in tables}
    except runtime.AWS_ERRORS as error:
        raise CatalogError(
            f"database {database}: expected to read tables and partitions, found: {error}; check "
            "the job's argument, and that its role may glue:GetTables and glue:GetPartitions"
        ) from error


def _folders(glue: Any, database: str, table: str) -> dict[str, str]:
    pages = glue.get_paginator("get_partitions").paginate(
        DatabaseName=database, TableName=table, ExcludeColumnSchema=True
    )
    return {
        partition["Values"][0]: partition["StorageDescriptor"].get("Location", "").rstrip("/")
        for page in pages
        for partition in page["Partitions"]
    }


def _differences(
    zone: Zone,
    table: str,
    found: Mapping[str, str],
    ids: Iterable[str],
    new: Iterable[str],
    runs: Sequence[Run],
) -> Iterator[str]:
    """What is wrong about a table's partitions.

    Args:
        zone: The zone.
        table: The table.
        found: The folder of each partition by its value.
        ids: Its committed batches.
        new: Those that were committed since, which may be registered or not.
        runs: Which of them were merged.
    """
    folders = {id_: zone.batch_uri(table, id_) for id_ in (*ids, *new)}
    expected, twice, swapped = set(ids), set[str](), set[str]()
    for run in runs:
        parts, small = {folder.partition for folder in run.folders}, set(run.batches)
        folders |= {part: merged.merged_uri(zone, table, part) for part in parts}
        # Before the swap the batches still stand for themselves.
        if parts & found.keys():
            expected = (expected - small) | parts
            twice |= small & found.keys()
            swapped |= parts
    names = zone.names(merged.MERGED, table) if swapped else []
    gone = swapped & found.keys() - {name.removeprefix("batch=") for name in names}
    wrong = {
        "not registered": expected - found.keys(),
        "registered beside the merged folders that have the same rows": twice,
        "registered, but no manifest names them": found.keys() - folders.keys(),
        "registered with the folder of something else": {
            value for value in found.keys() & folders.keys() if found[value] != folders[value]
        },
        "registered, but their merged folder is gone": gone,
    }
    for what, values in wrong.items():
        if values:
            named = [*sorted(values)[:_NAMED], *["…"] * (len(values) > _NAMED)]
            yield f"{len(values):,} partitions {what} ({', '.join(named)})"
