"""Parties and places: dim_staff, dim_counterparty and dim_location.

The first two join two source tables; extract lands both sides of a change in the same batch,
the side that did not change as a lookup.
"""

from collections.abc import Mapping

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from totelake.star.common import candidates, changes_of


def dim_staff(raw: Mapping[str, DataFrame]) -> DataFrame:
    """One candidate per member of staff of the batch, with the department."""
    departments = raw["department"].select("department_id", "department_name", "location")
    staff = raw["staff"].join(departments, on="department_id", how="left")
    return candidates(
        staff,
        F.col("staff_id"),
        F.col("first_name"),
        F.col("last_name"),
        F.col("department_name"),
        F.col("location"),
        F.col("email_address"),
    )


def dim_counterparty(raw: Mapping[str, DataFrame]) -> DataFrame:
    """One candidate per counterparty of the batch, with the legal address."""
    parts = ["address_line_1", "address_line_2", "district", "city", "postal_code", "country"]
    addresses = raw["address"].select(
        F.col("address_id").alias("legal_address_id"),
        *[F.col(name).alias(f"counterparty_legal_{name}") for name in parts],
        F.col("phone").alias("counterparty_legal_phone_number"),
    )
    counterparties = raw["counterparty"].join(addresses, on="legal_address_id", how="left")
    return candidates(
        counterparties,
        F.col("counterparty_id"),
        F.col("counterparty_legal_name"),
        *[F.col(f"counterparty_legal_{name}") for name in parts],
        F.col("counterparty_legal_phone_number"),
    )


def dim_location(raw: Mapping[str, DataFrame]) -> DataFrame:
    """One candidate per address of the batch that changed itself."""
    return candidates(
        changes_of(raw["address"]),
        F.col("address_id").alias("location_id"),
        F.col("address_line_1"),
        F.col("address_line_2"),
        F.col("district"),
        F.col("city"),
        F.col("postal_code"),
        F.col("country"),
        F.col("phone"),
    )
