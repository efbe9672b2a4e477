"""Which candidates become rows of the star, and what is said of the others.

A rule is a Column that is null when a candidate passes and otherwise says why it does not.
"""

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from totelake.star.common import SOURCE_ROW
from totelake.tables import DATE, ROW_DELETED, SOURCE, TEXT, StarTable
from totelake.tables import Column as StarColumn

QUARANTINE_COLUMNS = ("star_table", "source_table", "source_key", "rule", "reason", "source_row")
QUARANTINE_SCHEMA = ", ".join(f"{name} string" for name in QUARANTINE_COLUMNS)


def rules(table: StarTable) -> dict[str, Column]:
    """The rules of a star table, by name: what the warehouse demands of each column."""
    return {
        f"{column.name}_required": _required(table, column)
        for column in table.columns
        if not column.nullable
    }


def _required(table: StarTable, column: StarColumn) -> Column:
    value = F.col(f"`{column.name}`")
    return F.when(value.isNull(), _absence(table, column))


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
        The star's columns and ``row_deleted``.
    """
    passes = F.coalesce(*rules(table).values()).isNull()
    return candidates.where(passes | F.col(ROW_DELETED)).select(*table.column_names, ROW_DELETED)


def rejected(candidates: DataFrame, table: StarTable) -> DataFrame:
    """The candidates that break a rule, for quarantine.

    Returns:
        ``QUARANTINE_COLUMNS``: the star table and the source table, the source row's key, every
        rule that it breaks, every reason, and the whole row as JSON.
    """
    broken = rules(table)
    source = SOURCE[str(table.source)]
    names = _joined({name: F.when(rule.isNotNull(), F.lit(name)) for name, rule in broken.items()})
    return candidates.where(F.coalesce(*broken.values()).isNotNull() & ~F.col(ROW_DELETED)).select(
        F.lit(table.name).alias("star_table"),
        F.lit(source.name).alias("source_table"),
        F.col(f"{SOURCE_ROW}.{source.key}").cast("string").alias("source_key"),
        names.alias("rule"),
        _joined(broken).alias("reason"),
        F.to_json(SOURCE_ROW, {"ignoreNullFields": "false"}).alias("source_row"),
    )


def _joined(parts: Mapping[str, Column]) -> Column:
    return F.concat_ws("; ", *parts.values())
