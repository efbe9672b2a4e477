"""The star, from a batch: per star table, a pure function of the batch's raw frames.

A builder gets one frame per source table (``tables.SourceTable.raw_schema``) and returns
candidates: the star's columns, ``row_deleted``, and the raw row in ``source``. What becomes of a
candidate that lacks something is decided in ``quality``.
"""

from collections.abc import Callable, Mapping

from pyspark.sql import DataFrame

from totelake.star import parties, payments, purchases, sales

Builder = Callable[[Mapping[str, DataFrame]], DataFrame]

# dim_date is not among them: it follows from the dates of the facts (see ``dates``).
BUILDERS: dict[str, Builder] = {
    "dim_staff": parties.dim_staff,
    "dim_location": parties.dim_location,
    "dim_currency": payments.dim_currency,
    "dim_design": sales.dim_design,
    "dim_counterparty": parties.dim_counterparty,
    "dim_transaction": payments.dim_transaction,
    "dim_payment_type": payments.dim_payment_type,
    "fact_sales_order": sales.fact_sales_order,
    "fact_purchase_order": purchases.fact_purchase_order,
    "fact_payment": payments.fact_payment,
}
