"""The processed zone's batches: candidates from the raw batch, star tables, quarantine.

The same raw batch always gives the same rows in the same files: their number follows from the
raw manifest and each row's place from its key.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import reduce

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from totelake import lake, quality
from totelake.batch import Manifest, TableEntry
from totelake.errors import QualityError, SchemaError
from totelake.lake import Zone
from totelake.star import BUILDERS
from totelake.star.dates import dim_date, years_of
from totelake.star.payments import with_order_amount
from totelake.tables import (
    FACTS,
    JOINS,
    QUARANTINE,
    ROW_BATCH,
    SOURCE,
    STAR,
    WARN,
    SourceTable,
)

# One file up to this many rows; as many in each of several files beyond.
_ROWS_PER_FILE = 1_000_000
# Up to this many rows one task is quicker than a shuffle.
_ROWS_PER_TASK = 100_000
_NUMBER = re.compile(r"int|bigint|decimal\(\d+,\d+\)")


# Up to so many rejected rows of a table stop no batch, however small it is: a quiet quarter of an
# hour may well bring one row, and that one be bad.
_FEW_REJECTED = 100


def candidates(spark: SparkSession, raw: Zone, landed: Manifest) -> dict[str, DataFrame]:
    """What a raw batch offers to each star table but dim_date (see ``star``), by key."""
    frames = {name: _read_raw(spark, raw, landed, table) for name, table in SOURCE.items()}
    expected = expected_rows(landed)
    return {
        table: quality.with_copies(
            _spread(build(frames), STAR[table].key, expected[table]), STAR[table].key
        )
        for table, build in BUILDERS.items()
    }


def warned(spark: SparkSession, raw: Zone, landed: Manifest, table: str) -> dict[str, int]:
    """How many rows of a star table break each rule that only warns; none that is kept."""
    if not any(rule.action == WARN for rule in STAR[table].rules):
        return {}
    frames = {name: _read_raw(spark, raw, landed, source) for name, source in SOURCE.items()}
    rows = BUILDERS[table](frames)
    if table == "fact_payment":
        rows = with_order_amount(rows, frames)
    (counts,) = quality.warned(rows, STAR[table]).toLocalIterator()
    return {rule: count for rule, count in counts.asDict().items() if count}


def _read_raw(spark: SparkSession, raw: Zone, landed: Manifest, table: SourceTable) -> DataFrame:
    """A table's rows of a raw batch, all columns that it landed with.

    Raises:
        SchemaError: If the batch lacks a column that the star needs, or has it in a type that
            cannot become the star's (numbers may be wider: see ``quality``).
    """
    entry = landed.tables[table.name]
    found = entry.columns
    for column in table.columns:
        if column.needed and not _readable(column.spark_type, found.get(column.name, "")):
            raise SchemaError(
                f"raw batch {landed.batch}, {table.name}.{column.name}: expected "
                f"{column.spark_type}, found {found.get(column.name, 'no such column')}; it was "
                "landed by another release of these jobs, transform it with that one"
            )
    return lake.read_frame(
        spark, raw.batch_uri(table.name, landed.batch), entry.files, entry.schema
    )


def _readable(declared: str, found: str) -> bool:
    numbers = _NUMBER.fullmatch(declared) and _NUMBER.fullmatch(found)
    return found == declared or bool(numbers)


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
    rows = rows.withColumn(ROW_BATCH, F.lit(batch))
    if most:
        if table == "dim_date":
            rows = rows.coalesce(1)
        # Candidates are sorted already, then this costs nothing.
        ordered = rows.sortWithinPartitions(STAR[table].key)
        files = lake.write_frame(ordered, zone.batch_uri(table, batch))
    count = sum(file.rows for file in files)
    columns = dict(rows.dtypes)
    return TableEntry(count, files, columns, rows_in=expected.get(table, count))


def _spread(rows: DataFrame, key: str, count: int) -> DataFrame:
    """Rows in as many partitions as there will be files, those of one key together."""
    if count <= _ROWS_PER_TASK:
        return rows.coalesce(1)
    return rows.repartition(-(-count // _ROWS_PER_FILE), key)


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
        QualityError: If a table's rows in are not its rows out plus its rejected rows, or a rule
            is broken that stops the batch.
    """
    short = [table for table, entry in entries.items() if entry.rows != entry.rows_in]
    files: list[lake.DataFile] = []
    counts: Mapping[str, int] = {}
    if short:
        frames = [quality.rejected(candidates[table], STAR[table]) for table in short]
        quarantine = reduce(DataFrame.unionByName, frames).withColumn(ROW_BATCH, F.lit(batch))
        ordered = quarantine.coalesce(1).sortWithinPartitions("star_table", "source_key")
        folder = zone.batch_uri(QUARANTINE, batch)
        files, counts = lake.write_counted(ordered, folder, count_by="star_table")
        _stop(batch, quarantine.sparkSession, folder, files)
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
        rows, files, dict.fromkeys((*quality.QUARANTINE_COLUMNS, ROW_BATCH), "string")
    )
    return result


def _stop(batch: str, spark: SparkSession, folder: str, files: list[lake.DataFile]) -> None:
    """Stop a batch of whose rejected rows one breaks a rule that says so."""
    names = {name for table in STAR.values() for name in quality.stopping(table)}
    rejected = lake.read_frame(spark, folder, files, quality.QUARANTINE_SCHEMA)
    broken = F.array_intersect(
        F.split("rule", quality.SEPARATOR), F.array(*map(F.lit, sorted(names)))
    )
    stopping = rejected.where(F.size(broken) > 0).groupBy("star_table", broken[0])
    found = stopping.agg(F.count("*"), F.min("reason"))
    for table, rule, rows, example in found.toLocalIterator():
        raise QualityError(
            f"batch {batch}, {table}: expected rule {rule} to hold, found {rows} rows that break "
            f"it ({example}); nothing was committed, mend the source and, to let this batch pass, "
            "give the rule the action reject in tables.py"
        )


def check_ratio(batch: str, entries: Mapping[str, TableEntry], most: float) -> None:
    """Stop a batch that is mostly bad.

    Args:
        batch: The batch's id.
        entries: The star tables' entries, rejected rows counted.
        most: The part of a table's rows that may be rejected.

    Raises:
        QualityError: If more of a table were rejected, and more than a few rows.
    """
    for table, entry in entries.items():
        if entry.rejected > max(_FEW_REJECTED, most * entry.rows_in):
            raise QualityError(
                f"batch {batch}, {table}: expected at most {most:.0%} of {entry.rows_in} rows to "
                f"be rejected, found {entry.rejected}; nothing was committed. If they are bad, run "
                "transform once with --max_rejected_ratio 1: they go to quarantine, the rest goes "
                "on. If they are good, a rule in tables.py is wrong"
            )
