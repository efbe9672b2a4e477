"""The closing comparison, on a small source and a lake and a warehouse made from it by hand."""

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import date
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pg8000.native import Connection

from local import simulator
from local.fingerprints import quoted
from local.postgres import PostgresServer, connect
from local.processed_zone import ProcessedZone
from local.report import Added, TableReport, added, compare, mark
from local.source_views import SOURCE_VIEWS
from totelake import warehouse_sql
from totelake.currencies import ISO_4217
from totelake.tables import QUARANTINE, ROW_DELETED, STAR

Row = dict[str, Any]
SMALL = simulator.Size().times(0.002)
DATABASES = count(1)
ARROW = {
    "integer": pa.int32(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "numeric": pa.decimal128(10, 2),
    "numeric(10,2)": pa.decimal128(10, 2),
}


class Places:
    """One database that is source and warehouse, and a folder that is the lake."""

    def __init__(self, database: Connection, folder: Path) -> None:
        self.database = database
        self.folder = folder
        self.star: dict[str, list[Row]] = {}

    def compare(self) -> dict[str, TableReport]:
        with closing(ProcessedZone(self.folder)) as zone:
            reports = compare(self.database, self.database, zone)
        assert [report.table for report in reports] == list(STAR)
        return {report.table: report for report in reports}

    def differing(self) -> dict[str, tuple[str, ...]]:
        return {name: r.differences for name, r in self.compare().items() if r.differences}

    def run(self, statement: str, **parameters: Any) -> list[list[Any]]:
        return list(self.database.run(statement, **parameters) or [])

    def land(self, batch: str, star: dict[str, list[Row]], rejected: Sequence[Row] = ()) -> None:
        """Write a batch into the lake."""
        tables = {}
        for name, table in STAR.items():
            schema = pa.schema(
                [(column.name, ARROW.get(column.type, pa.string())) for column in table.columns]
                + [(ROW_DELETED, pa.bool_())]
            )
            tables[name] = self._write(name, batch, star.get(name, []), schema)
        quarantine = pa.schema([("star_table", pa.string()), ("source_key", pa.string())])
        tables[QUARANTINE] = self._write(QUARANTINE, batch, rejected, quarantine)
        manifests = self.folder / "_batches"
        manifests.mkdir(parents=True, exist_ok=True)
        manifest = {"batch": batch, "tables": tables}
        (manifests / f"{batch}.json").write_text(json.dumps(manifest))

    def _write(self, name: str, batch: str, rows: Sequence[Row], schema: pa.Schema) -> Row:
        if not rows:
            return {"files": []}
        folder = self.folder / name / f"batch={batch}"
        folder.mkdir(parents=True)
        complete = [{ROW_DELETED: False, **row} for row in rows]
        pq.write_table(pa.Table.from_pylist(complete, schema), folder / "part-00000.parquet")
        (folder / "part-00001.parquet").write_text("not named by the manifest")
        return {"files": [{"name": "part-00000.parquet"}]}

    def load(self, batch: str) -> None:
        """Give the warehouse all that the source shows, as one batch."""
        self.run("INSERT INTO etl.batch VALUES (:batch, 1, now(), 1)", batch=batch)
        for name, rows in self.star.items():
            table = STAR[name]
            names = ", ".join(map(quoted, table.column_names))
            for row in rows:
                values = ", ".join(f":{column}" for column in table.column_names)
                self.run(f"INSERT INTO {quoted(name)} ({names}) VALUES ({values})", **row)
            if table.is_fact:
                versions = warehouse_sql.version_table(table)
                self.run(
                    f"INSERT INTO {versions} SELECT {table.key}, '{batch}', {table.record_id}"
                    f" FROM {quoted(name)} WHERE {table.record_id}"
                    f" NOT IN (SELECT record_id FROM {versions})"
                )
            self.run(
                "INSERT INTO etl.table_load VALUES (:batch, :name, :rows, :rows, 0, 0, 0)",
                batch=batch,
                name=name,
                rows=len(rows),
            )


def days(first: date, last: date) -> list[Row]:
    return [
        {
            "date_id": day,
            "year": day.year,
            "month": day.month,
            "day": day.day,
            "day_of_week": day.isoweekday(),
            "day_name": day.strftime("%A"),
            "month_name": day.strftime("%B"),
            "quarter": (day.month + 2) // 3,
        }
        for day in map(date.fromordinal, range(first.toordinal(), last.toordinal() + 1))
    ]


def star_of(database: Connection) -> dict[str, list[Row]]:
    """What the jobs would make of the source."""
    star = {"dim_date": days(date(2022, 11, 1), date(2024, 12, 31))}
    names = {"currency_codes": list(ISO_4217), "currency_names": list(ISO_4217.values())}
    for name, view in SOURCE_VIEWS.items():
        parameters = names if name == "dim_currency" else {}
        rows = database.run(view, **parameters)
        star[name] = [dict(zip(STAR[name].column_names, row, strict=True)) for row in rows]
        for row in star[name]:
            for column in STAR[name].columns:
                if column.type == "date":
                    row[column.name] = date.fromisoformat(str(row[column.name]))
                if column.type.startswith("time"):
                    row[column.name] = row[column.name].isoformat("milliseconds")
    return star


@pytest.fixture(scope="module")
def template(postgres: PostgresServer) -> str:
    """A database with a source and an empty warehouse, to copy."""
    postgres.ensure_database("report")
    with closing(connect(postgres.url("report"))) as database:
        simulator.create(database, seed=1, size=SMALL)
        for statement in [*warehouse_sql.star_ddl(), *warehouse_sql.etl_ddl()]:
            database.run(statement)
    return "report"


@pytest.fixture
def places(postgres: PostgresServer, template: str, tmp_path: Path) -> Iterator[Places]:
    """Source, lake and warehouse that agree."""
    name = f"report{next(DATABASES)}"
    with closing(connect(postgres.url("postgres"))) as server:
        server.run(f"CREATE DATABASE {name} TEMPLATE {template}")
    with closing(connect(postgres.url(name))) as database:
        places = Places(database, tmp_path)
        places.star = star_of(database)
        places.land("20240101T000000Z", places.star)
        places.load("20240101T000000Z")
        yield places


def test_all_agree_and_each_is_counted(places: Places) -> None:
    reports = places.compare()

    assert {name: r.differences for name, r in reports.items() if r.differences} == {}
    sales = reports["fact_sales_order"]
    assert (sales.source, sales.lake, sales.warehouse, sales.versions) == (SMALL.sales_orders,) * 4
    assert reports["dim_staff"].versions is None
    assert 0 < reports["dim_date"].source < reports["dim_date"].lake == len(places.star["dim_date"])


# One column of each table and a value that it does not have. In the source a change of a
# department or an address shows in every table that is joined with it.
CHANGES = {
    "dim_date": ("day_of_week", 9),
    "dim_staff": ("location", "Elsewhere"),
    "dim_location": ("postal_code", "012"),
    "dim_currency": ("currency_code", "USX"),
    "dim_design": ("file_name", "it's, new.json"),
    "dim_counterparty": ("counterparty_legal_name", "Another"),
    "dim_transaction": ("sales_order_id", None),
    "dim_payment_type": ("payment_type_name", "GIFT"),
    "fact_sales_order": ("unit_price", Decimal("9.99")),
    "fact_purchase_order": ("item_code", "0012E34"),
    "fact_payment": ("paid", None),
}


def test_one_changed_value_in_the_warehouse_is_seen(places: Places) -> None:
    for name, (column, value) in CHANGES.items():
        new = f"NOT {column}" if name == "fact_payment" else ":value"
        row = f'(SELECT min(ctid) FROM "{name}" WHERE {column} IS NOT NULL)'
        places.run(f'UPDATE "{name}" SET {column} = {new} WHERE ctid = {row}', value=value)

    differing = places.differing()

    assert list(differing) == list(STAR)
    for name, differences in differing.items():
        assert "the lake's" in differences[0]
        assert "and the warehouse's differ in content" in differences[0]
        assert len(differences) == 2 if STAR[name].is_fact else 1


def test_one_changed_value_in_the_lake_is_seen(places: Places) -> None:
    changed = {}
    for name, (column, value) in CHANGES.items():
        row = next(row for row in places.star[name] if row[column] is not None)
        new = not row[column] if name == "fact_payment" else value
        changed[name] = [{**row, column: new}]
    places.land("20240102T000000Z", changed)

    assert list(places.differing()) == list(STAR)


def test_one_changed_value_in_the_source_is_seen(places: Places) -> None:
    changes = {
        "dim_staff": "UPDATE department SET location = 'Elsewhere'",
        "dim_location": "UPDATE address SET phone = '0' WHERE address_id = 1",
        "dim_currency": "UPDATE currency SET currency_code = 'CHF' WHERE currency_id = 1",
        "dim_design": "UPDATE design SET file_location = '/' WHERE design_id = 1",
        "dim_counterparty": "UPDATE counterparty SET counterparty_legal_name = ''",
        "dim_transaction": "UPDATE transaction SET sales_order_id = NULL",
        "dim_payment_type": "UPDATE payment_type SET payment_type_name = 'SALES_REFUND'",
        "fact_sales_order": "UPDATE sales_order SET agreed_delivery_date = '2024-02-29'"
        " WHERE sales_order_id = 1",
        "fact_purchase_order": "UPDATE purchase_order SET last_updated = last_updated"
        " + interval '1 ms' WHERE purchase_order_id = 1",
        "fact_payment": "UPDATE payment SET payment_amount = payment_amount + 0.01"
        " WHERE payment_id = 1",
    }
    for change in changes.values():
        places.run(change)

    differing = places.differing()

    # A location changed, so the counterparties there did too; no day is missing.
    assert list(differing) == list(changes)
    assert all("the source's" in differences[0] for differences in differing.values())


def test_rows_that_are_missing_or_too_many_are_counted(places: Places) -> None:
    places.run("DELETE FROM payment WHERE payment_id = 1")
    places.run('DELETE FROM "dim_payment_type" WHERE payment_type_id = 4')

    differing = places.differing()

    payments = len(places.star["fact_payment"])
    in_source = f"{payments - 1} rows in the source, {payments} in the lake"
    assert differing == {
        "dim_payment_type": ("4 rows in the lake, 3 in the warehouse",),
        "fact_payment": (in_source,),
    }


def test_a_rejected_row_is_told_and_not_compared(places: Places) -> None:
    places.run("UPDATE sales_order SET agreed_payment_date = 'soon' WHERE sales_order_id = 2")

    assert list(places.differing()) == ["fact_sales_order"]
    rejected = {"star_table": "fact_sales_order", "source_key": "2"}
    places.land("20240102T000000Z", {}, rejected=[rejected])
    assert places.differing() == {}
    assert places.compare()["fact_sales_order"].rejected == 1


def test_a_row_that_was_rejected_once_and_is_mended_is_compared(places: Places) -> None:
    rejected = {"star_table": "fact_sales_order", "source_key": "2"}
    places.land("20240102T000000Z", {}, rejected=[rejected])
    mended = next(r for r in places.star["fact_sales_order"] if r["sales_order_id"] == 2)
    places.land("20240103T000000Z", {"fact_sales_order": [{**mended, "units_sold": 7}]})

    assert places.compare()["fact_sales_order"].rejected == 0
    assert list(places.differing()) == ["fact_sales_order"]


def test_a_held_row_is_told_and_not_compared(places: Places) -> None:
    places.run("UPDATE sales_order SET units_sold = 1 WHERE sales_order_id = 2")
    row = next(r for r in places.star["fact_sales_order"] if r["sales_order_id"] == 2)
    places.land("20240102T000000Z", {"fact_sales_order": [{**row, "units_sold": 1}]})

    assert list(places.differing()) == ["fact_sales_order"]
    places.run("INSERT INTO etl.held_fact_sales_order (sales_order_id, batch_id) VALUES (2, 'b')")
    assert places.differing() == {}
    assert places.compare()["fact_sales_order"].held == 1


def test_versions_are_compared_and_equal_neighbours_count_once(places: Places) -> None:
    row = next(r for r in places.star["fact_payment"] if r["payment_id"] == 1)
    other = {**row, "payment_amount": Decimal("0.01")}
    for number, version in enumerate([row, other, other, row, row], start=2):
        places.land(f"2024010{number}T000000Z", {"fact_payment": [version]})

    (difference,) = places.differing()["fact_payment"]

    payments = len(places.star["fact_payment"])
    assert difference == (
        f"versions: {payments + 2:,} rows in the lake, {payments:,} in the warehouse"
    )
    for version in (other, row):
        names = ", ".join(version)
        values = ", ".join(f":{name}" for name in version)
        places.run(f"INSERT INTO fact_payment ({names}) VALUES ({values})", **version)
    assert places.differing() == {}
    assert places.compare()["fact_payment"].versions == payments + 2


def test_a_row_that_was_deleted_and_came_back_is_a_further_version(places: Places) -> None:
    row = places.star["fact_payment"][0]
    places.land("20240102T000000Z", {"fact_payment": [{**row, ROW_DELETED: True}]})
    places.land("20240103T000000Z", {"fact_payment": [row]})

    (difference,) = places.differing()["fact_payment"]

    payments = len(places.star["fact_payment"])
    assert difference == f"versions: {payments + 1} rows in the lake, {payments} in the warehouse"


def test_what_is_deleted_everywhere_agrees(places: Places) -> None:
    later = "20240102T000000Z"
    payment = next(r for r in places.star["fact_payment"] if r["payment_id"] == 1)
    design = {**places.star["dim_design"][0], "design_id": 999}
    places.run("INSERT INTO dim_design VALUES (999, 'a', 'b', 'c')")
    places.run("DELETE FROM payment WHERE payment_id = 1")
    gone = {"fact_payment": [payment], "dim_design": [design]}
    places.land(later, {name: [{**row, ROW_DELETED: True}] for name, [row] in gone.items()})
    assert list(places.differing()) == ["dim_design", "fact_payment"]

    places.run("INSERT INTO etl.batch VALUES (:batch, 2, now(), 1)", batch=later)
    places.run("INSERT INTO etl.fact_payment_version VALUES (1, :batch, NULL)", batch=later)
    places.run("INSERT INTO etl.deleted_member VALUES ('dim_design', '999', :batch)", batch=later)
    reports = places.compare()

    assert reports["dim_design"].differences == reports["fact_payment"].differences == ()
    assert reports["fact_payment"].versions == reports["fact_payment"].lake + 1


def test_a_day_that_the_source_names_has_to_be_there(places: Places) -> None:
    places.run("UPDATE payment SET payment_date = '2031-05-06' WHERE payment_id = 1")
    places.run("UPDATE payment SET payment_date = '2031-02-30' WHERE payment_id = 2")

    differences = places.differing()["dim_date"]

    assert differences == ("1 days of the source are missing, first 2031-05-06",)


def test_what_a_run_added_is_new_keys_and_further_versions(places: Places) -> None:
    before = mark(places.database)
    payment = next(r for r in places.star["fact_payment"] if r["payment_id"] == 1)
    batch = "20240102T000000Z"
    changed = {**payment, "paid": not payment["paid"]}
    places.star = {"fact_payment": [changed, {**payment, "payment_id": 999}]}
    places.load(batch)
    places.run(
        "INSERT INTO etl.table_load VALUES (:batch, 'dim_design', 9, 3, 4, 2, 0)", batch=batch
    )

    brought = added(places.database, before, mark(places.database))

    assert brought["fact_payment"] == Added(new=1, changed=1)
    assert brought["dim_design"] == Added(new=3, changed=4)
    assert brought["dim_staff"] == Added(new=0, changed=0)


def test_a_warehouse_without_tables_stands_at_nothing(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    postgres.ensure_database("nothing")
    with closing(connect(postgres.url("nothing"))) as warehouse:
        assert mark(warehouse).batches == frozenset()
