"""Fingerprints: equal in both engines for equal rows, and different for any difference."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date, time
from decimal import Decimal
from typing import Any

import duckdb
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pg8000.native import Connection

from local.fingerprints import DUCKDB, POSTGRES, Fingerprint, fingerprint_query
from local.postgres import PostgresServer, connect
from totelake.tables import BOOLEAN, DATE, INTEGER, MONEY, NUMERIC, TEXT, TIME, Column

COLUMNS = [
    Column("id", INTEGER),
    Column("some text", TEXT, nullable=True),
    Column("more", TEXT, nullable=True),
    Column("day", DATE),
    Column("moment", TIME),
    Column("price", MONEY),
    Column("amount", NUMERIC),
    Column("paid", BOOLEAN),
]
Row = tuple[Any, ...]

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
awkward = st.sampled_from(["", "N", "'", '"', "\\", "1:a", "a1:", "2", "é", "e\u0301", "👩‍🚀", " "])
text_or_null = st.none() | awkward | texts
moments = st.builds(
    lambda ms: time(ms // 3_600_000, ms // 60_000 % 60, ms // 1000 % 60, ms % 1000 * 1000),
    st.integers(0, 86_399_999),
)
money = st.integers(-(10**9), 10**9).map(lambda cents: Decimal(cents) / 100)
rows = st.tuples(
    st.integers(-(2**31), 2**31 - 1),
    text_or_null,
    text_or_null,
    st.dates(date(1, 1, 1)),
    moments,
    money,
    money,
    st.booleans(),
)
relations = st.lists(rows, max_size=4)


@pytest.fixture(scope="module")
def connection(postgres: PostgresServer) -> Iterator[Connection]:
    postgres.ensure_database("fingerprints")
    connection = connect(postgres.url("fingerprints"))
    connection.run("SET datestyle TO 'ISO'")
    columns = ", ".join(f'"{column.name}" {column.type}' for column in COLUMNS)
    connection.run(f"CREATE TEMP TABLE rows ({columns})")
    yield connection
    connection.close()


def in_postgres(
    connection: Connection, content: Sequence[Row], set_aside: Sequence[str] = ()
) -> Fingerprint:
    connection.run("TRUNCATE rows")
    for row in content:
        values = {f"v{number}": value for number, value in enumerate(row)}
        connection.run(f"INSERT INTO rows VALUES ({', '.join(f':{v}' for v in values)})", **values)
    query = fingerprint_query(POSTGRES, "SELECT * FROM rows", COLUMNS, "id")
    return Fingerprint(*map(int, connection.run(query, set_aside=list(set_aside))[0]))


def in_duckdb(content: Sequence[Row], set_aside: Sequence[str] = ()) -> Fingerprint:
    """As the lake has it: times are text, all money has two decimals."""
    types = {TIME: "varchar", NUMERIC: "decimal(10,2)", MONEY: "decimal(10,2)"}
    columns = ", ".join(f'"{c.name}" {types.get(c.type, c.type)}' for c in COLUMNS)
    with duckdb.connect() as lake:
        lake.execute(f"CREATE TABLE rows ({columns})")
        for row in content:
            values = [v.isoformat("milliseconds") if isinstance(v, time) else v for v in row]
            lake.execute(f"INSERT INTO rows VALUES ({', '.join('?' * len(values))})", values)
        query = fingerprint_query(DUCKDB, "SELECT * FROM rows", COLUMNS, "id")
        found = lake.execute(query, {"set_aside": list(set_aside)}).fetchone()
    assert found is not None
    return Fingerprint(*map(int, found))


@settings(max_examples=50)
@given(content=relations)
def test_the_engines_agree_on_any_rows_in_any_order(
    connection: Connection, content: list[Row]
) -> None:
    assert in_postgres(connection, content) == in_duckdb(content[::-1])


@settings(max_examples=50)
@given(one=relations, other=relations)
def test_other_rows_have_another_fingerprint(
    connection: Connection, one: list[Row], other: list[Row]
) -> None:
    assume(Counter(one) != Counter(other))

    assert in_postgres(connection, one) != in_postgres(connection, other)


ROW: Row = (1, "a", "b", date(2024, 2, 29), time(1, 2, 3, 4000), Decimal(1), Decimal(2), True)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a", "b"), ("ab", "")),
        (("a", None), (None, "a")),
        (("", None), (None, "")),
        (("", None), ("", "")),
        (("N", None), (None, "N")),
        (("1:a", "b"), ("", "1:ab")),
        (("é", ""), ("e\u0301", "")),
    ],
)
def test_values_do_not_run_into_each_other(
    connection: Connection, one: tuple[str | None, ...], other: tuple[str | None, ...]
) -> None:
    left, right = ([(1, *texts, *ROW[3:])] for texts in (one, other))

    assert in_postgres(connection, left) != in_postgres(connection, right)
    assert in_duckdb(left) != in_duckdb(right)


def test_a_row_that_is_there_twice_counts_twice(connection: Connection) -> None:
    assert in_postgres(connection, [ROW]) != in_postgres(connection, [ROW, ROW])


def test_every_row_counts(connection: Connection) -> None:
    others = [(key, *ROW[1:]) for key in (1, 2, 3)]

    digests = {in_postgres(connection, [row for row in others if row != left]) for left in others}

    assert len(digests) == 3


def test_a_price_is_the_same_however_many_zeros_it_has(connection: Connection) -> None:
    with_zeros = (*ROW[:6], Decimal("2.500000"), True)

    found = in_postgres(connection, [with_zeros])

    assert found == in_duckdb([(*ROW[:6], Decimal("2.5"), True)])
    assert found != in_postgres(connection, [(*ROW[:6], Decimal("2.501"), True)])


def test_rows_set_aside_are_counted_and_not_compared(connection: Connection) -> None:
    other = (2, *ROW[1:])

    found = in_postgres(connection, [ROW, other, other], ["2", "2", "3"])

    assert found == in_duckdb([ROW, other, other], ["2", "2", "3"])
    assert (found.rows, found.compared) == (3, 1)
    assert found.content == in_postgres(connection, [ROW]).content
