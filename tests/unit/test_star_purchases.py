"""fact_purchase_order."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from chispa import assert_df_equality
from pyspark.sql import SparkSession

from totelake.star.purchases import fact_purchase_order
from totelake.tables import STAR, TOMBSTONE

ORDER = {
    "purchase_order_id": 1,
    "created_at": datetime(2022, 11, 3, 14, 20, 52, 187000),
    "last_updated": datetime(2022, 11, 3, 14, 20, 52, 187000),
    "staff_id": 12,
    "counterparty_id": 11,
    "item_code": "ZDOI5EA",
    "item_quantity": 371,
    "item_unit_price": Decimal("361.39"),
    "currency_id": 2,
    "agreed_delivery_date": "2022-11-09",
    "agreed_payment_date": "2022-11-07",
    "agreed_delivery_location_id": 6,
}


def test_an_order_becomes_a_row_of_the_fact(spark: SparkSession, raw: Any) -> None:
    """Guards against item codes read as numbers, float prices, and the agreed dates exchanged."""
    orders = raw(
        "purchase_order",
        ORDER,
        {**ORDER, "purchase_order_id": 2, "item_code": "12E3456"},
        {**ORDER, "purchase_order_id": 3, "item_code": "0012345"},
        {"purchase_order_id": 4, "row_change": TOMBSTONE},
    )
    moment = (date(2022, 11, 3), "14:20:52.187")
    rest = (371, Decimal("361.39"), 2, date(2022, 11, 9), date(2022, 11, 7), 6, False)
    values: list[tuple[Any, ...]] = [
        (number, *moment, *moment, 12, 11, code, *rest)
        for number, code in enumerate(["ZDOI5EA", "12E3456", "0012345"], 1)
    ]
    values.append((4, *(None,) * 13, True))
    expected = spark.createDataFrame(values, STAR["fact_purchase_order"].lake_schema)
    found = fact_purchase_order({"purchase_order": orders}).drop("source")
    assert_df_equality(found, expected, ignore_nullable=True, ignore_row_order=True)
