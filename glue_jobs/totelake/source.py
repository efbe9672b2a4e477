"""The source: one snapshot of it, what changed since another, and reading that by JDBC.

Changes are found by ``xmin``, the id of the transaction that wrote a row's version: edits that
leave ``last_updated`` alone are found like any other.
"""

from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pg8000.native
from pg8000.native import identifier, literal
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from totelake import drift
from totelake.errors import SourceError
from totelake.runtime import DATABASE_ERRORS, Credentials, close, reason
from totelake.source_sql import (
    COUNTERS,
    ROW_CTID,
    SCHEMA,
    join_snapshot_statement,
    keys_statement,
    mark_statement,
    relation,
    select_statement,
    unheld_condition,
)
from totelake.tables import CHANGE, JOINS, ROW_CHANGE, SOURCE
from totelake.window import (
    ALWAYS,
    CHANGES,
    COMPARE,
    Keys,
    Mark,
    Snapshot,
    Window,
    new_columns,
    sweep_is_due,
    window,
)

# pg_current_snapshot() came with 13, reading a range of ctids without a full scan with 14.
_OLDEST_SERVER, _CTID_RANGES_SERVER = 130000, 140000
_RANGE_BYTES = 64 * 1024 * 1024
_MOST_RANGES = 64
_FETCH_ROWS = 10_000
_READABLE = (
    "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE nspname = :schema AND relname = ANY(:tables) AND relkind IN ('r', 'p')"
    " AND has_table_privilege(c.oid, 'SELECT') ORDER BY relname"
)


@dataclass(frozen=True)
class Look:
    """What a look at the source says of the batch to come.

    Attributes:
        window: Which rows to ask for.
        to_read: The tables that may have such a row, lookups included.
        snapshot: The source's snapshot, with what the look found of each table.
    """

    window: Window
    to_read: set[str]
    snapshot: Snapshot


@dataclass(frozen=True)
class Source:
    """An open snapshot of the source: every read through it shows the same instant.

    Attributes:
        snapshot: The instant.
        exported: Name under which other connections join the snapshot.
        counters: Per table, what PostgreSQL had counted before the snapshot was taken.
        taken_at: The server's time, UTC.
        columns: Per table, name and type of every column that lands, in the source's order.
        sizes: Per table, bytes of its heap.
        wide: The tables with values too long for a page, which PostgreSQL keeps apart.
    """

    credentials: Credentials
    connection: pg8000.native.Connection
    snapshot: Snapshot
    exported: str
    counters: Mapping[str, str]
    taken_at: str
    columns: Mapping[str, list[tuple[str, str]]]
    sizes: Mapping[str, int]
    wide: Set[str]

    def look(self, previous: Snapshot | None, sweep: str) -> Look:
        """See what changed since the previous snapshot, by PostgreSQL alone.

        Args:
            previous: The previous batch's snapshot; None for the first batch.
            sweep: ``always`` looks for deleted keys in all tables, ``auto`` where some may be.
        """
        wanted = window(previous, self.snapshot)
        if previous is not None and wanted.mode == CHANGES:
            known = {table: mark.start for table, mark in previous.marks.items()}
            wanted = replace(
                wanted,
                marks={table: start for table, start in known.items() if start is not None},
                new_columns=new_columns(previous, self.snapshot),
            )
        keys, gone, changed = self._keys(wanted, previous)
        marked = [table for table in SOURCE if SOURCE[table].watermark]
        swept = {*gone, *(table for table in marked if self._is_due(table, previous))}
        if wanted.mode == COMPARE or sweep == ALWAYS:
            swept = set(SOURCE)
        if previous is None:
            swept = set()  # the lake has nothing yet that could be gone
        was_marked = set(previous.marks) if previous else set()
        compared = swept & ({*marked} | was_marked) if wanted.mode == CHANGES else set()
        wanted = replace(wanted, swept=frozenset(swept), compared=frozenset(compared))
        marks = {}
        for table in marked:
            start, has_changed = self.connection.run(mark_statement(table, wanted))[0]
            marks[table] = self._mark(table, start, previous, wanted)
            changed |= {table} if has_changed else set()
        to_read = with_counterparts(changed) if wanted.mode == CHANGES else changed
        to_read = set(SOURCE) if wanted.mode == COMPARE else to_read | with_counterparts(swept)
        return Look(wanted, to_read, replace(self.snapshot, keys=keys, marks=marks))

    def _keys(
        self, wanted: Window, previous: Snapshot | None
    ) -> tuple[dict[str, Keys], set[str], set[str]]:
        """Of the tables that are scanned: their keys, which lost some, which changed."""
        before = previous.keys if previous else {}
        scanned = [table for table in SOURCE if SOURCE[table].watermark is None]
        keys, gone, changed = {}, set(), set()
        statements = [keys_statement(table, wanted, before.get(table)) for table in scanned]
        for table, rows, digest, highest, *known, has_changed in (
            self.connection.run(" UNION ALL ".join(statements)) if statements else []
        ):
            keys[table] = Keys(rows, digest, highest)
            then = before.get(table)
            if then is None or known != [then.rows, then.digest]:
                gone.add(table)
            if has_changed:
                changed.add(table)
        return keys, gone, changed

    def _is_due(self, table: str, previous: Snapshot | None) -> bool:
        mark = previous.marks.get(table) if previous else None
        if mark is None:
            return True
        return sweep_is_due(mark, self.counters[table], self.taken_at, table)

    def _mark(
        self,
        table: str,
        start: str | None,
        previous: Snapshot | None,
        wanted: Window,
    ) -> Mark:
        """How far a table is read by this batch; what no sweep has followed is not forgotten."""
        if previous is not None and table not in wanted.swept:
            before = previous.marks[table]
            return Mark(start, before.counters, before.swept_at)
        return Mark(start, self.counters[table], self.taken_at)

    def read(self, spark: SparkSession, table: str, window: Window) -> DataFrame:
        """The rows of a table that ``window`` asks for, and their lookups.

        Returns:
            The source's columns in their order, then ``row_xmin`` and ``row_change``. For the
            modes ``full`` and ``compare`` all rows, each marked as a change.
        """
        query = select_statement(SOURCE[table], self.columns[table], window)
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
        if window.mode_of(table) != CHANGES:
            frame = frame.withColumn(ROW_CHANGE, F.lit(CHANGE))
        return frame.drop(ROW_CTID)

    def unheld_value(self, table: str) -> str:
        """Name a value of a table that the lake has no type for; empty where there is none.

        Asked where a read has failed: Spark's own message does not say which row it was.
        """
        looks = [
            f"(SELECT {literal(name)}, {identifier(SOURCE[table].key)}::text,"
            f" {identifier(name)}::text FROM {relation(table)} WHERE {condition} LIMIT 1)"
            for name, type_ in self.columns[table]
            if (condition := unheld_condition(name, type_))
        ]
        try:
            found = self.connection.run(" UNION ALL ".join(looks)) if looks else []
        except DATABASE_ERRORS:
            return ""  # the connection was what failed
        return "; ".join(f"{name} of key {key} is {value}" for name, key, value in found)


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
    counters = dict(connection.run(COUNTERS, schema=SCHEMA, tables=list(SOURCE)))
    present = connection.run(_READABLE, schema=SCHEMA, tables=list(SOURCE))
    # The snapshot lives as long as this otherwise idle transaction.
    connection.run("SET idle_in_transaction_session_timeout = 0")
    connection.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    if present:
        # TRUNCATE, and what writes a table anew, do not respect a snapshot: the table looks empty
        # in it. Locked as by any reader, but before the snapshot, they wait until all is read.
        tables = ", ".join(relation(table) for (table,) in present)
        connection.run(f"LOCK TABLE {tables} IN ACCESS SHARE MODE")
    exported, xmin, xmax, system, taken_at = connection.run(
        "SELECT pg_export_snapshot(),"
        " pg_snapshot_xmin(pg_current_snapshot())::text::bigint,"
        " pg_snapshot_xmax(pg_current_snapshot())::text::bigint,"
        " concat_ws('/', (SELECT system_identifier FROM pg_control_system()),"
        "   left(pg_walfile_name(pg_current_wal_lsn()), 8),"
        "   (SELECT oid FROM pg_database WHERE datname = current_database())),"
        " (now() AT TIME ZONE 'UTC')::text"
    )[0]
    schema = _schema(connection)
    drift.check(schema)
    _check_privileges(credentials, connection)
    sizes = connection.run(
        "SELECT relname, pg_relation_size(c.oid),"
        " reltoastrelid <> 0 AND pg_relation_size(reltoastrelid) > 0 FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE nspname = :schema AND relname = ANY(:tables)",
        schema=SCHEMA,
        tables=list(SOURCE),
    )
    return Source(
        credentials=credentials,
        connection=connection,
        snapshot=Snapshot(system, int(xmin), int(xmax), version, schema=schema),
        exported=exported,
        counters=counters,
        taken_at=taken_at,
        columns={table: drift.carried(schema[table]) for table in SOURCE},
        sizes={table: size for table, size, _ in sizes},
        wide={table for table, _, wide in sizes if wide},
    )


def _schema(connection: pg8000.native.Connection) -> dict[str, list[tuple[str, str]]]:
    """Every table of the schema, with its columns."""
    found: dict[str, list[tuple[str, str]]] = {}
    for table, column, type_ in connection.run(
        "SELECT relname, attname, format_type(atttypid, atttypmod) FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace"
        " JOIN pg_attribute a ON a.attrelid = c.oid"
        " WHERE nspname = :schema AND relkind IN ('r', 'p') AND NOT relispartition"
        " AND attnum > 0 AND NOT attisdropped ORDER BY relname, attnum",
        schema=SCHEMA,
    ):
        found.setdefault(table, []).append((column, type_))
    return found


def _check_privileges(credentials: Credentials, connection: pg8000.native.Connection) -> None:
    refused = [
        table
        for table in SOURCE
        if not connection.run(
            "SELECT has_table_privilege(:relation, 'SELECT')", relation=relation(table)
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
    above = ["TRUE", *(f"{ROW_CTID} >= {bound}" for bound in bounds)]
    below = [*(f"{ROW_CTID} < {bound}" for bound in bounds), "TRUE"]
    return [f"{low} AND {high}" for low, high in zip(above, below, strict=True)]
