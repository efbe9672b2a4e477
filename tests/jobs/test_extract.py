"""Extract on a real PostgreSQL: every change once, whatever ``last_updated`` says."""

import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from chispa import assert_df_equality

from local.postgres import connect
from totelake import batch, raw
from totelake.errors import ConflictError, SourceError
from totelake.notes import LOOKED_AT
from totelake.tables import SOURCE

from .conftest import Pipeline


def reasons(events: list[dict[str, Any]]) -> list[str]:
    return [event["reason"] for event in events if event["event"] == "nothing_to_do"]


def test_first_batch_is_everything_exactly_as_in_the_source(pipeline: Pipeline) -> None:
    pipeline.extract()
    (manifest,) = pipeline.batches()
    assert (manifest.number, manifest.mode) == (1, "full")
    for table in SOURCE:
        count = pipeline.source.run(f'SELECT count(*) FROM "{table}"')[0][0]
        assert manifest.tables[table].rows == count > 0, table
    orders = pipeline.landed("sales_order").orderBy("sales_order_id")
    assert orders.dtypes == [
        ("sales_order_id", "int"),
        ("created_at", "timestamp_ntz"),
        ("last_updated", "timestamp_ntz"),
        ("design_id", "int"),
        ("staff_id", "int"),
        ("counterparty_id", "int"),
        ("units_sold", "int"),
        ("unit_price", "decimal(10,2)"),
        ("currency_id", "int"),
        ("agreed_delivery_date", "string"),
        ("agreed_payment_date", "string"),
        ("agreed_delivery_location_id", "int"),
        ("row_xmin", "bigint"),
        ("row_change", "string"),
    ]
    row = orders.collect()[1]
    assert row["created_at"] == datetime(2022, 11, 3, 23, 59, 59, 999000)
    assert row["unit_price"] == Decimal("3.94")
    assert row["agreed_delivery_date"] == "2022-11-07"
    assert row["row_change"] == "change"
    items = {row["item_code"] for row in pipeline.landed("purchase_order").collect()}
    assert items == {"12E3456", "0012345"}
    assert manifest.snapshot["xmin"] <= manifest.snapshot["xmax"]
    assert {row["transaction_type"] for row in pipeline.landed("transaction").collect()} == {
        "SALE",
        "PURCHASE",
    }


def test_undeclared_tables_are_left_alone(pipeline: Pipeline) -> None:
    pipeline.source.run("CREATE TABLE stranger (id int); INSERT INTO stranger VALUES (1)")
    pipeline.extract()
    assert set(pipeline.raw.names()) == {*SOURCE, "_batches", "_attempts", LOOKED_AT}


def test_undeclared_columns_land_too(pipeline: Pipeline) -> None:
    pipeline.source.run("ALTER TABLE currency ADD COLUMN symbol text DEFAULT '£'")
    pipeline.extract()
    assert [row["symbol"] for row in pipeline.landed("currency").collect()] == ["£", "£"]
    pipeline.transform()
    assert pipeline.star("dim_currency").count() == 2


def test_no_change_no_batch(pipeline: Pipeline) -> None:
    pipeline.extract()
    before = pipeline.objects()
    assert reasons(pipeline.extract()) == ["no row of the source changed since the last batch"]
    assert pipeline.objects() == before


@pytest.mark.parametrize("raw_format", ["parquet", "csv"])
def test_both_formats_keep_nulls_empty_text_quotes_and_line_breaks(
    pipeline: Pipeline, raw_format: str
) -> None:
    pipeline.raw_format = raw_format
    pipeline.source.run(
        "UPDATE address SET district = '', phone = '007',"
        " address_line_2 = E'two\\nlines, \"quoted\"' WHERE address_id = 2"
    )
    pipeline.extract()
    rows = {row["address_id"]: row for row in pipeline.landed("address").collect()}
    assert rows[1]["district"] is None
    assert rows[2]["district"] == ""
    assert rows[2]["address_line_2"] == 'two\nlines, "quoted"'
    assert rows[2]["phone"] == "007"
    order = pipeline.landed("purchase_order").orderBy("purchase_order_id").collect()[0]
    assert order["item_code"] == "12E3456"
    assert order["created_at"] == datetime(2022, 11, 3, 14, 20, 52, 187000)
    assert order["item_unit_price"] == Decimal("361.39")


def test_silent_edits_are_caught(pipeline: Pipeline) -> None:
    """Edits that leave last_updated alone: a pipeline with a watermark on it loses them."""
    pipeline.extract()
    pipeline.source.run("UPDATE sales_order SET staff_id = 2 WHERE sales_order_id = 1")
    pipeline.source.run("UPDATE design SET file_location = '/opt' WHERE design_id = 8")
    pipeline.extract()
    manifest = pipeline.batches()[-1]
    assert manifest.mode == "changes"
    assert {table: entry.rows for table, entry in manifest.tables.items() if entry.rows} == {
        "sales_order": 1,
        "design": 1,
    }
    assert pipeline.landed("sales_order").collect()[0]["staff_id"] == 2


def test_rows_with_old_timestamps_are_caught(pipeline: Pipeline) -> None:
    pipeline.extract()
    pipeline.source.run(
        "INSERT INTO design VALUES (50, '2001-01-01', 'Old', '/', 'o.json', '2001-01-01')"
    )
    pipeline.extract()
    assert pipeline.landed_keys("design") == {50: "change"}


def test_a_transaction_that_commits_after_the_snapshot_is_in_the_next_batch(
    pipeline: Pipeline,
) -> None:
    """Its id is older than the previous snapshot's end: a maximum would skip it for ever."""
    late = connect(pipeline.server.url(f"{pipeline.name}_source"))
    late.run("BEGIN")
    late.run("UPDATE sales_order SET staff_id = 2 WHERE sales_order_id = 1")
    pipeline.source.run("UPDATE sales_order SET staff_id = 1 WHERE sales_order_id = 2")
    pipeline.extract()
    late.run("COMMIT")
    late.close()
    pipeline.extract()
    assert pipeline.landed_keys("sales_order") == {1: "change"}


def test_what_commits_beside_a_long_transaction_lands_once(pipeline: Pipeline) -> None:
    """The window stays open for the long one (and its savepoints); the others are not doubled."""
    pipeline.extract()
    long = connect(pipeline.server.url(f"{pipeline.name}_source"))
    long.run("BEGIN")
    long.run("UPDATE design SET design_name = 'Long' WHERE design_id = 8")
    long.run("SAVEPOINT inner_one")
    long.run("UPDATE design SET design_name = 'Longer' WHERE design_id = 9")
    pipeline.source.run("UPDATE sales_order SET units_sold = 1 WHERE sales_order_id = 1")
    pipeline.source.run("UPDATE department SET location = 'Leeds' WHERE department_id = 2")
    pipeline.extract()
    assert pipeline.landed_keys("sales_order") == {1: "change"}
    assert reasons(pipeline.extract()) == ["every version that the source shows has landed"]
    pipeline.source.run("UPDATE sales_order SET units_sold = 2 WHERE sales_order_id = 2")
    pipeline.extract()
    assert pipeline.landed_keys("sales_order") == {2: "change"}
    assert pipeline.landed_keys("department") == {2: "lookup"}
    long.run("RELEASE SAVEPOINT inner_one")
    long.run("COMMIT")
    long.close()
    pipeline.extract()
    assert pipeline.landed_keys("design") == {8: "change", 9: "change"}
    assert pipeline.landed_keys("sales_order") == {}
    assert reasons(pipeline.extract()) == ["no row of the source changed since the last batch"]


def test_rolled_back_changes_are_not_changes(pipeline: Pipeline) -> None:
    pipeline.extract()
    pipeline.source.run("BEGIN")
    pipeline.source.run("DELETE FROM payment WHERE payment_id = 2")
    pipeline.source.run("UPDATE design SET design_name = 'x'")
    pipeline.source.run("ROLLBACK")
    assert reasons(pipeline.extract())
    assert len(pipeline.batches()) == 1


def test_all_tables_show_one_instant(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """An order that is committed while the batch is being read is in none of its tables."""
    write_table = raw.write_table
    committed = []

    def write_after_a_commit(*args: Any, **named: Any) -> Any:
        if not committed:
            committed.append(True)
            pipeline.source.run(
                "BEGIN;"
                "INSERT INTO sales_order SELECT 7, now(), now(), 8, 1, 1, 10, 2.50, 1,"
                " '2024-01-01', '2024-01-01', 1;"
                "INSERT INTO transaction VALUES (7, 'SALE', 7, NULL, now(), now());"
                "INSERT INTO payment SELECT 7, now(), now(), 7, 1, 25.00, 1, 1, false,"
                " '2024-01-01', 1, 1;"
                "COMMIT"
            )
        return write_table(*args, **named)

    monkeypatch.setattr(raw, "write_table", write_after_a_commit)
    pipeline.extract()
    seen = [7 in pipeline.landed_keys(t) for t in ("sales_order", "transaction", "payment")]
    assert seen == [False, False, False]
    pipeline.extract()
    seen = [pipeline.landed_keys(t) for t in ("sales_order", "transaction", "payment")]
    assert seen == [{7: "change"}] * 3


def test_a_changed_department_lands_with_its_staff(pipeline: Pipeline) -> None:
    pipeline.extract()
    pipeline.source.run("UPDATE department SET location = 'Leeds' WHERE department_id = 1")
    pipeline.extract()
    assert pipeline.landed_keys("department") == {1: "change"}
    assert pipeline.landed_keys("staff") == {1: "lookup", 2: "lookup"}
    assert pipeline.batches()[-1].tables["staff"].lookups == 2


def test_a_changed_member_of_staff_lands_with_the_department(pipeline: Pipeline) -> None:
    pipeline.extract()
    pipeline.source.run("UPDATE staff SET department_id = 2 WHERE staff_id = 1")
    pipeline.extract()
    assert pipeline.landed_keys("staff") == {1: "change"}
    assert pipeline.landed_keys("department") == {2: "lookup"}


def test_a_changed_address_lands_with_its_counterparties_and_the_other_way_round(
    pipeline: Pipeline,
) -> None:
    pipeline.extract()
    pipeline.source.run("UPDATE address SET phone = '1' WHERE address_id = 3")
    pipeline.source.run(
        "UPDATE counterparty SET commercial_contact = 'x' WHERE counterparty_id = 2"
    )
    pipeline.extract()
    assert pipeline.landed_keys("address") == {3: "change", 2: "lookup"}
    assert pipeline.landed_keys("counterparty") == {1: "lookup", 2: "change"}


def pretend_other_system(pipeline: Pipeline) -> None:
    """As after a restore: the newest batch came from a database with another history."""
    root = Path(pipeline.raw.uri.removeprefix("file://"))
    path = max((root / "_batches").iterdir())
    manifest = json.loads(path.read_text())
    manifest["snapshot"]["system"] = "another"
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize("raw_format", ["parquet", "csv"])
def test_another_system_lands_only_what_differs(pipeline: Pipeline, raw_format: str) -> None:
    pipeline.extract()
    pipeline.source.run("UPDATE design SET file_location = '/a' WHERE design_id = 9")
    pipeline.raw_format = raw_format
    pipeline.extract()
    pretend_other_system(pipeline)
    pipeline.source.run("UPDATE sales_order SET units_sold = 5 WHERE sales_order_id = 2")
    pipeline.source.run("UPDATE staff SET first_name = 'New' WHERE staff_id = 3")
    pipeline.source.run("UPDATE address SET district = 'New' WHERE address_id = 2")
    pipeline.source.run("UPDATE payment SET paid = paid")  # new versions of the same content
    pipeline.extract()
    manifest = pipeline.batches()[-1]
    assert manifest.mode == "compare"
    landed = {t: pipeline.landed_keys(t) for t, entry in manifest.tables.items() if entry.rows}
    assert landed == {
        "sales_order": {2: "change"},
        "staff": {3: "change"},
        "department": {2: "lookup"},
        "address": {2: "change"},
        "counterparty": {2: "lookup"},
    }
    assert reasons(pipeline.extract())


def test_big_tables_are_read_in_ranges_that_miss_and_double_nothing(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("totelake.source._RANGE_BYTES", 16_384)
    monkeypatch.setattr("totelake.lake.FEW_ROWS", 100)
    pipeline.source.run(
        "INSERT INTO design SELECT 1000 + i, now(), 'name', repeat('x', 100), 'f', now()"
        " FROM generate_series(1, 3000) i"
    )
    pipeline.extract()
    assert len(pipeline.batches()[-1].tables["design"].files) > 10
    assert len(pipeline.landed_keys("design")) == 3002
    plan = pipeline.source.run(
        "EXPLAIN SELECT * FROM (SELECT t.*, t.ctid AS row_ctid FROM design t) AS batch"
        " WHERE row_ctid >= '(2,0)'::tid AND row_ctid < '(4,0)'::tid"
    )
    assert "Tid Range Scan" in str(plan)


def test_a_partitioned_table_lands_whole(pipeline: Pipeline) -> None:
    """It has no heap of its own, so its size says nothing."""
    pipeline.source.run("ALTER TABLE payment RENAME TO old_payment")
    pipeline.source.run(
        "CREATE TABLE payment (LIKE old_payment) PARTITION BY RANGE (payment_id);"
        "CREATE TABLE payment_1 PARTITION OF payment FOR VALUES FROM (1) TO (4);"
        "CREATE TABLE payment_2 PARTITION OF payment FOR VALUES FROM (4) TO (1000);"
        "INSERT INTO payment SELECT * FROM old_payment"
    )
    pipeline.extract()
    assert set(pipeline.landed_keys("payment")) == {2, 3, 5, 8}


def test_a_reader_of_the_source_is_enough(pipeline: Pipeline) -> None:
    pipeline.source.run(
        f"CREATE USER {pipeline.name} PASSWORD 'reader';"
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {pipeline.name}"
    )
    database = f"{pipeline.name}_source"
    reader = pipeline.secret(database, username=pipeline.name, password="reader")
    pipeline.extract(secret=reader)
    assert pipeline.batches()[0].rows > 0


def test_of_two_extracts_at_once_one_wins(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loser leaves nothing, and what it would have landed is in the winner's batch."""
    commit_raw = batch.commit_raw

    def commit_after_another(*args: Any, **named: Any) -> Any:
        monkeypatch.setattr(batch, "commit_raw", commit_raw)
        pipeline.extract()
        return commit_raw(*args)

    monkeypatch.setattr(batch, "commit_raw", commit_after_another)
    with pytest.raises(ConflictError, match=r"the next run continues from there"):
        pipeline.extract()
    (winner,) = pipeline.batches()
    assert pipeline.raw.names("_attempts") == []
    for table in SOURCE:
        assert pipeline.raw.names(table) == [f"batch={winner.batch}"]
    assert reasons(pipeline.extract())


def test_a_failed_extract_leaves_nothing_and_the_next_one_takes_all(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_table = raw.write_table

    def fail_at_payment(*args: Any, **named: Any) -> Any:
        if args[2] == "payment":
            raise OSError("disk full")
        return write_table(*args, **named)

    monkeypatch.setattr(raw, "write_table", fail_at_payment)
    with pytest.raises(OSError, match="disk full"):
        pipeline.extract()
    assert pipeline.objects() == {}
    assert json.loads(pipeline.lines[-1])["event"] == "failed"
    monkeypatch.undo()
    pipeline.extract()
    assert pipeline.batches()[0].tables["payment"].rows == 4


def test_a_killed_extract_is_swept_by_the_next(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed: it could not clean up. Its folders go once its number is committed by another."""

    def killed(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(batch, "commit_raw", killed)
    with pytest.raises(KeyboardInterrupt):
        pipeline.extract()
    monkeypatch.undo()
    assert pipeline.raw.names("design") != []
    events = pipeline.extract()
    (manifest,) = pipeline.batches()
    assert [event["event"] for event in events].count("swept") == 1
    assert pipeline.raw.names("_attempts") == []
    for table in SOURCE:
        assert pipeline.raw.names(table) == [f"batch={manifest.batch}"]


def test_a_source_that_goes_away_while_it_is_read_costs_a_rerun(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_table = raw.write_table

    def write_without_source(*args: Any, **named: Any) -> Any:
        pipeline.source.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return write_table(*args, **named)

    monkeypatch.setattr(raw, "write_table", write_without_source)
    with pytest.raises(SourceError, match=r"not read to its end: .*; nothing was extracted"):
        pipeline.extract()
    monkeypatch.undo()
    assert pipeline.objects() == {}
    pipeline.extract()
    assert len(pipeline.batches()) == 1


def test_csv_and_parquet_hold_the_same(pipeline: Pipeline) -> None:
    pipeline.extract()
    pipeline.raw_format = "csv"
    pretend_other_system(pipeline)
    pipeline.source.run("UPDATE payment SET payment_amount = payment_amount + 1")
    pipeline.extract()
    first, second = pipeline.batches()
    columns = [
        name
        for name in pipeline.landed("payment").columns
        if name not in ("row_xmin", "payment_amount")
    ]
    assert_df_equality(
        pipeline.landed("payment", first).select(columns),
        pipeline.landed("payment", second).select(columns),
        ignore_row_order=True,
        ignore_nullable=True,
    )
