"""Athena's SQL as DuckDB runs it, with Athena's answers; what may answer otherwise is refused.

sqlglot translates the words. Where the two engines mean different things by the same words, the
meaning depends on types, so each such expression is rewritten here by the types that DuckDB
itself gives its operands. Functions are allowed by name, each one known to mean the same.
"""

import re

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.scope import traverse_scope

from local.athena_rewrites import Typed
from local.athena_types import SqlError
from local.athena_typing import Describe

# By sqlglot's names of them, which are mostly SQL's own.
_FUNCTIONS = frozenset({
    "Abs", "And", "AnyValue", "ApproxDistinct", "ArgMax", "ArgMin", "Array", "ArrayAgg",
    "ArrayContains", "ArraySize", "Avg", "Case", "Cast", "Ceil", "Coalesce", "Concat", "Count",
    "CountIf", "CumeDist", "CurrentDate", "CurrentTimestamp", "Date", "DateAdd", "DateDiff",
    "DateTrunc", "Day", "DayOfMonth", "DayOfWeekIso", "DayOfYear", "DenseRank", "Exists", "Exp",
    "Extract", "FirstValue", "Floor", "Greatest", "Hour", "If", "Lag", "LastDay", "LastValue",
    "Lead", "Least", "Length", "Ln", "LogicalAnd", "LogicalOr", "Lower", "Max", "Min", "Minute",
    "Mod", "Month", "NthValue", "Ntile", "Nullif", "Or", "PercentRank", "Pow", "Quarter", "Rank",
    "RegexpLike", "Replace", "Reverse", "Round", "RowNumber", "Second", "Sign", "Sqrt",
    "StartsWith", "Stddev", "StddevPop", "StddevSamp", "StrPosition", "Substring", "Sum",
    "TimeToStr", "TimestampTrunc", "Trim", "Try", "TryCast", "Unnest", "Upper", "Variance",
    "VariancePop", "WeekOfYear", "Xor", "Year",
})  # fmt: skip
_Kinds = tuple[tuple[type[exp.Expr], str], ...]
_NOT_ATHENA: _Kinds = (
    (exp.Qualify, "QUALIFY"), (exp.ILike, "ILIKE"), (exp.Glob, "GLOB"), (exp.Pivot, "PIVOT"),
    (exp.Lateral, "LATERAL"),
)  # fmt: skip
_NOT_HERE: _Kinds = (
    (exp.Version, "FOR TIMESTAMP or VERSION AS OF"), (exp.TableSample, "TABLESAMPLE"),
    (exp.AtTimeZone, "AT TIME ZONE"), (exp.MatchRecognize, "MATCH_RECOGNIZE"),
    (exp.Lambda, "a function with ->"), (exp.Bracket, "an array or map by index"),
    (exp.Placeholder, "a parameter ?"), (exp.Parameter, "a parameter"),
    (exp.Dot, "a field of a row"),
)  # fmt: skip


def parse(sql: str) -> exp.Query:
    """Read one query in Athena's SQL.

    Raises:
        SqlError: If it is none, or asks for what is not run here.
    """
    try:
        statements = [each for each in sqlglot.parse(sql, read="athena") if each is not None]
    except SqlglotError as error:
        raise SqlError(f"SYNTAX_ERROR: {_plain(str(error))}") from error
    if len(statements) != 1:
        raise SqlError(f"expected one statement, found {len(statements)}")
    (query,) = statements
    if not isinstance(query, exp.Select | exp.SetOperation | exp.Subquery):
        word = sql.strip().split(None, 1)[0].upper()
        raise SqlError(
            f"{word} is not run here, only queries are; the catalogue and the lake stay as they are"
        )
    _refuse_unknown(query)
    return query


def tables_of(query: exp.Query) -> list[exp.Table]:
    """The tables that a query names, its own WITH tables apart."""
    found = []
    for scope in traverse_scope(query):
        for name, source in scope.sources.items():
            if isinstance(source, exp.Table):
                if not isinstance(source.this, exp.Identifier):
                    raise SqlError(f"{name}: a function in FROM is not run here")
                found.append(source)
    return found


def to_duckdb(query: exp.Query, describe: Describe) -> str:
    """Translate a query whose tables DuckDB knows by the same names.

    Args:
        query: As `parse` gave it.
        describe: Gives the columns of a DuckDB query.

    Raises:
        SqlError: If Athena refuses it, or its answer could differ from Athena's.
    """
    query = query.copy()
    for scope in traverse_scope(query):
        if isinstance(scope.expression, exp.Select):
            Typed(scope.expression, describe).rewrite()
    for select in query.find_all(exp.Select):
        _name_columns(select)
    return query.sql(dialect="duckdb")


def _plain(text: str) -> str:
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).split())


def _refuse_unknown(query: exp.Query) -> None:
    for node in query.walk():
        for kind, words in _NOT_ATHENA:
            if isinstance(node, kind):
                raise SqlError(f"{words}: Athena has no such thing")
        for kind, words in _NOT_HERE:
            if isinstance(node, kind):
                raise SqlError(f"{words} is not run here: {node.sql(dialect='athena')}")
        if isinstance(node, exp.With) and node.args.get("recursive"):
            raise SqlError("WITH RECURSIVE is not run here")
        if isinstance(node, exp.Distinct) and node.args.get("on"):
            raise SqlError("DISTINCT ON: Athena has no such thing")
        if isinstance(node, exp.Star) and any(node.args.values()):
            raise SqlError("a * with EXCEPT, REPLACE or RENAME: Athena has no such thing")
        if isinstance(node, exp.Func) and type(node).__name__ not in _FUNCTIONS:
            name = node.name if isinstance(node, exp.Anonymous) else node.sql_name()
            raise SqlError(
                f"function {name.lower()} is not run here: DuckDB, which stands in for Athena, "
                "may answer otherwise"
            )


def _name_columns(select: exp.Select) -> None:
    """Athena names what has no name by its place."""
    for place, each in enumerate(select.expressions):
        if not isinstance(each, exp.Alias | exp.Column | exp.Star):
            each.replace(exp.alias_(each.copy(), f"_col{place}"))
