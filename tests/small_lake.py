"""A small lake as the jobs leave one, written without Spark: literal rows, folders, manifests."""

import json
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from totelake.quality import QUARANTINE_COLUMNS
from totelake.tables import QUARANTINE, ROW_BATCH, ROW_CHANGE, ROW_DELETED, ROW_XMIN, SOURCE, STAR

FIRST, SECOND, THIRD = "20261120T101500Z", "20261120T103500Z", "20261121T105500Z"
_ARROW = {
    "int": pa.int32(),
    "string": pa.string(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "decimal(10,2)": pa.decimal128(10, 2),
    "timestamp_ntz": pa.timestamp("us"),
}
Rows = Mapping[str, Sequence[Mapping[str, Any]]]


def schema(table: str) -> pa.Schema:
    """The columns of a table's files, by its zone's declarations."""
    if table == QUARANTINE:
        return pa.schema([(name, pa.string()) for name in (*QUARANTINE_COLUMNS, ROW_BATCH)])
    if table in STAR:
        columns = [(c.name, _ARROW[c.spark_type]) for c in STAR[table].columns]
        return pa.schema([*columns, (ROW_DELETED, pa.bool_()), (ROW_BATCH, pa.string())])
    columns = [(c.name, _ARROW[c.spark_type]) for c in SOURCE[table].columns]
    return pa.schema([*columns, (ROW_XMIN, pa.int64()), (ROW_CHANGE, pa.string())])


def put(zone: Path, batch: str, rows: Rows, *, number: int = 1, committed: bool = True) -> None:
    """Write a batch of a zone: what a row does not give is null, and it is not deleted."""
    tables = {}
    for table in (*STAR, QUARANTINE) if zone.name == "processed" else SOURCE:
        files = []
        if rows.get(table):
            folder = zone / table / f"batch={batch}"
            folder.mkdir(parents=True, exist_ok=True)
            given = [{ROW_DELETED: False, ROW_BATCH: batch, **row} for row in rows[table]]
            pq.write_table(
                pa.Table.from_pylist(given, schema(table)), folder / "part-00000.parquet"
            )
            size = (folder / "part-00000.parquet").stat().st_size
            files = [{"name": "part-00000.parquet", "rows": len(given), "bytes": size}]
        count = len(rows.get(table, ()))
        columns = dict.fromkeys(schema(table).names, "string")
        tables[table] = {
            "rows": count, "files": files, "columns": columns, "lookups": 0, "rows_in": count,
            "rejected": 0,
        }  # fmt: skip
    at = f"{batch[:4]}-{batch[4:6]}-{batch[6:8]}T{batch[9:11]}:{batch[11:13]}:{batch[13:15]}"
    manifest = {
        "manifest_version": 1, "number": number, "batch": batch, "stage": "transform",
        "mode": "changes", "snapshot": {}, "tables": tables, "started_at": f"{at}+00:00",
        "committed_at": f"{at}+00:00", "seconds": 1.5, "code_version": "test",
    }  # fmt: skip
    if committed:
        (zone / "_batches").mkdir(parents=True, exist_ok=True)
        name = f"{batch}.json" if zone.name == "processed" else f"{number:08}.json"
        (zone / "_batches" / name).write_text(json.dumps(manifest))


def order(key: int, **values: Any) -> dict[str, Any]:
    """A version of a sales order."""
    day = date(2026, 11, 2) + timedelta(days=key)
    return {
        "sales_order_id": key, "created_date": day, "created_time": "09:30:00.000",
        "last_updated_date": day, "last_updated_time": "09:30:00.000", "sales_staff_id": 1,
        "counterparty_id": 1, "units_sold": 10 * key, "unit_price": Decimal("2.50"),
        "currency_id": 1, "design_id": 1, "agreed_payment_date": day + timedelta(days=7),
        "agreed_delivery_date": day + timedelta(days=5), "agreed_delivery_location_id": 1, **values,
    }  # fmt: skip


def payment(key: int, **values: Any) -> dict[str, Any]:
    """A version of a payment, of one made for a sales order."""
    day = date(2026, 11, 2) + timedelta(days=key)
    return {
        "payment_id": key, "created_date": day, "created_time": "09:30:00.000",
        "last_updated_date": day, "last_updated_time": "09:30:00.000", "transaction_id": key,
        "counterparty_id": 1, "payment_amount": Decimal("25.00"), "currency_id": 1,
        "payment_type_id": 1, "paid": False, "payment_date": day + timedelta(days=7), **values,
    }  # fmt: skip


DIMENSIONS: dict[str, list[dict[str, Any]]] = {
    "dim_staff": [
        {"staff_id": 1, "first_name": "Ann", "last_name": "Lee", "department_name": "Sales"},
        {"staff_id": 2, "first_name": "Bo", "last_name": "Ray", "department_name": "Sales"},
    ],
    "dim_location": [{"location_id": 1, "city": "Leeds", "country": "Wales"}],
    "dim_currency": [
        {"currency_id": 1, "currency_code": "GBP", "currency_name": "Pound Sterling"},
        {"currency_id": 2, "currency_code": "EUR", "currency_name": "Euro"},
    ],
    "dim_design": [
        {"design_id": 1, "design_name": "Wooden"},
        {"design_id": 2, "design_name": "Granite"},
    ],
    "dim_counterparty": [
        {"counterparty_id": 1, "counterparty_legal_name": "Fahey",
         "counterparty_legal_country": "France"},
    ],
    "dim_payment_type": [{"payment_type_id": 1, "payment_type_name": "SALES_RECEIPT"}],
}  # fmt: skip


def write(lake: Path) -> None:
    """A lake of three batches: orders that change, one that goes, a batch that is not committed."""
    orders = [order(1), order(2, currency_id=2), order(3, design_id=2, sales_staff_id=2)]
    payments = [payment(1), payment(2, paid=True), payment(3, payment_date=date(2020, 1, 4))]
    bought = {
        "purchase_order_id": 1, "created_date": date(2026, 11, 3), "created_time": "10:00:00.000",
        "last_updated_date": date(2026, 11, 3), "last_updated_time": "10:00:00.000",
        "staff_id": 1, "counterparty_id": 1, "item_code": "A1", "item_quantity": 3,
        "item_unit_price": Decimal("4.00"), "currency_id": 1,
    }  # fmt: skip
    days = [{"date_id": date(2026, 11, 3), "year": 2026, "month": 11, "day": 3}]
    facts = {"fact_sales_order": orders, "fact_payment": payments, "fact_purchase_order": [bought]}
    first = {**DIMENSIONS, **facts, "dim_date": days}
    transactions = [
        {"transaction_id": n, "transaction_type": "SALE", "sales_order_id": n} for n in (1, 2, 3)
    ]
    put(lake / "processed", FIRST, {**first, "dim_transaction": transactions})
    changed = order(1, units_sold=40, unit_price=Decimal("3.00"))
    rejected = {
        "star_table": "fact_payment", "source_table": "payment", "source_key": "9",
        "rule": "payment_date", "reason": "no date: 2026-02-30", "source_row": "{}",
    }  # fmt: skip
    put(
        lake / "processed",
        SECOND,
        {"fact_sales_order": [changed], QUARANTINE: [rejected]},
        number=2,
    )
    moved = {"last_updated_date": date(2026, 11, 21), "last_updated_time": "10:00:00.000"}
    gone = order(2, currency_id=2, row_deleted=True)
    paid = payment(1, paid=True, **moved)
    more = order(3, units_sold=31, design_id=2, sales_staff_id=2, **moved)
    renamed = {"design_id": 2, "design_name": "Granite II"}
    third = {"fact_sales_order": [more, gone], "fact_payment": [paid], "dim_design": [renamed]}
    put(lake / "processed", THIRD, third, number=3)
    put(lake / "processed", "20261121T235900Z", {"fact_sales_order": [order(4)]}, committed=False)
    for number, batch in enumerate((FIRST, SECOND, THIRD), 1):
        raw = {"currency": [{"currency_id": number, "currency_code": "GBP", ROW_XMIN: 700}]}
        put(lake / "raw", batch, raw, number=number)
