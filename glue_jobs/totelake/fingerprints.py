"""A row as a number, worked out alike inside PostgreSQL and Spark.

A row becomes one text that no other row gives: each value with its length before it, a null
marked. The first 48 bits of the text's MD5 are its fingerprint: small enough that the sum of
some thousands stays a bigint, and big enough that two contents of one key never meet by chance.
"""

import re
from collections.abc import Iterable, Mapping

from pg8000.native import identifier
from pyspark.sql import Column as SparkColumn
from pyspark.sql import functions as F

from totelake.tables import NUMERIC, TIME, Column

_HEX_DIGITS = 12
_DECIMAL = re.compile(r"decimal\(\d+,(\d+)\)")
_CENTS = 2


def in_postgres(columns: Iterable[Column], alias: str) -> str:
    """The fingerprint of a row, as an SQL expression of type bigint.

    Args:
        columns: The columns that count, with the types that they have in the query.
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
    if column.type.startswith("timestamp"):
        return f"to_char({name}, 'YYYY-MM-DD HH24:MI:SS.US')"
    if column.type.startswith(NUMERIC):
        # Two decimals where there are no more: 2 and 2.50 and 2.5000 as in the lake.
        return f"CAST(trim_scale({name}) + 0.00 AS varchar)"
    return f"CAST({name} AS varchar)"


def in_spark(types: Mapping[str, str | None]) -> SparkColumn:
    """The fingerprint of a frame's row, as a column of type bigint.

    Args:
        types: Per column that counts, the Spark type that it has in the frame; None for one that
            the frame lacks, which is null then.
    """
    marked = []
    for name, type_ in types.items():
        if type_ is None:
            marked.append(F.lit("N"))
            continue
        text = _spark_text(F.col(f"`{name}`"), type_)
        length = F.length(text).cast("string")
        marked.append(F.coalesce(F.concat(length, F.lit(":"), text), F.lit("N")))
    digits = F.substring(F.md5(F.concat(*marked)), 1, _HEX_DIGITS)
    return F.conv(digits, 16, 10).cast("bigint")


def _spark_text(value: SparkColumn, type_: str) -> SparkColumn:
    if type_ == "timestamp_ntz":
        return F.date_format(value, "yyyy-MM-dd HH:mm:ss.SSSSSS")
    decimal = _DECIMAL.fullmatch(type_)
    if decimal and int(decimal[1]) > _CENTS:
        return F.regexp_replace(value.cast("string"), rf"(\.\d{{{_CENTS}}}\d*?)0+$", "$1")
    return value.cast("string")
