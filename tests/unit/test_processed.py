"""The processed zone's batches: the same rows in the same files, and none lost."""

import re
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pyspark.errors import AnalysisException
from pyspark.sql import SparkSession

from totelake import processed, quality
from totelake.batch import Manifest, TableEntry
from totelake.errors import QualityError, SchemaError
from totelake.lake import Zone
from totelake.star import BUILDERS
from totelake.star.payments import dim_currency
from totelake.tables import FACTS, QUARANTINE, ROW_CHANGE, SOURCE, STAR, TOMBSTONE

BATCH = "20261120T120000Z"
DESIGN = STAR["dim_design"]


@pytest.fixture
def star_zone(tmp_path: Path) -> Zone:
    return Zone(f"file://{tmp_path}/processed")


def landed(rows: dict[str, int], lookups: dict[str, int] | None = None) -> Manifest:
    """A raw batch's manifest that names so many rows."""
    tables = {
        name: TableEntry(
            rows.get(name, 0),
            [],
            {column.name: column.spark_type for column in table.columns},
            lookups=(lookups or {}).get(name, 0),
        )
        for name, table in SOURCE.items()
    }
    return Manifest(1, BATCH, "extract", "full", {}, tables, "2026-11-20T12:00:00+00:00")


def test_lookups_count_only_where_they_become_rows() -> None:
    """Guards against a check that adds up by leaving something out on both sides."""
    some = {"staff": 5, "department": 3, "counterparty": 4, "address": 7, "payment": 9}
    lookups = {"staff": 4, "department": 1, "counterparty": 2, "address": 6}
    expected = processed.expected_rows(landed(some, lookups))
    assert expected.keys() == STAR.keys() - {"dim_date"}
    assert {table: rows for table, rows in expected.items() if rows} == {
        "dim_staff": 5,
        "dim_counterparty": 4,
        "dim_location": 1,
        "fact_payment": 9,
    }


@pytest.mark.parametrize("found", ["double", None])
def test_a_raw_batch_of_other_types_is_refused(
    spark: SparkSession, tmp_path: Path, found: str | None
) -> None:
    """Guards against an older batch whose prices are read as something else."""
    batch = landed({})
    columns = dict(batch.tables["sales_order"].columns)
    del columns["unit_price"]
    if found:
        columns["unit_price"] = found
    batch.tables["sales_order"] = replace(batch.tables["sales_order"], columns=columns)
    with pytest.raises(SchemaError, match=r"sales_order\.unit_price: expected decimal\(10,2\)"):
        processed.candidates(spark, Zone(f"file://{tmp_path}"), batch)


def test_a_batch_that_lacks_what_the_star_does_not_need_is_read(
    spark: SparkSession, tmp_path: Path
) -> None:
    """Every column is either needed, and then some builder fails without it, or it is not."""
    zone = Zone(f"file://{tmp_path}")
    for name, table in SOURCE.items():
        batch = landed({})
        for column in table.columns:
            columns = dict(batch.tables[name].columns)
            del columns[column.name]
            lacking = replace(batch.tables[name], columns=columns)
            frames = {
                other: spark.createDataFrame([], entry.schema + ", row_change string")
                for other, entry in {**batch.tables, name: lacking}.items()
            }
            builders = [build for star, build in BUILDERS.items() if STAR[star].source == name]
            builders += [BUILDERS["dim_staff"], BUILDERS["dim_counterparty"]]
            if column.needed:
                with pytest.raises(AnalysisException):
                    [build(frames) for build in builders]
            else:
                assert [build(frames) for build in builders]
    batch = landed({})
    for table, entry in batch.tables.items():
        kept = {n: t for n, t in entry.columns.items() if n != "manager"} | {ROW_CHANGE: "string"}
        batch.tables[table] = replace(entry, columns=kept)
    assert processed.candidates(spark, zone, batch)


def test_a_rule_that_stops_leaves_nothing_committed(star_zone: Zone, raw: Any) -> None:
    """Guards against two rows of one key, of which one would win by chance."""
    currencies = raw("currency", *[{"currency_id": 1, "currency_code": "GBP"}] * 2)
    candidates = quality.with_copies(dim_currency({"currency": currencies}), "currency_id")
    entry = TableEntry(0, [], {}, rows_in=2)
    with pytest.raises(
        QualityError, match=r"dim_currency: expected rule currency_id_unique to hold, found 2 rows"
    ):
        processed.with_rejected(
            star_zone, BATCH, {"dim_currency": candidates}, {"dim_currency": entry}
        )


def test_a_batch_that_is_mostly_bad_is_refused() -> None:
    """Guards against a changed date format that sends every order to quarantine unseen."""

    def entries(rows_in: int, rejected: int) -> dict[str, TableEntry]:
        good = TableEntry(10_000, [], {}, rows_in=10_000)
        bad = TableEntry(rows_in - rejected, [], {}, rows_in=rows_in, rejected=rejected)
        return {"dim_design": good, "fact_payment": bad}

    processed.check_ratio(BATCH, entries(100, 100), 0.5)
    processed.check_ratio(BATCH, entries(400, 200), 0.5)
    processed.check_ratio(BATCH, entries(400, 400), 1)
    with pytest.raises(QualityError, match=r"fact_payment: expected at most 50% of 400 .* 201;"):
        processed.check_ratio(BATCH, entries(400, 201), 0.5)
    with pytest.raises(QualityError, match=r"found 101; nothing was committed.*ratio 1"):
        processed.check_ratio(BATCH, entries(101, 101), 0.5)


def test_dim_date_has_the_years_of_accepted_facts_only(raw: Any) -> None:
    """Guards against days for a date that went to quarantine, and facts without their day."""
    moment = datetime(2024, 5, 1)
    numbers = ("transaction_id", "counterparty_id", "currency_id", "payment_type_id")
    good = {**dict.fromkeys(numbers, 1), "created_at": moment, "last_updated": moment}
    good |= {"payment_amount": Decimal("1.00"), "paid": False, "payment_date": "2025-01-01"}
    frames = {table: raw(table) for table in SOURCE}
    frames["payment"] = raw(
        "payment",
        {**good, "payment_id": 1},
        {**good, "payment_id": 2, "payment_date": "2031-01-01", "payment_amount": None},
        {"payment_id": 3, "row_change": TOMBSTONE},
    )
    days = processed.accepted({fact.name: BUILDERS[fact.name](frames) for fact in FACTS})
    found = days["dim_date"].groupBy("year").count().collect()
    assert sorted((row["year"], row["count"]) for row in found) == [(2024, 366), (2025, 365)]


def designs(spark: SparkSession, count: int) -> Any:
    values = [(id_, f"name {id_}", None, "0012345", False) for id_ in range(count)]
    return spark.createDataFrame(values, DESIGN.lake_schema)


def test_the_same_rows_give_the_same_files(spark: SparkSession, star_zone: Zone) -> None:
    """Guards against a transform that, run again, leaves its rows twice under other names."""
    rows = designs(spark, 50)
    contents = []
    for frame in (rows, rows.repartition(3).orderBy("file_name")):
        one = processed._spread(frame, "design_id", 50)
        entry = processed.write_table(star_zone, BATCH, "dim_design", one, {"dim_design": 50})
        assert [(file.name, file.rows) for file in entry.files] == [("part-00000.parquet", 50)]
        stored = f"{DESIGN.lake_schema}, row_batch string"
        assert re.sub(r"`(row_\w+)`", r"\1", entry.schema) == stored
        contents.append(star_zone.read("dim_design", f"batch={BATCH}", "part-00000.parquet"))
    assert contents[0] == contents[1]
    path = star_zone.path("dim_design", f"batch={BATCH}", "part-00000.parquet")
    assert pq.ParquetFile(path).read()["design_id"].to_pylist() == list(range(50))


def test_many_rows_go_to_as_many_files_as_their_number_says(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against a number of files that depends on the machine."""
    monkeypatch.setattr(processed, "_ROWS_PER_TASK", 10)
    monkeypatch.setattr(processed, "_ROWS_PER_FILE", 20)
    rows = designs(spark, 5)
    counts = [10, 11, 20, 21, 60, 61]
    parts = [processed._spread(rows, "design_id", n).rdd.getNumPartitions() for n in counts]
    assert parts == [1, 1, 1, 2, 3, 4]


def test_a_table_without_rows_is_not_written(star_zone: Zone, spark: SparkSession) -> None:
    nothing = dict.fromkeys(STAR, 0)
    del nothing["dim_date"]
    for table in ("dim_design", "dim_date"):
        frame = spark.createDataFrame([], STAR[table].lake_schema)
        entry = processed.write_table(star_zone, BATCH, table, frame, nothing)
        assert (entry.rows, entry.rows_in, entry.files) == (0, 0, [])
        assert entry.columns.keys() == {*STAR[table].column_names, "row_deleted", "row_batch"}


def test_rejected_rows_are_counted_and_kept(star_zone: Zone, raw: Any) -> None:
    codes = ["GBP", "ZZZ", None]
    rows = [{"currency_id": id_, "currency_code": code} for id_, code in enumerate(codes)]
    # By their keys they go into the file, so that it is the same when it is written again.
    candidates = {"dim_currency": dim_currency({"currency": raw("currency", *rows[::-1])})}
    entry = TableEntry(1, [], {}, rows_in=3)
    full = TableEntry(2, [], {}, rows_in=2)
    found = processed.with_rejected(
        star_zone, BATCH, candidates, {"dim_currency": entry, "dim_design": full}
    )
    assert found["dim_currency"] == replace(entry, rejected=2)
    assert found["dim_design"] == full
    assert (found[QUARANTINE].rows, len(found[QUARANTINE].files)) == (2, 1)
    path = star_zone.path(QUARANTINE, f"batch={BATCH}", "part-00000.parquet")
    table = pq.ParquetFile(path).read()
    assert table["source_key"].to_pylist() == ["1", "2"]
    assert table.column_names == list(found[QUARANTINE].columns)


@pytest.mark.parametrize("rows", [0, 2])
def test_a_batch_that_does_not_add_up_is_refused(star_zone: Zone, raw: Any, rows: int) -> None:
    """Guards against a join that drops or multiplies rows unseen."""
    currencies = raw("currency", {"currency_id": 1, "currency_code": "GBP"})
    candidates = {"dim_currency": dim_currency({"currency": currencies})}
    entry = TableEntry(rows, [], {}, rows_in=1)
    with pytest.raises(QualityError, match=rf"expected 1 rows .* found {rows} accepted and 0"):
        processed.with_rejected(star_zone, BATCH, candidates, {"dim_currency": entry})


def test_without_rejected_rows_the_quarantine_is_empty(star_zone: Zone) -> None:
    entries = {"dim_currency": TableEntry(1, [], {}, rows_in=1)}
    found = processed.with_rejected(star_zone, BATCH, {}, entries)
    assert (found[QUARANTINE].rows, found[QUARANTINE].files) == (0, [])
    assert star_zone.names(QUARANTINE) == []
