"""The processed zone's batches: candidates from the raw batch, star tables, quarantine.

The same raw batch always gives the same rows in the same files: their number follows from the
raw manifest and each row's place from its key.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import reduce

from pyspark.sql import DataFrame, SparkSession

from totelake import lake, quality
from totelake.batch import Manifest, TableEntry
from totelake.errors import QualityError, SchemaError
from totelake.lake import Zone
from totelake.star import BUILDERS
from totelake.star.dates import dim_date, years_of
from totelake.tables import FACTS, JOINS, QUARANTINE, SOURCE, STAR, SourceTable

# One file up to this many rows; as many in each of several files beyond.
_ROWS_PER_FILE = 1_000_000
# Up to this many rows one task is quicker than a shuffle.
_ROWS_PER_TASK = 100_000


def candidates(spark: SparkSession, raw: Zone, landed: Manifest) -> dict[str, DataFrame]:
    """What a raw batch offers to each star table but dim_date (see ``star``)."""
    frames = {name: _read_raw(spark, raw, landed, table) for name, table in SOURCE.items()}
    return {table: build(frames) for table, build in BUILDERS.items()}


def _read_raw(spark: SparkSession, raw: Zone, landed: Manifest, table: SourceTable) -> DataFrame:
    """A table's rows of a raw batch, all columns that it landed with.

    Raises:
        SchemaError: If the batch does not have a declared column in its declared type.
    """
    entry = landed.tables[table.name]
    found = entry.columns
    for column in table.columns:
        if found.get(column.name) != column.spark_type:
            raise SchemaError(
                f"raw batch {landed.batch}, {table.name}.{column.name}: expected "
                f"{column.spark_type}, found {found.get(column.name, 'no such column')}; it was "
                "landed by another release of these jobs, transform it with that one"
            )
    return lake.read_frame(
        spark, raw.batch_uri(table.name, landed.batch), entry.files, entry.schema
    )


def expected_rows(landed: Manifest) -> dict[str, int]:
    """Rows that each star table but dim_date must account for, by the raw manifest."""
    joined = {join.child for join in JOINS}
    expected = {}
    for table in BUILDERS:
        entry = landed.tables[str(STAR[table].source)]
        lookups = 0 if STAR[table].source in joined else entry.lookups
        expected[table] = entry.rows - lookups
    return expected


def accepted(candidates: Mapping[str, DataFrame]) -> dict[str, DataFrame]:
    """The star tables' rows of a batch, dim_date among them."""
    star = {name: quality.accepted(frame, STAR[name]) for name, frame in candidates.items()}
    return {**star, "dim_date": dim_date(years_of(star[fact.name] for fact in FACTS))}


def write_table(
    zone: Zone, batch: str, table: str, rows: DataFrame, expected: Mapping[str, int]
) -> TableEntry:
    """Write a star table's rows of a batch, sorted by key.

    Args:
        zone: The processed zone.
        batch: The batch's id.
        table: The star table.
        rows: Its accepted rows.
        expected: Rows that each table must account for (see ``expected_rows``).

    Returns:
        What the manifest says of the table, rejected rows not counted yet.
    """
    # dim_date has a few years' days, and none where there is no fact.
    most = expected.get(table) if table != "dim_date" else max(expected[f.name] for f in FACTS)
    files = []
    if most:
        spread = _spread(rows, STAR[table].key, most if table in expected else 1)
        files = lake.write_frame(spread, zone.batch_uri(table, batch))
    count = sum(file.rows for file in files)
    columns = dict(rows.dtypes)
    return TableEntry(count, files, columns, rows_in=expected.get(table, count))


def _spread(rows: DataFrame, key: str, count: int) -> DataFrame:
    if count <= _ROWS_PER_TASK:
        return rows.coalesce(1).sortWithinPartitions(key)
    files = -(-count // _ROWS_PER_FILE)
    return rows.repartition(files, key).sortWithinPartitions(key)


def with_rejected(
    zone: Zone,
    batch: str,
    candidates: Mapping[str, DataFrame],
    entries: Mapping[str, TableEntry],
) -> dict[str, TableEntry]:
    """Write the rejected rows to quarantine and see that nothing is lost.

    Returns:
        The entries with their rejected rows, and quarantine's own.

    Raises:
        QualityError: If a table's rows in are not its rows out plus its rejected rows.
    """
    short = [table for table, entry in entries.items() if entry.rows != entry.rows_in]
    files: list[lake.DataFile] = []
    counts: Mapping[str, int] = {}
    if short:
        frames = [quality.rejected(candidates[table], STAR[table]) for table in short]
        quarantine = reduce(DataFrame.unionByName, frames)
        ordered = quarantine.coalesce(1).sortWithinPartitions("star_table", "source_key")
        folder = zone.batch_uri(QUARANTINE, batch)
        files, counts = lake.write_counted(ordered, folder, count_by="star_table")
    result = {
        table: replace(entry, rejected=counts.get(table, 0)) for table, entry in entries.items()
    }
    for table, entry in result.items():
        if entry.rows_in != entry.rows + entry.rejected:
            raise QualityError(
                f"batch {batch}, {table}: expected {entry.rows_in} rows (by the raw manifest), "
                f"found {entry.rows} accepted and {entry.rejected} rejected; nothing was "
                "committed, look for a join that multiplies or drops rows"
            )
    rows = sum(file.rows for file in files)
    result[QUARANTINE] = TableEntry(
        rows, files, dict.fromkeys(quality.QUARANTINE_COLUMNS, "string")
    )
    return result
