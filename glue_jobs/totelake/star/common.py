"""What the builders share: reading text as dates, splitting moments, the shape of a candidate."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from totelake.tables import LOOKUP, ROW_CHANGE, ROW_DELETED, TOMBSTONE

SOURCE_ROW = "source"
# There is no year 0: PostgreSQL would take it for 1 BC.
_DATE_TEXT = r"^(?!0000)[0-9]{4}-[0-9]{2}-[0-9]{2}$"


def date_of(text: Column) -> Column:
    """A date from text of the form yyyy-mm-dd; null when the text is anything else."""
    moment = F.try_to_timestamp(text, F.lit("yyyy-MM-dd"))
    return F.when(text.rlike(_DATE_TEXT), moment.cast("date"))


def moment_columns(name: str, prefix: str) -> list[Column]:
    """A timestamp as the star has it: ``<prefix>_date`` and ``<prefix>_time`` (HH:MM:SS.mmm)."""
    moment = F.col(name)
    return [
        moment.cast("date").alias(f"{prefix}_date"),
        F.date_format(moment, "HH:mm:ss.SSS").alias(f"{prefix}_time"),
    ]


def changes_of(rows: DataFrame) -> DataFrame:
    """The rows of a raw frame that are in the batch for their own sake."""
    return rows.where(F.col(ROW_CHANGE) != LOOKUP)


def candidates(rows: DataFrame, *columns: Column) -> DataFrame:
    """Rows of a raw frame as candidates for the star: its columns, the deletion, the raw row."""
    raw_row = F.struct(*[F.col(f"`{name}`") for name in rows.columns])
    deleted = (F.col(ROW_CHANGE) == TOMBSTONE).alias(ROW_DELETED)
    return rows.select(*columns, deleted, raw_row.alias(SOURCE_ROW))
