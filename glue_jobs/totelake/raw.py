"""The raw zone's batches: which rows of the source a batch lands, and writing them."""

from dataclasses import replace

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from totelake import batch, changes, lake, landed
from totelake.batch import Manifest, TableEntry
from totelake.lake import Zone
from totelake.runtime import in_parallel
from totelake.source import CHANGES, COMPARE, Snapshot, Source, Window
from totelake.tables import CHANGE, LOOKUP, ROW_CHANGE, SOURCE


def frames(
    spark: SparkSession, zone: Zone, previous: Manifest | None, source: Source, wanted: Window
) -> dict[str, DataFrame]:
    """Per table, the rows that this batch lands."""
    tables = list(SOURCE)
    read = in_parallel(lambda table: source.read(spark, table, wanted), tables)
    rows = dict(zip(tables, read, strict=True))
    if previous is None:
        return rows
    history = _history(zone, previous, wanted)
    if wanted.mode == COMPARE:
        changed = {
            table: changes.differing(
                frame,
                changes.latest(_landed(spark, zone, history, table), SOURCE[table].key),
                table,
            )
            for table, frame in rows.items()
        }
        return changes.with_lookups(changed, rows)
    if not history:
        return rows
    new_from = Snapshot.of(previous.snapshot).xmax
    overlap = (F.col(ROW_CHANGE) == CHANGE) & changes.in_window(wanted.start, new_from)
    return {
        table: changes.without_landed(
            frame, _landed(spark, zone, history, table).where(overlap), table
        )
        for table, frame in rows.items()
    }


def _history(zone: Zone, previous: Manifest, wanted: Window) -> list[Manifest]:
    """The batches that may hold a version that the source gives again, newest first.

    For ``compare`` that is all of them; for ``changes`` those whose snapshot had begun to see
    transactions that were not over, or younger, when the previous batch was taken.
    """
    manifests = []
    for number in range(previous.number, 0, -1):
        manifest = previous if number == previous.number else batch.read_raw(zone, number)
        seen = Snapshot.of(manifest.snapshot)
        same = seen.system == Snapshot.of(previous.snapshot).system
        if wanted.mode == CHANGES and not (same and seen.xmax > wanted.start):
            break
        manifests.append(manifest)
    return manifests


def _landed(spark: SparkSession, zone: Zone, history: list[Manifest], table: str) -> DataFrame:
    """A raw table's rows in some batches: the columns that all of them have, and ``batch``."""
    return landed.rows(spark, zone, history, table, SOURCE[table].raw_schema)


def empty_entry(frame: DataFrame) -> TableEntry:
    """What the manifest says of a table of which the batch lands nothing."""
    return TableEntry(rows=0, files=[], columns=dict(frame.dtypes))


def write_table(
    zone: Zone, batch_id: str, table: str, frame: DataFrame, raw_format: str, *, few: bool
) -> TableEntry:
    """Write a table's rows of a batch; ``few`` as for ``lake.write_frame``.

    Returns:
        What the manifest says of the table.
    """
    folder = zone.batch_uri(table, batch_id)
    files, kinds = lake.write_counted(frame, folder, raw_format, count_by=ROW_CHANGE, few=few)
    rows = sum(file.rows for file in files)
    return replace(empty_entry(frame), rows=rows, files=files, lookups=kinds[LOOKUP])
