"""Types of Athena, of the catalogue and of DuckDB, and which may stand for which."""

import re

import sqlglot

from local.errors import CommandError

_DECIMAL = re.compile(r"(?i)decimal\((\d+), ?(\d+)\)")
_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT")
_FAMILIES = {
    **dict.fromkeys([*_WHOLE, "HUGEINT"], "whole"),
    **dict.fromkeys(["DOUBLE", "FLOAT"], "double"),
    **dict.fromkeys(["TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS"], "timestamp"),
    "TIMESTAMP WITH TIME ZONE": "timestamp",
    "VARCHAR": "text",
}
NUMBERS = {"whole", "decimal", "double", ""}
# Athena's names of a view's columns, where DuckDB has others.
_ATHENA = {"TIMESTAMP": "timestamp(3)", "FLOAT": "real", "BLOB": "varbinary"}
_HIVE_WHOLE = ("tinyint", "smallint", "int", "bigint")


class SqlError(CommandError):
    """The query is wrong, or it is not run here."""


def family(type_: str) -> str:
    """What kind of value a DuckDB type holds; empty for a bare NULL."""
    if type_.endswith("]"):
        return "list"
    return _FAMILIES.get(type_) or type_.split("(", maxsplit=1)[0].lower()


def decimal_scale(type_: str) -> int:
    """Places behind the point of a DuckDB number that is not a double."""
    match = _DECIMAL.fullmatch(type_)
    return int(match[2]) if match else 0


def athena_type(type_: str) -> str:
    """Athena's name of a DuckDB type."""
    return _ATHENA.get(type_, type_.lower())


def duckdb_type(hive_type: str) -> str:
    """DuckDB's name of a type in the catalogue."""
    return sqlglot.exp.DataType.build(hive_type, dialect="hive").sql(dialect="duckdb")


def can_read(found: str, declared: str) -> bool:
    """Whether Athena reads a Parquet column of a type as the type that its table declares."""
    if found == declared:
        return True
    if found in _HIVE_WHOLE and declared in _HIVE_WHOLE:
        return _HIVE_WHOLE.index(found) < _HIVE_WHOLE.index(declared)
    if (found, declared) == ("float", "double"):
        return True
    if declared == "string":
        return found in _HIVE_WHOLE or found.startswith("decimal")
    one, other = _DECIMAL.fullmatch(found), _DECIMAL.fullmatch(declared)
    if one and other:
        return int(one[1]) - int(one[2]) <= int(other[1]) - int(other[2])
    return False
