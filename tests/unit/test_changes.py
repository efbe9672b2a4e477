"""Which versions are new, by transaction id and by content."""

from datetime import datetime
from decimal import Decimal
from functools import reduce
from typing import Any

import pytest
from chispa import assert_df_equality
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from totelake import changes
from totelake.tables import CHANGE, LOOKUP, ROW_CHANGE, ROW_XMIN, TOMBSTONE

CIRCLE = 2**32
WINDOWS = st.tuples(st.integers(3, 2**40), st.integers(0, 2**31 - 1))
AT_THE_WRAP = [
    (start, size)
    for start in (CIRCLE - 2, CIRCLE - 1, CIRCLE, CIRCLE + 3, 2 * CIRCLE - 1)
    for size in (0, 5, 2**31 - 1)
]


def pairs(frame: DataFrame, key: str) -> list[tuple[Any, str]]:
    """Key and reason of each row."""
    return sorted((row[key], row[ROW_CHANGE]) for row in frame.select(key, ROW_CHANGE).collect())


@settings(max_examples=2)
@given(windows=st.lists(WINDOWS, min_size=12, max_size=12))
@example(windows=AT_THE_WRAP)
def test_a_window_holds_the_ids_of_a_circle_as_if_they_had_64_bits(
    spark: SparkSession, windows: list[tuple[int, int]]
) -> None:
    """Guards against the wrap at 2^32: rows just after it seem older than all others."""
    ids = {start + step for start, size in windows for step in (-1, 0, 1, size - 1, size, size + 1)}
    frame = spark.createDataFrame([(id_, id_ % CIRCLE) for id_ in ids], f"id long, {ROW_XMIN} long")
    columns = [
        changes.in_window(start, start + size).alias(f"w{number}")
        for number, (start, size) in enumerate(windows)
    ]
    for row in frame.select("id", *columns).collect():
        for number, (start, size) in enumerate(windows):
            # Further away than half the circle nothing can be told, and nothing is asked.
            if abs(row["id"] - start) < 2**31:
                assert row[f"w{number}"] == (start <= row["id"] < start + size), (row["id"], start)


def test_versions_that_have_landed_are_left_out(raw: Any) -> None:
    """Guards against boundary rows doubled where two snapshots overlap."""
    rows = raw(
        "payment",
        {"payment_id": 1, "row_xmin": 10, "paid": False},
        {"payment_id": 2, "row_xmin": 11, "paid": True},
        {"payment_id": 3, "row_xmin": 10},
    )
    landed = raw(
        "payment",
        {"payment_id": 1, "row_xmin": 10},
        {"payment_id": 2, "row_xmin": 10},  # an older version of the same row
        {"payment_id": 4, "row_xmin": 11},
    )
    new = changes.without_landed(rows, landed, "payment")
    assert new.columns == rows.columns
    assert pairs(new, "payment_id") == [(2, CHANGE), (3, CHANGE)]


@pytest.mark.parametrize("table", ["staff", "address"])
def test_in_a_joined_table_a_landed_version_stays_as_a_lookup(raw: Any, table: str) -> None:
    """Guards against a department's change that arrives without its staff."""
    assert {"staff", "department", "counterparty", "address"} == changes.JOINED
    key = f"{table}_id"
    rows = raw(
        table,
        {key: 1, "row_xmin": 10},
        {key: 2, "row_xmin": 11},
        {key: 3, "row_xmin": 10, "row_change": LOOKUP},
    )
    landed = raw(table, {key: 1, "row_xmin": 10}, {key: 2, "row_xmin": 10})
    new = changes.without_landed(rows, landed, table)
    assert new.columns == rows.columns
    assert pairs(new, key) == [(1, LOOKUP), (2, CHANGE), (3, LOOKUP)]


def test_the_current_state_is_each_keys_newest_row_if_not_deleted(raw: Any) -> None:
    """Guards against a deleted row that lives on and an old version that wins."""
    history = [
        ("20240101T000000Z", {"currency_id": 1, "currency_code": "GBP"}),
        ("20240102T000000Z", {"currency_id": 1, "currency_code": None}),
        ("20240101T000000Z", {"currency_id": 2, "currency_code": "USD"}),
        ("20240103T000000Z", {"currency_id": 2, "row_change": TOMBSTONE}),
        ("20240101T000000Z", {"currency_id": 3, "row_change": TOMBSTONE}),
        ("20240102T000000Z", {"currency_id": 3, "currency_code": "EUR", "row_change": LOOKUP}),
    ]
    frames = [raw("currency", row).withColumn("batch", F.lit(batch)) for batch, row in history]
    state = changes.latest(reduce(DataFrame.unionByName, frames), "currency_id")
    expected = raw(
        "currency",
        {"currency_id": 1},
        {"currency_id": 3, "currency_code": "EUR", "row_change": LOOKUP},
    )
    assert_df_equality(state, expected, ignore_nullable=True, ignore_row_order=True)


def test_only_rows_of_other_content_differ(raw: Any) -> None:
    """Guards against nulls that never compare equal, and milliseconds that do not count."""
    at = datetime(2024, 1, 1, 10, 0, 0, 123000)
    same = {"created_at": at, "payment_amount": Decimal("10.10"), "payment_date": None}
    state = raw("payment", *[{"payment_id": id_, **same, "row_xmin": 1} for id_ in range(1, 6)])
    rows = raw(
        "payment",
        {"payment_id": 1, **same, "row_xmin": 99},  # rewritten, not changed
        {"payment_id": 2, **same, "created_at": at.replace(microsecond=124000)},
        {"payment_id": 3, **same, "payment_amount": Decimal("10.11")},
        {"payment_id": 4, **same, "payment_date": ""},
        {"payment_id": 5, **same, "payment_amount": None},
        {"payment_id": 6, **same},
        {"payment_id": 7},
    )
    found = changes.differing(rows, state, "payment")
    assert found.columns == rows.columns
    assert [id_ for id_, _ in pairs(found, "payment_id")] == [2, 3, 4, 5, 6, 7]


def test_a_column_that_the_lake_has_never_seen_makes_every_row_different(raw: Any) -> None:
    """Guards against a new column whose values never reach the lake."""
    state = raw("currency", {"currency_id": 1})
    rows = raw("currency", {"currency_id": 1}).withColumn("symbol", F.lit(None).cast("string"))
    assert changes.differing(rows, state, "currency").count() == 1


def test_keys_that_the_source_has_no_more_are_tombstones(raw: Any) -> None:
    """Guards against a tombstone that holds old content, and a key that dies of another's death."""
    rows = raw("payment", {"payment_id": 1, "row_xmin": 5}, {"payment_id": 4, "row_xmin": 6})
    alive = raw("payment", *[{"payment_id": id_, "paid": True} for id_ in (1, 2, 3)])
    gone = changes.tombstones(rows, alive, "payment")
    assert gone.dtypes == rows.dtypes
    expected = [{"payment_id": id_, "row_change": TOMBSTONE} for id_ in (2, 3)]
    assert_df_equality(gone, raw("payment", *expected), ignore_nullable=True, ignore_row_order=True)


def rows_of(frames: dict[str, DataFrame]) -> list[tuple[str, int, str]]:
    """Table, key and reason of each row of several frames."""
    reduced = [
        frame.select(F.lit(table), F.col(f"{table}_id"), F.col(ROW_CHANGE))
        for table, frame in frames.items()
    ]
    return sorted(tuple(row) for row in reduce(DataFrame.union, reduced).collect())


def everything(raw: Any) -> dict[str, DataFrame]:
    """Two departments with two staff and one, a department without, and the same of parties."""
    return {
        "staff": raw(
            "staff",
            {"staff_id": 1, "department_id": 1},
            {"staff_id": 2, "department_id": 1},
            {"staff_id": 3, "department_id": 2},
        ),
        "department": raw("department", *[{"department_id": id_} for id_ in (1, 2, 3)]),
        "counterparty": raw(
            "counterparty",
            {"counterparty_id": 1, "legal_address_id": 1},
            {"counterparty_id": 2, "legal_address_id": None},
        ),
        "address": raw("address", *[{"address_id": id_} for id_ in (1, 2)]),
        "currency": raw("currency", {"currency_id": 1}),
    }


def test_both_sides_of_a_join_accompany_a_change(raw: Any) -> None:
    """Guards against dim_staff rows without their department, and colleagues doubled."""
    rows = everything(raw)
    changed = {table: frame.where(F.lit(False)) for table, frame in rows.items()}
    changed["department"] = rows["department"].where("department_id = 1")
    changed["staff"] = rows["staff"].where("staff_id IN (2, 3)")
    changed["address"] = rows["address"].where("address_id = 2")
    changed["counterparty"] = rows["counterparty"].where("counterparty_id = 1")
    found = changes.with_lookups(changed, rows)
    assert all(found[table].columns == rows[table].columns for table in rows)
    assert rows_of(found) == [
        ("address", 1, LOOKUP),
        ("address", 2, CHANGE),
        ("counterparty", 1, CHANGE),
        ("department", 1, CHANGE),
        ("department", 2, LOOKUP),
        ("staff", 1, LOOKUP),
        ("staff", 2, CHANGE),
        ("staff", 3, CHANGE),
    ]


def test_without_changes_there_are_no_lookups(raw: Any) -> None:
    """Guards against lookups that make a batch out of nothing."""
    rows = everything(raw)
    nothing = {table: frame.where(F.lit(False)) for table, frame in rows.items()}
    assert rows_of(changes.with_lookups(nothing, rows)) == []
