"""Every table, declared once: the 11 of the source and the 11 of the star.

Source columns stand in the source's order with the type that PostgreSQL's ``format_type``
prints for them; star columns in the warehouse's order with the warehouse's types. The jobs,
the warehouse's DDL, the crawlers and the tests all read these declarations.
"""

from dataclasses import dataclass
from datetime import timedelta

INTEGER = "integer"
TEXT = "text"
VARCHAR = "character varying"
BOOLEAN = "boolean"
DATE = "date"
TIME = "time without time zone"
TIMESTAMP = "timestamp(3) without time zone"
MONEY = "numeric(10,2)"
NUMERIC = "numeric"

# PostgreSQL type -> Spark type of the same values in the lake. Athena has no TIME column, so
# times are text there. The star's NUMERIC columns have no precision; what fills them is
# numeric(10,2) in the source.
SPARK_TYPES = {
    INTEGER: "int",
    TEXT: "string",
    VARCHAR: "string",
    "character varying(3)": "string",
    '"PaymentTypeName"': "string",
    '"TransactionType"': "string",
    BOOLEAN: "boolean",
    DATE: "date",
    TIME: "string",
    TIMESTAMP: "timestamp_ntz",
    MONEY: "decimal(10,2)",
    NUMERIC: "decimal(10,2)",
}

# What a raw row carries besides the source's columns.
ROW_XMIN = "row_xmin"  # id of the source transaction that wrote this version, 32 bits
ROW_CHANGE = "row_change"  # why the row is in the batch: one of the next three
CHANGE, LOOKUP, TOMBSTONE = "change", "lookup", "tombstone"
# What a processed row carries besides the star's columns.
ROW_DELETED = "row_deleted"
QUARANTINE = "quarantine"
# The batch that a row came with: in every processed row, and in a raw row of a merged folder.
ROW_BATCH = "row_batch"
# What becomes of a source table that is not as declared (see ``drift``).
EVOLVE, STRICT = "evolve", "strict"
# What becomes of a row that breaks a rule.
REJECT, WARN, STOP = "reject", "warn", "stop"
# Of the candidates of a batch: how many have the same key.
KEY_COPIES = "key_copies"
# Of the candidates for fact_payment: quantity times price of the order that is paid.
ORDER_AMOUNT = "order_amount"


@dataclass(frozen=True)
class Column:
    """One column: its name, its PostgreSQL type, and what the table demands of it.

    Attributes:
        name: As in the database.
        type: As ``format_type`` prints it.
        nullable: Whether NULL is allowed.
        references: For a fact's column, the dimension that it points to.
        needed: For a source's column, whether the star is made from it.
    """

    name: str
    type: str
    nullable: bool = False
    references: str | None = None
    needed: bool = True

    @property
    def spark_type(self) -> str:
        """The Spark SQL type of the same values in the lake."""
        return SPARK_TYPES[self.type]


@dataclass(frozen=True)
class Watermark:
    """How a table that is too big to scan says what changed.

    Attributes:
        column: A timestamp of the table that is never null and has an index.
        overlap: How long after its timestamp a row may still be committed.
        sweep_every: How often, at the most, the whole table is compared because PostgreSQL has
            counted deletions; only that finds them, and edits that leave the column alone.
    """

    column: str
    overlap: timedelta
    sweep_every: timedelta = timedelta(days=1)


@dataclass(frozen=True)
class SourceTable:
    """One table of the source: one row per ``key``, a whole number.

    Attributes:
        name: As in the source.
        key: Name of the key column.
        columns: All columns, in the source's order.
        drift: Policy for a table that is not as declared: ``evolve`` takes what loses nothing
            and stops for what the star needs, ``strict`` stops for any difference.
        watermark: For a table that is not scanned; not for one that a dimension joins.
    """

    name: str
    key: str
    columns: tuple[Column, ...]
    drift: str = EVOLVE
    watermark: Watermark | None = None

    @property
    def raw_schema(self) -> str:
        """Spark DDL of the declared columns and the row's own, as the raw zone holds them."""
        return ", ".join(
            [f"`{c.name}` {c.spark_type}" for c in self.columns]
            + [f"{ROW_XMIN} bigint", f"{ROW_CHANGE} string"]
        )


@dataclass(frozen=True)
class Rule:
    """What holds for every row of a star table, besides what its columns demand.

    Attributes:
        name: Of the rule.
        holds: Spark SQL condition over the columns; what cannot be told counts as holding.
        columns: The columns that it looks at, whose values a message shows.
        action: ``reject`` sends the row to quarantine, ``warn`` counts it, ``stop`` ends the run
            before anything is committed.
    """

    name: str
    holds: str
    columns: tuple[str, ...]
    action: str = REJECT


@dataclass(frozen=True)
class StarTable:
    """One table of the star.

    Attributes:
        name: As in the warehouse.
        grain: What one row is, in words.
        key: The natural key: a dimension's primary key, or the order's or payment's id.
        source: The source table whose rows become its rows; None for dim_date.
        columns: All columns but the record id, in the warehouse's order.
        record_id: For a fact, the serial primary key that the warehouse gives each version.
        rules: What holds for its rows besides what ``columns`` demand.
    """

    name: str
    grain: str
    key: str
    source: str | None
    columns: tuple[Column, ...]
    record_id: str | None = None
    rules: tuple[Rule, ...] = ()

    @property
    def is_fact(self) -> bool:
        """Whether every version is kept, rather than the latest."""
        return self.record_id is not None

    @property
    def column_names(self) -> list[str]:
        """Names of ``columns``, in order."""
        return [column.name for column in self.columns]

    @property
    def lake_schema(self) -> str:
        """Spark DDL of the star's columns and ``row_deleted``, as the processed zone holds them."""
        return ", ".join(
            [f"`{c.name}` {c.spark_type}" for c in self.columns] + [f"{ROW_DELETED} boolean"]
        )


@dataclass(frozen=True)
class Join:
    """A dimension that is built from two source tables: ``child.column`` is ``parent``'s key.

    When a row of one side changes, its counterparts of the other side join the batch as
    lookups, so that the dimension can be built from the batch alone.
    """

    child: str
    column: str
    parent: str


JOINS = (
    Join(child="staff", column="department_id", parent="department"),
    Join(child="counterparty", column="legal_address_id", parent="address"),
)

_CREATED = Column("created_at", TIMESTAMP)
_UPDATED = Column("last_updated", TIMESTAMP)
# The dimensions have no moments.
_CREATED_ASIDE = Column("created_at", TIMESTAMP, needed=False)
_UPDATED_ASIDE = Column("last_updated", TIMESTAMP, needed=False)


def _source(name: str, *columns: Column) -> SourceTable:
    return SourceTable(name=name, key=f"{name}_id", columns=columns)


SOURCE: dict[str, SourceTable] = {
    table.name: table
    for table in (
        _source(
            "address",
            Column("address_id", INTEGER),
            Column("address_line_1", TEXT),
            Column("address_line_2", TEXT, nullable=True),
            Column("district", TEXT, nullable=True),
            Column("city", TEXT),
            Column("postal_code", TEXT),
            Column("country", TEXT),
            Column("phone", TEXT),
            _CREATED_ASIDE,
            _UPDATED_ASIDE,
        ),
        _source(
            "counterparty",
            Column("counterparty_id", INTEGER),
            Column("counterparty_legal_name", TEXT),
            Column("legal_address_id", INTEGER),
            Column("commercial_contact", TEXT, nullable=True, needed=False),
            Column("delivery_contact", TEXT, nullable=True, needed=False),
            _CREATED_ASIDE,
            _UPDATED_ASIDE,
        ),
        _source(
            "currency",
            Column("currency_id", INTEGER),
            Column("currency_code", "character varying(3)"),
            _CREATED_ASIDE,
            _UPDATED_ASIDE,
        ),
        _source(
            "department",
            Column("department_id", INTEGER),
            Column("department_name", TEXT),
            Column("location", TEXT, nullable=True),
            Column("manager", TEXT, nullable=True, needed=False),
            _CREATED_ASIDE,
            _UPDATED_ASIDE,
        ),
        _source(
            "design",
            Column("design_id", INTEGER),
            _CREATED_ASIDE,
            Column("design_name", TEXT),
            Column("file_location", TEXT),
            Column("file_name", TEXT),
            _UPDATED_ASIDE,
        ),
        _source(
            "payment",
            Column("payment_id", INTEGER),
            _CREATED,
            _UPDATED,
            Column("transaction_id", INTEGER),
            Column("counterparty_id", INTEGER),
            Column("payment_amount", MONEY),
            Column("currency_id", INTEGER),
            Column("payment_type_id", INTEGER),
            Column("paid", BOOLEAN),
            Column("payment_date", TEXT),
            Column("company_ac_number", INTEGER, needed=False),
            Column("counterparty_ac_number", INTEGER, needed=False),
        ),
        _source(
            "payment_type",
            Column("payment_type_id", INTEGER),
            Column("payment_type_name", '"PaymentTypeName"'),
            _CREATED_ASIDE,
            _UPDATED_ASIDE,
        ),
        _source(
            "purchase_order",
            Column("purchase_order_id", INTEGER),
            _CREATED,
            _UPDATED,
            Column("staff_id", INTEGER),
            Column("counterparty_id", INTEGER),
            Column("item_code", TEXT),
            Column("item_quantity", INTEGER),
            Column("item_unit_price", MONEY),
            Column("currency_id", INTEGER),
            Column("agreed_delivery_date", TEXT),
            Column("agreed_payment_date", TEXT),
            Column("agreed_delivery_location_id", INTEGER),
        ),
        _source(
            "sales_order",
            Column("sales_order_id", INTEGER),
            _CREATED,
            _UPDATED,
            Column("design_id", INTEGER),
            Column("staff_id", INTEGER),
            Column("counterparty_id", INTEGER),
            Column("units_sold", INTEGER),
            Column("unit_price", MONEY),
            Column("currency_id", INTEGER),
            Column("agreed_delivery_date", TEXT),
            Column("agreed_payment_date", TEXT),
            Column("agreed_delivery_location_id", INTEGER),
        ),
        _source(
            "staff",
            Column("staff_id", INTEGER),
            Column("first_name", TEXT),
            Column("last_name", TEXT),
            Column("department_id", INTEGER),
            Column("email_address", TEXT),
            _CREATED_ASIDE,
            _UPDATED_ASIDE,
        ),
        _source(
            "transaction",
            Column("transaction_id", INTEGER),
            Column("transaction_type", '"TransactionType"'),
            Column("sales_order_id", INTEGER, nullable=True),
            Column("purchase_order_id", INTEGER, nullable=True),
            _CREATED_ASIDE,
            _UPDATED_ASIDE,
        ),
    )
}


def _dimension(
    name: str, grain: str, source: str | None, *columns: Column, rules: tuple[Rule, ...] = ()
) -> StarTable:
    key = columns[0].name
    return StarTable(name, grain, key, source, columns, rules=(_unique(key), *rules))


def _fact(
    name: str, grain: str, record_id: str, source: str, *columns: Column, rules: tuple[Rule, ...]
) -> StarTable:
    key = columns[0].name
    return StarTable(name, grain, key, source, columns, record_id, (_unique(key), *rules))


def _unique(key: str) -> Rule:
    # Of two rows of one key nobody can tell the right one, and all that follows counts on it.
    return Rule(
        f"{key}_unique", f"{key} IS NULL OR {KEY_COPIES} = 1", (key, KEY_COPIES), action=STOP
    )


def _positive(column: str) -> Rule:
    return Rule(f"{column}_positive", f"{column} > 0", (column,))


def _date(name: str) -> Column:
    return Column(name, DATE, references="dim_date")


_MOMENTS = (
    _date("created_date"),
    Column("created_time", TIME),
    _date("last_updated_date"),
    Column("last_updated_time", TIME),
)
_COUNTERPARTY = Column("counterparty_id", INTEGER, references="dim_counterparty")
_CURRENCY = Column("currency_id", INTEGER, references="dim_currency")
_DELIVERY_LOCATION = Column("agreed_delivery_location_id", INTEGER, references="dim_location")

# Dimensions first: it is the order in which the warehouse can be filled.
STAR: dict[str, StarTable] = {
    table.name: table
    for table in (
        _dimension(
            "dim_date",
            "one row per day of every year that an order or a payment touches",
            None,
            Column("date_id", DATE),
            Column("year", INTEGER),
            Column("month", INTEGER),
            Column("day", INTEGER),
            Column("day_of_week", INTEGER),
            Column("day_name", VARCHAR),
            Column("month_name", VARCHAR),
            Column("quarter", INTEGER),
        ),
        _dimension(
            "dim_staff",
            "one row per member of staff, with the department's name and location",
            "staff",
            Column("staff_id", INTEGER),
            Column("first_name", VARCHAR),
            Column("last_name", VARCHAR),
            Column("department_name", VARCHAR),
            Column("location", VARCHAR),
            Column("email_address", VARCHAR),
        ),
        _dimension(
            "dim_location",
            "one row per address",
            "address",
            Column("location_id", INTEGER),
            Column("address_line_1", VARCHAR),
            Column("address_line_2", VARCHAR, nullable=True),
            Column("district", VARCHAR, nullable=True),
            Column("city", VARCHAR),
            Column("postal_code", VARCHAR),
            Column("country", VARCHAR),
            Column("phone", VARCHAR),
        ),
        _dimension(
            "dim_currency",
            "one row per currency, with its ISO 4217 name",
            "currency",
            Column("currency_id", INTEGER),
            Column("currency_code", VARCHAR),
            Column("currency_name", VARCHAR),
        ),
        _dimension(
            "dim_design",
            "one row per design",
            "design",
            Column("design_id", INTEGER),
            Column("design_name", VARCHAR),
            Column("file_location", VARCHAR),
            Column("file_name", VARCHAR),
        ),
        _dimension(
            "dim_counterparty",
            "one row per counterparty, with its legal address",
            "counterparty",
            Column("counterparty_id", INTEGER),
            Column("counterparty_legal_name", VARCHAR),
            Column("counterparty_legal_address_line_1", VARCHAR),
            Column("counterparty_legal_address_line_2", VARCHAR, nullable=True),
            Column("counterparty_legal_district", VARCHAR, nullable=True),
            Column("counterparty_legal_city", VARCHAR),
            Column("counterparty_legal_postal_code", VARCHAR),
            Column("counterparty_legal_country", VARCHAR),
            Column("counterparty_legal_phone_number", VARCHAR),
        ),
        _dimension(
            "dim_transaction",
            "one row per transaction: of one sales order or one purchase order",
            "transaction",
            Column("transaction_id", INTEGER),
            Column("transaction_type", VARCHAR),
            Column("sales_order_id", INTEGER, nullable=True),
            Column("purchase_order_id", INTEGER, nullable=True),
            # No more than a warning: where an order is deleted, ToteSys itself sets its id to null.
            rules=(
                Rule(
                    "exactly_one_order",
                    "(sales_order_id IS NULL) <> (purchase_order_id IS NULL)",
                    ("sales_order_id", "purchase_order_id"),
                    WARN,
                ),
            ),
        ),
        _dimension(
            "dim_payment_type",
            "one row per payment type",
            "payment_type",
            Column("payment_type_id", INTEGER),
            Column("payment_type_name", VARCHAR),
        ),
        _fact(
            "fact_sales_order",
            "one row per version of a sales order",
            "sales_record_id",
            "sales_order",
            Column("sales_order_id", INTEGER),
            *_MOMENTS,
            Column("sales_staff_id", INTEGER, references="dim_staff"),
            _COUNTERPARTY,
            Column("units_sold", INTEGER),
            Column("unit_price", MONEY),
            _CURRENCY,
            Column("design_id", INTEGER, references="dim_design"),
            _date("agreed_payment_date"),
            _date("agreed_delivery_date"),
            _DELIVERY_LOCATION,
            rules=(_positive("units_sold"), _positive("unit_price")),
        ),
        _fact(
            "fact_purchase_order",
            "one row per version of a purchase order",
            "purchase_record_id",
            "purchase_order",
            Column("purchase_order_id", INTEGER),
            *_MOMENTS,
            Column("staff_id", INTEGER, references="dim_staff"),
            _COUNTERPARTY,
            Column("item_code", VARCHAR),
            Column("item_quantity", INTEGER),
            Column("item_unit_price", NUMERIC),
            _CURRENCY,
            _date("agreed_delivery_date"),
            _date("agreed_payment_date"),
            _DELIVERY_LOCATION,
            rules=(_positive("item_quantity"), _positive("item_unit_price")),
        ),
        _fact(
            "fact_payment",
            "one row per version of a payment",
            "payment_record_id",
            "payment",
            Column("payment_id", INTEGER),
            *_MOMENTS,
            Column("transaction_id", INTEGER, references="dim_transaction"),
            _COUNTERPARTY,
            Column("payment_amount", NUMERIC),
            _CURRENCY,
            Column("payment_type_id", INTEGER, references="dim_payment_type"),
            Column("paid", BOOLEAN),
            _date("payment_date"),
            rules=(
                _positive("payment_amount"),
                # A warning, because it can be told only where both are in one batch.
                Rule(
                    "amount_is_its_orders",
                    f"payment_amount = {ORDER_AMOUNT}",
                    ("payment_amount", ORDER_AMOUNT),
                    WARN,
                ),
            ),
        ),
    )
}
FACTS = tuple(table for table in STAR.values() if table.is_fact)
