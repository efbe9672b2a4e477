"""Views and named queries give what they say; DuckDB stands in for Athena's engine."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from local.athena_views import view
from totelake.tables import QUARANTINE, STAR, StarTable

QUERIES = Path(__file__).resolve().parents[2] / "terraform" / "queries"
# The same types by Athena's names; the rest are the same in both.
ATHENA_TYPES = {"VARCHAR": "varchar", "INTEGER": "integer", "DATE": "date", "BOOLEAN": "boolean"}
FIRST, SECOND, THIRD = "20261120T101500Z", "20261120T103500Z", "20261120T105500Z"


@pytest.fixture
def lake() -> Iterator[duckdb.DuckDBPyConnection]:
    """Every table of the processed zone, empty, and the views over them."""
    with duckdb.connect() as connection:
        for table in STAR.values():
            columns = [f'"{column.name}" {column.spark_type}' for column in table.columns]
            whole = ", ".join([*columns, "row_deleted boolean", "batch varchar"])
            connection.execute(f"create table {table.name} ({whole})")
            connection.execute(f"create view current_{table.name} as {view(table)['sql']}")
        connection.execute(
            f"create table {QUARANTINE} (star_table varchar, source_table varchar, "
            "source_key varchar, rule varchar, reason varchar, source_row varchar, batch varchar)"
        )
        yield connection


def put(lake: duckdb.DuckDBPyConnection, table: str, batch: str, **values: object) -> None:
    row = {"batch": batch, "row_deleted": False, **values}
    names = ", ".join(f'"{name}"' for name in row)
    marks = ", ".join("?" for _ in row)
    lake.execute(f"insert into {table} ({names}) values ({marks})", [*row.values()])


def run(lake: duckdb.DuckDBPyConnection, query: str) -> list[tuple[object, ...]]:
    return lake.execute((QUERIES / f"{query}.sql").read_text()).fetchall()


@pytest.mark.parametrize("table", STAR.values(), ids=STAR)
def test_declared_columns_are_those_that_the_query_gives(
    lake: duckdb.DuckDBPyConnection, table: StarTable
) -> None:
    described = lake.execute(f"describe current_{table.name}").fetchall()
    given = [(name, ATHENA_TYPES.get(type_, type_.lower())) for name, type_, *_ in described]
    assert given == [(column["name"], column["type"]) for column in view(table)["columns"]]


def test_view_shows_the_latest_version_without_deleted_keys(
    lake: duckdb.DuckDBPyConnection,
) -> None:
    for batch, key, units, deleted in (
        (FIRST, 1, 10, False),
        (SECOND, 1, 20, False),
        (FIRST, 2, 30, False),
        (THIRD, 2, None, True),
        (SECOND, 3, None, True),
        (THIRD, 3, 40, False),
        (FIRST, 4, None, False),
    ):
        order = {"sales_order_id": key, "units_sold": units, "row_deleted": deleted}
        put(lake, "fact_sales_order", batch, **order)
    query = "select sales_order_id, units_sold from current_fact_sales_order order by 1"
    assert lake.execute(query).fetchall() == [(1, 20), (3, 40), (4, None)]


@pytest.mark.parametrize("path", sorted(QUERIES.glob("*.sql")), ids=lambda path: path.stem)
def test_query_runs_and_says_what_it_answers(lake: duckdb.DuckDBPyConnection, path: Path) -> None:
    text = path.read_text()
    assert text.startswith("-- ")
    assert ";" not in text
    assert lake.execute(text).description


def test_sales_are_added_up_by_month_and_currency(lake: duckdb.DuckDBPyConnection) -> None:
    put(lake, "dim_currency", FIRST, currency_id=1, currency_code="GBP")
    order = {"created_date": "2026-11-03", "currency_id": 1}
    put(lake, "fact_sales_order", FIRST, sales_order_id=1, units_sold=2, unit_price=1.5, **order)
    put(lake, "fact_sales_order", SECOND, sales_order_id=1, units_sold=4, unit_price=1.5, **order)
    put(lake, "fact_sales_order", FIRST, sales_order_id=2, units_sold=1, unit_price=10, **order)
    ((_, currency, orders, units, value),) = run(lake, "sales_by_month_and_currency")
    assert (currency, orders, units, str(value)) == ("GBP", 2, 5, "16.00")


def test_only_what_is_due_and_not_paid_is_overdue(lake: duckdb.DuckDBPyConnection) -> None:
    put(lake, "dim_currency", FIRST, currency_id=1)
    put(lake, "dim_payment_type", FIRST, payment_type_id=1)
    put(lake, "dim_counterparty", FIRST, counterparty_id=1)
    keys = {"currency_id": 1, "payment_type_id": 1, "counterparty_id": 1}
    past, future = "2020-01-01", "9999-01-01"
    for id_, due, paid in ((1, past, False), (2, past, True), (3, future, False)):
        put(lake, "fact_payment", FIRST, payment_id=id_, payment_date=due, paid=paid, **keys)
    assert [row[0] for row in run(lake, "overdue_payments")] == [1]


def test_changes_are_counted_in_every_table(lake: duckdb.DuckDBPyConnection) -> None:
    put(lake, "dim_staff", FIRST, staff_id=1)
    put(lake, "dim_staff", FIRST, staff_id=2, row_deleted=True)
    put(lake, "dim_staff", SECOND, staff_id=3)
    counted = {table: tuple(counts) for table, *counts in run(lake, "changes_in_a_batch")}
    assert counted.pop("dim_staff") == (2, 1)
    assert counted == {table: (0, 0) for table in STAR if table != "dim_staff"}
