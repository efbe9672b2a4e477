"""fact_sales_order and dim_design."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from chispa import assert_df_equality
from pyspark.sql import SparkSession

from totelake.star.sales import dim_design, fact_sales_order
from totelake.tables import LOOKUP, STAR, TOMBSTONE

ORDER = {
    "sales_order_id": 2,
    "created_at": datetime(2022, 11, 3, 14, 20, 52, 186000),
    "last_updated": datetime(2022, 11, 4, 0, 0, 0, 7000),
    "design_id": 9,
    "staff_id": 16,
    "counterparty_id": 18,
    "units_sold": 84754,
    "unit_price": Decimal("2.43"),
    "currency_id": 3,
    "agreed_delivery_date": "2022-11-10",
    "agreed_payment_date": "2022-11-03",
    "agreed_delivery_location_id": 4,
    "row_xmin": 77,
}


def test_an_order_becomes_a_row_of_the_fact(spark: SparkSession, raw: Any) -> None:
    """Guards against float prices, lost milliseconds, and the two agreed dates exchanged."""
    star = STAR["fact_sales_order"]
    orders = raw(
        "sales_order",
        ORDER,
        {"sales_order_id": 3, "agreed_payment_date": "2022-02-30"},
        {"sales_order_id": 4, "row_change": TOMBSTONE},
        {"sales_order_id": 5, "row_change": LOOKUP},
    )
    found = fact_sales_order({"sales_order": orders})
    nothing = (None,) * 13
    created = (date(2022, 11, 3), "14:20:52.186")
    updated = (date(2022, 11, 4), "00:00:00.007")
    sold = (16, 18, 84754, Decimal("2.43"), 3, 9)
    values = [
        (2, *created, *updated, *sold, date(2022, 11, 3), date(2022, 11, 10), 4, False),
        (3, *nothing, False),
        (4, *nothing, True),
    ]
    expected = spark.createDataFrame(values, star.lake_schema)
    assert_df_equality(found.drop("source"), expected, ignore_nullable=True, ignore_row_order=True)


def test_a_candidate_keeps_its_whole_raw_row(raw: Any) -> None:
    """Guards against a quarantine that cannot say what it holds."""
    (row,) = fact_sales_order({"sales_order": raw("sales_order", ORDER)}).collect()
    assert row["source"].asDict() == {**ORDER, "row_change": "change"}


def test_a_design_becomes_a_member_and_a_lookup_does_not(spark: SparkSession, raw: Any) -> None:
    designs = raw(
        "design",
        {"design_id": 1, "design_name": "Wooden, 'old'", "file_location": "/lib", "file_name": "a"},
        {"design_id": 2},
        {"design_id": 3, "row_change": LOOKUP},
        {"design_id": 4, "row_change": TOMBSTONE},
    )
    values = [
        (1, "Wooden, 'old'", "/lib", "a", False),
        (2, None, None, None, False),
        (4, None, None, None, True),
    ]
    expected = spark.createDataFrame(values, STAR["dim_design"].lake_schema)
    found = dim_design({"design": designs}).drop("source")
    assert_df_equality(found, expected, ignore_nullable=True, ignore_row_order=True)
