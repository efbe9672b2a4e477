"""Deleted rows, from the source to the warehouse, and the sweeps that find them."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pg8000.exceptions import DatabaseError

from totelake.tables import SOURCE, Watermark
from totelake.window import Snapshot

from .conftest import Event, Pipeline

FACTS = ("sales_order", "purchase_order", "payment")


def swept(events: list[Event]) -> list[str]:
    """The tables that an extract looked for deleted keys in."""
    return [table for event in events if event["event"] == "sweep" for table in event["tables"]]


def landed(pipeline: Pipeline) -> dict[str, dict[int, str]]:
    """Key and reason of each row of the newest raw batch, by table."""
    tables = pipeline.batches()[-1].tables
    return {table: pipeline.landed_keys(table) for table, entry in tables.items() if entry.rows}


def current(pipeline: Pipeline) -> dict[str, list[int]]:
    return {
        fact: [
            key for (key,) in pipeline.rows(f"SELECT {fact}_id FROM etl.current_{fact} ORDER BY 1")
        ]
        for fact in FACTS
    }


def versions(pipeline: Pipeline, fact: str) -> list[list[Any]]:
    """Key and whether it is a deletion, of each version in the warehouse, oldest first."""
    return pipeline.rows(
        f"SELECT {fact}_id, record_id IS NULL FROM etl.fact_{fact}_version ORDER BY 1, batch_id"
    )


def test_deleted_rows_leave_what_is_current_and_stay_in_history(pipeline: Pipeline) -> None:
    pipeline.run()
    whole = {fact: pipeline.rows(f"SELECT count(*) FROM fact_{fact}") for fact in FACTS}

    pipeline.source.run(
        "DELETE FROM payment WHERE payment_id = 8;"
        "DELETE FROM transaction WHERE transaction_id = 4;"
        "DELETE FROM purchase_order WHERE purchase_order_id = 2"
    )
    events = pipeline.run()
    assert swept(events) == ["payment", "purchase_order", "transaction"]
    assert landed(pipeline) == {
        "payment": {8: "tombstone"},
        "purchase_order": {2: "tombstone"},
        "transaction": {4: "tombstone"},
    }
    row = pipeline.landed("payment").collect()[0].asDict()
    assert {name for name, value in row.items() if value is not None} == {
        "payment_id",
        "row_change",
    }
    assert [
        (row["payment_id"], row["row_deleted"]) for row in pipeline.star("fact_payment").collect()
    ] == [(8, True)]
    assert current(pipeline) == {"sales_order": [1, 2], "purchase_order": [1], "payment": [2, 3, 5]}
    assert versions(pipeline, "payment")[-2:] == [[8, False], [8, True]]
    assert pipeline.rows("SELECT table_name, member FROM etl.deleted_member") == [
        ["dim_transaction", "4"]
    ]
    # The 11 tables keep their history and their foreign keys.
    assert {f: pipeline.rows(f"SELECT count(*) FROM fact_{f}") for f in FACTS} == whole
    with pytest.raises(DatabaseError, match="foreign key"):
        pipeline.warehouse.run("DELETE FROM dim_transaction WHERE transaction_id = 4")

    # Back again, with the content that it had.
    pipeline.source.run(
        "INSERT INTO transaction VALUES (4, 'PURCHASE', NULL, NULL, now(), now());"
        "INSERT INTO payment VALUES (8, '2024-02-29', '2024-02-29', 4, 1, 56925.44, 1, 3, FALSE,"
        " '2025-01-01', 32948439, 90135525)"
    )
    events = pipeline.run()
    assert swept(events) == []
    assert landed(pipeline) == {"payment": {8: "change"}, "transaction": {4: "change"}}
    assert current(pipeline)["payment"] == [2, 3, 5, 8]
    assert versions(pipeline, "payment")[-3:] == [[8, False], [8, True], [8, False]]
    assert pipeline.rows("SELECT * FROM etl.deleted_member") == []

    # Deleted and inserted again between two batches: a new version and no sweep.
    pipeline.source.run(
        "CREATE TEMP TABLE kept AS SELECT * FROM payment WHERE payment_id = 3;"
        "DELETE FROM payment WHERE payment_id = 3; INSERT INTO payment SELECT * FROM kept"
    )
    assert swept(pipeline.extract()) == []
    assert landed(pipeline) == {"payment": {3: "change"}}

    # Keys below the highest came, as of a transaction that commits late: nothing says that none
    # went as well.
    pipeline.source.run("INSERT INTO department VALUES (0, 'd', 'l', 'm', now(), now())")
    assert swept(pipeline.extract()) == ["department"]
    assert landed(pipeline) == {"department": {0: "change"}}

    # TRUNCATE counts as no deletion in PostgreSQL's counters.
    pipeline.source.run("TRUNCATE payment")
    assert swept(pipeline.run()) == ["payment"]
    assert landed(pipeline) == {"payment": dict.fromkeys((2, 3, 5, 8), "tombstone")}
    assert current(pipeline)["payment"] == []

    # Asked for, where nothing was deleted: no batch, and nothing is deleted twice.
    before = pipeline.objects()
    events = pipeline.extract("--sweep", "always")
    assert swept(events) == sorted(SOURCE)
    assert pipeline.objects() == before


def test_what_a_deleted_parent_leaves_behind(pipeline: Pipeline) -> None:
    """Without its foreign keys a source can lose a department that still has staff."""
    pipeline.run()
    pipeline.source.run(
        "ALTER TABLE staff DROP CONSTRAINT staff_department_id_fkey;"
        "ALTER TABLE purchase_order DROP CONSTRAINT purchase_order_staff_id_fkey;"
        "DELETE FROM department WHERE department_id = 1; DELETE FROM staff WHERE staff_id = 3"
    )
    pipeline.run()
    assert landed(pipeline) == {
        "department": {1: "tombstone"},
        "staff": {1: "lookup", 2: "lookup", 3: "tombstone"},
    }
    found = {r["source_key"]: r["reason"] for r in pipeline.star("quarantine").collect()}
    assert found == dict.fromkeys("12", "department_name is null; location is null")
    assert pipeline.rows("SELECT table_name, member FROM etl.deleted_member") == [
        ["dim_staff", "3"]
    ]
    # What was known of them stays: their orders point there.
    assert pipeline.rows("SELECT staff_id, location FROM dim_staff ORDER BY 1") == [
        [1, "Manchester"],
        [2, "Manchester"],
        [3, "Manchester"],
    ]
    pipeline.source.run("UPDATE design SET file_name = 'f' WHERE design_id = 8")
    pipeline.extract()
    assert landed(pipeline) == {"design": {8: "change"}}


def test_a_lake_of_an_older_release_is_swept_once(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its manifests do not say which keys there were."""
    with monkeypatch.context() as patch:
        patch.setattr(
            Snapshot,
            "as_dict",
            lambda self: {
                name: getattr(self, name) for name in ("system", "xmin", "xmax", "server_version")
            },
        )
        pipeline.extract()
    assert "keys" not in pipeline.batches()[0].snapshot
    pipeline.source.run("DELETE FROM payment WHERE payment_id = 8")
    assert swept(pipeline.extract()) == sorted(SOURCE)
    assert landed(pipeline) == {"payment": {8: "tombstone"}}
    assert swept(pipeline.extract()) == []


@pytest.fixture
def watermarked(monkeypatch: pytest.MonkeyPatch) -> Watermark:
    """Sales orders are declared too big to scan."""
    watermark = Watermark("last_updated", timedelta(minutes=5), sweep_every=timedelta(0))
    table = replace(SOURCE["sales_order"], watermark=watermark)
    monkeypatch.setitem(SOURCE, "sales_order", table)
    return watermark


def order(pipeline: Pipeline, key: int, updated: str) -> None:
    pipeline.source.run(
        f"INSERT INTO sales_order VALUES ({key}, now(), {updated}, 8, 1, 1, 10, 2.50, 1,"
        " '2024-01-01', '2024-01-01', 1)"
    )


def test_a_table_with_a_watermark(pipeline: Pipeline, watermarked: Watermark) -> None:
    order(pipeline, 10, "now() AT TIME ZONE 'UTC'")
    order(pipeline, 11, "'2999-01-01'")  # must not hide what comes until then
    pipeline.extract()
    assert landed(pipeline)["sales_order"] == dict.fromkeys((1, 2, 10, 11), "change")

    # What the column says is found, and what is late by less than the overlap; the rest is not.
    order(pipeline, 12, "now() AT TIME ZONE 'UTC' - interval '3 minutes'")
    order(pipeline, 13, "now() AT TIME ZONE 'UTC' - interval '1 hour'")
    pipeline.source.run("UPDATE sales_order SET units_sold = 9 WHERE sales_order_id = 1")
    pipeline.extract()
    assert landed(pipeline) == {"sales_order": {12: "change"}}
    assert [e["event"] for e in pipeline.extract()] == ["started", "nothing_to_do", "finished"]

    # Deletions are seen by PostgreSQL's counters; the sweep finds what the column kept quiet.
    pipeline.source.run("DELETE FROM sales_order WHERE sales_order_id IN (10, 11)")
    pipeline.source.run("SELECT pg_stat_force_next_flush()")
    assert swept(pipeline.extract()) == ["sales_order"]
    assert landed(pipeline) == {
        "sales_order": {1: "change", 13: "change", 10: "tombstone", 11: "tombstone"}
    }
    assert swept(pipeline.extract()) == []

    # The counters begin anew: whatever they say now, it is not what they said.
    pipeline.source.run("SELECT pg_stat_reset()")
    assert swept(pipeline.extract()) == ["sales_order"]

    # On request, without anything deleted.
    pipeline.source.run("UPDATE sales_order SET units_sold = 8 WHERE sales_order_id = 2")
    pipeline.extract("--sweep", "always")
    assert landed(pipeline) == {"sales_order": {2: "change"}}
