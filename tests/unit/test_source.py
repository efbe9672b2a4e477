"""What to ask the source for: windows, ranges, queries, and its schema."""

import json
import re
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from totelake import drift
from totelake.errors import SchemaError
from totelake.source import ctid_ranges, with_counterparts
from totelake.source_sql import join_snapshot_statement, select_statement
from totelake.tables import SOURCE, Column, SourceTable, Watermark
from totelake.window import (
    CHANGES,
    COMPARE,
    FULL,
    XID_HORIZON,
    Keys,
    Mark,
    Snapshot,
    Window,
    new_columns,
    sweep_is_due,
    window,
)

CIRCLE = 2**32
PAGE = 8192
RANGE_BYTES = 64 * 1024 * 1024
XIDS = st.integers(3, 2**40) | st.sampled_from(
    [CIRCLE - 1, CIRCLE, CIRCLE + 3, 2 * CIRCLE - 1, 2 * CIRCLE + 3]
)


def snapshot(xmin: int, xmax: int, system: str = "7/00000001/5") -> Snapshot:
    return Snapshot(system, xmin, xmax, 180000)


def exact_schema() -> dict[str, list[tuple[str, str]]]:
    return {
        table.name: [(column.name, column.type) for column in table.columns]
        for table in SOURCE.values()
    }


def test_a_snapshot_survives_its_manifest() -> None:
    """Guards against 64-bit ids that lose their upper half."""
    taken = replace(
        snapshot(3 * CIRCLE + 5, 3 * CIRCLE + 9),
        keys={"staff": Keys(2, str(-(2**80)), 3), "design": Keys(0, "0")},
        marks={"payment": mark("5 a")},
        schema={"staff": [("staff_id", "integer")]},
    )
    assert Snapshot.of(json.loads(json.dumps(taken.as_dict()))) == taken


def test_the_first_batch_takes_everything() -> None:
    assert window(None, snapshot(10, 10)) == Window(FULL)


@given(xmin=XIDS, open_=st.integers(0, 100), used=st.integers(0, 2**20))
def test_changes_start_at_the_oldest_transaction_that_was_open(
    xmin: int, open_: int, used: int
) -> None:
    """Guards against a window that starts at xmax: rows committed during the read were lost."""
    previous = snapshot(xmin, xmin + open_)
    wanted = window(previous, snapshot(xmin, xmin + open_ + used))
    assert wanted == Window(CHANGES, xmin)
    assert wanted.start_xid == xmin - CIRCLE * (xmin // CIRCLE)


@given(xmin=XIDS, apart=st.integers(0, 3 * CIRCLE))
@example(xmin=CIRCLE - 1, apart=XID_HORIZON - 1)
@example(xmin=CIRCLE - 1, apart=XID_HORIZON)
@example(xmin=CIRCLE + 3, apart=CIRCLE)
def test_ids_too_far_apart_are_compared_by_content(xmin: int, apart: int) -> None:
    """Guards against a wrap of the 32-bit circle: an age past its half means nothing."""
    wanted = window(snapshot(xmin, xmin), snapshot(xmin + apart, xmin + apart))
    assert wanted.mode == (CHANGES if apart < XID_HORIZON else COMPARE)
    assert XID_HORIZON < 2**31


def test_a_source_that_went_back_in_time_is_compared_by_content() -> None:
    """Guards against a restored source: its ids repeat with other rows."""
    assert window(snapshot(500, 510), snapshot(400, 400)) == Window(COMPARE)
    other = snapshot(600, 600, system="7/00000002/5")
    assert window(snapshot(500, 510), other) == Window(COMPARE)


def mark(counters: str) -> Mark:
    return Mark("2026-01-01 00:00:00", counters, "2026-01-01 10:00:00.123456")


@pytest.mark.parametrize(
    ("counters", "now", "due"),
    [
        ("5 a", "2027-01-01 00:00:00", False),  # the same figures
        ("6 a", "2026-01-01 10:59:00", False),  # too early
        ("6 a", "2026-01-01 11:00:01", True),
        ("0 a", "2026-01-01 11:00:01", True),  # counted anew
        ("5 b", "2026-01-01 11:00:01", True),  # the same figure, counted anew
    ],
)
def test_counters_that_are_not_what_they_were_ask_for_a_sweep(
    monkeypatch: pytest.MonkeyPatch, counters: str, now: str, due: bool
) -> None:
    """Guards against counters that are believed to grow, and a sweep in every run."""
    watermark = Watermark("last_updated", timedelta(minutes=5), sweep_every=timedelta(hours=1))
    monkeypatch.setitem(SOURCE, "payment", replace(SOURCE["payment"], watermark=watermark))
    assert sweep_is_due(mark("5 a"), counters, now, "payment") is due


def test_columns_that_came_since_the_previous_snapshot() -> None:
    before = replace(snapshot(1, 1), schema={"design": [("design_id", "integer")]})
    now = replace(
        before,
        schema={
            "design": [("design_id", "bigint"), ("colour", "text")],
            "staff": [("staff_id", "integer")],  # an older manifest does not say what it had
        },
    )
    assert new_columns(before, now) == {"design": ["colour"]}
    query = select_statement(
        SOURCE["design"],
        now.schema["design"],
        Window(CHANGES, 7, new_columns=new_columns(before, now)),
    )
    assert "AND age('7'::xid) OR t.\"colour\" IS NOT NULL)" in query


def covers(condition: str, page: int) -> bool:
    """Whether a row of a page meets a range's condition: what PostgreSQL would say."""
    low, high = condition.split(" AND ")
    above = re.fullmatch(r"row_ctid >= '\((\d+),0\)'::tid", low)
    below = re.fullmatch(r"row_ctid < '\((\d+),0\)'::tid", high)
    assert above or low == "TRUE"
    assert below or high == "TRUE"
    return (not above or page >= int(above[1])) and (not below or page < int(below[1]))


@given(size=st.integers(0, 2**44), more=st.integers(0, 2**20))
@example(size=0, more=0)
@example(size=2 * RANGE_BYTES - 1, more=0)
@example(size=2 * RANGE_BYTES, more=0)
@example(size=200 * RANGE_BYTES + 1, more=7)
def test_ranges_cover_every_page_exactly_once(size: int, more: int) -> None:
    """Guards against boundary rows read twice or never, and pages added after the size."""
    ranges = ctid_ranges(size, 140000)
    pages = size // PAGE + more
    bounds = [int(number) for condition in ranges for number in re.findall(r"\((\d+),0", condition)]
    probes = {0, pages, *(bound + step for bound in bounds for step in (-1, 0, 1))}
    for page in probes:
        assert sum(covers(condition, page) for condition in ranges) == 1, page


@given(size=st.integers(0, 2**44))
def test_ranges_are_even_and_not_too_many(size: int) -> None:
    """Guards against a thousand connections, and one that reads most of the table."""
    ranges = ctid_ranges(size, 180000)
    assert 1 <= len(ranges) <= 64
    assert len(ranges) == 1 or size // len(ranges) >= RANGE_BYTES
    starts = [0, *(int(n) for r in ranges for n in re.findall(r">= '\((\d+)", r)), size // PAGE]
    lengths = [end - start for start, end in pairwise(starts)]
    assert max(lengths) <= min(lengths) + len(ranges)


def test_an_old_server_reads_a_table_in_one_go() -> None:
    """Guards against 64 whole scans where ctid ranges are not supported."""
    assert ctid_ranges(100 * RANGE_BYTES, 130020) == ["TRUE AND TRUE"]
    assert len(ctid_ranges(100 * RANGE_BYTES, 140000)) == 64


def test_the_exact_schema_passes_and_so_do_further_columns() -> None:
    found = exact_schema()
    drift.check(found)
    found["staff"].append(("nickname", "text"))
    found["_prisma_migrations"] = [("id", "character varying(36)")]
    drift.check(found)


def test_everything_that_is_not_as_declared_is_named_at_once() -> None:
    """Guards against a type that changed under us and against one error a run."""
    found = exact_schema()
    del found["design"]
    found["staff"].remove(("email_address", "text"))
    found["payment"][5] = ("payment_amount", "double precision")
    with pytest.raises(SchemaError) as error:
        drift.check(found)
    message = str(error.value)
    assert "table design: expected in schema public, found none" in message
    assert "staff.email_address: expected text, found none" in message
    assert "payment.payment_amount: expected numeric(10,2), found double precision" in message
    assert "Nothing was extracted" in message


@pytest.mark.parametrize("mode", [FULL, COMPARE])
def test_all_rows_are_asked_for_as_changes(mode: str) -> None:
    query = select_statement(SOURCE["department"], [("department_id", "integer")], Window(mode))
    assert query.endswith(" AS t")
    assert "WHERE" not in query
    assert "row_change" not in query


def test_changes_are_told_by_the_age_of_the_writing_transaction() -> None:
    """Guards against last_updated: it does not move when an order is edited silently."""
    query = select_statement(
        SOURCE["design"], [("design_id", "integer")], Window(CHANGES, CIRCLE + 7)
    )
    assert "age(t.xmin) BETWEEN 0 AND age('7'::xid)" in query
    assert "last_updated" not in query
    assert "IN (SELECT" not in query


@pytest.mark.parametrize(
    ("table", "other", "condition"),
    [
        ("staff", "department", 't."department_id" IN (SELECT p."department_id"'),
        ("department", "staff", 't."department_id" IN (SELECT c."department_id"'),
        ("counterparty", "address", 't."legal_address_id" IN (SELECT p."address_id"'),
        ("address", "counterparty", 't."address_id" IN (SELECT c."legal_address_id"'),
    ],
)
def test_a_change_on_one_side_of_a_join_brings_the_other(
    table: str, other: str, condition: str
) -> None:
    """Guards against a department or address change that never reaches its dimension."""
    query = select_statement(SOURCE[table], [(SOURCE[table].key, "integer")], Window(CHANGES, 7))
    alias = condition.split("SELECT ")[1][0]
    assert f'{condition} FROM "public"."{other}" AS {alias} WHERE (age({alias}.xmin)' in query
    assert "ELSE 'lookup' END" in query


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        ('we"ird', '"we""ird"'),
        ("a b", '"a b"'),
        ("x; DROP TABLE staff", '"x; DROP TABLE staff"'),
        # A client like Prisma makes such columns; unquoted, PostgreSQL looks for "updatedby".
        ("updatedBy", '"updatedBy"'),
    ],
)
def test_identifiers_are_quoted(name: str, quoted: str) -> None:
    """Guards against SQL built from names: a column that was added may be called anything."""
    table = SourceTable(name, "id", (Column("id", "integer"),))
    query = select_statement(table, [("id", "integer"), (name, "text")], Window(FULL))
    assert f"t.{quoted}" in query
    assert f".{quoted} AS t" in query


def test_a_table_is_read_when_its_counterpart_changed() -> None:
    """Guards against a dimension that is built from one side of its join."""
    assert with_counterparts(set()) == set()
    assert with_counterparts({"payment"}) == {"payment"}
    assert with_counterparts({"staff", "design"}) == {"staff", "department", "design"}
    assert with_counterparts({"address"}) == {"address", "counterparty"}


def test_the_exported_snapshots_name_is_quoted() -> None:
    assert join_snapshot_statement("0003-1'; DROP").endswith("SNAPSHOT '0003-1''; DROP'")
