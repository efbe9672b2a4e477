"""The warehouse's SQL: quoted, and doing on PostgreSQL what it says."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from pg8000.native import Connection, literal

from local.postgres import PostgresServer, connect
from totelake import warehouse_sql as sql
from totelake.tables import FACTS, STAR, Column, StarTable

SCHEMA = "etl_staging_test"
DAY = "2024-05-01"
SALES, PAYMENTS, STAFF = STAR["fact_sales_order"], STAR["fact_payment"], STAR["dim_staff"]
WEIRD = StarTable(
    name='we"ird',
    grain="",
    key='k"ey',
    source=None,
    columns=(Column('k"ey', "integer"), Column("select", "integer"), Column("Upper", "text")),
    record_id='rec"ord',
)


@pytest.fixture(scope="module")
def database(postgres: PostgresServer) -> Iterator[Connection]:
    """A warehouse with its tables, every member that a fact below refers to, and a batch."""
    postgres.ensure_database("unit_sql")
    connection = connect(postgres.url("unit_sql"))
    for statement in [*sql.star_ddl(), *sql.etl_ddl(), *sql.etl_ddl()]:
        connection.run(statement)
    connection.run(f"INSERT INTO dim_date VALUES ('{DAY}', 2024, 5, 1, 3, 'Wednesday', 'May', 2)")
    connection.run("INSERT INTO dim_staff VALUES (1, 'A', 'B', 'C', 'D', 'E')")
    connection.run("INSERT INTO dim_counterparty VALUES (1, 'A', 'B', NULL, NULL, 'C','D','E','F')")
    connection.run("INSERT INTO dim_currency VALUES (1, 'GBP', 'Pound Sterling')")
    connection.run("INSERT INTO dim_design VALUES (1, 'A', 'B', 'C')")
    connection.run("INSERT INTO dim_location VALUES (1, 'A', NULL, NULL, 'B', 'C', 'D', 'E')")
    for batch in ("b1", "b2", "b3", "b4"):
        connection.run(f"INSERT INTO etl.batch (batch_id, number, seconds) VALUES ('{batch}',1,1)")
    yield connection
    connection.close()


@pytest.fixture
def warehouse(database: Connection) -> Iterator[Connection]:
    """The warehouse, with empty staging tables; what a test does to it is undone."""
    database.run("BEGIN")
    for statement in sql.staging_ddl(SCHEMA, "b1"):
        database.run(statement)
    yield database
    database.run("ROLLBACK")


def stage(connection: Connection, table: StarTable, *rows: dict[str, Any]) -> None:
    """Stage rows; columns that are not named are null."""
    connection.run(f"TRUNCATE {sql.relation(SCHEMA, table.name)}")
    for row in rows:
        values = {"row_deleted": False, **row}
        names = ", ".join(values)
        marks = ", ".join(f":{name}" for name in values)
        connection.run(
            f"INSERT INTO {sql.relation(SCHEMA, table.name)} ({names}) VALUES ({marks})", **values
        )


def sale(key: int = 7, **more: Any) -> dict[str, Any]:
    row: dict[str, Any] = {column.name: 1 for column in SALES.columns}
    row |= {name: DAY for name in row if name.endswith("_date")}
    row |= {name: "10:00:00.123" for name in row if name.endswith("_time")}
    return {**row, "sales_order_id": key, "unit_price": "2.50", **more}


def load(connection: Connection, batch: str, *rows: dict[str, Any]) -> int:
    """Load one batch of sales as the load does; gives the number of new versions."""
    stage(connection, SALES, *({**row, "batch_id": batch} for row in rows))
    connection.run(sql.release_held(SCHEMA, SALES))
    connection.run(sql.hold(SCHEMA, SALES))
    added = 0
    for (staged,) in connection.run(sql.staged_batches(SCHEMA, SALES)):
        connection.run(sql.append_versions(SCHEMA, SALES), batch=staged)
        added += connection.row_count
        connection.run(sql.append_deletions(SCHEMA, SALES), batch=staged)
    return added


def current(connection: Connection) -> list[tuple[int, int]]:
    rows = connection.run(
        "SELECT sales_order_id, units_sold FROM etl.current_sales_order ORDER BY 1, 2"
    )
    return [tuple(row) for row in rows]


def versions(connection: Connection) -> list[tuple[str, int | None]]:
    """Batch and content of each version of a sales order, deletions included."""
    rows = connection.run(
        "SELECT batch_id, units_sold FROM etl.fact_sales_order_version v"
        " LEFT JOIN fact_sales_order f ON f.sales_record_id = v.record_id ORDER BY 1, 2"
    )
    return [tuple(row) for row in rows]


@pytest.mark.parametrize(
    "statement",
    [
        sql._table_ddl(WEIRD),
        sql._version_ddl(WEIRD),
        sql._held_ddl(WEIRD),
        sql._current_ddl(WEIRD),
        sql.upsert("sch'ema", WEIRD),
        sql.mark_deleted("sch'ema", WEIRD),
        sql.mark_alive("sch'ema", WEIRD),
        sql.release_held("sch'ema", WEIRD),
        sql.staged_batches("sch'ema", WEIRD),
        sql.append_versions("sch'ema", WEIRD),
        sql.append_deletions("sch'ema", WEIRD),
    ],
    ids=range(11),
)
def test_every_identifier_is_quoted(statement: str) -> None:
    """Guards against SQL built from names: a quote or a keyword in one changes the statement."""
    unquoted = re.sub(r"""\"(?:[^"]|"")*"|'(?:[^']|'')*'""", "", statement)
    assert '"' not in unquoted
    assert "'" not in unquoted
    for part in ("we", "ird", "k", "ey", "select", "Upper", "rec", "ord", "sch", "ema"):
        assert not re.search(rf"\b{part}\b", unquoted)


def test_a_batchs_id_is_quoted_where_nothing_can_be_bound() -> None:
    batch = "b'; DROP SCHEMA public CASCADE; --"
    (statement,) = (s for s in sql.staging_ddl(SCHEMA, batch) if STAFF.name in s)
    assert f"DEFAULT {literal(batch)})" in statement
    assert literal(batch).count("''") == 1


def test_staging_has_a_table_for_each_of_the_star(warehouse: Connection) -> None:
    rows = warehouse.run(
        "SELECT relname, relpersistence FROM pg_class WHERE relnamespace = :s::regnamespace"
        " AND relkind = 'r'",
        s=SCHEMA,
    )
    assert dict(rows) == dict.fromkeys(STAR, "u")


def test_an_upsert_counts_what_is_new_and_what_changed(warehouse: Connection) -> None:
    """Guards against dimensions frozen by DO NOTHING, and changes counted where there are none."""
    person = {
        "first_name": "A",
        "last_name": "B",
        "department_name": "C",
        "location": "D",
        "email_address": "E",
    }
    stage(
        warehouse,
        STAFF,
        {"staff_id": 1, **person},
        {"staff_id": 2, **person},
        {"staff_id": 3, "row_deleted": True},
    )
    assert warehouse.run(sql.upsert(SCHEMA, STAFF)) == [[1, 0]]
    assert warehouse.run(sql.upsert(SCHEMA, STAFF)) == [[0, 0]]
    stage(warehouse, STAFF, {"staff_id": 2, **person, "department_name": "Sales"})
    assert warehouse.run(sql.upsert(SCHEMA, STAFF)) == [[0, 1]]
    found = warehouse.run("SELECT staff_id, department_name FROM dim_staff ORDER BY 1")
    assert found == [[1, "C"], [2, "Sales"]]


def test_an_upsert_sees_a_value_that_becomes_null_and_back(warehouse: Connection) -> None:
    """Guards against <> where a null is on one side: such a change would be lost."""
    location = STAR["dim_location"]
    row = {"location_id": 1, "address_line_1": "A", "city": "B", "postal_code": "C"}
    row |= {"country": "D", "phone": "E"}
    for district, changed in (("X", 1), ("X", 0), (None, 1), (None, 0)):
        stage(warehouse, location, {**row, "district": district})
        assert warehouse.run(sql.upsert(SCHEMA, location)) == [[0, changed]]


def test_a_deleted_member_is_remembered_until_it_is_back(warehouse: Connection) -> None:
    deleted = "SELECT table_name, member, batch_id FROM etl.deleted_member"
    stage(warehouse, STAFF, {"staff_id": 1, "row_deleted": True})
    for _ in range(2):
        warehouse.run(sql.mark_alive(SCHEMA, STAFF))
        warehouse.run(sql.mark_deleted(SCHEMA, STAFF))
    assert warehouse.run(deleted) == [["dim_staff", "1", "b1"]]
    stage(warehouse, STAFF, {"staff_id": 1})
    warehouse.run(sql.mark_alive(SCHEMA, STAR["dim_design"]))
    assert warehouse.run(deleted) == [["dim_staff", "1", "b1"]]
    warehouse.run(sql.mark_alive(SCHEMA, STAFF))
    assert warehouse.run(deleted) == []


def test_only_a_version_that_differs_from_its_latest_is_added(warehouse: Connection) -> None:
    """Guards against history overwritten, against versions doubled, and against A, B, A as A."""
    assert load(warehouse, "b1", sale(units_sold=1), sale(8)) == 2
    assert load(warehouse, "b2", sale(units_sold=1)) == 0
    assert load(warehouse, "b3", sale(units_sold=2)) == 1
    assert load(warehouse, "b4", sale(units_sold=1)) == 1
    assert versions(warehouse) == [("b1", 1), ("b1", 1), ("b3", 2), ("b4", 1)]
    assert current(warehouse) == [(7, 1), (8, 1)]


def test_a_change_of_a_millisecond_is_a_version(warehouse: Connection) -> None:
    load(warehouse, "b1", sale())
    assert load(warehouse, "b2", sale(last_updated_time="10:00:00.124")) == 1


def test_a_deletion_ends_an_order_and_its_return_is_a_version(warehouse: Connection) -> None:
    """Guards against deleted orders that stay current, and a return that looks unchanged."""
    gone = {"sales_order_id": 7, "row_deleted": True}
    load(warehouse, "b1", sale())
    assert load(warehouse, "b2", gone) == 0
    assert current(warehouse) == []
    assert load(warehouse, "b3", sale()) == 1
    assert current(warehouse) == [(7, 1)]
    assert versions(warehouse) == [("b1", 1), ("b2", None), ("b3", 1)]


def test_a_version_waits_for_its_member_and_takes_its_own_place(warehouse: Connection) -> None:
    """Guards against a late member that makes an old version the current one."""
    assert load(warehouse, "b1", sale(units_sold=1, design_id=9), sale(8)) == 1
    assert warehouse.run("SELECT batch_id, units_sold FROM etl.held_fact_sales_order") == [
        ["b1", 1]
    ]
    assert load(warehouse, "b2", sale(units_sold=2)) == 1
    assert current(warehouse) == [(7, 2), (8, 1)]
    warehouse.run("INSERT INTO dim_design VALUES (9, 'A', 'B', 'C')")
    assert load(warehouse, "b3") == 1
    assert warehouse.run("SELECT count(*) FROM etl.held_fact_sales_order") == [[0]]
    assert current(warehouse) == [(7, 2), (8, 1)]
    assert versions(warehouse) == [("b1", 1), ("b1", 1), ("b2", 2)]


def test_a_version_that_waits_does_not_hide_the_return_from_it(warehouse: Connection) -> None:
    """Guards against A, B, A that ends with B: the second A came while B still waited."""
    load(warehouse, "b1", sale(units_sold=1))
    load(warehouse, "b2", sale(units_sold=2, design_id=9))
    load(warehouse, "b3", sale(units_sold=1))
    warehouse.run("INSERT INTO dim_design VALUES (9, 'A', 'B', 'C')")
    load(warehouse, "b4")
    assert current(warehouse) == [(7, 1)]
    assert versions(warehouse) == [("b1", 1), ("b2", 2), ("b3", 1)]


@pytest.mark.parametrize(
    "reference", [column.name for column in SALES.columns if column.references]
)
def test_any_missing_member_holds_a_version(warehouse: Connection, reference: str) -> None:
    """Guards against a foreign key that fails a whole batch because one member is late."""
    missing = "2031-01-01" if reference.endswith("_date") else 99
    assert load(warehouse, "b1", sale(**{reference: missing}), sale(8)) == 1
    assert current(warehouse) == [(8, 1)]


def test_there_is_a_current_view_for_each_fact() -> None:
    assert [sql.current_view(fact) for fact in FACTS] == [
        '"etl"."current_sales_order"',
        '"etl"."current_purchase_order"',
        '"etl"."current_payment"',
    ]
