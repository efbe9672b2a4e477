"""Sales: fact_sales_order and dim_design."""

from collections.abc import Mapping

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from totelake.star.common import candidates, changes_of, date_of, moment_columns


def fact_sales_order(raw: Mapping[str, DataFrame]) -> DataFrame:
    """One candidate per sales order of the batch."""
    return candidates(
        changes_of(raw["sales_order"]),
        F.col("sales_order_id"),
        *moment_columns("created_at", "created"),
        *moment_columns("last_updated", "last_updated"),
        F.col("staff_id").alias("sales_staff_id"),
        F.col("counterparty_id"),
        F.col("units_sold"),
        F.col("unit_price"),
        F.col("currency_id"),
        F.col("design_id"),
        date_of(F.col("agreed_payment_date")).alias("agreed_payment_date"),
        date_of(F.col("agreed_delivery_date")).alias("agreed_delivery_date"),
        F.col("agreed_delivery_location_id"),
    )


def dim_design(raw: Mapping[str, DataFrame]) -> DataFrame:
    """One candidate per design of the batch."""
    return candidates(
        changes_of(raw["design"]),
        F.col("design_id"),
        F.col("design_name"),
        F.col("file_location"),
        F.col("file_name"),
    )
