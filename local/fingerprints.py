"""Counts and fingerprints of rows, worked out inside PostgreSQL and DuckDB alike.

A row becomes one text that no other row gives: each value with its length before it, a null
marked. The first 60 bits of each text's MD5 are summed, so that neither the order of the rows
nor their number matters and none of them leaves its database.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from totelake.tables import MONEY, NUMERIC, TIME, Column


@dataclass(frozen=True)
class Fingerprint:
    """What a relation holds.

    Attributes:
        rows: All of its rows.
        compared: Those whose key was not set aside.
        digest: Sum over the rows compared.
    """

    rows: int
    compared: int
    digest: int

    @property
    def content(self) -> tuple[int, int]:
        """What has to be equal where two relations agree."""
        return self.compared, self.digest


@dataclass(frozen=True)
class Engine:
    """How a database writes what the fingerprint is made of.

    Attributes:
        text: The canonical text of a column's value.
        digest: A text's fingerprint, a 60-bit number.
        set_aside: The parameter with the keys to leave out, an array of text.
    """

    text: Callable[[Column], str]
    digest: Callable[[str], str]
    set_aside: str


def quoted(name: str) -> str:
    """An identifier as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def _postgres_text(column: Column) -> str:
    name = quoted(column.name)
    if column.type == TIME:
        return f"to_char({name}, 'HH24:MI:SS.MS')"
    if column.type in (MONEY, NUMERIC):
        # Two decimals where there are no more: 2 and 2.50 and 2.5000 as in the lake.
        return f"CAST(trim_scale({name}) + 0.00 AS varchar)"
    return f"CAST({name} AS varchar)"


POSTGRES = Engine(
    text=_postgres_text,
    digest=lambda text: f"('x' || substr(md5(convert_to({text}, 'UTF8')), 1, 15))::bit(60)::bigint",
    set_aside=":set_aside",
)
DUCKDB = Engine(
    text=lambda column: f"CAST({quoted(column.name)} AS varchar)",
    digest=lambda text: f"CAST('0x' || substr(md5({text}), 1, 15) AS bigint)",
    set_aside="$set_aside",
)


def row_digest(engine: Engine, columns: Sequence[Column]) -> str:
    """The fingerprint of one row, as an SQL expression."""
    texts = (engine.text(column) for column in columns)
    marked = (f"coalesce(length({text}) || ':' || {text}, 'N')" for text in texts)
    return engine.digest(" || ".join(marked))


def fingerprint_query(engine: Engine, relation: str, columns: Sequence[Column], key: str) -> str:
    """SQL that gives the three figures of a relation's `Fingerprint`.

    Args:
        engine: Where it will run; it takes the parameter ``set_aside``.
        relation: A SELECT statement.
        columns: The columns that count.
        key: The column that tells the rows to set aside.
    """
    return f"""
        SELECT count(*),
               count(*) FILTER (WHERE aside.key IS NULL),
               coalesce(sum(measured.digest) FILTER (WHERE aside.key IS NULL), 0)
        FROM (SELECT CAST({quoted(key)} AS varchar) AS key, {row_digest(engine, columns)} AS digest
              FROM ({relation}) AS relation) AS measured
        LEFT JOIN (SELECT DISTINCT unnest(CAST({engine.set_aside} AS varchar[])) AS key) AS aside
          ON aside.key = measured.key"""
