"""The warehouse: one load at a time, staging, and the one transaction that publishes a batch."""

import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import pg8000.native
from pg8000.native import identifier

from totelake import warehouse_sql as sql
from totelake.batch import Manifest
from totelake.errors import ConflictError, SchemaError, WarehouseError
from totelake.runtime import DATABASE_ERRORS, Credentials, close, reason
from totelake.tables import STAR, StarTable

_STAGING_PREFIX = "etl_staging_"
# Any number will do as long as it never changes: it names the lock of all loads.
_LOAD_LOCK = 7_073_651_207
# From so many rows on, checking foreign keys row by row takes seconds.
_MANY_ROWS = 100_000


@dataclass(frozen=True)
class Published:
    """What publishing a batch did to one table, in rows.

    Attributes:
        staged: Rows of the batch.
        inserted: New members of a dimension, new versions of a fact.
        updated: Members of a dimension whose content changed.
        held: Versions of a fact that wait for a member of a dimension.
    """

    staged: int
    inserted: int
    updated: int = 0
    held: int = 0

    @property
    def unchanged(self) -> int:
        """Staged rows that said nothing new."""
        return max(0, self.staged - self.inserted - self.updated - self.held)


@dataclass(frozen=True)
class Warehouse:
    """An open connection to the warehouse that holds the lock of all loads."""

    credentials: Credentials
    connection: pg8000.native.Connection

    def loaded(self) -> set[str]:
        """Ids of the batches that are in the warehouse."""
        return {batch for (batch,) in self.connection.run(f"SELECT batch_id FROM {sql.ETL}.batch")}

    @contextmanager
    def staging(self, batch: str) -> Iterator[str]:
        """A schema of this load's own, with an empty table for each table of the star."""
        schema = _STAGING_PREFIX + secrets.token_hex(8)
        with self._transaction():
            self._run_all(sql.staging_ddl(schema, batch))
        yield schema
        self._drop_staging()

    def publish(self, schema: str, manifest: Manifest, seconds: float) -> dict[str, Published]:
        """Move a staged batch into the star and record it, all in one transaction.

        Args:
            schema: The staging schema, filled.
            manifest: The batch's manifest in the processed zone.
            seconds: What staging took.

        Returns:
            What was done to each table.

        Raises:
            WarehouseError: If staging does not hold what the manifest says; then nothing was
                published.
        """
        self._run_all(f"ANALYZE {sql.relation(schema, table)}" for table in STAR)
        with self._transaction():
            self._check_staged(schema, manifest)
            self.connection.run(
                f"INSERT INTO {sql.ETL}.batch (batch_id, number, seconds)"
                " VALUES (:batch, :number, :seconds)",
                batch=manifest.batch,
                number=manifest.number,
                seconds=seconds,
            )
            done = {name: self._publish_table(schema, STAR[name], manifest) for name in STAR}
            for name, published in done.items():
                self.connection.run(
                    f"INSERT INTO {sql.ETL}.table_load (batch_id, table_name, staged, inserted,"
                    " updated, unchanged, held) VALUES (:batch, :table, :staged, :inserted,"
                    " :updated, :unchanged, :held)",
                    batch=manifest.batch,
                    table=name,
                    unchanged=published.unchanged,
                    **vars(published),
                )
        return done

    def _check_staged(self, schema: str, manifest: Manifest) -> None:
        """Spark's JDBC writer commits per task: a task that ran twice shows here."""
        for table in STAR:
            found = self._count(f"SELECT count(*) FROM {sql.relation(schema, table)}")
            expected = manifest.tables[table].rows
            if found != expected:
                raise WarehouseError(
                    f"batch {manifest.batch}, {table}: expected {expected} staged rows, found "
                    f"{found}; nothing was published, run the load again"
                )

    def _publish_table(self, schema: str, table: StarTable, manifest: Manifest) -> Published:
        staged = manifest.tables[table.name].rows
        if table.is_fact:
            return self._publish_fact(schema, table, staged)
        inserted, updated = self.connection.run(sql.upsert(schema, table))[0]
        self.connection.run(sql.mark_alive(schema, table))
        self.connection.run(sql.mark_deleted(schema, table))
        return Published(staged, inserted, updated)

    def _publish_fact(self, schema: str, fact: StarTable, staged: int) -> Published:
        self.connection.run(sql.release_held(schema, fact))
        held = self._affected(sql.hold(schema, fact))
        inserted = 0
        with self._keys_checked_at_once(fact, staged):
            for (batch,) in self.connection.run(sql.staged_batches(schema, fact)):
                inserted += self._affected(sql.append_versions(schema, fact), batch=batch)
                self._affected(sql.append_deletions(schema, fact), batch=batch)
        return Published(staged, inserted, held=held)

    @contextmanager
    def _keys_checked_at_once(self, fact: StarTable, staged: int) -> Iterator[None]:
        """Fill an empty fact without its foreign keys, which then come back, all checked.

        Row by row the checks of a first load take longer than all the rest of it. It is one
        transaction: nobody ever sees the table without its keys.
        """
        many = staged >= _MANY_ROWS and self.connection.run(sql.may_replace_keys(fact))[0][0]
        keys = self.connection.run(sql.foreign_keys(fact)) if many else []
        self._run_all(f"ALTER TABLE {table} DROP CONSTRAINT {name}" for table, name, _ in keys)
        yield
        self._run_all(
            f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}"
            for table, name, definition in reversed(keys)
        )

    def _affected(self, statement: str, **parameters: str) -> int:
        self.connection.run(statement, **parameters)
        return int(self.connection.row_count)

    def _count(self, statement: str) -> int:
        return int(self.connection.run(statement)[0][0])

    def _run_all(self, statements: Iterable[str]) -> None:
        for statement in statements:
            self.connection.run(statement)

    def _drop_staging(self) -> None:
        for (schema,) in self.connection.run(
            "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, :prefix)",
            prefix=_STAGING_PREFIX,
        ):
            self.connection.run(f"DROP SCHEMA {identifier(schema)} CASCADE")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self.connection.run("BEGIN")
        try:
            yield
        except BaseException:
            # Without a connection there is no transaction either, and the cause matters more.
            with suppress(*DATABASE_ERRORS):
                self.connection.run("ROLLBACK")
            raise
        self.connection.run("COMMIT")

    def prepare(self) -> None:
        """Create what is absent and hold what is there against the declarations.

        Schemas that dead loads left are dropped, whether or not there is a batch to load: only
        the holder of the lock gets here, and a task that still writes finds its table gone.

        Raises:
            SchemaError: If a table of the star is there with other columns or types.
        """
        self._drop_staging()
        with self._transaction():
            self._run_all([*sql.star_ddl(), *sql.etl_ddl()])
        found: dict[str, list[tuple[str, str]]] = {}
        for table, column, type_ in self.connection.run(
            "SELECT relname, attname, format_type(atttypid, atttypmod) FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = c.relnamespace"
            " JOIN pg_attribute a ON a.attrelid = c.oid WHERE nspname = :schema"
            " AND relname = ANY(:tables) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            schema=sql.PUBLIC,
            tables=list(STAR),
        ):
            found.setdefault(table, []).append((column, type_))
        for star in STAR.values():
            expected = [(column.name, column.type) for column in star.columns]
            if star.record_id:
                expected.insert(0, (star.record_id, "integer"))
            if found[star.name] != expected:
                raise SchemaError(
                    f"warehouse {self.credentials.place}, {star.name}: expected columns "
                    f"{expected}, found {found[star.name]}; nothing was loaded, mend the table or "
                    "give an empty database"
                )


@contextmanager
def open_warehouse(credentials: Credentials) -> Iterator[Warehouse]:
    """Open the warehouse for one load, its tables ready; other loads are kept out meanwhile.

    Raises:
        WarehouseError: If it cannot be reached or refuses a statement; a transaction that was
            open has changed nothing.
        ConflictError: If another load is at work.
        SchemaError: If a table of the star is there in another shape.
    """
    try:
        connection = credentials.connect("totelake load")
    except DATABASE_ERRORS as error:
        raise WarehouseError(
            f"warehouse {credentials.place}: no connection as {credentials.username!r}: "
            f"{reason(error)}; check that it runs and the secret's host, port, dbname, username, "
            "password and sslmode"
        ) from error
    try:
        _lock(credentials, connection)
        warehouse = Warehouse(credentials, connection)
        warehouse.prepare()
        yield warehouse
    except DATABASE_ERRORS as error:
        raise WarehouseError(
            f"warehouse {credentials.place}: {reason(error)}; the batch at work was not "
            "published, run the load again once this is mended"
        ) from error
    finally:
        close(connection)


def _lock(credentials: Credentials, connection: pg8000.native.Connection) -> None:
    """Take the lock of all loads; it ends with the connection, so nobody has to clean up."""
    if connection.run("SELECT pg_try_advisory_lock(:key)", key=_LOAD_LOCK)[0][0]:
        return
    holders = connection.run(
        "SELECT a.pid, a.backend_start::timestamptz(0)::text FROM pg_locks l"
        " JOIN pg_stat_activity a ON a.pid = l.pid WHERE l.locktype = 'advisory' AND l.granted"
        " AND (l.classid::bigint << 32 | l.objid::bigint) = :key",
        key=_LOAD_LOCK,
    )
    who = ", ".join(f"backend {pid} since {since}" for pid, since in holders) or "just ended"
    raise ConflictError(
        f"warehouse {credentials.place}: another load is at work ({who}); nothing was done, the "
        "next run loads what that one leaves"
    )
