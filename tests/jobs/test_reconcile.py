"""Reconcile: what is wrong is found in each place, and what is on its way is told apart."""

import dataclasses
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from totelake.errors import LakeError, WarehouseError
from totelake.lake import Zone
from totelake.source import Source
from totelake.tables import SOURCE, STAR, Watermark

from .conftest import Event, Pipeline

ASIDE = ("in_flight", "not_loaded", "deleted", "rejected", "held")


def aside(found: dict[str, Event]) -> dict[str, dict[str, int]]:
    """What was told apart, by table."""
    told = {name: {what: report[what] for what in ASIDE} for name, report in found.items()}
    return {
        name: {what: count for what, count in counts.items() if count}
        for name, counts in told.items()
        if any(counts.values())
    }


def differences(found: dict[str, Event]) -> dict[str, list[str]]:
    return {name: r["differences"] for name, r in found.items() if r["differences"]}


def test_all_agree_and_what_is_on_its_way_is_told_apart(pipeline: Pipeline) -> None:
    source = pipeline.source
    pipeline.run()
    source.run("UPDATE purchase_order SET item_quantity = 7 WHERE purchase_order_id = 1")
    pipeline.extract()
    pipeline.transform()
    source.run("UPDATE design SET file_name = 'new' WHERE design_id = 9")
    pipeline.extract()
    source.run("UPDATE sales_order SET units_sold = 1 WHERE sales_order_id = 1")
    source.run("UPDATE department SET location = 'Leeds' WHERE department_id = 1")
    source.run("DELETE FROM payment WHERE payment_id = 8")
    found = pipeline.reconcile()
    assert aside(found) == {
        "fact_purchase_order": {"not_loaded": 1},
        "dim_design": {"in_flight": 1},
        "fact_sales_order": {"in_flight": 1},
        "department": {"in_flight": 1},
        "dim_staff": {"in_flight": 2},
        "fact_payment": {"in_flight": 1},
    }
    assert differences(found) == {}
    assert [*found] == [*STAR, "department"]
    places = ("source", "raw", "lake", "warehouse", "versions")
    payments = found["fact_payment"]
    assert [payments[place] for place in places] == [3, 4, 4, 4, 4]
    assert [found["dim_date"][place] for place in places] == [1096, None, 1096, 1096, None]
    assert [found["department"][place] for place in places] == [2, 2, None, None, None]


def rewrite(folder: Path, column: str, value: Any) -> None:
    """Give all rows of a table's only file another value, as a broken disk or a bug would."""
    (file,) = folder.rglob("*.parquet")
    table = pq.ParquetFile(file).read()
    position = table.column_names.index(column)
    values = pa.array([value] * table.num_rows, table.schema.field(column).type)
    pq.write_table(table.set_column(position, table.schema.field(column), values), file)


def test_what_is_wrong_is_found_where_it_is(pipeline: Pipeline) -> None:
    pipeline.run()
    raw, processed = (Path(z.uri[7:]) for z in (pipeline.raw, pipeline.processed))
    rewrite(raw / "department", "manager", "Nobody")
    rewrite(processed / "dim_currency", "currency_name", "Groats")
    changes = {
        "dim_date": "day_of_week = 9 WHERE date_id = '2024-02-29'",
        "dim_staff": "location = 'Elsewhere' WHERE staff_id = 3",
        "dim_location": "postal_code = '8010' WHERE location_id = 3",
        "dim_design": "file_name = '' WHERE design_id = 8",
        "dim_counterparty": "counterparty_legal_name = 'A' WHERE counterparty_id = 2",
        "dim_transaction": "sales_order_id = NULL WHERE transaction_id = 2",
        "fact_sales_order": "unit_price = 2.44 WHERE sales_order_id = 1",
        "fact_purchase_order": "created_time = '14:20:52.188' WHERE purchase_order_id = 1",
    }
    for table, change in changes.items():
        pipeline.warehouse.run(f"UPDATE {table} SET {change}")
    pipeline.warehouse.run("INSERT INTO dim_payment_type VALUES (77, 'GIFT')")
    pipeline.warehouse.run("DELETE FROM etl.fact_payment_version WHERE payment_id = 8")
    pipeline.warehouse.run("DELETE FROM fact_payment WHERE payment_id = 8")
    boto3.client("glue").create_database(DatabaseInput={"Name": pipeline.name})
    descriptor = {"Columns": [{"Name": "design_id", "Type": "int"}]}
    table = {"Name": "design", "StorageDescriptor": descriptor}
    boto3.client("glue").create_table(DatabaseName=pipeline.name, TableInput=table)
    found = differences(pipeline.reconcile("--raw_database", pipeline.name))
    lost = "processed zone and warehouse: 1 keys differ"
    assert found == {
        "dim_date": [f"{lost} (2024-02-29 content)"],
        "dim_staff": [f"{lost} (3 content)"],
        "dim_location": [f"{lost} (3 content)"],
        "dim_currency": [
            "source and processed zone: 2 keys differ (1 content, 2 content)",
            "processed zone and warehouse: 2 keys differ (1 content, 2 content)",
        ],
        "dim_design": [f"{lost} (8 content)"],
        "dim_counterparty": [f"{lost} (2 content)"],
        "dim_transaction": [f"{lost} (2 content)"],
        "dim_payment_type": [f"{lost} (77 not in the processed zone)"],
        "fact_sales_order": [f"{lost} (1 content)", f"{lost} (1 versions)"],
        "fact_purchase_order": [f"{lost} (1 content)", f"{lost} (1 versions)"],
        "fact_payment": [f"{lost} (8 not in the warehouse)", f"{lost} (8 versions)"],
        "department": ["source and raw zone: 2 keys differ (1 content, 2 content)"],
    }
    events = [json.loads(line) for line in pipeline.lines]
    catalogued = {it["table"]: it for it in events if it["event"] == "catalogued"}
    assert [*catalogued] == [*SOURCE]
    unregistered = f"1 partitions not registered ({pipeline.batches()[-1].batch})"
    assert catalogued.pop("design")["differences"] == [unregistered]
    # No crawler has made the others yet.
    assert {(it["partitions"], *it["differences"]) for it in catalogued.values()} == {(None,)}
    assert f"{pipeline.name}.design: {unregistered}" in events[-1]["message"]


def test_a_change_that_extract_would_miss_is_wrong(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that differs, or is gone, and extract's look at the source finds nothing to do."""
    watermark = Watermark("last_updated", timedelta(minutes=5))
    payment = dataclasses.replace(SOURCE["payment"], watermark=watermark)
    monkeypatch.setitem(SOURCE, "payment", payment)
    pipeline.source.run("UPDATE department SET location = NULL WHERE department_id = 2")
    pipeline.source.run("INSERT INTO currency VALUES (7, 'EUR', now(), now())")
    pipeline.run()
    pipeline.source.run("UPDATE sales_order SET units_sold = 3 WHERE sales_order_id = 2")
    pipeline.source.run("DELETE FROM currency WHERE currency_id = 7")
    pipeline.source.run("DELETE FROM payment WHERE payment_id = 8")
    monkeypatch.setattr(Source, "_keys", lambda *_: ({}, set(), set()))
    for module in ("places", "source_sql"):
        monkeypatch.setattr(
            f"totelake.{module}.changed_condition", lambda alias, *_: f"{alias}.ctid IS NULL"
        )
    found = pipeline.reconcile()
    assert differences(found) == {
        "fact_sales_order": [
            "source and raw zone: 1 keys differ (2 content)",
            "source and processed zone: 1 keys differ (2 content)",
        ],
        "dim_currency": [
            "source and raw zone: 1 keys differ (7 not in the source)",
            "source and processed zone: 1 keys differ (7 not in the source)",
        ],
    }
    # What the jobs set aside, beside it: staff 3 lacks a location, purchases wait for staff 3,
    # and the sweep of a table with a watermark waits for its time.
    assert aside(found) == {
        "dim_staff": {"rejected": 1},
        "fact_purchase_order": {"held": 2},
        "fact_payment": {"deleted": 1},
    }


@pytest.mark.whole
def test_after_a_restore_whatever_differs_is_on_its_way(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next batch compares all rows with the raw zone: it finds what differs."""
    pipeline.run()
    pipeline.source.run("UPDATE design SET file_name = 'of another history' WHERE design_id = 8")
    manifest = pipeline.batches()[0]
    elsewhere = dataclasses.replace(
        manifest, snapshot={**manifest.snapshot, "system": "1/00000001/5"}
    )
    monkeypatch.setattr("totelake.batch.read_raw", lambda *_: elsewhere)
    found = pipeline.reconcile()
    assert differences(found) == {}
    assert aside(found) == {"dim_design": {"in_flight": 1}}


def test_places_that_do_not_belong_together(pipeline: Pipeline) -> None:
    with pytest.raises(WarehouseError, match=r"etl.batch.*does not exist.*that a load has run"):
        pipeline.reconcile()
    pipeline.run()
    pipeline.warehouse.run("INSERT INTO etl.batch VALUES ('20990101T000000Z', 9, now(), 1)")
    with pytest.raises(LakeError, match=r"the warehouse: expected batches of .*1 others, 2099"):
        pipeline.reconcile()
    pipeline.processed = Zone(pipeline.processed.uri + "-elsewhere")
    with pytest.raises(LakeError, match=r"elsewhere: expected at least one batch, found none"):
        pipeline.reconcile()
