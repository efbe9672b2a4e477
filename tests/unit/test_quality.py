"""What becomes a row of the star, and what is said of the rest."""

import json
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from chispa import assert_df_equality
from pyspark.sql import SparkSession

from totelake import quality
from totelake.star.parties import dim_staff
from totelake.star.payments import dim_currency, dim_transaction, fact_payment
from totelake.tables import STAR, TOMBSTONE

PAYMENT = {
    "payment_id": 1,
    "created_at": datetime(2022, 11, 3, 14, 20, 52, 187000),
    "last_updated": datetime(2022, 11, 8, 7, 55, 0, 1000),
    "transaction_id": 2,
    "counterparty_id": 15,
    "payment_amount": Decimal("55.10"),
    "currency_id": 2,
    "payment_type_id": 3,
    "paid": False,
    "payment_date": "2022-11-07",
}


def reasons(candidates: Any, table: str) -> dict[str, tuple[str, str]]:
    rows = quality.rejected(candidates, STAR[table]).collect()
    return {row["source_key"]: (row["rule"], row["reason"]) for row in rows}


def test_a_rule_stands_for_each_column_that_the_warehouse_requires(spark: SparkSession) -> None:
    """Guards against a NOT NULL column without a rule: the load would fail on it for ever."""
    for table in STAR.values():
        if table.source:
            required = [column.name for column in table.columns if not column.nullable]
            assert list(quality.rules(table)) == [f"{name}_required" for name in required]


def test_every_candidate_is_accepted_or_rejected(spark: SparkSession, raw: Any) -> None:
    """Guards against rows that fall between the two, and deletions that nulls keep out."""
    star = STAR["fact_payment"]
    candidates = fact_payment(
        {
            "payment": raw(
                "payment",
                PAYMENT,
                {**PAYMENT, "payment_id": 2, "payment_date": "2022-02-30"},
                {**PAYMENT, "payment_id": 3, "paid": None, "payment_date": None},
                {"payment_id": 4, "row_change": TOMBSTONE},
                {},
            )
        }
    ).cache()
    created = (date(2022, 11, 3), "14:20:52.187")
    updated = (date(2022, 11, 8), "07:55:00.001")
    rest = (2, 15, Decimal("55.10"), 2, 3, False, date(2022, 11, 7))
    values = [
        (1, *created, *updated, *rest, False),
        (4, *(None,) * 11, True),
    ]
    accepted = quality.accepted(candidates, star)
    expected = spark.createDataFrame(values, star.lake_schema)
    assert_df_equality(accepted, expected, ignore_nullable=True, ignore_row_order=True)
    found = reasons(candidates, "fact_payment")
    assert found["2"] == (
        "payment_date_required",
        "payment_date '2022-02-30' is no date (yyyy-mm-dd)",
    )
    assert found["3"] == (
        "paid_required; payment_date_required",
        "paid is null; payment_date is null",
    )
    assert list(found) == ["2", "3", None]
    candidates.unpersist()


def test_what_may_be_null_is_accepted_with_nulls(spark: SparkSession, raw: Any) -> None:
    transactions = raw("transaction", {"transaction_id": 1, "transaction_type": "SALE"})
    candidates = dim_transaction({"transaction": transactions})
    assert quality.accepted(candidates, STAR["dim_transaction"]).count() == 1
    assert quality.rejected(candidates, STAR["dim_transaction"]).isEmpty()


def test_a_currency_without_a_name_says_which_code_it_has(raw: Any) -> None:
    codes = ["GBP", "ZZZ", None]
    rows = [{"currency_id": id_, "currency_code": code} for id_, code in enumerate(codes)]
    found = reasons(dim_currency({"currency": raw("currency", *rows)}), "dim_currency")
    assert found["1"] == ("currency_name_required", "currency_code 'ZZZ' is not in ISO 4217")
    assert "currency_code is null" in found["2"][1]
    assert len(found) == 2


def test_staff_without_a_department_are_rejected_not_lost(raw: Any) -> None:
    """Guards against an inner join: what it drops nobody counts."""
    person = {"first_name": "A", "last_name": "B", "email_address": "c@d.e"}
    staff = raw("staff", {"staff_id": 1, **person, "department_id": 9})
    found = reasons(dim_staff({"staff": staff, "department": raw("department")}), "dim_staff")
    assert found == {
        "1": (
            "department_name_required; location_required",
            "department_name is null; location is null",
        )
    }


def test_the_quarantine_keeps_the_whole_source_row(spark: SparkSession, raw: Any) -> None:
    """Guards against a row that cannot be restored: nulls left out, float money, cut times."""
    payment = raw("payment", {**PAYMENT, "counterparty_id": None, "row_xmin": 7})
    rejected = quality.rejected(fact_payment({"payment": payment}), STAR["fact_payment"])
    assert tuple(rejected.columns) == quality.QUARANTINE_COLUMNS
    assert {type_ for _, type_ in rejected.dtypes} == {"string"}
    (row,) = rejected.collect()
    assert (row["star_table"], row["source_table"]) == ("fact_payment", "payment")
    kept = json.loads(row["source_row"], parse_float=Decimal)
    assert kept["payment_amount"] == Decimal("55.10")
    assert datetime.fromisoformat(kept["created_at"]) == PAYMENT["created_at"]
    assert kept["counterparty_id"] is None
    assert (kept["payment_date"], kept["row_xmin"]) == ("2022-11-07", 7)
