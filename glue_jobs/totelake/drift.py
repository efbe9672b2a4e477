"""Whether the source's tables are as declared, and what becomes of what is not.

Decided from the catalogue of one snapshot, before a row is read:

- a further column lands, as text where the lake has no type for it; one whose name the lake
  cannot carry stays behind;
- a wider type is taken; what does not fit the star's own type is rejected there, row by row;
- anything else stops the run where the star needs the column, and is reported where not.

A table of the policy ``strict`` stops the run for any difference.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from totelake.errors import SchemaError
from totelake.tables import (
    INTEGER,
    ROW_CHANGE,
    ROW_XMIN,
    SOURCE,
    STRICT,
    TEXT,
    VARCHAR,
    Column,
    SourceTable,
)

Columns = list[tuple[str, str]]
_NUMERIC = re.compile(r"numeric\((\d+),(\d+)\)")
_VARCHAR = re.compile(r"character varying(?:\((\d+)\))?")
# What Spark reads as what it is; values of any other type land as their text.
_FAITHFUL = re.compile(
    r"smallint|integer|bigint|real|double precision|boolean|date|text"
    r"|character varying(\(\d+\))?|numeric\(\d+,\d+\)|timestamp(\(\d\))? without time zone"
)
# Quotes that no layer escapes, and the dot of nested fields.
_UNCARRIED = re.compile(r"[\"`.\\]")
_OWN = {ROW_XMIN, ROW_CHANGE, "batch", "row_ctid"}


@dataclass(frozen=True)
class Change:
    """One difference between two schemas; absent is empty.

    Attributes:
        table: The table.
        column: The column; empty for the table as a whole.
        was: Type before, or as declared.
        found: Type now.
    """

    table: str
    column: str
    was: str
    found: str


def declared() -> dict[str, Columns]:
    """The source's schema as ``tables`` declares it."""
    return {
        table.name: [(column.name, column.type) for column in table.columns]
        for table in SOURCE.values()
    }


def changes(before: Mapping[str, Columns], now: Mapping[str, Columns]) -> list[Change]:
    """What differs between two schemas: tables that came or went, columns, types."""
    found = []
    for table in sorted({*before, *now}):
        if table not in before or table not in now:
            was, is_ = ("table", "") if table in before else ("", "table")
            found.append(Change(table, "", was, is_))
            continue
        old, new = dict(before[table]), dict(now[table])
        found += [
            Change(table, name, old.get(name, ""), new.get(name, ""))
            for name in {**old, **new}
            if old.get(name) != new.get(name)
        ]
    return found


def check(found: Mapping[str, Iterable[tuple[str, str]]]) -> None:
    """Hold the source's tables against their declarations and their policies.

    Args:
        found: Per table, name and type (as ``format_type`` prints it) of its columns.

    Raises:
        SchemaError: Naming everything that stops the run, not the first thing only.
    """
    problems = [
        problem for table in SOURCE.values() for problem in _problems(table, found.get(table.name))
    ]
    if problems:
        raise SchemaError(
            "the source is not as declared: " + "; ".join(problems) + ". Nothing was extracted; "
            "mend the source or change the declaration in tables.py"
        )


def _problems(table: SourceTable, found: Iterable[tuple[str, str]] | None) -> Iterator[str]:
    if found is None:
        yield f"table {table.name}: expected in schema public, found none"
        return
    types = dict(found)
    strict = table.drift == STRICT
    for column in table.columns:
        actual = types.pop(column.name, None)
        if column.needed or strict:
            wanted = f"{table.name}.{column.name}: expected {column.type}"
            if actual is None:
                yield f"{wanted}, found none"
            elif actual != column.type and (strict or not holds(column.type, actual)):
                yield f"{wanted}, found {actual}"
    if strict:
        yield from (f"{table.name}.{name}: expected none, found {types[name]}" for name in types)


def holds(narrow: str, wide: str) -> bool:
    """Whether a type has every value of another, as the same value: int of bigint, and so on."""
    if narrow == wide:
        return True
    if narrow == INTEGER:
        return wide == "bigint"
    numbers, wider_numbers = _NUMERIC.fullmatch(narrow), _NUMERIC.fullmatch(wide)
    if numbers and wider_numbers:
        precision, scale, wide_precision, wide_scale = map(
            int, (*numbers.groups(), *wider_numbers.groups())
        )
        # More digits than Spark's decimals have would not be read as they are.
        whole = wide_precision - wide_scale >= precision - scale
        return whole and wide_scale >= scale and wide_precision <= 38
    texts, wider_texts = _VARCHAR.fullmatch(narrow), _VARCHAR.fullmatch(wide)
    if not (texts or narrow == TEXT or narrow.startswith('"')):  # enums are quoted here
        return False
    if wide in (TEXT, VARCHAR):
        return True
    return bool(texts and texts[1] and wider_texts and int(wider_texts[1]) >= int(texts[1]))


def carried(columns: Columns) -> Columns:
    """The columns that the lake can carry: names that differ without regard to case."""
    names = set(_OWN)
    kept = []
    for name, type_ in columns:
        if not _UNCARRIED.search(name) and name.lower() not in names:
            names.add(name.lower())
            kept.append((name, type_))
    return kept


def comparable(table: SourceTable, found: Iterable[tuple[str, str]]) -> list[Column]:
    """The declared columns that mean the same in source and lake, with the types found.

    A column that the star does not need and that is gone, or of a type that does not hold the
    declared one, is not among them.
    """
    types = dict(found)
    return [
        replace(column, type=types[column.name])
        for column in table.columns
        if column.name in types and holds(column.type, types[column.name])
    ]


def lands_as_text(table: SourceTable, name: str, type_: str) -> bool:
    """Whether a column's values land as their text, for want of a type that is faithful."""
    known: dict[str, Column] = {column.name: column for column in table.columns}
    return not (name in known and known[name].type == type_) and not _FAITHFUL.fullmatch(type_)
