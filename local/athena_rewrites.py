"""What means something else in DuckDB than in Athena, put so that it means the same.

Most of it depends on types: 5 / 2 is 2 in Athena, an average of money is money, a date with a
month added is a date.
"""

import re
from collections.abc import Callable

import sqlglot
from sqlglot import exp
from sqlglot.optimizer.scope import walk_in_scope

from local.athena_types import NUMBERS, SqlError, decimal_scale, family
from local.athena_typing import Describe, type_of

_COMPARISONS = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ)
_SIGNS = {"eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_FIELDS = {"YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "HOUR", "MINUTE", "SECOND"}
_DATE_FORMATS = re.compile(r"(?:[^%]|%[YmdHMSyjbaBA%])*")
_WHITESPACE = "chr(32) || chr(9) || chr(10) || chr(11) || chr(12) || chr(13)"


class Typed:
    """Rewrites one SELECT, whose inner queries have been rewritten, by types."""

    def __init__(self, select: exp.Select, describe: Describe) -> None:
        self._select = select
        self._describe = describe

    def rewrite(self) -> None:
        """Rewrite every expression that means something else in DuckDB, the inner ones first."""
        rules: tuple[tuple[tuple[type, ...], Callable[..., None]], ...] = (
            ((exp.Div,), self._division),
            ((exp.Mod,), self._remainder),
            ((exp.Sum, exp.Avg, exp.Filter, exp.Window), self._aggregate),
            ((exp.Cast,), self._cast),
            ((exp.Date,), self._date),
            ((exp.Add, exp.Sub), self._addition),
            ((exp.DateAdd, exp.DateTrunc, exp.TimestampTrunc), self._kept_date),
            ((exp.DateDiff,), self._date_difference),
            ((*_COMPARISONS, exp.In, exp.Between), self._comparison),
            ((exp.DPipe, exp.Concat), self._concatenation),
            ((exp.Extract,), self._extract),
            ((exp.Substring,), self._substring),
            ((exp.Trim,), self._trim),
            ((exp.TimeToStr,), self._date_format),
        )
        for node in sorted(walk_in_scope(self._select), key=lambda n: n.depth, reverse=True):
            for kinds, rule in rules:
                if isinstance(node, kinds):
                    rule(node)
                    break

    def _type(self, node: exp.Expr) -> str:
        return type_of(self._select, node, self._describe)

    def _division(self, node: exp.Div) -> None:
        left, right = self._type(node.left), self._type(node.right)
        lenient = node.find_ancestor(exp.Try) is not None
        kinds = {family(left), family(right)}
        if not kinds <= NUMBERS:
            raise _mismatch("/", left, right)
        if "double" in kinds:
            return
        if "decimal" not in kinds:
            if lenient:  # DuckDB's own gives NULL for a division by zero
                _replace(node, lambda old: exp.paren(exp.IntDiv(**old.args)))
            else:
                _call(node, "athena_quotient", node.left, node.right)
            return
        scales = decimal_scale(left), decimal_scale(right)
        scale = max(scales)
        name = "athena_rounded_quotient" if lenient else "athena_decimal_quotient"
        whole = _whole(node.left, scale + scales[1]), _whole(node.right, scales[1])
        node.replace(_scaled(exp.func(name, *whole), scale))

    def _remainder(self, node: exp.Mod) -> None:
        types = self._type(node.left), self._type(node.right)
        if not {family(type_) for type_ in types} <= NUMBERS:
            raise _mismatch("%", *types)
        if "double" not in map(family, types) and node.find_ancestor(exp.Try) is None:
            _call(node, "athena_remainder", node.left, node.right)

    def _aggregate(self, node: exp.Expr) -> None:
        """A sum or an average, whole: with FILTER and OVER if it has them."""
        inner = node
        while isinstance(inner, exp.Filter | exp.Window):
            inner = inner.this
        if isinstance(node.parent, exp.Filter | exp.Window) and node.parent.this is node:
            return
        if isinstance(inner, exp.Sum) and family(self._type(node)) == "whole":
            _replace(node, lambda copy: exp.cast(copy, "bigint"))
        elif isinstance(inner, exp.Avg):
            self._average(node, inner)

    def _average(self, node: exp.Expr, average: exp.Avg) -> None:
        over = average.this
        type_ = self._type(over.expressions[0] if isinstance(over, exp.Distinct) else over)
        if family(type_) != "decimal":
            return
        scale = decimal_scale(type_)
        total, count = (
            _instead(node, average, kind(this=over.copy())) for kind in (exp.Sum, exp.Count)
        )
        quotient = exp.func("athena_rounded_quotient", _whole(total, scale), count)
        node.replace(_scaled(quotient, scale))

    def _date(self, node: exp.Date) -> None:
        cast = exp.Cast(this=node.this, to=exp.DataType.build("date"))
        node.replace(cast)
        self._cast(cast)

    def _cast(self, node: exp.Cast) -> None:
        to, source = node.to, node.this
        target = to.this.name
        if target == "DECIMAL" and not to.expressions:
            raise SqlError("decimal without a precision is not run here: say decimal(10, 2)")
        if target not in _CASTS:
            raise SqlError(f"a cast to {to.sql(dialect='athena')} is not run here")
        kind = family(self._type(source))
        lenient = isinstance(node, exp.TryCast) or node.find_ancestor(exp.Try) is not None
        suffix = "_or_null" if lenient else ""
        if target in ("VARCHAR", "TEXT"):
            self._cast_to_text(node, kind)
        elif kind == "text" and _CASTS[target] == "whole":
            node.set("this", exp.func(f"athena_whole{suffix}", source.copy()))
        elif kind == "text" and target == "DATE":
            if isinstance(source, exp.Literal) and re.fullmatch(r"\d{4}-\d\d-\d\d", source.this):
                return
            node.set("this", exp.func(f"athena_day{suffix}", source.copy()))
        elif kind == "double" and _CASTS[target] == "whole":
            node.set("this", exp.Round(this=source.copy()))

    def _cast_to_text(self, node: exp.Cast, kind: str) -> None:
        source = node.sql(dialect="athena")
        if kind not in ("text", "whole", "decimal", "date", "boolean", "timestamp", ""):
            raise SqlError(f"{source} is not run here: Athena writes such a value in its own way")
        text: exp.Expr = exp.cast(node.this.copy(), "text")
        if kind == "timestamp":
            text = exp.func(
                "strftime", node.this.copy(), exp.Literal.string("%Y-%m-%d %H:%M:%S.%g")
            )
        if node.to.expressions:
            text = exp.func("left", text, node.to.expressions[0].this.copy())
        node.replace(text)

    def _addition(self, node: exp.Add | exp.Sub) -> None:
        types = self._type(node.left), self._type(node.right)
        kinds = [family(type_) for type_ in types]
        if "interval" in kinds and "date" in kinds:
            _replace(node, lambda copy: exp.cast(exp.paren(copy), "date"))
        elif "" in kinds or set(kinds) <= NUMBERS or set(kinds) == {"timestamp", "interval"}:
            return
        elif kinds.count("date") + kinds.count("timestamp") == 2:
            raise SqlError(
                f"{node.sql(dialect='athena')}: a difference of moments is an interval in Athena, "
                "which is not run here: use date_diff"
            )
        else:
            raise _mismatch("+" if isinstance(node, exp.Add) else "-", *types)

    def _kept_date(self, node: exp.Expr) -> None:
        if family(self._type(node.this)) == "date":
            _replace(node, lambda copy: exp.cast(copy, "date"))

    def _date_difference(self, node: exp.DateDiff) -> None:
        # DuckDB's date_diff counts the borders passed, its date_sub whole units as Athena does.
        unit = exp.Literal.string(node.text("unit").lower() or "day")
        _call(node, "date_sub", unit, node.expression, node.this)

    def _comparison(self, node: exp.Expr) -> None:
        operands = [node.this, *node.expressions]
        operands += [node.args[key] for key in ("expression", "low", "high") if node.args.get(key)]
        types = [self._type(each) for each in operands if not isinstance(each, exp.Tuple)]
        known = [type_ for type_ in types if type_]
        for type_ in known[1:]:
            if not _comparable(family(known[0]), family(type_)):
                raise _mismatch(_SIGNS.get(node.key, node.key), known[0], type_)

    def _concatenation(self, node: exp.DPipe | exp.Concat) -> None:
        operands = node.expressions or [node.this, node.expression]
        types = [self._type(each) for each in operands]
        for type_ in types:
            if family(type_) not in ("text", "list", ""):
                raise _mismatch("||", *types[:2])

    def _extract(self, node: exp.Extract) -> None:
        if node.name.upper() not in _FIELDS:
            raise SqlError(
                f"extract({node.name.lower()} …) is not run here: use the function of that name"
            )

    def _substring(self, node: exp.Substring) -> None:
        start = node.args.get("start")
        sign = start.this if isinstance(start, exp.Neg) else start
        if not (isinstance(sign, exp.Literal) and sign.is_int and int(sign.this)):
            raise SqlError("substr from a place that is not a number, or from 0, is not run here")

    def _trim(self, node: exp.Trim) -> None:
        if node.expression is None:  # Athena takes any white space off, DuckDB spaces
            node.set("expression", sqlglot.parse_one(_WHITESPACE, read="duckdb"))

    def _date_format(self, node: exp.TimeToStr) -> None:
        pattern = node.args["format"]
        if not (isinstance(pattern, exp.Literal) and _DATE_FORMATS.fullmatch(pattern.this)):
            raise SqlError(
                f"date_format with {pattern.sql(dialect='athena')} is not run here; "
                "%Y %m %d %H %i %s %y %j %b %a %M %W are"
            )


_CASTS = {
    "VARCHAR": "text", "TEXT": "text", "BOOLEAN": "boolean", "DATE": "date", "DOUBLE": "double",
    "FLOAT": "double", "DECIMAL": "decimal", "TIMESTAMP": "timestamp",
    "TINYINT": "whole", "SMALLINT": "whole", "INT": "whole", "BIGINT": "whole",
}  # fmt: skip


def _comparable(one: str, other: str) -> bool:
    moments = {"date", "timestamp"}
    return one == other or {one, other} <= NUMBERS or {one, other} <= moments


def _mismatch(what: str, *types: str) -> SqlError:
    return SqlError(f"TYPE_MISMATCH: Cannot apply operator: {f' {what} '.join(types).lower()}")


def _instead(node: exp.Expr, part: exp.Expr, other: exp.Expr) -> exp.Expr:
    """A copy of an expression with another part in it."""
    if node is part:
        return other
    part.replace(other)
    copy = node.copy()
    other.replace(part)
    return copy


def _replace(node: exp.Expr, change: Callable[[exp.Expr], exp.Expr]) -> None:
    node.replace(change(node.copy()))


def _call(node: exp.Expr, name: str, *arguments: exp.Expr) -> None:
    copies = [argument.copy() for argument in arguments]
    node.replace(exp.Anonymous(this=name, expressions=copies))


def _whole(node: exp.Expr, digits: int) -> exp.Expr:
    """A number times a power of ten, as a whole number."""
    power = exp.cast(exp.Literal.number(10**digits), "int128")
    return exp.cast(exp.Mul(this=exp.paren(node.copy()), expression=power), "int128")


def _scaled(node: exp.Expr, scale: int) -> exp.Expr:
    """A whole number as a decimal of so many places."""
    if not scale:
        return node
    unit = exp.cast(exp.Literal.number(f"0.{'0' * (scale - 1)}1"), f"decimal({scale},{scale})")
    return exp.paren(exp.Mul(this=node, expression=unit))
