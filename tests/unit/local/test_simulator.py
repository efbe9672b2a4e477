"""The living ToteSys: the same for the same seed, and with every habit of the real one."""

from collections.abc import Callable
from datetime import date, datetime
from random import Random

import pytest
from pg8000.native import Connection, identifier

from local.postgres import PostgresServer, connect
from local.simulator import Activity, Size, advance, create, is_created
from local.totesys import changes

OpenDatabase = Callable[..., Connection]

SEED = 42
THURSDAY, FRIDAY, MONDAY = date(2024, 8, 22), date(2024, 8, 23), date(2024, 8, 26)
SMALL = Size(sales_orders=985, purchase_orders=411, designs=42)
TABLES = {
    "address": 30,
    "counterparty": 20,
    "currency": 3,
    "department": 8,
    "design": 424,
    "payment": 13959,
    "payment_type": 4,
    "purchase_order": 4114,
    "sales_order": 9845,
    "staff": 20,
    "transaction": 13959,
}

# Each selects the rows that break a habit of the real company.
NEVER = {
    "an order without exactly one transaction and payment of the same millisecond": """
        SELECT FROM (
            SELECT 'SALE' AS kind, sales_order_id AS id, created_at, counterparty_id, currency_id,
                units_sold * unit_price AS amount, agreed_payment_date FROM sales_order
            UNION ALL
            SELECT 'PURCHASE', purchase_order_id, created_at, counterparty_id, currency_id,
                item_quantity * item_unit_price, agreed_payment_date FROM purchase_order
        ) AS o
        LEFT JOIN transaction AS t
            ON t.transaction_type::text = kind AND t.created_at = o.created_at
            AND CASE kind WHEN 'SALE' THEN sales_order_id = id AND purchase_order_id IS NULL
                ELSE purchase_order_id = id AND sales_order_id IS NULL END
        LEFT JOIN payment AS p ON p.transaction_id = t.transaction_id
            AND p.created_at = o.created_at AND p.payment_amount = o.amount
            AND p.counterparty_id = o.counterparty_id AND p.currency_id = o.currency_id
            AND p.payment_date = o.agreed_payment_date
            AND p.payment_type_id = CASE kind WHEN 'SALE' THEN 1 ELSE 3 END
        WHERE p.payment_id IS NULL""",
    "a transaction or payment without an order": """
        SELECT WHERE (SELECT count(*) FROM transaction) <> (SELECT count(*) FROM payment)
            OR (SELECT count(*) FROM transaction) <>
                (SELECT count(*) FROM sales_order) + (SELECT count(*) FROM purchase_order)""",
    "business out of hours": """
        SELECT FROM (SELECT created_at FROM transaction UNION ALL
            SELECT created_at FROM design WHERE design_id > 10) AS o
        WHERE extract(isodow FROM created_at) > 5 OR created_at::time < '08:00'
            OR created_at::time >= '19:00'""",
    "an id out of the order of time": """
        SELECT FROM (SELECT created_at < lag(created_at) OVER (ORDER BY transaction_id) AS late
            FROM transaction) AS t WHERE late""",
    "paid on another day than a due working day, or not at 07:55": """
        SELECT FROM payment WHERE paid AND (last_updated::date::text <> payment_date
            OR extract(isodow FROM payment_date::date) > 5
            OR to_char(last_updated, 'HH24:MI') <> '07:55' OR last_updated <= created_at)""",
    "unpaid although due on a working day that has come": """
        SELECT FROM payment WHERE NOT paid AND extract(isodow FROM payment_date::date) < 6
            AND payment_date > created_at::date::text
            AND payment_date <= (SELECT max(created_at)::date::text FROM payment)""",
    "an unpaid payment that was updated": """
        SELECT FROM payment WHERE NOT paid AND last_updated <> created_at""",
    "two instants of one day's batch": """
        SELECT FROM payment WHERE paid GROUP BY payment_date
        HAVING count(DISTINCT last_updated) > 1""",
    "an order that was touched": """
        SELECT last_updated FROM sales_order WHERE last_updated <> created_at
        UNION ALL
        SELECT last_updated FROM purchase_order WHERE last_updated <> created_at""",
    "a design sold before it was made": """
        SELECT FROM sales_order AS s JOIN design AS d USING (design_id)
        WHERE s.created_at < d.created_at""",
    "a number out of its range": """
        SELECT 1 FROM sales_order
        WHERE units_sold NOT BETWEEN 1000 AND 100000 OR unit_price NOT BETWEEN 2 AND 4
        UNION ALL
        SELECT 1 FROM purchase_order
        WHERE item_quantity NOT BETWEEN 1 AND 1000 OR item_unit_price NOT BETWEEN 3 AND 1000
        UNION ALL
        SELECT 1 FROM payment WHERE company_ac_number NOT BETWEEN 10000000 AND 99999999
            OR counterparty_ac_number NOT BETWEEN 10000000 AND 99999999""",
    "a date that is no yyyy-mm-dd, or before its order": """
        SELECT FROM (
            SELECT created_at, unnest(ARRAY[agreed_delivery_date, agreed_payment_date]) AS day
            FROM sales_order
        ) AS o
        WHERE day !~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$'
            OR day::date - created_at::date NOT BETWEEN 0 AND 7""",
    "an item code of another form": """
        SELECT FROM purchase_order WHERE item_code !~ '^[A-Z0-9]{7}$'""",
    "a department without location or manager": """
        SELECT FROM department WHERE location IS NULL OR manager IS NULL""",
}

SOMETIMES = {
    "an apostrophe in a name": "SELECT FROM staff WHERE last_name LIKE '%''%'",
    "an apostrophe in an e-mail": "SELECT FROM staff WHERE email_address LIKE '%''%'",
    "a comma in a name": "SELECT FROM counterparty WHERE counterparty_legal_name LIKE '%,%'",
    "leading zeros in a postal code": "SELECT FROM address WHERE postal_code LIKE '0%'",
    "leading zeros in a phone number": "SELECT FROM address WHERE phone LIKE '0%'",
    "leading zeros in an address": "SELECT FROM address WHERE address_line_1 LIKE '0%'",
    "leading zeros in an item code": "SELECT FROM purchase_order WHERE item_code LIKE '0%'",
    "an item code of digits": "SELECT FROM purchase_order WHERE item_code ~ '^[0-9]+$'",
    "an item code like a float": "SELECT FROM purchase_order WHERE item_code ~ '^[0-9]+E[0-9]+$'",
    "no second line": "SELECT FROM address WHERE address_line_2 IS NULL",
    "a second line": "SELECT FROM address WHERE address_line_2 IS NOT NULL",
    "no district": "SELECT FROM address WHERE district IS NULL",
    "a district": "SELECT FROM address WHERE district IS NOT NULL",
    "no contact": "SELECT FROM counterparty WHERE commercial_contact IS NULL",
    "milliseconds": "SELECT FROM design WHERE date_trunc('second', created_at) < created_at",
    "paid": "SELECT FROM payment WHERE paid",
    "due on a weekend": "SELECT FROM payment WHERE extract(isodow FROM payment_date::date) > 5",
    "migrations": "SELECT FROM _prisma_migrations",
}


@pytest.fixture(scope="module")
def history(open_database: OpenDatabase) -> Connection:
    """A history of real size, not to be changed."""
    connection = open_database("history")
    create(connection, SEED, last_day=THURSDAY)
    return connection


@pytest.fixture(scope="module")
def small(postgres: PostgresServer) -> str:
    """The name of a database with a small history, to be copied."""
    postgres.ensure_database("small")
    connection = connect(postgres.url("small"))
    create(connection, SEED, SMALL, last_day=THURSDAY)
    connection.close()
    return "small"


@pytest.fixture
def company(small: str, open_database: OpenDatabase, request: pytest.FixtureRequest) -> Connection:
    """A small history of the test's own."""
    return open_database(request.node.name, small)


def count(connection: Connection, query: str) -> int:
    return int(connection.run(f"SELECT count(*) FROM ({query}) AS q")[0][0])


def rows_of(connection: Connection, table: str) -> dict[int, list[object]]:
    """Rows by key, last_updated last, all else before it."""
    query = f"SELECT * FROM {identifier(table)}"
    rows = connection.run(query)
    names = [column["name"] for column in connection.columns]
    key, last = names.index(f"{table}_id"), names.index("last_updated")
    return {row[key]: [*row[:last], *row[last + 1 :], row[last]] for row in rows}


def content_of(connection: Connection) -> dict[str, dict[int, list[object]]]:
    return {table: rows_of(connection, table) for table in TABLES}


@pytest.mark.parametrize("table", TABLES)
def test_real_size(history: Connection, table: str) -> None:
    assert count(history, f"SELECT FROM {identifier(table)}") == TABLES[table]


@pytest.mark.parametrize("habit", NEVER)
def test_never(history: Connection, habit: str) -> None:
    assert count(history, NEVER[habit]) == 0


@pytest.mark.parametrize("quirk", SOMETIMES)
def test_sometimes(history: Connection, quirk: str) -> None:
    assert count(history, SOMETIMES[quirk]) > 0


def test_history_begins_and_ends_on_its_days(history: Connection) -> None:
    first, last = history.run("SELECT min(created_at), max(created_at) FROM sales_order")[0]
    assert (first.date(), last.date()) == (date(2022, 11, 3), THURSDAY)


def test_every_reference_leads_somewhere(history: Connection) -> None:
    """The history is written with triggers off, so the keys prove nothing by themselves."""
    keys = history.run(
        "SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE contype='f'"
    )
    assert len(keys) == 17
    history.run("BEGIN")
    for table, name in keys:
        definition = history.run(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = :name", name=name
        )[0][0]
        history.run(f"ALTER TABLE {table} DROP CONSTRAINT {name}, ADD {definition}")
    history.run("ROLLBACK")


def test_same_seed_same_data(company: Connection, open_database: OpenDatabase) -> None:
    twin, other = open_database("twin"), open_database("other seed")
    create(twin, SEED, SMALL, last_day=THURSDAY)
    create(other, SEED + 1, SMALL, last_day=THURSDAY)
    assert content_of(company) == content_of(twin)
    assert rows_of(company, "sales_order") != rows_of(other, "sales_order")
    assert rows_of(company, "currency") == rows_of(other, "currency")

    done = advance(company, SEED, days=2)
    assert done == advance(twin, SEED, days=1) + advance(twin, SEED, days=1)
    assert content_of(company) == content_of(twin)


def test_a_failed_creation_leaves_nothing(open_database: OpenDatabase) -> None:
    connection = open_database("failed")
    with pytest.raises(Exception, match="division by zero"):
        create(connection, SEED, Size(staff=0))
    assert not is_created(connection)
    create(connection, SEED, SMALL)
    assert is_created(connection)


def test_days_go_on_where_the_data_end(company: Connection) -> None:
    heard: list[tuple[date, Activity]] = []
    before = content_of(company)
    done = advance(company, SEED, until=MONDAY, on_day=lambda *told: heard.append(told))
    assert [day for day, _ in heard] == [FRIDAY, MONDAY]
    assert sum((activity for _, activity in heard), Activity()) == done
    assert done.working_days == 2
    assert 30 <= done.sales_orders <= 58
    assert advance(company, SEED, until=MONDAY) == Activity()

    after = content_of(company)
    added = {table: len(after[table]) - len(before[table]) for table in TABLES}
    assert added["sales_order"] == done.sales_orders
    assert added["purchase_order"] == done.purchase_orders
    assert added["design"] == done.designs
    assert added["payment"] == done.sales_orders + done.purchase_orders
    for habit in set(NEVER) - {"a date that is no yyyy-mm-dd, or before its order"}:
        assert count(company, NEVER[habit]) == 0, habit


def test_every_order_is_a_transaction_of_its_own(company: Connection) -> None:
    done = advance(company, SEED, days=1)
    versions = company.run(
        """
        SELECT s.xmin::text, t.xmin::text, p.xmin::text
        FROM sales_order AS s JOIN transaction AS t USING (sales_order_id)
        JOIN payment AS p USING (transaction_id) WHERE s.created_at::date = :day""",
        day=FRIDAY,
    )
    assert len({order for order, _, _ in versions}) == done.sales_orders
    assert all(order == transaction == payment for order, transaction, payment in versions)


def test_a_day_is_paid_in_one_transaction(company: Connection) -> None:
    done = advance(company, SEED, days=1)
    query = "SELECT xmin::text, last_updated FROM payment WHERE last_updated::date = :day AND paid"
    rows = company.run(query, day=FRIDAY)
    assert len(rows) == done.payments_paid > 0
    assert len({tuple(row) for row in rows}) == 1


def test_silent_edits_are_real_and_silent(company: Connection) -> None:
    before = content_of(company)
    done = advance(company, SEED, days=15)
    after = content_of(company)
    changed = 0
    for table in set(TABLES) - {"payment"}:
        for key, row in before[table].items():
            assert after[table][key][-1] == row[-1], "last_updated moved"
            changed += after[table][key] != row
            assert table in changes.SILENTLY_EDITED or after[table][key] == row
    # A row may be edited twice, or be younger than `before`.
    assert 0 < changed <= done.silent_edits
    assert 5 <= done.silent_edits <= 36


@pytest.mark.parametrize(
    ("table", "column"),
    [(table, column) for table, columns in changes.SILENTLY_EDITED.items() for column in columns],
)
def test_each_kind_of_silent_edit(
    company: Connection, monkeypatch: pytest.MonkeyPatch, table: str, column: str
) -> None:
    monkeypatch.setitem(changes.SILENTLY_EDITED, table, (column,))
    before = rows_of(company, table)
    edited = sum(changes.edit_silently(company, Random(n), table, FRIDAY) for n in range(5))
    after = rows_of(company, table)
    differing = [key for key in before if before[key] != after[key]]
    assert 3 <= len(differing) == edited
    for key in differing:
        pairs = zip(before[key], after[key], strict=True)
        assert sum(old != new for old, new in pairs) == 1


def test_an_order_may_come_late(company: Connection) -> None:
    at = datetime(2023, 1, 2, 9, 30, 0, 7000)
    key = changes.add_sales_order(company, Random(1), at)
    assert key == SMALL.sales_orders + 1
    assert company.run(
        """
        SELECT s.created_at, t.last_updated, payment_amount = units_sold * unit_price
        FROM sales_order AS s JOIN transaction AS t USING (sales_order_id)
        JOIN payment USING (transaction_id) WHERE sales_order_id = :key""",
        key=key,
    ) == [[at, at, True]]


@pytest.mark.parametrize("table", ["sales_order", "purchase_order"])
def test_an_order_is_deleted_with_all_that_hangs_on_it(company: Connection, table: str) -> None:
    before = content_of(company)
    changes.delete_order(company, table, 7)
    after = content_of(company)
    assert set(before[table]) - set(after[table]) == {7}
    for other in ("transaction", "payment"):
        assert len(before[other]) - len(after[other]) == 1
    with pytest.raises(LookupError, match=f"{table} has no row with {table}_id 7"):
        changes.delete_order(company, table, 7)


def test_an_unused_design_is_deleted(company: Connection) -> None:
    key = changes.add_design(company, Random(1), datetime(2023, 1, 2, 9, 30))
    assert changes.delete_unused_design(company) == key
    assert key not in rows_of(company, "design")


@pytest.mark.parametrize("at", [None, datetime(2024, 8, 26, 9, 0)])
def test_an_edit_moves_last_updated_only_when_told(
    company: Connection, at: datetime | None
) -> None:
    before = rows_of(company, "department")
    changes.edit(company, "department", 3, {"location": "St. John's", "manager": None}, at)
    after = rows_of(company, "department")
    assert after[3][2:4] == ["St. John's", None]
    assert after[3][-1] == (at or before[3][-1])
    assert [key for key in before if before[key] != after[key]] == [3]


def test_a_rewrite_changes_the_version_alone(company: Connection) -> None:
    query = "SELECT xmin::text, address::text FROM address WHERE address_id = 1"
    before = company.run(query)[0]
    changes.rewrite(company, "address", 1)
    after = company.run(query)[0]
    assert (before[0] != after[0], before[1]) == (True, after[1])
