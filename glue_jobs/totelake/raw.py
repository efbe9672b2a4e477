"""The raw zone's batches: which rows of the source a batch lands, and writing them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import takewhile

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from totelake import batch, changes, lake, landed, runtime
from totelake.batch import Manifest, TableEntry
from totelake.lake import Zone
from totelake.source import Source
from totelake.tables import CHANGE, LOOKUP, ROW_CHANGE, ROW_XMIN, SOURCE
from totelake.window import COMPARE, Snapshot, Window


def frames(
    spark: SparkSession, zone: Zone, previous: Manifest | None, source: Source, wanted: Window
) -> dict[str, DataFrame]:
    """Per table, the rows that this batch lands."""
    tables = list(SOURCE)
    read = runtime.in_parallel(lambda table: source.read(spark, table, wanted), tables)
    rows = dict(zip(tables, read, strict=True))
    if previous is None:
        return rows
    history = _History(spark, zone, previous)
    new = {}
    for table, frame in rows.items():
        if wanted.mode_of(table) == COMPARE:
            state = changes.latest(history.all(table, dict(frame.dtypes)), SOURCE[table].key)
            new[table] = changes.differing(frame, state, table)
        else:
            new[table] = _without_landed(history, table, frame, wanted)
        if table in wanted.swept:
            everything = frame
            if wanted.mode_of(table) != COMPARE:
                everything = source.read(spark, table, Window(COMPARE))
            gone = _tombstones(history, table, everything)
            new[table] = new[table].unionByName(gone)
    return changes.with_lookups(new, rows) if wanted.mode == COMPARE else new


@dataclass
class _History:
    """What the raw zone holds, read as far back as is asked for."""

    spark: SparkSession
    zone: Zone
    newest: Manifest
    manifests: list[Manifest] = field(default_factory=list)

    def all(self, table: str, types: Mapping[str, str]) -> DataFrame:
        """A table's rows of all batches (see ``_landed``)."""
        numbers = range(self.newest.number - len(self.manifests), 0, -1)
        self.manifests += runtime.in_parallel(self._read, numbers)
        return self._landed(self.manifests, table, types)

    def back_while(
        self, holds: Callable[[Manifest], bool], table: str, types: Mapping[str, str]
    ) -> DataFrame | None:
        """A table's rows of the newest batches, back to the first that does not hold."""
        manifests = list(takewhile(holds, map(self._manifest, range(self.newest.number))))
        return self._landed(manifests, table, types) if manifests else None

    def _manifest(self, back: int) -> Manifest:
        if back == len(self.manifests):
            self.manifests.append(self._read(self.newest.number - back))
        return self.manifests[back]

    def _read(self, number: int) -> Manifest:
        newest = self.newest
        return newest if number == newest.number else batch.read_raw(self.zone, number)

    def _landed(self, manifests: list[Manifest], table: str, types: Mapping[str, str]) -> DataFrame:
        """A raw table's rows in some batches, and their ``batch``.

        Args:
            manifests: The batches.
            table: The table.
            types: The columns wanted, by name; null where a batch lacks one, or has it in a type
                whose values are none of this one.
        """
        schema = ", ".join(f"`{name}` {type_}" for name, type_ in types.items())
        wanted = self.spark.createDataFrame([], f"{schema}, batch string")
        for found, rows in landed.frames(self.spark, self.zone, manifests, table):
            columns = [_as(name, type_, found) for name, type_ in types.items()]
            wanted = wanted.unionByName(rows.select(*columns, "batch"))
        return wanted


def _as(name: str, type_: str, found: Mapping[str, str]) -> Column:
    if name not in found:
        return F.lit(None).cast(type_).alias(name)
    if found[name] == type_:
        return F.col(f"`{name}`")
    return F.expr(f"try_cast(`{name}` AS {type_})").alias(name)


def _without_landed(history: _History, table: str, frame: DataFrame, wanted: Window) -> DataFrame:
    """Leave out the versions that an overlapping batch landed before.

    Those are in the batches whose snapshot had begun to see transactions that were not over, or
    younger, when the previous batch was taken.
    """
    if table in wanted.new_columns:
        return frame  # the same versions, but they say more now
    newest = Snapshot.of(history.newest.snapshot)

    def reaches(manifest: Manifest) -> bool:
        seen = Snapshot.of(manifest.snapshot)
        return seen.system == newest.system and seen.xmax > wanted.start

    types = {SOURCE[table].key: "bigint", ROW_XMIN: "bigint", ROW_CHANGE: "string"}
    before = history.back_while(reaches, table, types)
    if before is None:
        return frame
    overlap = (F.col(ROW_CHANGE) == CHANGE) & changes.in_window(wanted.start, newest.xmax)
    return changes.without_landed(frame, before.where(overlap), table)


def _tombstones(history: _History, table: str, everything: DataFrame) -> DataFrame:
    key = SOURCE[table].key
    types = {key: dict(everything.dtypes)[key], ROW_CHANGE: "string"}
    alive = changes.latest(history.all(table, types), key)
    return changes.tombstones(everything, alive, table)


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
