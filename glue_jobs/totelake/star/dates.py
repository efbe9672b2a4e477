"""dim_date: every day of every year that the facts of a batch touch."""

from collections.abc import Iterable
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from totelake.tables import DATE, ROW_DELETED, STAR


def years_of(facts: Iterable[DataFrame]) -> DataFrame:
    """The years of all dates in some facts.

    Args:
        facts: Frames in which every column of type date counts; nulls do not.

    Returns:
        One column ``year``, one row per year.
    """
    years = [
        fact.select(F.explode(F.array(*[F.year(name) for name in _dates(fact)])).alias("year"))
        for fact in facts
    ]
    return reduce(DataFrame.unionByName, years).where(F.col("year").isNotNull()).dropDuplicates()


def _dates(frame: DataFrame) -> list[str]:
    return [name for name, type_ in frame.dtypes if type_ == DATE]


def dim_date(years: DataFrame) -> DataFrame:
    """All days of some years.

    ``day_of_week`` is ISO 8601's: Monday is 1, Sunday is 7 (the warehouse's schema leaves the
    convention open). Names are English.

    Args:
        years: One column ``year``.

    Returns:
        The columns of dim_date and ``row_deleted``, one row per day.
    """
    first = F.make_date("year", F.lit(1), F.lit(1))
    last = F.make_date("year", F.lit(12), F.lit(31))
    day = F.col("date_id")
    days = years.select(F.explode(F.sequence(first, last)).alias("date_id"))
    return days.select(
        day,
        F.year(day).alias("year"),
        F.month(day).alias("month"),
        F.dayofmonth(day).alias("day"),
        (F.weekday(day) + F.lit(1)).alias("day_of_week"),
        F.date_format(day, "EEEE").alias("day_name"),
        F.date_format(day, "MMMM").alias("month_name"),
        F.quarter(day).alias("quarter"),
        F.lit(False).alias(ROW_DELETED),
    ).select(*STAR["dim_date"].column_names, ROW_DELETED)
