"""What each place holds of each key: the rows that reconcile brings together.

Fingerprints are worked out where the rows lie; of every row a key, a fingerprint and a batch go
on. The places are looked at from the last to the first, so that what an earlier one has more than
a later one is on its way, and never the other way round.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce

import pg8000.native
from pg8000.native import identifier, literal
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from totelake import batch, drift, fingerprints, landed
from totelake import warehouse_sql as sql
from totelake.batch import Manifest
from totelake.errors import LakeError, WarehouseError
from totelake.lake import Zone
from totelake.runtime import DATABASE_ERRORS, Credentials, close, reason
from totelake.source import Source, ctid_ranges
from totelake.source_sql import SCHEMA, changed_condition, join_snapshot_statement
from totelake.source_views import SOURCE_DAYS, SOURCE_VIEWS
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
from totelake.window import CHANGES, Snapshot
from totelake.window import Window as SourceWindow

DAYS = "dim_date"  # the one table of the star that no table of the source becomes
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
    def newest_snapshot(self) -> Snapshot:
        """The source's snapshot that the newest batch was taken of."""
        return Snapshot.of(self.raw[-1].snapshot)

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
        next_batch: What a batch of that instant would ask the source for.
        warehouse: The warehouse at one instant.
    """

    spark: SparkSession
    batches: Batches
    raw: Zone
    processed: Zone
    source: Source
    next_batch: SourceWindow
    warehouse: Snapshotted


def rows(places: Places) -> DataFrame:
    """All that is known of every key in every place; several rows of ``COLUMNS`` for each."""
    of_source = [(table, star) for table, star in pairs() if table]
    frames = [
        _in_source(places, of_source),
        *[rows for table, star in of_source for rows in _in_raw(places, table, star)],
        *[rows for table, star in of_source if star for rows in _pending(places, table, star)],
        *_rejected(places),
        *_in_lake(places),
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
    parts = [
        Part(_source_query(places, table, star), places.source.sizes[table.name])
        for table, star in tables
    ]
    parts.append(Part(_days_query(STAR[DAYS])))
    reader = Snapshotted(
        places.source.credentials,
        places.source.connection,
        places.source.exported,
        places.source.snapshot.server_version,
    )
    return reader.read(places.spark, parts)


def _source_query(places: Places, table: SourceTable, star: StarTable | None) -> str:
    """A source table's rows, each with its fingerprints as it is and as the star has it."""

    def changed(alias: str, name: str) -> str:
        # A table that the next batch compares as a whole: any of its rows may be on its way.
        window = places.next_batch
        return changed_condition(alias, name, window) if window.mode_of(name) == CHANGES else "TRUE"

    own = changed("t", table.name)
    parents = [join.parent for join in JOINS if join.child == table.name]
    changed_star = [own, *(f"coalesce({changed('p', name)}, FALSE)" for name in parents)]
    compared = drift.comparable(table, places.source.columns[table.name])
    marks = (
        f"t.ctid AS row_ctid, {fingerprints.in_postgres(compared, 't')} AS raw_digest,"
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


def _days_query(star: StarTable) -> str:
    digest = fingerprints.in_postgres(star.columns, "v")
    return (
        f"SELECT {literal(star.name)}::text AS table, v.{identifier(star.key)}::text AS key,"
        f" NULL::bigint AS source, {digest} AS source_star, FALSE AS changed,"
        f" FALSE AS changed_star, NULL::tid AS row_ctid FROM ({SOURCE_DAYS}) AS v"
    )


def _number(batch_id: Column) -> Column:
    """A batch's id as a number that sorts as it does."""
    return F.translate(batch_id, "TZ", "").cast("bigint")


def _alive(deleted: Column, digest: Column) -> Column:
    return F.when(~deleted, digest)


def _named(name: str, key: str) -> list[Column]:
    return [F.lit(name).alias("table"), F.col(key).cast("string").alias("key")]


def _in_zone(
    places: Places,
    zone: Zone,
    manifests: Iterable[Manifest],
    table: str,
    columns: Callable[[Mapping[str, str]], list[Column]],
) -> list[DataFrame]:
    """What is to be known of a zone's rows, from columns that are of these Spark types.

    Each schema by itself: two types that a column has had may have none in common.
    """
    found = landed.frames(places.spark, zone, manifests, table)
    return [rows.select(*columns(types)) for types, rows in found]


def _in_raw(places: Places, table: SourceTable, star: StarTable | None) -> list[DataFrame]:
    compared = drift.comparable(table, places.source.columns[table.name])

    def columns(types: Mapping[str, str]) -> list[Column]:
        digest = fingerprints.in_spark({it.name: types.get(it.name) for it in compared})
        return [
            *_named(comparison_name(table, star), table.key),
            _alive(F.col(ROW_CHANGE) == TOMBSTONE, digest).alias("raw"),
            _number(F.col("batch")).alias("raw_batch"),
        ]

    return _in_zone(places, places.raw, places.batches.raw, table.name, columns)


def _pending(places: Places, table: SourceTable, star: StarTable) -> list[DataFrame]:
    columns = [*_named(star.name, table.key), F.lit(True).alias("pending")]
    return _in_zone(places, places.raw, places.batches.pending, table.name, lambda _: columns)


def _rejected(places: Places) -> list[DataFrame]:
    columns = [
        F.col("star_table").alias("table"),
        F.col("source_key").alias("key"),
        _number(F.col("batch")).alias("rejected_batch"),
    ]
    return _in_zone(
        places, places.processed, places.batches.processed, QUARANTINE, lambda _: columns
    )


def _in_lake(places: Places) -> list[DataFrame]:
    facts = [rows for fact in FACTS for rows in _versions(places, fact)]
    dimensions = [
        rows for star in STAR.values() if not star.is_fact for rows in _versions(places, star)
    ]
    if not facts:
        return dimensions
    earlier = Window.partitionBy("table", "key").orderBy("lake_batch")
    # A version counts unless it equals its predecessor; after a deletion the predecessor is null.
    counts = ~F.col("lake").eqNullSafe(F.lag("lake").over(earlier))
    of_versions = F.when(counts & F.col("loaded_batch").isNotNull(), F.col("lake"))
    versions = reduce(DataFrame.unionByName, facts).withColumn("lake_version", of_versions)
    return [versions, *dimensions]


def _versions(places: Places, star: StarTable) -> list[DataFrame]:
    """A star table's rows in the lake; ``loaded_batch`` is null where the warehouse lacks them."""
    batches = places.batches
    is_loaded = F.lit(True)
    if len(batches.loaded) < len(batches.processed):
        is_loaded = F.col("batch").isin(sorted(batches.loaded))
    number = _number(F.col("batch"))

    def columns(types: Mapping[str, str]) -> list[Column]:
        digest = fingerprints.in_spark({name: types[name] for name in star.column_names})
        return [
            *_named(star.name, star.key),
            _alive(F.col(ROW_DELETED), digest).alias("lake"),
            number.alias("lake_batch"),
            F.when(is_loaded, number).alias("loaded_batch"),
        ]

    return _in_zone(places, places.processed, batches.processed, star.name, columns)


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
