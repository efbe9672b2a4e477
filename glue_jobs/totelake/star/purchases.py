"""Purchases: fact_purchase_order."""

from collections.abc import Mapping

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from totelake.star.common import candidates, changes_of, date_of, moment_columns


def fact_purchase_order(raw: Mapping[str, DataFrame]) -> DataFrame:
    """One candidate per purchase order of the batch."""
    return candidates(
        changes_of(raw["purchase_order"]),
        F.col("purchase_order_id"),
        *moment_columns("created_at", "created"),
        *moment_columns("last_updated", "last_updated"),
        F.col("staff_id"),
        F.col("counterparty_id"),
        F.col("item_code"),
        F.col("item_quantity"),
        F.col("item_unit_price"),
        F.col("currency_id"),
        date_of(F.col("agreed_delivery_date")).alias("agreed_delivery_date"),
        date_of(F.col("agreed_payment_date")).alias("agreed_payment_date"),
        F.col("agreed_delivery_location_id"),
    )
