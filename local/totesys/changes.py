"""Single changes to a ToteSys database, each a transaction of its own.

All take a connection in autocommit. Chance comes from the caller, so that it can be repeated.
"""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from decimal import Decimal

from pg8000.native import Connection, identifier

SILENTLY_EDITED = {
    "sales_order": (
        "staff_id",
        "design_id",
        "agreed_delivery_date",
        "agreed_delivery_location_id",
    ),
    "purchase_order": (
        "staff_id",
        "item_code",
        "agreed_delivery_date",
        "agreed_delivery_location_id",
    ),
    "design": ("file_location",),
}

_CODE_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_LOOKS = ("Canvas", "Velvet", "Copper", "Marble", "Linen", "Amber", "Cork", "Slate")
_FOLDERS = ("/usr/share", "/opt/designs", "/home/user/dir", "/var/lib", "/net", "/srv", "/lib64")
_REFERENCES = {
    "staff_id": "staff",
    "design_id": "design",
    "counterparty_id": "counterparty",
    "currency_id": "currency",
    "agreed_delivery_location_id": "address",
}
_SHARES = 1_000_000


def add_sales_order(connection: Connection, rng: random.Random, at: datetime) -> int:
    """Insert a sale with its transaction and payment, dated `at`; return its key."""
    return _add_order(
        connection,
        rng,
        at,
        table="sales_order",
        references=("staff_id", "counterparty_id", "currency_id", "design_id"),
        values={
            "units_sold": rng.randint(1000, 100_000),
            "unit_price": Decimal(rng.randint(200, 400)) / 100,
        },
        amount='"units_sold" * "unit_price"',
        payment={"type": "SALE", "payment_type": 1},
    )


def add_purchase_order(connection: Connection, rng: random.Random, at: datetime) -> int:
    """Insert a purchase with its transaction and payment, dated `at`; return its key."""
    return _add_order(
        connection,
        rng,
        at,
        table="purchase_order",
        references=("staff_id", "counterparty_id", "currency_id"),
        values={
            "item_code": _code(rng, 7),
            "item_quantity": rng.randint(1, 1000),
            "item_unit_price": Decimal(rng.randint(300, 100_000)) / 100,
        },
        amount='"item_quantity" * "item_unit_price"',
        payment={"type": "PURCHASE", "payment_type": 3},
    )


def add_design(connection: Connection, rng: random.Random, at: datetime) -> int:
    """Insert a design, dated `at`; return its key."""
    look = rng.choice(_LOOKS)
    drawn = at - timedelta(days=rng.randrange(500))
    rows = connection.run(
        """
        INSERT INTO "design"
            ("created_at", "design_name", "file_location", "file_name", "last_updated")
        VALUES (:at, :look, :folder, :file, :at)
        RETURNING "design_id" """,
        at=at,
        look=look,
        folder=rng.choice(_FOLDERS),
        file=f"{look.lower()}-{drawn:%Y%m%d}-{_code(rng, 4).lower()}.json",
    )
    return int(rows[0][0])


def pay_due(connection: Connection, at: datetime) -> int:
    """Mark the payments due on the day of `at` as paid, all at that instant; return how many."""
    connection.run(
        """
        UPDATE "payment" SET "paid" = true, "last_updated" = :at
        WHERE "payment_date" = :day AND NOT "paid" """,
        at=at,
        day=str(at.date()),
    )
    return int(connection.row_count)


def edit_silently(connection: Connection, rng: random.Random, table: str, day: date) -> int:
    """Edit a row of any age in a table of `SILENTLY_EDITED`, leaving last_updated as it was.

    Returns:
        How many rows differ now: 1, or 0 when chance chose the value that was there already.
    """
    column = rng.choice(SILENTLY_EDITED[table])
    values: dict[str, object] = {
        "agreed_delivery_date": str(day + timedelta(days=rng.randint(1, 7))),
        "item_code": _code(rng, 7),
        "file_location": rng.choice(_FOLDERS),
    }
    name, key = identifier(column), identifier(f"{table}_id")
    new = _any(_REFERENCES[column], "value") if column in _REFERENCES else ":value"
    connection.run(
        f"""
        UPDATE {identifier(table)} SET {name} = {new}
        WHERE {key} = {_any(table, "row")} AND {name} IS DISTINCT FROM {new}""",
        row=rng.randrange(_SHARES),
        value=values.get(column, rng.randrange(_SHARES)),
    )
    return int(connection.row_count)


def edit(
    connection: Connection,
    table: str,
    key: int,
    values: Mapping[str, object],
    last_updated: datetime | None = None,
) -> None:
    """Set columns of a row; last_updated moves only when it is given.

    Raises:
        LookupError: When no row has the key.
    """
    changes = dict(values) | ({"last_updated": last_updated} if last_updated else {})
    assignments = ", ".join(f"{identifier(name)} = :v{n}" for n, name in enumerate(changes))
    _run_for_one_row(
        connection,
        f"UPDATE {identifier(table)} SET {assignments} WHERE {identifier(f'{table}_id')} = :key",
        table,
        key,
        **{f"v{n}": value for n, value in enumerate(changes.values())},
    )


def rewrite(connection: Connection, table: str, key: int) -> None:
    """Update a row to what it is: a new row version with the same content."""
    name = identifier(f"{table}_id")
    sql = f"UPDATE {identifier(table)} SET {name} = {name} WHERE {name} = :key"
    _run_for_one_row(connection, sql, table, key)


def delete_order(connection: Connection, table: str, key: int) -> None:
    """Delete a row of "sales_order" or "purchase_order" with its transaction and payment.

    Raises:
        LookupError: When no row has the key.
    """
    name = identifier(f"{table}_id")
    with transaction(connection):
        connection.run(
            f"""
            DELETE FROM "payment" USING "transaction" AS "t"
            WHERE "payment"."transaction_id" = "t"."transaction_id" AND "t".{name} = :key""",
            key=key,
        )
        connection.run(f'DELETE FROM "transaction" WHERE {name} = :key', key=key)
        sql = f"DELETE FROM {identifier(table)} WHERE {name} = :key"
        _run_for_one_row(connection, sql, table, key)


def delete_unused_design(connection: Connection) -> int:
    """Delete the newest design that was never sold; return its key.

    Raises:
        LookupError: When all were sold.
    """
    rows = connection.run(
        """
        DELETE FROM "design" WHERE "design_id" = (
            SELECT max("design_id") FROM "design" AS "d"
            WHERE NOT EXISTS (SELECT FROM "sales_order" WHERE "design_id" = "d"."design_id")
        )
        RETURNING "design_id" """
    )
    if not rows:
        raise LookupError("Every design was sold at least once: add one before deleting one.")
    return int(rows[0][0])


def _add_order(
    connection: Connection,
    rng: random.Random,
    at: datetime,
    *,
    table: str,
    references: tuple[str, ...],
    values: Mapping[str, object],
    amount: str,
    payment: Mapping[str, object],
) -> int:
    """Insert order, transaction and payment in one statement, so in one transaction."""
    bound = dict(values) | {
        "created_at": at,
        "last_updated": at,
        "agreed_delivery_date": str(at.date() + timedelta(days=rng.randint(1, 14) // 2)),
        "agreed_payment_date": str(at.date() + timedelta(days=rng.randint(1, 12) // 2)),
    }
    chosen = (*references, "agreed_delivery_location_id")
    columns = ", ".join(identifier(name) for name in (*bound, *chosen))
    expressions = [f":{name}" for name in bound]
    expressions += [_any(_REFERENCES[name], name) for name in chosen]
    key = identifier(f"{table}_id")
    rows = connection.run(
        f"""
        WITH "new_order" AS (
            INSERT INTO {identifier(table)} ({columns})
            VALUES ({", ".join(expressions)})
            RETURNING *, {amount} AS "amount"
        ), "new_transaction" AS (
            INSERT INTO "transaction" ("transaction_type", {key}, "created_at",
                "last_updated")
            SELECT CAST(:type AS "TransactionType"), {key}, "created_at",
                "last_updated"
            FROM "new_order"
            RETURNING *
        )
        INSERT INTO "payment" ("created_at", "last_updated", "transaction_id", "counterparty_id",
            "payment_amount", "currency_id", "payment_type_id", "paid", "payment_date",
            "company_ac_number", "counterparty_ac_number")
        SELECT "o"."created_at", "o"."last_updated", "transaction_id", "counterparty_id",
            "amount", "currency_id", CAST(:payment_type AS integer), false, "agreed_payment_date",
            CAST(:company AS integer), CAST(:other AS integer)
        FROM "new_order" AS "o", "new_transaction"
        RETURNING (SELECT {key} FROM "new_order")""",
        **bound,
        **payment,
        **{name: rng.randrange(_SHARES) for name in chosen},
        company=rng.randint(10_000_000, 99_999_999),
        other=rng.randint(10_000_000, 99_999_999),
    )
    return int(rows[0][0])


def _any(table: str, share: str) -> str:
    """SQL for the key of the row that lies a millionth, :share times, into a table."""
    name, key = identifier(table), identifier(f"{table}_id")
    return (
        f"(SELECT {key} FROM {name} WHERE {key} >"
        f" CAST(:{share} AS bigint) * (SELECT max({key}) FROM {name}) / {_SHARES}"
        f" ORDER BY {key} LIMIT 1)"
    )


def _code(rng: random.Random, length: int) -> str:
    return "".join(rng.choices(_CODE_CHARACTERS, k=length))


def _run_for_one_row(
    connection: Connection, sql: str, table: str, key: int, **values: object
) -> None:
    connection.run(sql, key=key, **values)
    if connection.row_count != 1:
        raise LookupError(f"{table} has no row with {table}_id {key}")


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """Commit what the block does, or nothing of it."""
    connection.run("BEGIN")
    try:
        yield
    except BaseException:
        connection.run("ROLLBACK")
        raise
    connection.run("COMMIT")
