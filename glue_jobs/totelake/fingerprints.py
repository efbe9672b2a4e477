"""A row as a number, worked out alike inside PostgreSQL and Spark.

A row becomes one text that no other row gives: each value with its length before it, a null
marked. The first 48 bits of the text's MD5 are its fingerprint: small enough that the sum of
some thousands stays a bigint, and big enough that two contents of one key never meet by chance.
"""

from collections.abc import Iterable

from pg8000.native import identifier
from pyspark.sql import Column as SparkColumn
from pyspark.sql import functions as F

from totelake.tables import MONEY, NUMERIC, TIME, TIMESTAMP, Column

_HEX_DIGITS = 12


def in_postgres(columns: Iterable[Column], alias: str) -> str:
    """The fingerprint of a row, as an SQL expression of type bigint.

    Args:
        columns: The columns that count.
        alias: The name that the row has in the query.
    """
    texts = (_postgres_text(column, alias) for column in columns)
    marked = (f"coalesce(length({text}) || ':' || {text}, 'N')" for text in texts)
    return (
        f"('x' || substr(md5(convert_to({' || '.join(marked)}, 'UTF8')), 1, {_HEX_DIGITS}))"
        f"::bit({4 * _HEX_DIGITS})::bigint"
    )


def _postgres_text(column: Column, alias: str) -> str:
    name = f"{alias}.{identifier(column.name)}"
    if column.type == TIME:
        return f"to_char({name}, 'HH24:MI:SS.MS')"
    if column.type == TIMESTAMP:
        return f"to_char({name}, 'YYYY-MM-DD HH24:MI:SS.US')"
    if column.type in (MONEY, NUMERIC):
        # Two decimals where there are no more: 2 and 2.50 and 2.5000 as in the lake.
        return f"CAST(trim_scale({name}) + 0.00 AS varchar)"
    return f"CAST({name} AS varchar)"


def in_spark(columns: Iterable[Column]) -> SparkColumn:
    """The fingerprint of a frame's row, as a column of type bigint."""
    texts = (_spark_text(column) for column in columns)
    marked = [
        F.coalesce(F.concat(F.length(text).cast("string"), F.lit(":"), text), F.lit("N"))
        for text in texts
    ]
    digits = F.substring(F.md5(F.concat(*marked)), 1, _HEX_DIGITS)
    return F.conv(digits, 16, 10).cast("bigint")


def _spark_text(column: Column) -> SparkColumn:
    value = F.col(f"`{column.name}`")
    if column.type == TIMESTAMP:
        return F.date_format(value, "yyyy-MM-dd HH:mm:ss.SSSSSS")
    return value.cast("string")
