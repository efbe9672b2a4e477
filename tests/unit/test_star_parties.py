"""dim_staff, dim_counterparty and dim_location: what joins, and what must not multiply."""

from typing import Any

from chispa import assert_df_equality
from pyspark.sql import SparkSession

from totelake.star.parties import dim_counterparty, dim_location, dim_staff
from totelake.tables import LOOKUP, STAR, TOMBSTONE


def test_a_department_change_reaches_its_staff(spark: SparkSession, raw: Any) -> None:
    """Guards against dim_staff frozen at the department's first name: the staff are lookups."""
    found = dim_staff(
        {
            "department": raw(
                "department",
                {"department_id": 1, "department_name": "Sales & More", "location": "Leeds"},
                {"department_id": 2, "department_name": "Empty", "row_change": LOOKUP},
            ),
            "staff": raw(
                "staff",
                {"staff_id": 1, "first_name": "Ann", "department_id": 1, "row_change": LOOKUP},
                {"staff_id": 2, "last_name": "O'Hara", "department_id": 1},
                {"staff_id": 3, "email_address": "a'b@c.d", "department_id": 2},
                {"staff_id": 4, "department_id": 99},
                {"staff_id": 5},
                {"staff_id": 6, "row_change": TOMBSTONE},
            ),
        }
    )
    values = [
        (1, "Ann", None, "Sales & More", "Leeds", None, False),
        (2, None, "O'Hara", "Sales & More", "Leeds", None, False),
        (3, None, None, "Empty", None, "a'b@c.d", False),
        (4, None, None, None, None, None, False),  # without its department it is not lost
        (5, None, None, None, None, None, False),
        (6, None, None, None, None, None, True),
    ]
    expected = spark.createDataFrame(values, STAR["dim_staff"].lake_schema)
    assert_df_equality(found.drop("source"), expected, ignore_nullable=True, ignore_row_order=True)
    assert dict(found.dtypes)["source"].startswith("struct<")


def test_an_address_change_reaches_its_counterparties(spark: SparkSession, raw: Any) -> None:
    """Guards against dim_counterparty frozen at the old address, and against lost zeros."""
    found = dim_counterparty(
        {
            "address": raw(
                "address",
                {
                    "address_id": 15,
                    "address_line_1": "605 Haskell Trafficway",
                    "address_line_2": "Axel Freeway",
                    "district": "Avon",
                    "city": "East Bobbie",
                    "postal_code": "08253",
                    "country": "Heard Island",
                    "phone": "0963 132225",
                },
            ),
            "counterparty": raw(
                "counterparty",
                {
                    "counterparty_id": 1,
                    "counterparty_legal_name": "Fahey, and Sons",
                    "legal_address_id": 15,
                    "row_change": LOOKUP,
                },
                {"counterparty_id": 2, "legal_address_id": 15},
                {"counterparty_id": 3},
            ),
        }
    )
    address = ("605 Haskell Trafficway", "Axel Freeway", "Avon", "East Bobbie", "08253")
    address += ("Heard Island", "0963 132225")
    values = [
        (1, "Fahey, and Sons", *address, False),
        (2, None, *address, False),
        (3, None, *(None,) * 7, False),
    ]
    expected = spark.createDataFrame(values, STAR["dim_counterparty"].lake_schema)
    assert_df_equality(found.drop("source"), expected, ignore_nullable=True, ignore_row_order=True)


def test_a_location_is_an_address_that_changed_itself(spark: SparkSession, raw: Any) -> None:
    """Guards against lookups that make a new version of every location beside a change."""
    addresses = raw(
        "address",
        {"address_id": 1, "address_line_1": "07", "postal_code": "00501", "phone": "0123 456789"},
        {"address_id": 2, "city": "x", "row_change": LOOKUP},
        {"address_id": 3, "row_change": TOMBSTONE},
        {"address_id": 4},
    )
    values = [
        (1, "07", None, None, None, "00501", None, "0123 456789", False),
        (3, *(None,) * 7, True),
        (4, *(None,) * 7, False),
    ]
    expected = spark.createDataFrame(values, STAR["dim_location"].lake_schema)
    found = dim_location({"address": addresses}).drop("source")
    assert_df_equality(found, expected, ignore_nullable=True, ignore_row_order=True)
