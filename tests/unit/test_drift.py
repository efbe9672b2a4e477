"""What becomes of a source that is not as declared."""

from dataclasses import replace

import pytest

from totelake import drift
from totelake.errors import SchemaError
from totelake.tables import SOURCE, STRICT


def with_type(table: str, column: str, type_: str | None) -> dict[str, list[tuple[str, str]]]:
    """The declared schema with one column of another type, or without it."""
    found = drift.declared()
    found[table] = [
        (name, type_ if name == column and type_ else was)
        for name, was in found[table]
        if not (name == column and type_ is None)
    ]
    return found


@pytest.mark.parametrize(
    ("narrow", "wide", "taken"),
    [
        ("integer", "integer", True),
        ("integer", "bigint", True),
        ("integer", "smallint", False),
        ("integer", "numeric(20,0)", False),
        ("integer", "text", False),
        ("numeric(10,2)", "numeric(12,2)", True),
        ("numeric(10,2)", "numeric(14,4)", True),
        ("numeric(10,2)", "numeric(11,4)", False),  # fewer digits before the point
        ("numeric(10,2)", "numeric(10,1)", False),
        ("numeric(10,2)", "numeric(38,2)", True),
        ("numeric(10,2)", "numeric(39,2)", False),  # more than Spark's decimals have
        ("numeric(10,2)", "numeric", False),
        ("numeric(10,2)", "double precision", False),
        ("character varying(3)", "character varying(5)", True),
        ("character varying(3)", "character varying(2)", False),
        ("character varying(3)", "character varying", True),
        ("character varying(3)", "text", True),
        ("text", "character varying", True),
        ("text", "character varying(10)", False),
        ("text", "date", False),
        ('"TransactionType"', "text", True),
        ('"TransactionType"', '"AnotherType"', False),
        ("boolean", "text", False),
        ("timestamp(3) without time zone", "timestamp(6) without time zone", False),
        ("timestamp(3) without time zone", "timestamp(3) with time zone", False),
    ],
)
def test_what_a_wider_type_is(narrow: str, wide: str, taken: bool) -> None:
    """Guards against a type that is taken for wider and holds other values."""
    assert drift.holds(narrow, wide) is taken


@pytest.mark.parametrize(
    ("table", "column", "type_", "problem"),
    [
        ("sales_order", "units_sold", "bigint", ""),
        ("sales_order", "units_sold", None, "sales_order.units_sold: expected integer, found none"),
        ("sales_order", "units_sold", "smallint", "expected integer, found smallint"),
        ("department", "manager", None, ""),
        ("department", "manager", "integer", ""),
        ("payment", "company_ac_number", "uuid", ""),
        ("department", "location", None, "department.location: expected text, found none"),
    ],
)
def test_only_what_the_star_needs_stops_a_run(
    table: str, column: str, type_: str | None, problem: str
) -> None:
    """Guards against a pipeline that stands still for a column that nobody reads."""
    if not problem:
        drift.check(with_type(table, column, type_))
        return
    with pytest.raises(SchemaError, match=problem):
        drift.check(with_type(table, column, type_))


@pytest.mark.parametrize("type_", ["bigint", None])
def test_a_strict_table_stops_for_any_difference(
    monkeypatch: pytest.MonkeyPatch, type_: str | None
) -> None:
    monkeypatch.setitem(SOURCE, "payment", replace(SOURCE["payment"], drift=STRICT))
    drift.check(drift.declared())
    with pytest.raises(SchemaError, match=r"payment.company_ac_number: expected integer"):
        drift.check(with_type("payment", "company_ac_number", type_))


def test_columns_that_the_lake_cannot_carry_stay_behind() -> None:
    """Guards against a new column whose name breaks every layer behind it."""
    columns = [
        ("id", "integer"),
        ("updatedBy", "text"),
        ("two words", "text"),
        ("UPDATEDBY", "text"),  # Hive knows no case
        ("a.b", "text"),
        ('quo"te', "text"),
        ("back`tick", "text"),
        ("back\\slash", "text"),
        ("row_xmin", "text"),
        ("Batch", "text"),
        ("größe", "text"),
    ]
    kept = [name for name, _ in drift.carried(columns)]
    assert kept == ["id", "updatedBy", "two words", "größe"]


def test_values_of_types_without_a_like_land_as_text() -> None:
    table = SOURCE["transaction"]
    assert not drift.lands_as_text(table, "transaction_type", '"TransactionType"')
    for type_ in ("mood", "jsonb", "integer[]", "numeric", "timestamp with time zone", "bytea"):
        assert drift.lands_as_text(table, "further", type_), type_
    for type_ in ("bigint", "numeric(20,5)", "text", "date", "timestamp(6) without time zone"):
        assert not drift.lands_as_text(table, "further", type_), type_


def test_what_differs_between_two_schemas() -> None:
    before = {"a": [("x", "integer"), ("y", "text")], "gone": [("x", "integer")]}
    now = {"a": [("x", "bigint"), ("z", "text")], "came": [("x", "integer")]}
    assert drift.changes(before, before) == []
    assert drift.changes(before, now) == [
        drift.Change("a", "x", "integer", "bigint"),
        drift.Change("a", "y", "text", ""),
        drift.Change("a", "z", "", "text"),
        drift.Change("came", "", "", "table"),
        drift.Change("gone", "", "table", ""),
    ]
