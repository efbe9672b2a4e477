"""Batches: their ids, their manifests, and the one step that makes a batch exist.

A batch's id is the UTC second it was begun; it names the batch's folder in every zone. The
manifest is written last and only if absent: what no manifest names does not exist.

Manifests of the raw zone are numbered without gaps (``_batches/00000001.json``). Every extract
commits under the number after the one it started from, so of two extracts that start from the
same batch only one can commit, whatever their ids. An attempt announces its id first
(``_attempts/<id>.json``), which makes the id, and so the folders, its own; what a dead attempt
left is removed once its number is taken, because from then on it can never commit.

Manifests of the processed zone are named by the batch's id, and its folders are the batch's:
two transforms of one batch write the same rows under the same names.
"""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from totelake import __version__
from totelake.errors import ConflictError, LakeError
from totelake.lake import DataFile, Zone, read_document, to_json, written_as

MANIFEST_VERSION = 1
MANIFESTS, ATTEMPTS = "_batches", "_attempts"
_ID = "%Y%m%dT%H%M%SZ"
_ID_NAME = re.compile(r"(\d{8}T\d{6}Z)\.json")
_NUMBER_NAME = re.compile(r"(\d{8})\.json")
# Clocks of two machines differ by about this much; more is a clock that needs setting.
_CLOCK_TOLERANCE_SECONDS = 60


@dataclass(frozen=True)
class TableEntry:
    """What a manifest says of one table.

    Attributes:
        rows: Rows in the batch's folder of this table.
        files: The data files that hold them.
        columns: Spark type of each column by its name, in the files' order.
        lookups: Of a raw table's rows, those that only accompany a change elsewhere.
        rows_in: Of a star table, the raw rows that became its rows or were rejected.
        rejected: Rows that went to quarantine instead.
        warned: Rows that break a rule which only warns, by its name.
    """

    rows: int
    files: list[DataFile]
    columns: dict[str, str]
    lookups: int = 0
    rows_in: int = 0
    rejected: int = 0
    warned: dict[str, int] = field(default_factory=dict)

    @property
    def schema(self) -> str:
        """Spark DDL of the files' columns."""
        return ", ".join(f"`{name}` {type_}" for name, type_ in self.columns.items())


@dataclass(frozen=True)
class Manifest:
    """A committed batch of one zone.

    Attributes:
        number: Position of the batch among all of the raw zone, from 1.
        batch: The batch's id.
        stage: ``extract`` or ``transform``.
        mode: ``full``, ``changes`` or ``compare``: how extract found the rows.
        snapshot: The source snapshot, as extract noted it.
        tables: One entry per table of the zone, empty ones included.
        started_at: UTC, ISO 8601.
        committed_at: UTC, ISO 8601.
        seconds: From start to commit.
        code_version: Version of this library.
    """

    number: int
    batch: str
    stage: str
    mode: str
    snapshot: dict[str, Any]
    tables: dict[str, TableEntry]
    started_at: str
    committed_at: str = ""
    seconds: float = 0.0
    code_version: str = __version__
    manifest_version: int = MANIFEST_VERSION

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(self.table_rows.values())

    @property
    def table_rows(self) -> dict[str, int]:
        """Rows of each table."""
        return {table: entry.rows for table, entry in self.tables.items()}


@dataclass(frozen=True)
class Attempt:
    """An extract at work: the id it owns and the number it means to commit under."""

    batch: str
    number: int
    started_at: datetime


def batch_id(moment: datetime) -> str:
    """The id of a batch begun at a moment (any time zone).

    >>> batch_id(datetime(2026, 11, 20, 10, 15, tzinfo=UTC))
    '20261120T101500Z'
    """
    return moment.astimezone(UTC).strftime(_ID)


def utc_now() -> datetime:
    """The current moment, in UTC."""
    return datetime.now(UTC)


def read_manifest(zone: Zone, name: str) -> Manifest:
    """Read one manifest of a zone by its file name.

    Raises:
        LakeError: If it is no manifest of a version that this library knows.
    """
    return read_document(zone, MANIFESTS, name, "manifest", MANIFEST_VERSION, _manifest)


def _manifest(content: dict[str, Any]) -> Manifest:
    tables = {
        table: TableEntry(**{**entry, "files": [DataFile(**file) for file in entry["files"]]})
        for table, entry in content["tables"].items()
    }
    return Manifest(**{**content, "tables": tables})


def raw_numbers(raw: Zone) -> list[int]:
    """Numbers of the committed raw batches, ascending: 1, 2, … without a gap.

    Raises:
        LakeError: If a manifest is missing.
    """
    found = (_NUMBER_NAME.fullmatch(name) for name in raw.names(MANIFESTS))
    numbers = [int(match[1]) for match in found if match]
    missing = sorted(set(range(1, len(numbers) + 1)) - set(numbers))
    if missing:
        raise LakeError(
            f"{raw.uri}/{MANIFESTS}: expected manifests 1 to {max(numbers)}, number {missing[0]} "
            "is missing; restore the object, batches after it cannot be read without it"
        )
    return numbers


def read_raw(raw: Zone, number: int) -> Manifest:
    """The manifest of a raw batch, by number."""
    return read_manifest(raw, _number_name(number))


def latest_raw(raw: Zone) -> Manifest | None:
    """The newest committed raw batch, or None in a new lake."""
    numbers = raw_numbers(raw)
    return read_raw(raw, numbers[-1]) if numbers else None


def newest_raw(raw: Zone) -> Iterator[Manifest]:
    """The committed raw batches, newest first, each read when it is asked for."""
    return (read_raw(raw, number) for number in reversed(raw_numbers(raw)))


def processed_ids(processed: Zone) -> list[str]:
    """Ids of the committed processed batches, oldest first."""
    found = (_ID_NAME.fullmatch(name) for name in processed.names(MANIFESTS))
    return [match[1] for match in found if match]


def read_processed(processed: Zone, batch: str) -> Manifest:
    """The manifest of a processed batch, by id."""
    return read_manifest(processed, f"{batch}.json")


def newest_processed(processed: Zone) -> Iterator[Manifest]:
    """The committed processed batches, newest first, each read when it is asked for."""
    return (read_processed(processed, batch) for batch in reversed(processed_ids(processed)))


def pending_raw(raw: Zone, processed: Zone) -> list[int]:
    """Numbers of the raw batches that are not in the processed zone yet, in order.

    Raises:
        LakeError: If the raw zone has no batch, or the processed zone was made from another.
    """
    numbers, done = raw_numbers(raw), processed_ids(processed)
    if not numbers:
        raise _no_batch(raw, "extract")
    if not done:
        return numbers
    newest = read_processed(processed, done[-1])
    if newest.number not in numbers or read_raw(raw, newest.number).batch != newest.batch:
        raise LakeError(
            f"{processed.uri}: expected batches of {raw.uri}, found batch {newest.batch} (number "
            f"{newest.number}) that is not there; give the zones that belong together, or an "
            "empty processed zone"
        )
    return [number for number in numbers if number > newest.number]


def pending_processed(processed: Zone, loaded: set[str]) -> list[str]:
    """Ids of the processed batches that are not among the loaded ones, in order.

    Raises:
        LakeError: If the processed zone has no batch.
    """
    done = processed_ids(processed)
    if not done:
        raise _no_batch(processed, "transform")
    return [batch for batch in done if batch not in loaded]


def _no_batch(zone: Zone, job: str) -> LakeError:
    # A first run of every job commits a batch, even one of no rows: this is another folder.
    return LakeError(
        f"{zone.uri}: expected at least one batch, found none; check the zone's URI, or run "
        f"{job} first"
    )


def begin(
    raw: Zone,
    previous: Manifest | None,
    now: Callable[[], datetime] = utc_now,
    sleep: Callable[[float], None] = time.sleep,
) -> Attempt:
    """Announce an extract that continues after ``previous``; its batch id is its own.

    Raises:
        LakeError: If the clock is behind the previous batch.
        ConflictError: If another extract has committed after ``previous`` meanwhile.
    """
    number = previous.number + 1 if previous else 1
    while True:
        moment = now()
        batch = batch_id(moment)
        if previous is None or batch > previous.batch:
            announcement = {"number": number, "started_at": moment.isoformat()}
            try:
                raw.create(to_json(announcement), ATTEMPTS, f"{batch}.json")
            except FileExistsError:
                pass  # another extract began in this very second: the next one may be free
            else:
                _refuse_if_taken(raw, batch, number)
                return Attempt(batch, number, moment)
        elif _seconds_between(batch, previous.batch) > _CLOCK_TOLERANCE_SECONDS:
            raise LakeError(
                f"{raw.uri}: expected a time after the newest batch {previous.batch}, found "
                f"{batch}; set this machine's clock"
            )
        sleep(1.0)


def _refuse_if_taken(raw: Zone, batch: str, number: int) -> None:
    """Stop an attempt that can no longer commit before it writes anything.

    It might write into a committed batch: the winner's id is free to announce again once its
    announcement is gone, but that goes only after its manifest is there.
    """
    if number in raw_numbers(raw):
        raw.remove(ATTEMPTS, f"{batch}.json")
        raise _lost(raw, batch, read_raw(raw, number).batch)


def _lost(raw: Zone, batch: str, winner: str) -> ConflictError:
    return ConflictError(
        f"{raw.uri}: another extract committed batch {winner} while this one, {batch}, was at "
        "work; nothing of this one was kept and nothing is lost, the next run continues from there"
    )


def commit_raw(raw: Zone, attempt: Attempt, manifest: Manifest) -> Manifest:
    """Make an extract's batch exist, in one step.

    Returns:
        The manifest as written, with its commit time.

    Raises:
        ConflictError: If another extract committed after the same batch first.
    """
    committed = _timed(manifest)
    name = _number_name(attempt.number)
    try:
        raw.create(to_json(asdict(committed)), MANIFESTS, name)
    except FileExistsError as error:
        # A retried request can meet the manifest that its first try wrote.
        winner = read_raw(raw, attempt.number)
        if winner.batch != attempt.batch:
            raise _lost(raw, attempt.batch, winner.batch) from error
    raw.remove(ATTEMPTS, f"{attempt.batch}.json")
    return committed


def commit_processed(processed: Zone, manifest: Manifest) -> Manifest:
    """Make a transformed batch exist, in one step.

    Returns:
        The manifest as written, with its commit time.

    Raises:
        ConflictError: If another transform committed the same batch first.
    """
    committed = _timed(manifest)
    content = to_json(asdict(committed))
    name = f"{manifest.batch}.json"
    try:
        processed.create(content, MANIFESTS, name)
    except FileExistsError as error:
        if processed.read(MANIFESTS, name) != content:
            raise ConflictError(
                f"{processed.uri}: another transform committed batch {manifest.batch} first; "
                "nothing is lost or doubled, the next run continues after it"
            ) from error
    return committed


@contextmanager
def files_named_if_damaged(zone: Zone, manifest: Manifest) -> Iterator[None]:
    """Say which of a batch's files are not what its manifest says, where reading them failed.

    Raises:
        LakeError: In place of any error of the block, if a file is missing or of another size.
    """
    try:
        yield
    except Exception as error:
        damaged = list(_damaged(zone, manifest))
        if not damaged:
            raise
        raise LakeError(
            f"{zone.uri}, batch {manifest.batch}: expected the files of its manifest, found "
            f"{', '.join(damaged)}; nothing was done, restore each object's previous version"
        ) from error


def _damaged(zone: Zone, manifest: Manifest) -> Iterator[str]:
    for table, entry in manifest.tables.items():
        for file in entry.files:
            path = zone.path(table, f"batch={manifest.batch}", file.name)
            try:
                size = zone.filesystem.info(path)["size"]
            except FileNotFoundError:
                yield f"{path} missing"
                continue
            if size != file.bytes:
                yield f"{path} of {size} bytes instead of {file.bytes}"


def abandon(raw: Zone, attempt: Attempt, tables: list[str]) -> None:
    """Remove what an extract wrote and its announcement; only for one that did not commit."""
    for table in tables:
        raw.remove(table, f"batch={attempt.batch}")
    raw.remove(ATTEMPTS, f"{attempt.batch}.json")


def sweep(raw: Zone, tables: list[str]) -> list[str]:
    """Remove what dead extracts left in the raw zone.

    An attempt is dead once its number is committed by another: it can never commit. One whose
    number is free may still be at work and is left alone.

    Returns:
        Ids of the attempts that were swept.
    """
    remove_hidden(raw)
    names = (_ID_NAME.fullmatch(name) for name in raw.names(ATTEMPTS))
    announced = [match[1] for match in names if match]
    if not announced:
        return []
    taken = set(raw_numbers(raw))
    swept = []
    for batch in announced:
        number = _announced_number(raw, batch)
        if number is None or number not in taken:
            continue
        if read_raw(raw, number).batch == batch:
            raw.remove(ATTEMPTS, f"{batch}.json")
        else:
            abandon(raw, Attempt(batch, number, utc_now()), tables)
            swept.append(batch)
    return swept


def remove_hidden(zone: Zone) -> None:
    """Remove manifests, announcements and notes that dead runs left half written on a disk.

    Of manifests only those that come too late. An announcement may go at any time: whoever is
    about to make it finds its id taken and announces the next. So may a note: whoever is about to
    write it does so again.
    """
    remove_late(zone, MANIFESTS)
    for name in zone.names(ATTEMPTS):
        if written_as(name):
            zone.remove(ATTEMPTS, name)
    for name in zone.names():
        if written_as(name):
            zone.remove(name)


def remove_late(zone: Zone, folder: str) -> None:
    """Remove half-written objects of a folder whose name is taken: they can never get it."""
    names = zone.names(folder)
    for name in names:
        if written_as(name) in names:
            zone.remove(folder, name)


def remove_strays(processed: Zone, batch: str, entries: dict[str, TableEntry]) -> list[str]:
    """Remove files of an uncommitted processed batch that this run did not write.

    They are what an earlier, killed run of another release left under other names.

    Returns:
        Their paths inside the zone.
    """
    strays = []
    for table, entry in entries.items():
        folder = f"batch={batch}"
        written = {file.name for file in entry.files}
        for name in processed.names(table, folder):
            if name not in written:
                processed.remove(table, folder, name)
                strays.append(f"{table}/{folder}/{name}")
    return strays


def _announced_number(raw: Zone, batch: str) -> int | None:
    """The number an attempt means to take; None when it just ended and took its note along."""
    try:
        return int(json.loads(raw.read(ATTEMPTS, f"{batch}.json"))["number"])
    except FileNotFoundError:
        return None


def _number_name(number: int) -> str:
    return f"{number:08d}.json"


def _seconds_between(earlier: str, later: str) -> float:
    return (datetime.strptime(later, _ID) - datetime.strptime(earlier, _ID)).total_seconds()


def _timed(manifest: Manifest) -> Manifest:
    now = utc_now()
    seconds = (now - datetime.fromisoformat(manifest.started_at)).total_seconds()
    return replace(manifest, committed_at=now.isoformat(), seconds=round(seconds, 3))
