"""What becomes a row of the star, and what is said of the rest."""

import json
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from chispa import assert_df_equality
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from totelake import quality
from totelake.star.parties import dim_staff
from totelake.star.payments import (
    dim_currency,
    dim_transaction,
    fact_payment,
    with_order_amount,
)
from totelake.tables import KEY_COPIES, ORDER_AMOUNT, REJECT, STAR, STOP, TOMBSTONE, WARN

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


def exact(table: str) -> dict[str, str]:
    return {column.name: column.spark_type for column in STAR[table].columns}


def test_a_rule_stands_for_each_column_that_the_warehouse_requires(spark: SparkSession) -> None:
    """Guards against a NOT NULL column without a rule: the load would fail on it for ever."""
    for table in STAR.values():
        if table.source:
            names = {check.name for check in quality.checks(table, exact(table.name))}
            required = {f"{c.name}_required" for c in table.columns if not c.nullable}
            assert {name for name in names if name.endswith("_required")} == required


def test_every_declared_rule_can_be_evaluated(spark: SparkSession) -> None:
    """Guards against a condition over a column that no candidate has."""
    for table in STAR.values():
        for rule in table.rules:
            assert rule.action in (REJECT, WARN, STOP)
            assert {*rule.columns} <= {*table.column_names, KEY_COPIES, ORDER_AMOUNT}, rule.name
            schema = ", ".join(f"`{name}` int" for name in rule.columns)
            spark.createDataFrame([], schema).select(F.expr(rule.holds)).schema  # noqa: B018


def test_a_wider_value_that_does_not_fit_is_rejected_never_changed(
    spark: SparkSession, raw: Any
) -> None:
    """Guards against 2^31 that wraps, a price that is rounded, and a batch that dies of one."""
    star = STAR["fact_payment"]
    payments = raw(
        "payment",
        PAYMENT,
        {**PAYMENT, "payment_id": 2, "counterparty_id": 16},
        {**PAYMENT, "payment_id": 3, "payment_amount": Decimal("55.11")},
        {**PAYMENT, "payment_id": 4},
        {"payment_id": 5, "row_change": TOMBSTONE},
        {"payment_id": 6, "row_change": TOMBSTONE},
    )
    further = {"payment_id": "payment_id IN (4, 6)", "counterparty_id": "counterparty_id = 16"}
    wider = {name: f"{name} + IF({which}, 3000000000, 0)" for name, which in further.items()}
    wider["payment_amount"] = "payment_amount + IF(payment_id = 3, 0.001BD, 0.000BD)"
    payments = payments.withColumns({name: F.expr(text) for name, text in wider.items()})
    assert dict(payments.dtypes)["payment_id"] == "bigint"
    candidates = fact_payment({"payment": payments}).cache()
    accepted = quality.accepted(candidates, star)
    assert dict(accepted.drop("row_deleted").dtypes) == exact("fact_payment")
    kept = accepted.select("payment_id", "row_deleted", "payment_amount").collect()
    assert sorted(map(tuple, kept)) == [(1, False, Decimal("55.10")), (5, True, None)]
    assert reasons(candidates, "fact_payment") == {
        "2": ("counterparty_id_fits", "counterparty_id = 3000000016 does not fit integer"),
        "3": ("payment_amount_fits", "payment_amount = 55.111 does not fit numeric"),
        "3000000004": ("payment_id_fits", "payment_id = 3000000004 does not fit integer"),
        "3000000006": ("payment_id_fits", "payment_id = 3000000006 does not fit integer"),
    }
    candidates.unpersist()


def test_what_a_table_says_of_a_row(raw: Any) -> None:
    """Guards against a refund booked as a sale, and a rule that nulls or deletions break."""
    payments = raw(
        "payment",
        PAYMENT,
        {**PAYMENT, "payment_id": 2, "payment_amount": Decimal(0)},
        {**PAYMENT, "payment_id": 3, "payment_amount": Decimal(-1), "paid": None},
        {**PAYMENT, "payment_id": 4, "payment_amount": None},
        {"payment_id": 5, "row_change": TOMBSTONE},
        *[{**PAYMENT, "payment_id": 6}] * 2,
        *[{"payment_id": 7, "row_change": TOMBSTONE}] * 2,
    )
    candidates = quality.with_copies(fact_payment({"payment": payments}), "payment_id").cache()
    star = STAR["fact_payment"]
    kept = quality.accepted(candidates, star).select("payment_id").collect()
    assert sorted(id_ for (id_,) in kept) == [1, 5]
    assert reasons(candidates, "fact_payment") == {
        "2": (
            "payment_amount_positive",
            "expected payment_amount > 0, found payment_amount = 0.00",
        ),
        "3": (
            "paid_required; payment_amount_positive",
            "paid is null; expected payment_amount > 0, found payment_amount = -1.00",
        ),
        "4": ("payment_amount_required", "payment_amount is null"),
        "6": (
            "payment_id_unique",
            "expected payment_id IS NULL OR key_copies = 1, found payment_id = 6, key_copies = 2",
        ),
        "7": (
            "payment_id_unique",
            "expected payment_id IS NULL OR key_copies = 1, found payment_id = 7, key_copies = 2",
        ),
    }
    assert quality.stopping(star) == {"payment_id_unique"}
    candidates.unpersist()


def test_warnings_count_what_can_be_told_and_is_wrong(raw: Any) -> None:
    """Guards against a payment compared with another's order, or with none."""
    frames = {
        "payment": raw(
            "payment",
            {"payment_id": 1, "transaction_id": 1, "payment_amount": Decimal("7.50")},
            {"payment_id": 2, "transaction_id": 2, "payment_amount": Decimal("7.50")},
            {"payment_id": 3, "transaction_id": 3, "payment_amount": Decimal("7.50")},
            {"payment_id": 4, "transaction_id": 4, "payment_amount": Decimal("7.50")},
            {"payment_id": 5, "row_change": TOMBSTONE},
        ),
        "transaction": raw(
            "transaction",
            {"transaction_id": 1, "sales_order_id": 1},
            {"transaction_id": 2, "purchase_order_id": 1},
            {"transaction_id": 3, "sales_order_id": 9},
            {"transaction_id": 5, "sales_order_id": 1, "purchase_order_id": 1},
            {"transaction_id": 6, "row_change": TOMBSTONE},
            {"transaction_id": 7},
        ),
        "sales_order": raw(
            "sales_order", {"sales_order_id": 1, "units_sold": 3, "unit_price": Decimal("2.50")}
        ),
        "purchase_order": raw(
            "purchase_order",
            {"purchase_order_id": 1, "item_quantity": 3, "item_unit_price": Decimal("2.51")},
        ),
    }
    payments = with_order_amount(fact_payment(frames), frames)
    assert quality.warned(payments, STAR["fact_payment"]).collect() == [(1,)]
    transactions = dim_transaction(frames)
    assert quality.warned(transactions, STAR["dim_transaction"]).collect() == [(2,)]


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
