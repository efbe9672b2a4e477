"""`make query` and `make sql`: Athena's SQL on the lake that `make run` left here.

`make query SQL="select …"` or `make query NAME=best_designs` answers once: as a table, as CSV where
the output is no terminal, or into TO=file.csv or TO=file.parquet. `make sql` is a prompt.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TextIO

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from local.athena import LocalAthena
from local.data_catalog import PROCESSED, REPOSITORY, catalogue_of
from local.errors import CommandError
from local.front_end import front_end
from local.settings import read_settings

QUERIES = REPOSITORY / "terraform" / "queries"
ROWS_SHOWN = 100


class QueryError(CommandError):
    """What was asked for is not a query, or has no answer."""


@dataclass(frozen=True)
class NamedQuery:
    """A query that Terraform deploys to Athena's workgroup."""

    name: str
    description: str
    sql: str


def named_queries() -> dict[str, NamedQuery]:
    """The deployment's named queries, by name."""
    found = {}
    for path in sorted(QUERIES.glob("*.sql")):
        sql = path.read_text(encoding="utf-8")
        found[path.stem] = NamedQuery(path.stem, sql.split("\n", 1)[0].removeprefix("-- "), sql)
    return found


def lake_of(environment: Mapping[str, str]) -> str:
    """URI of the lake to ask: LAKE, else that of the runs that SOURCE_URL names.

    Raises:
        QueryError: If no run has made one.
    """
    if environment.get("LAKE"):
        return environment["LAKE"]
    lake = read_settings(environment).state.resolve() / "lake"
    if not lake.is_dir():
        raise QueryError(
            f"expected a lake in {os.path.relpath(lake)}, found none: `make run` makes it"
        )
    return f"file://{lake}"


@contextmanager
def open_athena(lake: str, console: Console) -> Iterator[LocalAthena]:
    """Athena on a lake; what its crawlers stumbled over is said first."""
    with catalogue_of(lake) as (glue, problems):
        for problem in problems:
            console.print(f"! {problem}", markup=False, soft_wrap=True)
        athena = LocalAthena(glue, PROCESSED)
        try:
            yield athena
        finally:
            athena.close()


def asked(environment: Mapping[str, str]) -> str:
    """The query that SQL or NAME asks for.

    Raises:
        QueryError: If neither or both do, or there is no query of that name.
    """
    sql, name = environment.get("SQL", "").strip(), environment.get("NAME", "").strip()
    queries = named_queries()
    if bool(sql) == bool(name):
        raise QueryError(
            'expected SQL="select …" or NAME=, one of them; names are\n'
            + "\n".join(f"  {query.name:<28} {query.description}" for query in queries.values())
        )
    if name and name not in queries:
        raise QueryError(f"expected a NAME of {', '.join(queries)}, found {name!r}")
    return sql or queries[name].sql


def show(console: Console, rows: pa.Table) -> None:
    """Print rows as a table."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for field in rows.schema:
        numeric = pa.types.is_decimal(field.type) or pa.types.is_primitive(field.type)
        plain = pa.types.is_temporal(field.type) or pa.types.is_boolean(field.type)
        table.add_column(field.name, justify="right" if numeric and not plain else "left")
    for row in zip(*(text_of(column) for column in rows.slice(0, ROWS_SHOWN).columns), strict=True):
        table.add_row(*("NULL" if value is None else value for value in row))
    console.print(table)
    more = rows.num_rows - ROWS_SHOWN
    if more > 0:
        console.print(f"… and {more:,} rows more; TO=file.csv takes them all")


def text_of(column: pa.ChunkedArray) -> list[str | None]:
    """A column's values as Athena writes them."""
    return [_text(value) for value in column.to_pylist()]


def _text(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        zone = " UTC" if value.tzinfo else ""
        return f"{value:%Y-%m-%d %H:%M:%S}.{value.microsecond // 1000:03}{zone}"
    return str(value)


def write_csv(rows: pa.Table, output: TextIO) -> None:
    """Write rows as Athena's result files have them: all in quotes, a null as nothing at all."""
    columns = [text_of(column) for column in rows.columns]
    for row in [rows.column_names, *zip(*columns, strict=True)]:
        output.write(
            ",".join("" if v is None else f'"{v.replace(chr(34), chr(34) * 2)}"' for v in row)
        )
        output.write("\n")


def file_of(environment: Mapping[str, str]) -> Path | None:
    """The file that TO names, if it names one.

    Raises:
        QueryError: If it is of no kind that is known.
    """
    if not environment.get("TO"):
        return None
    path = Path(environment["TO"])
    if path.suffix not in (".csv", ".parquet"):
        raise QueryError(f"TO: expected a name that ends in .csv or .parquet, found {path.name!r}")
    return path


def write(rows: pa.Table, path: Path) -> None:
    """Write rows into a file of the kind that its name says."""
    if path.suffix == ".parquet":
        pq.write_table(rows, path)
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            write_csv(rows, file)


def main(environment: Mapping[str, str] = os.environ) -> int:
    """Answer one query; return the exit status."""
    return front_end(lambda console: _answer(environment, console), "A query changes nothing.")


def _answer(environment: Mapping[str, str], console: Console) -> int:
    errors = Console(stderr=True, highlight=False)
    sql, to = asked(environment), file_of(environment)
    with open_athena(lake_of(environment), errors) as athena:
        rows = athena.query(sql)
    if to:
        write(rows, to)
        errors.print(f"{rows.num_rows:,} rows in {to}", markup=False)
    elif sys.stdout.isatty():
        show(console, rows)
    else:
        write_csv(rows, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
