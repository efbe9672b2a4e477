"""Load into a real PostgreSQL: a batch whole or not at all, facts appended, dimensions current."""

from datetime import date, time
from decimal import Decimal
from typing import Any

import pytest
from pg8000.exceptions import DatabaseError
from py4j.protocol import Py4JJavaError

import load
from local.postgres import connect
from totelake import runtime, warehouse
from totelake.errors import ConflictError, SchemaError, WarehouseError
from totelake.warehouse import Warehouse

from .conftest import Pipeline


def count(pipeline: Pipeline, table: str) -> int:
    return int(pipeline.rows(f"SELECT count(*) FROM {table}")[0][0])


def loaded_tables(pipeline: Pipeline) -> dict[str, tuple[int, ...]]:
    """Inserted, updated, unchanged and held rows of the newest batch, where there are any."""
    found = pipeline.rows(
        "SELECT table_name, inserted, updated, unchanged, held FROM etl.table_load"
        " WHERE staged > 0 AND batch_id = (SELECT max(batch_id) FROM etl.batch)"
    )
    return {table: tuple(figures) for table, *figures in found}


def test_the_first_load(pipeline: Pipeline) -> None:
    pipeline.run()
    assert pipeline.rows("SELECT * FROM fact_sales_order WHERE sales_order_id = 2") == [
        [
            2,
            2,
            *(date(2022, 11, 3), time(23, 59, 59, 999000)) * 2,
            *(2, 2, 42972, Decimal("3.94"), 2, 8, date(2022, 11, 8), date(2022, 11, 7), 2),
        ]
    ]
    assert count(pipeline, "dim_date") == 365 + 366 + 365
    assert pipeline.rows("SELECT item_code FROM fact_purchase_order ORDER BY 1") == [
        ["0012345"],
        ["12E3456"],
    ]
    (batch,) = pipeline.batches()
    assert pipeline.rows("SELECT batch_id, number FROM etl.batch") == [[batch.batch, 1]]
    assert pipeline.rows(
        "SELECT payment_id, batch_id FROM etl.fact_payment_version ORDER BY 1"
    ) == [[key, batch.batch] for key in (2, 3, 5, 8)]
    with pytest.raises(DatabaseError, match="foreign key"):
        pipeline.warehouse.run("DELETE FROM dim_staff")
    schemas = pipeline.rows("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'etl%'")
    assert schemas == [["etl"]]


def test_a_big_first_load_checks_foreign_keys_at_once(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = (
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated, oid"
        " FROM pg_constraint WHERE contype = 'f' ORDER BY 1, 2"
    )
    with warehouse.open_warehouse(
        runtime.credentials(pipeline.secret(f"{pipeline.name}_warehouse"))
    ):
        before = pipeline.rows(keys)
    monkeypatch.setattr(warehouse, "_MANY_ROWS", 2)
    pipeline.run()
    first = pipeline.rows(keys)
    assert [key[:-1] for key in first] == [key[:-1] for key in before]
    replaced = {key[0] for key in {tuple(key) for key in first} - {tuple(key) for key in before}}
    assert replaced == {
        *("fact_payment", "fact_purchase_order", "fact_sales_order"),
        *(f"etl.{fact}_version" for fact in ("fact_payment", "fact_purchase_order")),
        "etl.fact_sales_order_version",
    }
    assert count(pipeline, "fact_payment") == count(pipeline, "etl.fact_payment_version") == 4
    pipeline.source.run("UPDATE payment SET paid = NOT paid")
    pipeline.run()
    assert count(pipeline, "fact_payment") == 8
    assert pipeline.rows(keys) == first


def test_facts_keep_every_version_and_views_show_the_latest(pipeline: Pipeline) -> None:
    pipeline.run()
    pipeline.source.run("UPDATE sales_order SET staff_id = 2 WHERE sales_order_id = 1")
    pipeline.run()
    versions = pipeline.rows(
        "SELECT sales_order_id, sales_staff_id FROM fact_sales_order ORDER BY sales_record_id"
    )
    assert versions == [[1, 1], [2, 2], [1, 2]]
    current = pipeline.rows(
        "SELECT sales_order_id, sales_staff_id FROM etl.current_sales_order ORDER BY 1"
    )
    assert current == [[1, 2], [2, 2]]
    assert count(pipeline, "etl.current_purchase_order") == 2
    assert count(pipeline, "etl.current_payment") == 4


def test_dimensions_are_updated_in_place(pipeline: Pipeline) -> None:
    pipeline.run()
    pipeline.source.run(
        "UPDATE department SET location = 'Leeds' WHERE department_id = 1;"
        "UPDATE address SET phone = '000' WHERE address_id = 3"
    )
    pipeline.run()
    assert pipeline.rows("SELECT location FROM dim_staff ORDER BY staff_id") == [
        ["Leeds"],
        ["Leeds"],
        ["Manchester"],
    ]
    assert pipeline.rows(
        "SELECT counterparty_legal_phone_number FROM dim_counterparty WHERE counterparty_id = 1"
    ) == [["000"]]
    assert loaded_tables(pipeline) == {
        "dim_staff": (0, 2, 0, 0),
        "dim_location": (0, 1, 0, 0),
        "dim_counterparty": (0, 1, 0, 0),
    }


def test_a_version_that_says_nothing_new_adds_nothing(pipeline: Pipeline) -> None:
    pipeline.run()
    pipeline.source.run("UPDATE payment SET paid = paid; UPDATE design SET file_name = file_name")
    pipeline.run()
    figures = loaded_tables(pipeline)
    assert figures["fact_payment"] == (0, 0, 4, 0)
    assert figures["dim_design"] == (0, 0, 2, 0)
    assert count(pipeline, "fact_payment") == 4


def test_a_load_that_fails_before_its_commit_leaves_nothing(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.extract()
    pipeline.transform()
    publish_fact = Warehouse._publish_fact

    def fail_at_payments(self: Warehouse, schema: str, fact: Any, staged: int) -> Any:
        if fact.name == "fact_payment":
            raise OSError("killed")
        return publish_fact(self, schema, fact, staged)

    monkeypatch.setattr(Warehouse, "_publish_fact", fail_at_payments)
    with pytest.raises(OSError, match="killed"):
        pipeline.load()
    monkeypatch.undo()
    for table in ("dim_staff", "dim_date", "fact_sales_order", "etl.batch", "etl.table_load"):
        assert count(pipeline, table) == 0
    pipeline.load()
    assert count(pipeline, "fact_payment") == 4
    assert [e["event"] for e in pipeline.load()] == ["started", "nothing_to_do", "finished"]
    assert count(pipeline, "fact_payment") == 4


def test_what_a_dead_load_left_in_staging_is_dropped(pipeline: Pipeline) -> None:
    """By the next load, even if that has nothing to do: it may have died after its commit."""
    for work in (pipeline.run, pipeline.load):
        pipeline.warehouse.run("CREATE SCHEMA etl_staging_dead")
        pipeline.warehouse.run("CREATE TABLE etl_staging_dead.fact_payment (payment_id int)")
        work()
        assert pipeline.rows("SELECT FROM pg_namespace WHERE nspname LIKE 'etl_staging%'") == []


def test_rows_staged_twice_are_not_published(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spark's JDBC writer commits per task; a task that runs again doubles its rows."""
    write_staging = load.write_staging

    def write_designs_twice(*args: Any) -> None:
        write_staging(*args)
        if args[3] == "dim_design":
            write_staging(*args)

    monkeypatch.setattr(load, "write_staging", write_designs_twice)
    with pytest.raises(WarehouseError, match=r"dim_design: expected 2 staged rows, found 4"):
        pipeline.run()
    assert count(pipeline, "dim_design") == 0
    monkeypatch.undo()
    pipeline.load()
    assert count(pipeline, "dim_design") == 2


def test_a_second_load_is_told_to_wait(pipeline: Pipeline) -> None:
    other = connect(pipeline.server.url(f"{pipeline.name}_warehouse"))
    other.run("SELECT pg_advisory_lock(:key)", key=warehouse._LOAD_LOCK)
    pid = other.run("SELECT pg_backend_pid()")[0][0]
    pipeline.extract()
    pipeline.transform()
    with pytest.raises(ConflictError, match=rf"another load is at work \(backend {pid} since 2"):
        pipeline.load()
    other.close()
    pipeline.load()
    assert count(pipeline, "etl.batch") == 1


def test_facts_wait_for_a_rejected_dimension_member(pipeline: Pipeline) -> None:
    """Staff 3 is in quarantine: its purchases wait, the rest is loaded, nothing is lost."""
    pipeline.source.run("UPDATE department SET location = NULL WHERE department_id = 2")
    pipeline.run()
    assert count(pipeline, "fact_purchase_order") == 0
    assert count(pipeline, "etl.held_fact_purchase_order") == 2
    assert loaded_tables(pipeline)["fact_purchase_order"] == (0, 0, 0, 2)
    assert count(pipeline, "fact_sales_order") == 2
    pipeline.source.run("UPDATE purchase_order SET staff_id = 1 WHERE purchase_order_id = 2")
    pipeline.run()
    assert pipeline.rows("SELECT purchase_order_id FROM fact_purchase_order") == [[2]]
    pipeline.source.run("UPDATE department SET location = 'Hull' WHERE department_id = 2")
    pipeline.run()
    first, second, _ = (manifest.batch for manifest in pipeline.batches())
    assert pipeline.rows(
        "SELECT purchase_order_id, batch_id, staff_id FROM etl.fact_purchase_order_version v"
        " JOIN fact_purchase_order f USING (purchase_order_id)"
        " WHERE f.purchase_record_id = v.record_id ORDER BY 1, 2"
    ) == [[1, first, 3], [2, first, 3], [2, second, 1]]
    assert count(pipeline, "etl.held_fact_purchase_order") == 0
    assert pipeline.rows("SELECT staff_id FROM etl.current_purchase_order ORDER BY 1") == [[1], [3]]


def test_a_star_table_of_another_shape_is_refused(pipeline: Pipeline) -> None:
    pipeline.warehouse.run("CREATE TABLE dim_design (design_id integer PRIMARY KEY, name text)")
    pipeline.extract()
    pipeline.transform()
    with pytest.raises(SchemaError, match=r"dim_design: expected columns .*design_name"):
        pipeline.load()


@pytest.mark.whole
def test_a_warehouse_set_back_catches_up(pipeline: Pipeline) -> None:
    """As when yesterday's backup is restored: the batches that it lacks are loaded, in order."""
    pipeline.run()
    name, backup = f"{pipeline.name}_warehouse", f"{pipeline.name}_backup"
    pipeline.warehouse.close()
    pipeline.source.run(f"CREATE DATABASE {backup} TEMPLATE {name}")
    for units in (1, 2):
        pipeline.source.run("UPDATE sales_order SET units_sold = :units", units=units)
        pipeline.extract()
        pipeline.transform()
    versions = []
    for database in (name, backup):
        pipeline.load(secret=pipeline.secret(database))
        pipeline.warehouse = connect(pipeline.server.url(database))
        versions.append(
            pipeline.rows(
                "SELECT batch_id, sales_order_id, units_sold FROM etl.fact_sales_order_version v"
                " JOIN fact_sales_order f USING (sales_order_id)"
                " WHERE f.sales_record_id = v.record_id ORDER BY 1, 2"
            )
        )
        pipeline.warehouse.close()
    assert [units for _, _, units in versions[0]] == [84754, 42972, 1, 1, 2, 2]
    assert versions[0] == versions[1]


def test_a_warehouse_that_goes_away_costs_a_rerun(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.extract()
    pipeline.transform()
    publish_fact = Warehouse._publish_fact

    def lose_connection(self: Warehouse, schema: str, fact: Any, staged: int) -> Any:
        pipeline.warehouse.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return publish_fact(self, schema, fact, staged)

    monkeypatch.setattr(Warehouse, "_publish_fact", lose_connection)
    with pytest.raises((WarehouseError, Py4JJavaError), match=r"was not published"):
        pipeline.load()
    monkeypatch.undo()
    pipeline.load()
    assert count(pipeline, "fact_payment") == 4
