"""Text as dates, moments in two columns, and the calendar."""

import calendar
import re
from datetime import date, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from totelake.star.common import date_of, moment_columns
from totelake.star.dates import dim_date, years_of
from totelake.tables import STAR

NO_DATES = [
    "2024-02-30",
    "2023-02-29",
    "1900-02-29",
    "2024-13-01",
    "2024-00-10",
    "2024-01-00",
    "2024-04-31",
    "0000-01-01",
    "20240230",
    "20240115",
    " 2024-01-01",
    "2024-01-01 ",
    "2024-01-01\n",
    "2024-1-1",
    "24-01-01",
    "2024-01-01T00:00:00",
    "2024-01-01 00:00:00",
    "01/01/2024",
    "2024/01/01",
    "-2024-01-01",
    "12024-01-01",
    "\u0662\u0660\u0662\u0664-\u0660\u0661-\u0660\u0661",
    "today",
    "null",
    "",
    None,
]
DATES = ["2024-02-29", "2000-02-29", "2023-12-31", "0001-01-01", "1582-10-10", "9999-12-31"]
ALMOST_DATES = (
    st.dates().map(str)
    | st.from_regex(r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
    | st.text("0123456789- ", max_size=11)
)


def expected_date(text: str | None) -> str | None:
    if text is None or not re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        return None
    try:
        return str(date.fromisoformat(text))
    except ValueError:
        return None


def parsed(spark: SparkSession, texts: list[str | None]) -> list[str | None]:
    """What texts are as dates, printed: Python has no date for all that Spark has."""
    numbered = spark.createDataFrame(list(enumerate(texts)), "id int, text string")
    date_text = date_of(F.col("text")).cast("string")
    rows = numbered.select("id", date_text.alias("date")).collect()
    return [row["date"] for row in sorted(rows, key=lambda row: int(row["id"]))]


def test_only_real_dates_of_the_one_form_are_dates(spark: SparkSession) -> None:
    """Guards against 30 February moved into March, other forms guessed, and a failed job.

    The year 0 is the year 1 BC to PostgreSQL.
    """
    texts: list[str | None] = [*NO_DATES, *DATES]
    found = dict(zip(texts, parsed(spark, texts), strict=True))
    assert found == {**dict.fromkeys(NO_DATES), **{text: text for text in DATES}}


@settings(max_examples=3)
@given(texts=st.lists(st.none() | ALMOST_DATES, min_size=1, max_size=100))
def test_text_is_read_as_python_reads_it(spark: SparkSession, texts: list[str | None]) -> None:
    assert parsed(spark, texts) == [expected_date(text) for text in texts]


def test_a_moment_keeps_its_milliseconds(spark: SparkSession) -> None:
    """Guards against times cut to seconds, and against a zone that moves the date."""
    moments = [
        datetime(2024, 12, 31, 23, 59, 59, 999000),
        datetime(2024, 3, 31, 1, 30, 0, 1000),  # no such time in London that day
        datetime(2024, 1, 1),
        None,
    ]
    frame = spark.createDataFrame([(moment,) for moment in moments], "at timestamp_ntz")
    rows = frame.coalesce(1).select(*moment_columns("at", "created")).collect()
    assert [row.asDict() for row in rows] == [
        {"created_date": date(2024, 12, 31), "created_time": "23:59:59.999"},
        {"created_date": date(2024, 3, 31), "created_time": "01:30:00.001"},
        {"created_date": date(2024, 1, 1), "created_time": "00:00:00.000"},
        {"created_date": None, "created_time": None},
    ]


def test_the_years_are_those_of_every_date_column_of_every_fact(spark: SparkSession) -> None:
    """Guards against a fact whose payment date is in a year that dim_date lacks."""
    sales = spark.createDataFrame(
        [(1, date(2023, 1, 1), date(2024, 12, 31)), (2, date(2023, 5, 1), None), (3, None, None)],
        "id int, created_date date, agreed_payment_date date",
    )
    payments = spark.createDataFrame([(date(9999, 12, 31), 2030)], "payment_date date, year int")
    years = years_of([sales, payments])
    assert sorted(row["year"] for row in years.collect()) == [2023, 2024, 9999]


def test_the_calendar_is_whole_and_iso(spark: SparkSession) -> None:
    """Guards against leap years, Sunday as day 0 or 1, other languages, and dates that run out."""
    years = [1900, 2024, 9999]
    frame = dim_date(spark.createDataFrame([(year,) for year in years], "year int"))
    types: dict[str, Any] = {column.name: column.spark_type for column in STAR["dim_date"].columns}
    assert dict(frame.dtypes) == {**types, "row_deleted": "boolean"}
    found = sorted(tuple(row) for row in frame.collect())
    days = [
        date(year, month, day)
        for year in years
        for month in range(1, 13)
        for day in range(1, calendar.monthrange(year, month)[1] + 1)
    ]
    assert found == [
        (
            day,
            day.year,
            day.month,
            day.day,
            day.isoweekday(),
            calendar.day_name[day.weekday()],
            calendar.month_name[day.month],
            (day.month + 2) // 3,
            False,
        )
        for day in days
    ]
    assert len(found) == 365 + 366 + 365


def test_without_facts_there_are_no_days(spark: SparkSession) -> None:
    empty = spark.createDataFrame([], "payment_date date")
    assert dim_date(years_of([empty])).isEmpty()
