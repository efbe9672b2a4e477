"""What each place holds of each key: the rows that reconcile brings together.

Fingerprints are worked out where the rows lie; of every row a key, a fingerprint and a batch go
on. The places are looked at from the last to the first, so that what an earlier one has more than
a later one is on its way, and never the other way round.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce

import pg8000.native
from pg8000.native import identifier, literal
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from totelake import batch, fingerprints, landed
from totelake import warehouse_sql as sql
from totelake.batch import Manifest
from totelake.errors import LakeError, WarehouseError
from totelake.lake import Zone
from totelake.quality import QUARANTINE_SCHEMA
from totelake.runtime import DATABASE_ERRORS, Credentials, close, reason
from totelake.source import Source, ctid_ranges
from totelake.source_sql import SCHEMA, changed_condition, join_snapshot_statement
from totelake.source_views import SOURCE_VIEWS
from totelake.tables import (
    FACTS,
    JOINS,
    QUARANTINE,
    ROW_CHANGE,
    ROW_DELETED,
    SOURCE,
    STAR,
    TOMBSTONE,
    SourceTable,
    StarTable,
)
from totelake.window import CHANGES, Snapshot, window
from totelake.window import Window as SourceWindow

_FETCH_ROWS = 50_000
# Smaller tables than this are read together by one connection.
_SMALL_BYTES = 8 * 1024 * 1024
# What the rows say of a key of a table; each place's rows fill some columns, the others are null.
# A digest is null where the row is a deletion, and comes with the number of its batch.
COLUMNS = {
    "table": "string",
    "key": "string",
    "source": "bigint",
    "source_star": "bigint",
    "changed": "boolean",
    "changed_star": "boolean",
    "raw": "bigint",
    "raw_batch": "bigint",
    "pending": "boolean",
    "rejected_batch": "bigint",
    "lake": "bigint",
    "lake_batch": "bigint",
    "loaded_batch": "bigint",
    "lake_version": "bigint",
    "warehouse": "bigint",
    "warehouse_batch": "bigint",
    "warehouse_version": "bigint",
    "held": "boolean",
}


@dataclass(frozen=True)
class Snapshotted:
    """A database at one instant, to be read by many connections."""

    credentials: Credentials
    connection: pg8000.native.Connection
    exported: str
    server_version: int

    def read(self, spark: SparkSession, parts: Sequence["Part"]) -> DataFrame:
        """The rows of several queries as one frame, those of big tables in several ranges.

        PostgreSQL reads of each partition only the query that the partition is of.
        """
        everything = " UNION ALL ".join(
            f"SELECT {number} AS part, of_part.* FROM ({part.query}) AS of_part"
            for number, part in enumerate(parts)
        )
        small = [str(number) for number, part in enumerate(parts) if part.size < _SMALL_BYTES]
        predicates = [f"part IN ({', '.join(small)})"] * bool(small)
        predicates += [
            f"part = {number} AND {ctids}"
            for number, part in enumerate(parts)
            if part.size >= _SMALL_BYTES
            for ctids in ctid_ranges(part.size, self.server_version)
        ]
        return spark.read.jdbc(
            self.credentials.jdbc_url,
            f"({everything}) AS parts",
            predicates=predicates,
            properties=self.credentials.jdbc_properties(
                fetchsize=str(_FETCH_ROWS),
                sessionInitStatement=join_snapshot_statement(self.exported),
            ),
        ).drop("part", "row_ctid")

    def size(self, schema: str, table: str) -> int:
        """Bytes of a table's heap."""
        rows = self.connection.run(
            "SELECT pg_relation_size(CAST(:name AS regclass))", name=sql.relation(schema, table)
        )
        return int(rows[0][0])


@dataclass(frozen=True)
class Part:
    """One query of several with the same columns.

    Attributes:
        query: A SELECT statement; its column ``row_ctid`` says where a row lies.
        size: Bytes of the table that ``row_ctid`` is of.
    """

    query: str
    size: int = 0


@contextmanager
def open_warehouse_snapshot(credentials: Credentials) -> Iterator[Snapshotted]:
    """Open the warehouse at one instant, for reading only; loads go on beside it.

    Raises:
        WarehouseError: If it cannot be reached or refuses a statement.
    """
    try:
        connection = credentials.connect("totelake reconcile")
        try:
            version = int(connection.run("SHOW server_version_num")[0][0])
            connection.run("SET idle_in_transaction_session_timeout = 0")
            connection.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            exported = str(connection.run("SELECT pg_export_snapshot()")[0][0])
            yield Snapshotted(credentials, connection, exported, version)
        finally:
            close(connection)
    except DATABASE_ERRORS as error:
        raise WarehouseError(
            f"warehouse {credentials.place}: {reason(error)}; nothing was changed, check the "
            "secret and that a load has run, then reconcile again"
        ) from error


@dataclass(frozen=True)
class Batches:
    """Which batches each place has.

    Attributes:
        raw: Committed batches of the raw zone, oldest first.
        processed: Committed batches of the processed zone, oldest first.
        loaded: Ids of the batches in the warehouse.
    """

    raw: list[Manifest]
    processed: list[Manifest]
    loaded: set[str]

    @classmethod
    def of(cls, raw: Zone, processed: Zone, warehouse: pg8000.native.Connection) -> "Batches":
        """Look into each place, the last one first.

        Raises:
            LakeError: If a zone is empty, or a later place has a batch that an earlier one lacks.
        """
        loaded = {id_ for (id_,) in warehouse.run(f"SELECT batch_id FROM {sql.ETL}.batch")}
        done = [batch.read_processed(processed, id_) for id_ in batch.processed_ids(processed)]
        found = [batch.read_raw(raw, number) for number in batch.raw_numbers(raw)]
        for zone, manifests in ((processed, done), (raw, found)):
            if not manifests:
                raise LakeError(f"{zone.uri}: expected at least one batch, found none")
        in_raw = {manifest.batch for manifest in found}
        in_processed = {manifest.batch for manifest in done}
        for place, ids, before in (
            (processed.uri, in_processed - in_raw, raw.uri),
            ("the warehouse", loaded - in_processed, processed.uri),
        ):
            if ids:
                raise LakeError(
                    f"{place}: expected batches of {before}, found {len(ids)} others, "
                    f"{min(ids)} the first; give the places that belong together"
                )
        return cls(found, done, loaded)

    @property
    def pending(self) -> list[Manifest]:
        """Raw batches that are not transformed yet."""
        done = {manifest.batch for manifest in self.processed}
        return [manifest for manifest in self.raw if manifest.batch not in done]


@dataclass(frozen=True)
class Places:
    """All that is compared.

    Attributes:
        batches: What each place says it has.
        raw: The raw zone.
        processed: The processed zone.
        source: The source at one instant, not before the newest batch.
        warehouse: The warehouse at one instant.
    """

    spark: SparkSession
    batches: Batches
    raw: Zone
    processed: Zone
    source: Source
    warehouse: Snapshotted


def rows(places: Places) -> DataFrame:
    """All that is known of every key in every place; several rows of ``COLUMNS`` for each."""
    of_source = [(table, star) for table, star in pairs() if table]
    transformed = [(table, star) for table, star in of_source if star]
    frames = [
        _in_source(places, of_source),
        *[_in_raw(places, table, star) for table, star in of_source],
        *[_pending(places, *pair) for pair in transformed if places.batches.pending],
        _rejected(places),
        _in_lake(places),
        _in_warehouse(places),
    ]
    return reduce(DataFrame.unionByName, map(_complete, frames))


def pairs() -> list[tuple[SourceTable | None, StarTable | None]]:
    """Each star table with the source table it comes from, then source tables without one."""
    transformed = {star.source for star in STAR.values()}
    return [
        *[(SOURCE[star.source] if star.source else None, star) for star in STAR.values()],
        *[(table, None) for table in SOURCE.values() if table.name not in transformed],
    ]


def comparison_name(table: SourceTable | None, star: StarTable | None) -> str:
    """What a comparison is called: by the star's table, or the source's that has none."""
    return star.name if star else str(table and table.name)


def _in_source(places: Places, tables: Iterable[tuple[SourceTable, StarTable | None]]) -> DataFrame:
    since = window(Snapshot.of(places.batches.raw[-1].snapshot), places.source.snapshot)
    parts = [
        Part(_source_query(table, star, since), places.source.sizes[table.name])
        for table, star in tables
    ]
    reader = Snapshotted(
        places.source.credentials,
        places.source.connection,
        places.source.exported,
        places.source.snapshot.server_version,
    )
    return reader.read(places.spark, parts)


def _source_query(table: SourceTable, star: StarTable | None, since: SourceWindow) -> str:
    """A source table's rows, each with its fingerprints as it is and as the star has it."""

    def changed(alias: str, name: str) -> str:
        # After a restore all rows are compared by the next batch: any of them may be on its way.
        return changed_condition(alias, name, since) if since.mode == CHANGES else "TRUE"

    own = changed("t", table.name)
    parents = [join.parent for join in JOINS if join.child == table.name]
    changed_star = [own, *(f"coalesce({changed('p', name)}, FALSE)" for name in parents)]
    marks = (
        f"t.ctid AS row_ctid, {fingerprints.in_postgres(table.columns, 't')} AS raw_digest,"
        f" {own} AS changed, {' OR '.join(changed_star)} AS changed_star"
    )
    if star:
        view = SOURCE_VIEWS[star.name].replace("SELECT", f"SELECT {marks},", 1)
        digest, key = fingerprints.in_postgres(star.columns, "v"), star.key
    else:
        view = f"SELECT {marks}, t.* FROM {sql.relation(SCHEMA, table.name)} AS t"
        digest, key = "NULL::bigint", table.key
    return (
        f"SELECT {literal(comparison_name(table, star))}::text AS table,"
        f" v.{identifier(key)}::text AS key,"
        f" v.raw_digest AS source, {digest} AS source_star, v.changed, v.changed_star,"
        f" v.row_ctid FROM ({view}) AS v"
    )


def _number(batch_id: Column) -> Column:
    """A batch's id as a number that sorts as it does."""
    return F.translate(batch_id, "TZ", "").cast("bigint")


def _alive(deleted: Column, digest: Column) -> Column:
    return F.when(~deleted, digest)


def _named(name: str, key: str) -> list[Column]:
    return [F.lit(name).alias("table"), F.col(key).cast("string").alias("key")]


def _in_raw(places: Places, table: SourceTable, star: StarTable | None) -> DataFrame:
    rows = landed.rows(places.spark, places.raw, places.batches.raw, table.name, table.raw_schema)
    gone = F.col(ROW_CHANGE) == TOMBSTONE
    return rows.select(
        *_named(comparison_name(table, star), table.key),
        _alive(gone, fingerprints.in_spark(table.columns)).alias("raw"),
        _number(F.col("batch")).alias("raw_batch"),
    )


def _pending(places: Places, table: SourceTable, star: StarTable) -> DataFrame:
    batches = places.batches.pending
    rows = landed.rows(places.spark, places.raw, batches, table.name, table.raw_schema)
    return rows.select(*_named(star.name, table.key), F.lit(True).alias("pending"))


def _rejected(places: Places) -> DataFrame:
    batches = places.batches.processed
    rows = landed.rows(places.spark, places.processed, batches, QUARANTINE, QUARANTINE_SCHEMA)
    return rows.select(
        F.col("star_table").alias("table"),
        F.col("source_key").alias("key"),
        _number(F.col("batch")).alias("rejected_batch"),
    )


def _in_lake(places: Places) -> DataFrame:
    facts = reduce(DataFrame.unionByName, [_versions(places, fact) for fact in FACTS])
    earlier = Window.partitionBy("table", "key").orderBy("lake_batch")
    # A version counts unless it equals its predecessor; after a deletion the predecessor is null.
    counts = ~F.col("lake").eqNullSafe(F.lag("lake").over(earlier))
    of_versions = F.when(counts & F.col("loaded_batch").isNotNull(), F.col("lake"))
    dimensions = [_versions(places, star) for star in STAR.values() if not star.is_fact]
    return reduce(
        lambda one, other: one.unionByName(other, allowMissingColumns=True),
        [facts.withColumn("lake_version", of_versions), *dimensions],
    )


def _versions(places: Places, star: StarTable) -> DataFrame:
    """A star table's rows in the lake; ``loaded_batch`` is null where the warehouse lacks them."""
    batches = places.batches
    rows = landed.rows(
        places.spark, places.processed, batches.processed, star.name, star.lake_schema
    )
    is_loaded = F.lit(True)
    if len(batches.loaded) < len(batches.processed):
        is_loaded = F.col("batch").isin(sorted(batches.loaded))
    number = _number(F.col("batch"))
    return rows.select(
        *_named(star.name, star.key),
        _alive(F.col(ROW_DELETED), fingerprints.in_spark(star.columns)).alias("lake"),
        number.alias("lake_batch"),
        F.when(is_loaded, number).alias("loaded_batch"),
    )


def _in_warehouse(places: Places) -> DataFrame:
    warehouse = places.warehouse
    parts = []
    for star in STAR.values():
        size = warehouse.size(sql.PUBLIC, star.name)
        if star.is_fact:
            parts += [Part(_fact_query(star), size), *map(Part, _aside_queries(star))]
        else:
            parts.append(Part(_dimension_query(star), size))
    return warehouse.read(places.spark, parts).select(
        "table",
        "key",
        F.col("digest").alias("warehouse"),
        F.when(~F.col("held"), _number(F.col("batch"))).alias("warehouse_batch"),
        F.when(F.col("is_fact"), F.col("digest")).alias("warehouse_version"),
        "held",
    )


def _warehouse_query(star: StarTable, relation: str, alias: str, **columns: str) -> str:
    told = {"batch": "'0'::text", "digest": "NULL::bigint", "held": "FALSE"}
    named = ", ".join(f"{value} AS {name}" for name, value in {**told, **columns}.items())
    return (
        f"SELECT {literal(star.name)}::text AS table, {alias}.{identifier(star.key)}::text AS key,"
        f" {str(star.is_fact).upper()} AS is_fact, {named}, {alias}.ctid AS row_ctid"
        f" FROM {relation} AS {alias}"
    )


def _dimension_query(star: StarTable) -> str:
    gone = (
        f"EXISTS (SELECT FROM {sql.ETL}.deleted_member AS g WHERE g.table_name ="
        f" {literal(star.name)} AND g.member = t.{identifier(star.key)}::text)"
    )
    digest = f"CASE WHEN NOT {gone} THEN {fingerprints.in_postgres(star.columns, 't')} END"
    return _warehouse_query(star, sql.relation(sql.PUBLIC, star.name), "t", digest=digest)


def _fact_query(star: StarTable) -> str:
    """All versions; one that is in no batch counts as older than all."""
    return _warehouse_query(
        star,
        sql.relation(sql.PUBLIC, star.name),
        "t",
        batch="coalesce(v.batch_id, '0')",
        digest=fingerprints.in_postgres(star.columns, "t"),
    ) + (
        f" LEFT JOIN {sql.version_table(star)} AS v"
        f" ON v.record_id = t.{identifier(str(star.record_id))}"
    )


def _aside_queries(star: StarTable) -> list[str]:
    """Deletions, which are versions without a row, and versions that wait."""
    deletions = _warehouse_query(star, sql.version_table(star), "v", batch="v.batch_id")
    held = _warehouse_query(star, sql.held_table(star), "h", held="TRUE")
    return [f"{deletions} WHERE v.record_id IS NULL", held]


def _complete(frame: DataFrame) -> DataFrame:
    return frame.select(
        *[
            (F.col(name) if name in frame.columns else F.lit(None)).cast(type_).alias(name)
            for name, type_ in COLUMNS.items()
        ]
    )
