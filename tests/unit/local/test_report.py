"""What runs brought to the warehouse, and reading what reconcile logged."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from pg8000.native import Connection

from local.postgres import PostgresServer, connect
from local.report import Added, added, mark, reconciled
from totelake import warehouse_sql
from totelake.reconcile import Report


@pytest.fixture
def warehouse(postgres: PostgresServer) -> Iterator[Connection]:
    postgres.ensure_database("report")
    with closing(connect(postgres.url("report"))) as connection:
        yield connection


def test_what_a_run_added_is_new_keys_and_further_versions(warehouse: Connection) -> None:
    """One payment gets a version more, one is new; a payment that was deleted is no new one."""
    assert mark(warehouse).batches == frozenset()
    for statement in [*warehouse_sql.star_ddl(), *warehouse_sql.etl_ddl()]:
        warehouse.run(statement)
    # What a payment refers to does not matter here.
    warehouse.run("SET session_replication_role = replica")
    version = (
        "WITH f AS (INSERT INTO fact_payment VALUES (DEFAULT, :key, '2024-01-01', '10:00',"
        " '2024-01-01', '10:00', 1, 1, 2.50, 1, 1, FALSE, '2024-01-01') RETURNING *)"
        " INSERT INTO etl.fact_payment_version SELECT payment_id, :batch, payment_record_id FROM f"
    )
    warehouse.run("INSERT INTO etl.batch VALUES ('1', 1, now(), 1)")
    warehouse.run(version, key=1, batch="1")
    before = mark(warehouse)
    warehouse.run("INSERT INTO etl.batch VALUES ('2', 2, now(), 1)")
    warehouse.run(version, key=1, batch="2")
    warehouse.run(version, key=2, batch="2")
    warehouse.run("INSERT INTO etl.fact_payment_version VALUES (3, '2', NULL)")
    loads = "INSERT INTO etl.table_load VALUES ('2', :table, 9, :inserted, :updated, 0, 0)"
    warehouse.run(loads, table="fact_payment", inserted=2, updated=0)
    warehouse.run(loads, table="dim_design", inserted=3, updated=4)

    brought = added(warehouse, before, mark(warehouse))

    assert brought["fact_payment"] == Added(new=1, changed=1)
    assert brought["dim_design"] == Added(new=3, changed=4)
    assert brought["dim_staff"] == Added(new=0, changed=0)


def test_reports_are_read_from_the_log_whatever_else_is_in_it() -> None:
    events = [
        {"event": "started", "job": "reconcile"},
        {
            "event": "reconciled",
            "time": "2024-01-01T00:00:00.000Z",
            "table": "dim_staff",
            "source": 3,
            "raw": 3,
            "lake": 3,
            "warehouse": 2,
            "versions": None,
            "differences": ["processed zone and warehouse: 1 keys differ (3 not there)"],
        },
    ]

    (report,) = reconciled(events)

    assert isinstance(report, Report)
    assert (report.table, report.source, report.warehouse, report.held) == ("dim_staff", 3, 2, 0)
    assert len(report.differences) == 1
