"""The deployed views and named queries give what they say, on a lake and its catalogue."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from local.athena import LocalAthena
from local.athena_views import current, versions
from local.data_catalog import PROCESSED, RAW, catalogue_of, forget_uncommitted
from local.glue_tables import partitions_of, tables_of
from local.query import named_queries
from tests import small_lake
from tests.small_lake import FIRST, SECOND, THIRD, order
from totelake.tables import STAR, StarTable

QUERIES = named_queries()


def rows(athena: LocalAthena, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in athena.query(sql).to_pylist()]


def run(athena: LocalAthena, name: str) -> list[tuple[Any, ...]]:
    return rows(athena, QUERIES[name].sql)


def test_only_committed_batches_are_in_the_catalogue(glue: Any, athena: LocalAthena) -> None:
    partitions = partitions_of(glue, PROCESSED, "fact_sales_order")
    assert sorted(p["Values"] for p in partitions) == [[FIRST], [SECOND], [THIRD]]
    assert rows(athena, "select max(batch) from fact_sales_order") == [(THIRD,)]
    assert rows(athena, "select sum(currency_id) from raw.currency") == [(6,)]


def test_uncommitted_partition_is_taken_out(tmp_path: Path) -> None:
    small_lake.put(tmp_path / "processed", FIRST, {"fact_sales_order": [order(1)]})
    with catalogue_of(f"file://{tmp_path}") as (glue, _):
        (tmp_path / "processed" / "_batches" / f"{FIRST}.json").unlink()
        gone = forget_uncommitted(glue, PROCESSED, f"file://{tmp_path}/processed")
        assert gone == [f"fact_sales_order/{FIRST}"]
        assert partitions_of(glue, PROCESSED, "fact_sales_order") == []


def test_tables_are_as_declared(glue: Any) -> None:
    for name, table in tables_of(glue, PROCESSED).items():
        if name not in STAR:
            continue
        columns = [(c["Name"], c["Type"]) for c in table["StorageDescriptor"]["Columns"]]
        declared = [(c.name, c.spark_type) for c in STAR[name].columns]
        assert columns == [*declared, ("row_deleted", "boolean"), ("row_batch", "string")]
        assert table["PartitionKeys"] == [{"Name": "batch", "Type": "string"}]
    assert "currency" in tables_of(glue, RAW)


@pytest.mark.parametrize("table", STAR.values(), ids=STAR)
def test_view_is_not_stale(athena: LocalAthena, table: StarTable) -> None:
    names = athena.query(f"select * from current_{table.name}").column_names
    assert names == [column["name"] for column in current(table)["columns"]]
    names = athena.query(f"select * from versions_{table.name}").column_names
    assert names == [column["name"] for column in versions(table)["columns"]]


def test_view_shows_the_latest_version_without_deleted_keys(athena: LocalAthena) -> None:
    sql = "select sales_order_id, units_sold from current_fact_sales_order order by 1"
    assert rows(athena, sql) == [(1, 40), (3, 31)]
    sql = "select design_name from current_dim_design order by design_id"
    assert rows(athena, sql) == [("Wooden",), ("Granite II",)]


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_query_says_what_it_answers(athena: LocalAthena, query: Any) -> None:
    assert query.sql.startswith(f"-- {query.description}\n")
    assert ";" not in query.sql


def test_sales_are_added_up_by_month_and_currency(athena: LocalAthena) -> None:
    assert run(athena, "sales_by_month_and_currency") == [
        (date(2026, 11, 1), "GBP", 2, 71, Decimal("197.50"))
    ]


def test_best_designs_are_those_of_the_twelve_months_up_to_the_newest_order(tmp_path: Path) -> None:
    today = date(2024, 2, 29)  # the source may rest, and a simulated one has its own calendar
    orders = [
        order(1, created_date=today - timedelta(days=300)),
        order(2, created_date=today, design_id=2),
        order(3, created_date=today - timedelta(days=400)),
        order(4, created_date=today, units_sold=5),
    ]
    tables = {**small_lake.DIMENSIONS, "fact_sales_order": orders}
    small_lake.put(tmp_path / "processed", FIRST, tables)
    with catalogue_of(f"file://{tmp_path}") as (glue, _):
        athena = LocalAthena(glue, PROCESSED)
        assert run(athena, "best_designs") == [(2, "Granite", 1, 20), (1, "Wooden", 2, 15)]
        athena.close()


def test_only_what_is_due_and_not_paid_is_overdue(athena: LocalAthena) -> None:
    due = date(2020, 1, 4)
    days = (datetime.now(UTC).date() - due).days
    assert run(athena, "overdue_payments") == [
        (3, due, days, "SALES_RECEIPT", "Fahey", Decimal("25.00"), "GBP")
    ]


def test_history_is_every_version_of_an_order(athena: LocalAthena) -> None:
    versions = run(athena, "history_of_an_order")
    assert [(batch, units, str(price)) for batch, *_, units, price, _, _, _ in versions] == [
        (FIRST, 10, "2.50"),
        (SECOND, 40, "3.00"),
    ]


def test_changes_are_counted_in_every_table(athena: LocalAthena) -> None:
    sql = QUERIES["changes_in_a_batch"].sql.replace(small_lake.FIRST, THIRD)
    counted = {table: counts for table, *counts in rows(athena, sql)}
    assert set(counted) == set(STAR)
    assert counted.pop("fact_sales_order") == [2, 1]
    assert counted.pop("fact_payment") == counted.pop("dim_design") == [1, 0]
    assert set(map(tuple, counted.values())) == {(0, 0)}


def test_rejected_rows_are_counted_by_rule(athena: LocalAthena) -> None:
    assert run(athena, "quarantine") == [
        (SECOND, "fact_payment", "payment_date", 1, "no date: 2026-02-30", "9")
    ]
