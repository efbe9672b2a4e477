"""The type of an expression, as DuckDB gives it where the expression stands.

It is asked for, by a query of its own: what names mean there depends on joins, groups and WITH.
"""

from collections.abc import Callable, Iterator, Sequence

from sqlglot import exp

from local.athena_types import SqlError

# A query's answer in DuckDB, column by column: name and type.
Describe = Callable[[str], Sequence[tuple[str, str]]]


def type_of(of: exp.Select, node: exp.Expr, describe: Describe) -> str:
    """The type that DuckDB gives an expression of a SELECT; "" if it is a bare NULL.

    Raises:
        SqlError: If it cannot be told.
    """
    while isinstance(node, exp.Paren):
        node = node.this
    if isinstance(node, exp.Null):
        return ""
    if isinstance(node, exp.Literal) and node.is_string:
        return "VARCHAR"
    if isinstance(node, exp.Interval):
        return "INTERVAL"
    select: exp.Expr | None = of
    while select is not None:
        if isinstance(select, exp.Select):
            try:
                return describe(_probe(select, node).sql(dialect="duckdb"))[0][1]
            except SqlError as error:
                problem = error
        select = select.parent  # a correlated query's columns are those of the one around it
    raise SqlError(
        f"the type of {node.sql(dialect='athena')} cannot be told, so it is not run here: {problem}"
    )


def _probe(select: exp.Select, node: exp.Expr) -> exp.Select:
    """A query that gives an expression of a SELECT as its one column."""
    probe = exp.Select(expressions=[exp.alias_(node.copy(), "probe")])
    for key in ("from_", "joins"):
        value = select.args.get(key)
        if value:
            probe.set(key, [v.copy() for v in value] if isinstance(value, list) else value.copy())
    group = select.args.get("group")
    if group and node.find(exp.AggFunc):
        group = group.copy()
        places = [e for e in group.expressions if isinstance(e, exp.Literal) and e.is_int]
        for place in places:
            column = select.expressions[int(place.this) - 1]
            place.replace(column.unalias().copy())
        probe.set("group", group)
    tables = list(_visible(select))
    if tables:
        probe.set("with_", exp.With(expressions=[table.copy() for table in tables]))
    return probe


def _visible(select: exp.Expr) -> Iterator[exp.CTE]:
    """The WITH tables that a SELECT can name, in their order."""
    inside: exp.Expr = select
    levels: list[list[exp.CTE]] = []
    node: exp.Expr | None = select
    while node is not None:
        with_ = node.args.get("with_")
        if isinstance(node, exp.With):
            levels.append(node.expressions[: node.expressions.index(inside)])
        elif with_ is not None and with_ is not inside:
            levels.append(with_.expressions)
        inside, node = node, node.parent
    for level in reversed(levels):
        yield from level
