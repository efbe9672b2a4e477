"""The source: one snapshot of it, what changed since another, and reading that by JDBC.

Changes are found by ``xmin``, the id of the transaction that wrote a row's version: edits that
leave ``last_updated`` alone are found like any other.
"""

from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import pg8000.native
from pg8000.native import identifier, literal
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from totelake.errors import SchemaError, SourceError
from totelake.runtime import DATABASE_ERRORS, Credentials, close, reason
from totelake.tables import CHANGE, JOINS, LOOKUP, ROW_CHANGE, ROW_XMIN, SOURCE, SourceTable

SCHEMA = "public"
FULL, CHANGES, COMPARE = "full", "changes", "compare"
# pg_current_snapshot() came with 13, reading a range of ctids without a full scan with 14.
_OLDEST_SERVER, _CTID_RANGES_SERVER = 130000, 140000
# Transaction ids are compared on a circle of 2^32: age() is right for half of it. The margin
# covers the ids that are used up while a batch is read.
XID_HORIZON = 2**31 - 10_000_000
_RANGE_BYTES = 64 * 1024 * 1024
_MOST_RANGES = 64
_FETCH_ROWS = 10_000
_ROW_CTID = "row_ctid"


@dataclass(frozen=True)
class Snapshot:
    """One instant of the source, as a manifest keeps it.

    Attributes:
        system: System identifier, timeline and database: which history the ids belong to. A
            restore or a move changes it.
        xmin: The oldest transaction that was still open; all before it had ended. 64 bits.
        xmax: The first id that was not given out yet. 64 bits.
        server_version: As ``server_version_num``.
    """

    system: str
    xmin: int
    xmax: int
    server_version: int

    @classmethod
    def of(cls, manifest_snapshot: Mapping[str, Any]) -> "Snapshot":
        """The snapshot that a manifest names."""
        return cls(**manifest_snapshot)

    def as_dict(self) -> dict[str, Any]:
        """What a manifest keeps."""
        return asdict(self)


@dataclass(frozen=True)
class Window:
    """Which rows a batch asks for.

    Attributes:
        mode: ``full`` takes all rows; ``changes`` those whose version may be newer than the
            previous snapshot; ``compare`` those whose content differs from the lake's.
        start: For ``changes``: the oldest transaction id (64 bits) that counts.
    """

    mode: str
    start: int = 0

    @property
    def start_xid(self) -> int:
        """``start`` as rows carry it, in 32 bits."""
        return self.start % 2**32


def window(previous: Snapshot | None, current: Snapshot) -> Window:
    """Which rows to ask for, given the previous batch's snapshot and the current one."""
    if previous is None:
        return Window(FULL)
    if previous.system != current.system or not 0 <= current.xmax - previous.xmin < XID_HORIZON:
        return Window(COMPARE)
    return Window(CHANGES, previous.xmin)


@dataclass(frozen=True)
class Source:
    """An open snapshot of the source: every read through it shows the same instant.

    Attributes:
        snapshot: The instant.
        exported: Name under which other connections join the snapshot.
        columns: Per table, name and type of every column it has, in the source's order.
        sizes: Per table, bytes of its heap.
        wide: The tables with values too long for a page, which PostgreSQL keeps apart.
    """

    credentials: Credentials
    connection: pg8000.native.Connection
    snapshot: Snapshot
    exported: str
    columns: Mapping[str, list[tuple[str, str]]]
    sizes: Mapping[str, int]
    wide: Set[str]

    def tables_to_read(self, window: Window) -> set[str]:
        """The tables of which ``window`` may ask for a row, lookups included.

        A look at each table by PostgreSQL alone is quick; reading one by Spark is a job.
        """
        if window.mode == COMPARE:
            return set(SOURCE)
        condition = f" WHERE {changed_since('t', window)}" if window.mode == CHANGES else ""
        looks = " UNION ALL ".join(
            f"SELECT {literal(table)} WHERE EXISTS (SELECT FROM {_relation(table)} AS t{condition})"
            for table in SOURCE
        )
        found = {table for (table,) in self.connection.run(looks)}
        return with_counterparts(found) if window.mode == CHANGES else found

    def read(self, spark: SparkSession, table: str, window: Window) -> DataFrame:
        """The rows of a table that ``window`` asks for, and their lookups.

        Returns:
            The source's columns in their order, then ``row_xmin`` and ``row_change``. For the
            modes ``full`` and ``compare`` all rows, each marked as a change.
        """
        names = [name for name, _ in self.columns[table]]
        query = select_statement(SOURCE[table], names, window)
        frame = spark.read.jdbc(
            self.credentials.jdbc_url,
            f"({query}) AS batch",
            predicates=ctid_ranges(self.sizes[table], self.snapshot.server_version),
            properties=self.credentials.jdbc_properties(
                fetchsize=str(_FETCH_ROWS),
                # Values come as the server holds them from the first row on; as text they cost
                # a third of the time.
                prepareThreshold="-1",
                preferTimestampNTZ="true",
                sessionInitStatement=join_snapshot_statement(self.exported),
            ),
        )
        if window.mode != CHANGES:
            frame = frame.withColumn(ROW_CHANGE, F.lit(CHANGE))
        return frame.drop(_ROW_CTID)


@contextmanager
def open_source(credentials: Credentials) -> Iterator[Source]:
    """Open one snapshot of the source and hold it while the block runs.

    Raises:
        SourceError: If the database cannot be reached, or cannot give a snapshot.
        SchemaError: If a declared table or column is missing or of another type.
    """
    try:
        connection = credentials.connect("totelake extract")
    except DATABASE_ERRORS as error:
        raise SourceError(
            f"source {credentials.place}: no connection as {credentials.username!r}: "
            f"{reason(error)}; check that it runs and the secret's host, port, dbname, username, "
            "password and sslmode"
        ) from error
    try:
        try:
            opened = _open(credentials, connection)
        except DATABASE_ERRORS as error:
            raise SourceError(
                f"source {credentials.place}: no snapshot: {reason(error)}"
            ) from error
        yield opened
    finally:
        close(connection)


def _open(credentials: Credentials, connection: pg8000.native.Connection) -> Source:
    version = int(connection.run("SHOW server_version_num")[0][0])
    if version < _OLDEST_SERVER:
        raise SourceError(
            f"source {credentials.place}: expected PostgreSQL 13 or later, found {version}"
        )
    # The snapshot lives as long as this otherwise idle transaction.
    connection.run("SET idle_in_transaction_session_timeout = 0")
    connection.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    exported, xmin, xmax, system = connection.run(
        "SELECT pg_export_snapshot(),"
        " pg_snapshot_xmin(pg_current_snapshot())::text::bigint,"
        " pg_snapshot_xmax(pg_current_snapshot())::text::bigint,"
        " concat_ws('/', (SELECT system_identifier FROM pg_control_system()),"
        "   left(pg_walfile_name(pg_current_wal_lsn()), 8),"
        "   (SELECT oid FROM pg_database WHERE datname = current_database()))"
    )[0]
    columns = _columns(connection)
    check_schema(columns)
    _check_privileges(credentials, connection)
    sizes = connection.run(
        "SELECT relname, pg_relation_size(c.oid),"
        " reltoastrelid <> 0 AND pg_relation_size(reltoastrelid) > 0 FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE nspname = :schema AND relname = ANY(:tables)",
        schema=SCHEMA,
        tables=list(SOURCE),
    )
    snapshot = Snapshot(system, int(xmin), int(xmax), version)
    return Source(
        credentials=credentials,
        connection=connection,
        snapshot=snapshot,
        exported=exported,
        columns=columns,
        sizes={table: size for table, size, _ in sizes},
        wide={table for table, _, wide in sizes if wide},
    )


def _columns(connection: pg8000.native.Connection) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for table, column, type_ in connection.run(
        "SELECT relname, attname, format_type(atttypid, atttypmod) FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace"
        " JOIN pg_attribute a ON a.attrelid = c.oid"
        " WHERE nspname = :schema AND relname = ANY(:tables) AND relkind IN ('r', 'p')"
        " AND attnum > 0 AND NOT attisdropped ORDER BY relname, attnum",
        schema=SCHEMA,
        tables=list(SOURCE),
    ):
        found.setdefault(table, []).append((column, type_))
    return found


def check_schema(found: Mapping[str, Iterable[tuple[str, str]]]) -> None:
    """Hold the source's tables against their declarations; columns more than declared may be.

    Args:
        found: Per table, name and type (as ``format_type`` prints it) of its columns.

    Raises:
        SchemaError: Naming every table and column that is missing or of another type.
    """
    problems = []
    for table in SOURCE.values():
        if table.name not in found:
            problems.append(f"table {table.name}: expected in schema {SCHEMA}, found none")
            continue
        types = dict(found[table.name])
        for column in table.columns:
            actual = types.get(column.name)
            if actual is None:
                problems.append(f"{table.name}.{column.name}: expected {column.type}, found none")
            elif actual != column.type:
                problems.append(
                    f"{table.name}.{column.name}: expected {column.type}, found {actual}"
                )
    if problems:
        raise SchemaError(
            "the source is not as declared: " + "; ".join(problems) + ". Nothing was extracted; "
            "mend the source or change the declaration in tables.py"
        )


def _check_privileges(credentials: Credentials, connection: pg8000.native.Connection) -> None:
    refused = [
        table
        for table in SOURCE
        if not connection.run(
            "SELECT has_table_privilege(:relation, 'SELECT')", relation=_relation(table)
        )[0][0]
    ]
    if refused:
        raise SourceError(
            f"source {credentials.place}: user {credentials.username!r} may not read "
            f"{', '.join(refused)}; GRANT SELECT on them"
        )


def with_counterparts(tables: set[str]) -> set[str]:
    """Some tables and those that a dimension joins with one of them."""
    pairs = [{join.child, join.parent} for join in JOINS]
    return tables.union(*(pair for pair in pairs if pair & tables))


def join_snapshot_statement(exported: str) -> str:
    """The statement by which a JDBC connection joins an exported snapshot."""
    return (
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; "
        f"SET TRANSACTION SNAPSHOT {literal(exported)}"
    )


def ctid_ranges(size: int, server_version: int) -> list[str]:
    """Conditions that cut a table's heap into ranges of about equal bytes.

    Args:
        size: Bytes of the heap.
        server_version: Before 14 a range costs a scan of the whole table: then there is one.

    Returns:
        Conditions on the column ``row_ctid`` of which every row meets exactly one; the last is
        open, for pages that were added since the size was taken.
    """
    ranges = 1
    if server_version >= _CTID_RANGES_SERVER:
        ranges = max(1, min(_MOST_RANGES, size // _RANGE_BYTES))
    # A page is 8 KiB unless PostgreSQL was built otherwise; then ranges are only less even.
    step = size // 8192 // ranges
    bounds = [f"'({number * step},0)'::tid" for number in range(1, ranges)]
    above = ["TRUE", *(f"{_ROW_CTID} >= {bound}" for bound in bounds)]
    below = [*(f"{_ROW_CTID} < {bound}" for bound in bounds), "TRUE"]
    return [f"{low} AND {high}" for low, high in zip(above, below, strict=True)]


def select_statement(table: SourceTable, names: Iterable[str], window: Window) -> str:
    """The query for a table's rows of a batch.

    A JDBC read of Spark's cannot bind parameters; the only value in here is a transaction id,
    an integer of our own.

    Args:
        table: The table.
        names: Its columns, in order.
        window: Which rows.
    """
    columns = ", ".join(f"t.{identifier(name)}" for name in names)
    row = f"{columns}, t.xmin::text::bigint AS {ROW_XMIN}, t.ctid AS {_ROW_CTID}"
    relation = f"{_relation(table.name)} AS t"
    if window.mode != CHANGES:
        return f"SELECT {row} FROM {relation}"
    changed = changed_since("t", window)
    wanted = " OR ".join([changed, *_lookup_conditions(table, window)])
    return (
        f"SELECT {row}, CASE WHEN {changed} THEN {literal(CHANGE)} ELSE {literal(LOOKUP)} END"
        f" AS {ROW_CHANGE} FROM {relation} WHERE {wanted}"
    )


def _lookup_conditions(table: SourceTable, window: Window) -> list[str]:
    conditions = []
    for join in JOINS:
        column, key = identifier(join.column), identifier(SOURCE[join.parent].key)
        if table.name == join.child:
            conditions.append(
                f"t.{column} IN (SELECT p.{key} FROM {_relation(join.parent)} AS p"
                f" WHERE {changed_since('p', window)})"
            )
        if table.name == join.parent:
            conditions.append(
                f"t.{key} IN (SELECT c.{column} FROM {_relation(join.child)} AS c"
                f" WHERE {changed_since('c', window)})"
            )
    return conditions


def changed_since(alias: str, window: Window) -> str:
    """Whether a row's version may be newer than the previous snapshot.

    ``age()`` counts back from the newest transaction id and does the arithmetic of the circle;
    the younger the version, the smaller its age.
    """
    return f"age({alias}.xmin) <= age({literal(str(window.start_xid))}::xid)"


def _relation(table: str) -> str:
    return f"{identifier(SCHEMA)}.{identifier(table)}"
