"""Fingerprints: equal in PostgreSQL and Spark for equal rows, and different for any difference."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pg8000.native import Connection, identifier
from pyspark.sql import SparkSession

from local.postgres import PostgresServer, connect
from totelake.fingerprints import in_postgres, in_spark
from totelake.tables import (
    BOOLEAN,
    DATE,
    INTEGER,
    MONEY,
    NUMERIC,
    TEXT,
    TIME,
    TIMESTAMP,
    Column,
)

COLUMNS = [
    Column("id", INTEGER),
    Column("some text", TEXT, nullable=True),
    Column("more", TEXT, nullable=True),
    Column("day", DATE),
    Column("moment", TIME),
    Column("at", TIMESTAMP),
    Column("price", MONEY),
    Column("amount", NUMERIC),
    Column("paid", BOOLEAN),
]
Row = tuple[Any, ...]
ROW: Row = (
    *(1, "a", "b", date(2024, 2, 29), time(1, 2, 3, 4000), datetime(2024, 2, 29, 1, 2, 3, 4000)),
    *(Decimal(1), Decimal(2), True),
)

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
awkward = st.sampled_from(["", "N", "'", '"', "\\", "1:a", "a1:", "2", "é", "e\u0301", "👩‍🚀", " "])
text_or_null = st.none() | awkward | texts
moments = st.integers(0, 86_399_999).map(
    lambda ms: time(ms // 3_600_000, ms // 60_000 % 60, ms // 1000 % 60, ms % 1000 * 1000)
)
days = st.dates(date(1700, 1, 1))
money = st.integers(-(10**9), 10**9).map(lambda cents: Decimal(cents) / 100)
rows = st.tuples(
    st.integers(-(2**31), 2**31 - 1),
    text_or_null,
    text_or_null,
    days,
    moments,
    st.builds(datetime.combine, days, moments),
    money,
    money,
    st.booleans(),
)


@pytest.fixture(scope="module")
def connection(postgres: PostgresServer) -> Iterator[Connection]:
    postgres.ensure_database("fingerprints")
    connection = connect(postgres.url("fingerprints"))
    columns = ", ".join(f"{identifier(column.name)} {column.type}" for column in COLUMNS)
    connection.run(f"CREATE TEMP TABLE rows (place int, {columns})")
    yield connection
    connection.close()


def of_postgres(connection: Connection, content: Sequence[Row]) -> list[int]:
    connection.run("TRUNCATE rows")
    for place, row in enumerate(content):
        values = {f"v{number}": value for number, value in enumerate((place, *row))}
        connection.run(f"INSERT INTO rows VALUES ({', '.join(f':{v}' for v in values)})", **values)
    digest = in_postgres(COLUMNS, "r")
    return [found for (found,) in connection.run(f"SELECT {digest} FROM rows AS r ORDER BY place")]


def of_spark(spark: SparkSession, content: Sequence[Row]) -> list[int]:
    """As the lake has it: times are text, all money has two decimals."""
    schema = ", ".join(f"`{column.name}` {column.spark_type}" for column in COLUMNS)
    values = [
        [v.isoformat("milliseconds") if isinstance(v, time) else v for v in row] for row in content
    ]
    frame = spark.createDataFrame(values, schema).coalesce(1)
    return [row[0] for row in frame.select(in_spark(dict(frame.dtypes))).collect()]


@settings(max_examples=5)
@given(content=st.lists(rows, min_size=1, max_size=60))
def test_both_say_the_same_of_any_row(
    connection: Connection, spark: SparkSession, content: list[Row]
) -> None:
    found = of_postgres(connection, content)
    assert of_spark(spark, content) == found
    assert len(set(found)) == len(set(content))


def test_values_do_not_run_into_each_other(connection: Connection, spark: SparkSession) -> None:
    pairs = [
        *[("a", "b"), ("ab", ""), ("a", None), (None, "a"), ("", None), (None, ""), ("", "")],
        *[("N", None), (None, "N"), ("1:a", "b"), ("", "1:ab"), ("é", ""), ("e\u0301", "")],
    ]
    content = [(1, *pair, *ROW[3:]) for pair in pairs]
    found = of_postgres(connection, content)
    assert len(set(found)) == len(pairs)
    assert of_spark(spark, content) == found


def test_every_column_counts(connection: Connection) -> None:
    others = (2, "x", "y", date(2024, 3, 1), time(1), datetime(2024, 2, 29, 1, 2, 3, 5000))
    changed: list[Row] = [ROW]
    for place, value in enumerate((*others, Decimal("1.01"), Decimal("2.01"), False)):
        changed.append((*ROW[:place], value, *ROW[place + 1 :]))
    assert len(set(of_postgres(connection, changed))) == len(COLUMNS) + 1


def test_a_price_is_the_same_however_many_zeros_it_has(
    connection: Connection, spark: SparkSession
) -> None:
    prices = (Decimal("2.5"), Decimal("2.500000"), Decimal("2.501"))
    one, same, other = of_postgres(connection, [(*ROW[:7], price, True) for price in prices])
    assert one == same != other
    assert of_spark(spark, [(*ROW[:7], Decimal("2.5"), True)]) == [one]


def test_a_wider_price_is_the_same_price(connection: Connection, spark: SparkSession) -> None:
    """In the lake as it landed, before its column was widened or after."""
    prices = ["2.5", "2.505", "100", "-0.01", "0", "12345678.9012"]
    as_text = ", ".join(
        f"({number}, '{price}'::numeric(14,4))" for number, price in enumerate(prices)
    )
    digest = in_postgres([Column("price", "numeric(14,4)")], "r")
    statement = f"SELECT {digest} FROM (VALUES {as_text}) AS r (place, price) ORDER BY place"
    wide = [found for (found,) in connection.run(statement)]
    for type_, count in (("decimal(14,4)", 6), ("decimal(10,2)", 1)):
        values = [[Decimal(price)] for price in prices[:count]]
        frame = spark.createDataFrame(values, f"price {type_}").coalesce(1)
        found = [row[0] for row in frame.select(in_spark(dict(frame.dtypes))).collect()]
        assert found == wide[:count]


def test_a_column_that_a_frame_lacks_is_null(connection: Connection, spark: SparkSession) -> None:
    statement = (
        f'SELECT {in_postgres(COLUMNS[:2], "r")} FROM (SELECT 1 AS id, NULL::text AS "some text") r'
    )
    frame = spark.createDataFrame([[1]], "id int")
    lacking = in_spark({"id": "int", "some text": None})
    assert [list(row) for row in frame.select(lacking).collect()] == connection.run(statement)
