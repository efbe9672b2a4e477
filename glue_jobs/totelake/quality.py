"""Which candidates become rows of the star, and what is said of the others.

The rules stand in ``tables``: what a column demands (a value, and one that its type can hold),
what a table's ``rules`` say of a row, and that a key occurs once. Whether what a row refers to
exists is not among them: a batch cannot know, so the load lets such rows wait.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from totelake.star.common import SOURCE_ROW
from totelake.tables import DATE, KEY_COPIES, ROW_DELETED, SOURCE, STOP, TEXT, WARN, Rule, StarTable
from totelake.tables import Column as StarColumn

QUARANTINE_COLUMNS = ("star_table", "source_table", "source_key", "rule", "reason", "source_row")
QUARANTINE_SCHEMA = ", ".join(f"{name} string" for name in QUARANTINE_COLUMNS)
SEPARATOR = "; "


@dataclass(frozen=True)
class Check:
    """A rule of a star table, as columns over its candidates.

    Attributes:
        name: Of the rule.
        broken: Whether a candidate breaks it; never null.
        reason: What is said of one that does.
        of_key: Whether it is about the key alone, and so counts for a deletion too.
    """

    name: str
    broken: Column
    reason: Column
    of_key: bool = False


def with_copies(candidates: DataFrame, key: str) -> DataFrame:
    """Candidates, and of each how many have its key."""
    return candidates.withColumn(KEY_COPIES, F.count("*").over(Window.partitionBy(key)))


def checks(table: StarTable, types: Mapping[str, str]) -> list[Check]:
    """The checks that a table's candidates have to pass.

    Args:
        table: The star table.
        types: Spark type of each column of the candidates.
    """
    found = []
    for column in table.columns:
        of_key = column.name == table.key
        if not column.nullable:
            value = F.col(f"`{column.name}`")
            name, absence = f"{column.name}_required", _absence(table, column)
            found.append(Check(name, value.isNull(), absence, of_key))
        if types[column.name] != column.spark_type:
            found.append(_fits(column, of_key))
    return found + [
        _check(rule, of_key=table.key in rule.columns)
        for rule in table.rules
        if rule.action != WARN and types.keys() >= {*rule.columns}
    ]


def stopping(table: StarTable) -> set[str]:
    """Names of the rules that stop a batch."""
    return {rule.name for rule in table.rules if rule.action == STOP}


def _check(rule: Rule, of_key: bool = False) -> Check:
    values = [_shown(name) for name in rule.columns]
    reason = F.concat(F.lit(f"expected {rule.holds}, found "), F.concat_ws(", ", *values))
    return Check(rule.name, F.coalesce(~F.expr(rule.holds), F.lit(False)), reason, of_key)


def _shown(name: str) -> Column:
    text = F.coalesce(F.col(f"`{name}`").cast("string"), F.lit("null"))
    return F.concat(F.lit(f"{name} = "), text)


def _fits(column: StarColumn, of_key: bool) -> Check:
    """The source's type became wider than the star's: a value may be none of the star's."""
    value = F.col(f"`{column.name}`")
    fits = F.coalesce(_as_star(column, "") == value, F.lit(False))
    reason = F.concat(_shown(column.name), F.lit(f" does not fit {column.type}"))
    return Check(f"{column.name}_fits", value.isNotNull() & ~fits, reason, of_key)


def _as_star(column: StarColumn, type_: str) -> Column:
    if type_ == column.spark_type:
        return F.col(f"`{column.name}`")
    return F.expr(f"try_cast(`{column.name}` AS {column.spark_type})").alias(column.name)


def _absence(table: StarTable, column: StarColumn) -> Column:
    """Why a column has no value: the source has none, or one that means nothing here."""
    plain = F.lit(f"{column.name} is null")
    source_types = {c.name: c.type for c in SOURCE[table.source].columns} if table.source else {}
    if column.type == DATE and source_types.get(column.name) == TEXT:
        text = F.col(f"{SOURCE_ROW}.{column.name}")
        return F.when(
            text.isNotNull(),
            F.concat(F.lit(f"{column.name} '"), text, F.lit("' is no date (yyyy-mm-dd)")),
        ).otherwise(plain)
    if column.name == "currency_name":
        code = F.col(f"{SOURCE_ROW}.currency_code")
        return F.concat(F.lit("currency_code '"), code, F.lit("' is not in ISO 4217"))
    return plain


def accepted(candidates: DataFrame, table: StarTable) -> DataFrame:
    """The candidates that pass every rule, and deletions, which need a key only.

    Returns:
        The star's columns in the star's types, and ``row_deleted``.
    """
    types = dict(candidates.dtypes)
    columns = [_as_star(column, types[column.name]) for column in table.columns]
    return candidates.where(~_broken(table, types)).select(*columns, ROW_DELETED)


def _broken(table: StarTable, types: Mapping[str, str]) -> Column:
    """Whether a candidate breaks a rule; a deletion is held to the rules of its key only."""
    found = checks(table, types)
    broken, of_key = F.lit(False), F.lit(False)
    for check in found:
        broken |= check.broken
        of_key |= check.broken & F.lit(check.of_key)
    return F.when(F.col(ROW_DELETED), of_key).otherwise(broken)


def rejected(candidates: DataFrame, table: StarTable) -> DataFrame:
    """The candidates that break a rule, for quarantine.

    Returns:
        ``QUARANTINE_COLUMNS``: the star table and the source table, the source row's key, every
        rule that it breaks, every reason, and the whole row as JSON.
    """
    types = dict(candidates.dtypes)
    source = SOURCE[str(table.source)]
    names, reasons = [], []
    for check in checks(table, types):
        counts = check.broken & (F.lit(check.of_key) | ~F.col(ROW_DELETED))
        names.append(F.when(counts, F.lit(check.name)))
        reasons.append(F.when(counts, check.reason))
    return candidates.where(_broken(table, types)).select(
        F.lit(table.name).alias("star_table"),
        F.lit(source.name).alias("source_table"),
        F.col(f"{SOURCE_ROW}.{source.key}").cast("string").alias("source_key"),
        F.concat_ws(SEPARATOR, *names).alias("rule"),
        F.concat_ws(SEPARATOR, *reasons).alias("reason"),
        F.to_json(SOURCE_ROW, {"ignoreNullFields": "false"}).alias("source_row"),
    )


def warned(candidates: DataFrame, table: StarTable) -> DataFrame:
    """How many candidates break each rule that only warns.

    Returns:
        One row: a column per rule.
    """
    alive = candidates.where(~F.col(ROW_DELETED))
    return alive.agg(
        *[
            F.count(F.when(_check(rule).broken, 1)).alias(rule.name)
            for rule in table.rules
            if rule.action == WARN
        ]
    )
