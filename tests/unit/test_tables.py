"""The declarations agree with themselves."""

import re

import pytest

from totelake.tables import (
    FACTS,
    JOINS,
    SOURCE,
    SPARK_TYPES,
    STAR,
    SourceTable,
    StarTable,
)

EVERY_TABLE: list[SourceTable | StarTable] = [*SOURCE.values(), *STAR.values()]


def test_there_are_eleven_tables_on_each_side() -> None:
    """Guards against a table that is forgotten when another is added."""
    assert len(SOURCE) == len(STAR) == 11
    assert [fact.name for fact in FACTS] == [
        "fact_sales_order",
        "fact_purchase_order",
        "fact_payment",
    ]


@pytest.mark.parametrize("table", EVERY_TABLE, ids=lambda table: table.name)
def test_a_table_has_its_key_and_each_column_once(table: SourceTable | StarTable) -> None:
    """Guards against a column pasted twice and a key that may be null."""
    names = [column.name for column in table.columns]
    assert len(set(names)) == len(names)
    (key,) = (column for column in table.columns if column.name == table.key)
    assert not key.nullable
    assert all(re.fullmatch("[a-z][a-z0-9_]*", name) for name in [table.name, *names])


def test_a_star_table_refers_only_to_dimensions_before_it() -> None:
    """Guards against facts that are filled before dim_date: STAR's order is the load's."""
    seen: set[str] = set()
    for table in STAR.values():
        references = {column.references for column in table.columns if column.references}
        assert references <= seen
        if not table.is_fact:
            seen.add(table.name)
    assert {c.name for f in FACTS for c in f.columns if c.type == "date" and not c.references} == (
        set()
    )


def test_a_reference_has_the_type_of_the_key_that_it_points_to() -> None:
    for fact in FACTS:
        for column in fact.columns:
            if column.references:
                target = STAR[column.references]
                (key,) = (c for c in target.columns if c.name == target.key)
                assert column.type == key.type, f"{fact.name}.{column.name}"


def test_every_source_table_reaches_the_star() -> None:
    """Guards against a source table that is landed and then forgotten."""
    used = {table.source for table in STAR.values()} | {join.parent for join in JOINS}
    assert used - {None} == set(SOURCE)


def test_joins_point_from_a_child_to_the_parents_key() -> None:
    for join in JOINS:
        types = {column.name: column.type for column in SOURCE[join.child].columns}
        parent = SOURCE[join.parent]
        keys = {column.name: column.type for column in parent.columns}
        assert types[join.column] == keys[parent.key]


def test_no_type_of_the_lake_is_a_float() -> None:
    """Guards against float money and ids that come out as 2.0."""
    assert not {"float", "double"} & set(SPARK_TYPES.values())
    money = {"unit_price", "item_unit_price", "payment_amount"}
    found = {
        (column.name, column.spark_type)
        for table in EVERY_TABLE
        for column in table.columns
        if column.name in money or "amount" in column.name
    }
    assert found == {(name, "decimal(10,2)") for name in money}
    ids = {
        column.spark_type
        for table in EVERY_TABLE
        for column in table.columns
        if column.name.endswith("_id") and column.name != "date_id"
    }
    assert ids == {"int"}


def test_codes_and_numbers_that_are_text_stay_text() -> None:
    """Guards against leading zeros lost and 12E3456 read as a number."""
    texts = {
        "item_code",
        "postal_code",
        "phone",
        "address_line_1",
        "counterparty_legal_phone_number",
    }
    found = {c.spark_type for table in EVERY_TABLE for c in table.columns if c.name in texts}
    assert found == {"string"}


def test_schemas_of_the_zones_are_the_columns_and_the_rows_own() -> None:
    assert SOURCE["currency"].raw_schema == (
        "`currency_id` int, `currency_code` string, `created_at` timestamp_ntz, "
        "`last_updated` timestamp_ntz, row_xmin bigint, row_change string"
    )
    assert STAR["dim_currency"].lake_schema == (
        "`currency_id` int, `currency_code` string, `currency_name` string, row_deleted boolean"
    )
