"""Payments: fact_payment, dim_transaction, dim_payment_type and dim_currency."""

from collections.abc import Mapping

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from totelake.currencies import ISO_4217
from totelake.star.common import candidates, changes_of, date_of, moment_columns
from totelake.tables import ORDER_AMOUNT


def fact_payment(raw: Mapping[str, DataFrame]) -> DataFrame:
    """One candidate per payment of the batch; the account numbers stay behind."""
    return candidates(
        changes_of(raw["payment"]),
        F.col("payment_id"),
        *moment_columns("created_at", "created"),
        *moment_columns("last_updated", "last_updated"),
        F.col("transaction_id"),
        F.col("counterparty_id"),
        F.col("payment_amount"),
        F.col("currency_id"),
        F.col("payment_type_id"),
        F.col("paid"),
        date_of(F.col("payment_date")).alias("payment_date"),
    )


def with_order_amount(candidates: DataFrame, raw: Mapping[str, DataFrame]) -> DataFrame:
    """Candidates for fact_payment and what their order comes to, where the batch has it."""
    sales = raw["sales_order"].select(
        "sales_order_id", (F.col("units_sold") * F.col("unit_price")).alias("sold")
    )
    purchases = raw["purchase_order"].select(
        "purchase_order_id", (F.col("item_quantity") * F.col("item_unit_price")).alias("bought")
    )
    amounts = (
        raw["transaction"]
        .select("transaction_id", "sales_order_id", "purchase_order_id")
        .join(sales, on="sales_order_id", how="left")
        .join(purchases, on="purchase_order_id", how="left")
        .select("transaction_id", F.coalesce("sold", "bought").alias(ORDER_AMOUNT))
    )
    return candidates.join(amounts, on="transaction_id", how="left")


def dim_transaction(raw: Mapping[str, DataFrame]) -> DataFrame:
    """One candidate per transaction of the batch."""
    return candidates(
        changes_of(raw["transaction"]),
        F.col("transaction_id"),
        F.col("transaction_type"),
        F.col("sales_order_id"),
        F.col("purchase_order_id"),
    )


def dim_payment_type(raw: Mapping[str, DataFrame]) -> DataFrame:
    """One candidate per payment type of the batch."""
    return candidates(
        changes_of(raw["payment_type"]),
        F.col("payment_type_id"),
        F.col("payment_type_name"),
    )


def dim_currency(raw: Mapping[str, DataFrame]) -> DataFrame:
    """One candidate per currency of the batch; a code outside ISO 4217 has no name."""
    names = F.create_map(*[F.lit(text) for pair in ISO_4217.items() for text in pair])
    return candidates(
        changes_of(raw["currency"]),
        F.col("currency_id"),
        F.col("currency_code"),
        F.try_element_at(names, F.col("currency_code")).alias("currency_name"),
    )
