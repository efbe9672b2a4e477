"""fact_payment, dim_transaction, dim_payment_type and dim_currency."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from chispa import assert_df_equality
from pyspark.sql import SparkSession

from totelake.star.payments import dim_currency, dim_payment_type, dim_transaction, fact_payment
from totelake.tables import STAR, TOMBSTONE


def test_a_payment_becomes_a_row_of_the_fact(spark: SparkSession, raw: Any) -> None:
    """Guards against account numbers that leave the raw zone, and float amounts."""
    payments = raw(
        "payment",
        {
            "payment_id": 2,
            "created_at": datetime(2022, 11, 3, 14, 20, 52, 187000),
            "last_updated": datetime(2022, 11, 8, 7, 55, 0, 1000),
            "transaction_id": 2,
            "counterparty_id": 15,
            "payment_amount": Decimal("99999999.99"),
            "currency_id": 2,
            "payment_type_id": 3,
            "paid": True,
            "payment_date": "2022-11-07",
            "company_ac_number": 67305075,
            "counterparty_ac_number": 31622269,
        },
        {"payment_id": 3, "paid": False, "payment_date": ""},
        {"payment_id": 4, "row_change": TOMBSTONE},
    )
    created = (date(2022, 11, 3), "14:20:52.187")
    updated = (date(2022, 11, 8), "07:55:00.001")
    rest = (2, 15, Decimal("99999999.99"), 2, 3, True, date(2022, 11, 7))
    values = [
        (2, *created, *updated, *rest, False),
        (3, *(None,) * 9, False, None, False),
        (4, *(None,) * 11, True),
    ]
    expected = spark.createDataFrame(values, STAR["fact_payment"].lake_schema)
    found = fact_payment({"payment": payments}).drop("source")
    assert_df_equality(found, expected, ignore_nullable=True, ignore_row_order=True)


def test_a_transaction_has_one_of_two_orders(spark: SparkSession, raw: Any) -> None:
    """Guards against ids that become 2.0, or 0, where the column has nulls."""
    transactions = raw(
        "transaction",
        {"transaction_id": 1, "transaction_type": "PURCHASE", "purchase_order_id": 2},
        {"transaction_id": 2, "transaction_type": "SALE", "sales_order_id": 1},
        {"transaction_id": 3},
    )
    values = [
        (1, "PURCHASE", None, 2, False),
        (2, "SALE", 1, None, False),
        (3, None, None, None, False),
    ]
    expected = spark.createDataFrame(values, STAR["dim_transaction"].lake_schema)
    found = dim_transaction({"transaction": transactions}).drop("source")
    assert_df_equality(found, expected, ignore_nullable=True, ignore_row_order=True)


def test_a_payment_type_becomes_a_member(spark: SparkSession, raw: Any) -> None:
    types = raw(
        "payment_type",
        {"payment_type_id": 1, "payment_type_name": "SALES_RECEIPT"},
        {"payment_type_id": 2},
    )
    values = [(1, "SALES_RECEIPT", False), (2, None, False)]
    expected = spark.createDataFrame(values, STAR["dim_payment_type"].lake_schema)
    found = dim_payment_type({"payment_type": types}).drop("source")
    assert_df_equality(found, expected, ignore_nullable=True, ignore_row_order=True)


def test_a_currency_gets_its_name_and_an_unknown_one_gets_none(
    spark: SparkSession, raw: Any
) -> None:
    """Guards against a job that fails, or a row that is lost, at a code outside ISO 4217."""
    codes = ["GBP", "USD", "EUR", "ZZZ", "gbp", "", None]
    names = ["Pound Sterling", "US Dollar", "Euro", None, None, None, None]
    currencies = raw(
        "currency",
        *[{"currency_id": id_, "currency_code": code} for id_, code in enumerate(codes)],
    )
    values = [
        (id_, code, name, False) for id_, (code, name) in enumerate(zip(codes, names, strict=True))
    ]
    expected = spark.createDataFrame(values, STAR["dim_currency"].lake_schema)
    found = dim_currency({"currency": currencies}).drop("source")
    assert_df_equality(found, expected, ignore_nullable=True, ignore_row_order=True)
