"""A source whose tables are not what they were: what is taken, reported, refused, and kept."""

from dataclasses import replace
from typing import Any

import pytest

from totelake.errors import SchemaError
from totelake.tables import SOURCE, STRICT

from .conftest import Event, Pipeline
from .test_extract import pretend_other_system

DRIFT = """
CREATE TYPE mood AS ENUM ('good', 'bad');
ALTER TABLE currency ADD COLUMN symbol text DEFAULT '£';
ALTER TABLE staff ADD COLUMN "updatedBy" mood DEFAULT 'good', ADD COLUMN tags text[] DEFAULT '{a}',
  ADD COLUMN notes jsonb DEFAULT '{"a": 1}', ADD COLUMN weight numeric DEFAULT 1e30,
  ADD COLUMN seen timestamptz DEFAULT '2024-01-01 00:00+00', ADD COLUMN "a.b" text DEFAULT 'x',
  ADD COLUMN "quo""te" text, ADD COLUMN "Email_Address" text, ADD COLUMN row_xmin text;
ALTER TABLE department DROP COLUMN manager;
ALTER TABLE counterparty ALTER COLUMN commercial_contact TYPE integer USING 7;
ALTER TABLE sales_order ALTER COLUMN units_sold TYPE bigint;
ALTER TABLE sales_order ALTER COLUMN unit_price TYPE numeric(14,4);
ALTER TABLE payment_type ALTER COLUMN payment_type_name TYPE text;
ALTER TABLE currency ALTER COLUMN currency_code TYPE varchar(5);
ALTER TABLE purchase_order ALTER COLUMN item_code TYPE varchar;
CREATE TABLE invoice (invoice_id int)
"""


def reported(events: list[Event]) -> set[tuple[str, ...]]:
    return {
        (event["table"], event["column"], event["was"], event["found"])
        for event in events
        if event["event"] == "schema_changed"
    }


def facts(pipeline: Pipeline) -> dict[str, list[Any]]:
    return {
        table: pipeline.rows(f"SELECT * FROM {table} ORDER BY 1")
        for table in ("fact_sales_order", "fact_purchase_order", "fact_payment", "dim_staff")
    }


@pytest.mark.whole
def test_a_source_that_evolves(pipeline: Pipeline) -> None:
    first = pipeline.run()
    # ToteSys' own, which nobody declared.
    assert reported(first) == {("_prisma_migrations", "", "", "table")}
    before = facts(pipeline)

    pipeline.source.run(DRIFT)
    pipeline.source.run(
        "INSERT INTO sales_order SELECT 10 + i, now(), now(), 8, 1, 1, (ARRAY[3000000000, 5])[i],"
        " (ARRAY[2.5, 2.505])[i], 1, '2024-01-01', '2024-01-01', 1 FROM generate_series(1, 2) i"
    )
    events = pipeline.run()
    assert reported(events) == {
        ("currency", "symbol", "", "text"),
        ("currency", "currency_code", "character varying(3)", "character varying(5)"),
        ("staff", "updatedBy", "", "mood"),
        ("staff", "tags", "", "text[]"),
        ("staff", "notes", "", "jsonb"),
        ("staff", "weight", "", "numeric"),
        ("staff", "seen", "", "timestamp with time zone"),
        ("staff", "a.b", "", "text"),
        ("staff", 'quo"te', "", "text"),
        ("staff", "Email_Address", "", "text"),
        ("staff", "row_xmin", "", "text"),
        ("department", "manager", "text", ""),
        ("counterparty", "commercial_contact", "text", "integer"),
        ("sales_order", "units_sold", "integer", "bigint"),
        ("sales_order", "unit_price", "numeric(10,2)", "numeric(14,4)"),
        ("payment_type", "payment_type_name", '"PaymentTypeName"', "text"),
        ("purchase_order", "item_code", "text", "character varying"),
        ("invoice", "", "", "table"),
    }
    # A new column's values land, though no transaction wrote the rows that they are in.
    manifest = pipeline.batches()[-1]
    assert [row["symbol"] for row in pipeline.landed("currency").collect()] == ["£", "£"]
    staff = pipeline.landed("staff")
    assert staff.columns[-6:] == ["tags", "notes", "weight", "seen", "row_xmin", "row_change"]
    row = staff.collect()[0]
    assert (row["updatedBy"], row["tags"], row["notes"]) == ("good", "{a}", '{"a": 1}')
    assert row["weight"] == "1" + "0" * 30
    assert row["row_xmin"] > 0
    columns = {table: entry.columns for table, entry in manifest.tables.items()}
    assert "manager" not in columns["department"]
    assert columns["counterparty"]["commercial_contact"] == "int"
    assert columns["sales_order"]["units_sold"] == "bigint"
    assert ["currency_code", "character varying(5)"] in manifest.snapshot["schema"]["currency"]

    # The star is what it was; what does not fit it is rejected, never changed.
    assert facts(pipeline) == before
    rejected = {row["source_key"]: row["reason"] for row in pipeline.star("quarantine").collect()}
    assert rejected == {
        "11": "units_sold = 3000000000 does not fit integer",
        "12": "unit_price = 2.5050 does not fit numeric(10,2)",
    }

    # Source, lake and warehouse still are compared, each value whatever type it landed with.
    found = pipeline.reconcile()
    assert [report["differences"] for report in found.values() if report["differences"]] == []
    assert {name: it["rejected"] for name, it in found.items() if it["rejected"]} == {
        "fact_sales_order": 2
    }
    assert sum(report["in_flight"] for report in found.values()) == 0

    # Reported once; mended rows follow.
    pipeline.source.run(
        "UPDATE sales_order SET units_sold = 6, unit_price = 2.50 WHERE sales_order_id > 10;"
        "DROP TABLE invoice"
    )
    assert reported(pipeline.run()) == {("invoice", "", "table", "")}
    assert (
        pipeline.rows(
            "SELECT units_sold, unit_price::text FROM fact_sales_order WHERE sales_order_id > 10"
        )
        == [[6, "2.50"]] * 2
    )

    # Batches of several schemas are one history: nothing of it lands again.
    pretend_other_system(pipeline)
    pipeline.extract()
    manifest = pipeline.batches()[-1]
    assert (manifest.mode, manifest.rows) == ("compare", 0)


def test_a_strict_table_takes_nothing(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOURCE, "currency", replace(SOURCE["currency"], drift=STRICT))
    pipeline.source.run("ALTER TABLE currency ADD COLUMN symbol text, DROP COLUMN created_at")
    with pytest.raises(
        SchemaError,
        match=r"currency.created_at: expected timestamp\(3\) without time zone, found none; "
        r"currency.symbol: expected none, found text",
    ):
        pipeline.extract()
    assert pipeline.objects() == {}
