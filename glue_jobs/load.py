"""Load: committed star batches go to the warehouse, each in one transaction."""

import sys
import time

from pyspark.sql import SparkSession

from totelake import batch, lake, metrics, notes, runtime
from totelake.batch import Manifest
from totelake.lake import Zone
from totelake.runtime import Credentials, Log
from totelake.tables import STAR
from totelake.warehouse import Warehouse, open_warehouse

# Rows that one connection writes; a batch of fewer is not worth a second one.
ROWS_PER_WRITER = 100_000
ROWS_PER_INSERT = 10_000


def main(argv: list[str]) -> None:
    """Load every committed processed batch that is not in the warehouse yet, in order."""
    args = runtime.arguments(argv, ["processed_zone", "warehouse_secret"])
    log = runtime.start_logging("load")
    with log.job(args) as batches, metrics.measured(args["JOB_NAME"], log) as measured:
        zone = Zone(args["processed_zone"])
        looked_at = notes.looked_at(zone)
        credentials = runtime.credentials(args["warehouse_secret"])
        with open_warehouse(credentials) as warehouse:
            pending = batch.pending_processed(zone, warehouse.loaded())
            if not pending:
                log.event("nothing_to_do", reason="every processed batch is in the warehouse")
            for batch_id in pending:
                manifest = batch.read_processed(zone, batch_id)
                with batch.files_named_if_damaged(zone, manifest):
                    loaded = load(zone, warehouse, manifest, log)
                batches.append(batch_id)
                measured.add_rows(metrics.ROWS_LOADED, loaded)
        if looked_at:
            measured.add_freshness(looked_at)


def load(zone: Zone, warehouse: Warehouse, manifest: Manifest, log: Log) -> dict[str, int]:
    """Stage one batch and publish it.

    Returns:
        The rows that were inserted or updated in each table.
    """
    start = time.monotonic()
    spark = runtime.spark_session("totelake load")
    with warehouse.staging(manifest.batch) as schema:

        def stage(table: str) -> None:
            with log.timed("table", batch=manifest.batch, table=table) as facts:
                write_staging(spark, zone, manifest, table, warehouse.credentials, schema)
                facts.update(rows=manifest.tables[table].rows)

        runtime.in_parallel(stage, [table for table in STAR if manifest.tables[table].rows])
        staged = time.monotonic() - start
        published = warehouse.publish(schema, manifest, round(staged, 3))
    for table, done in published.items():
        log.event("published", batch=manifest.batch, table=table, **vars(done))
    log.event(
        "committed",
        batch=manifest.batch,
        rows=manifest.rows,
        seconds=round(time.monotonic() - start, 3),
    )
    return {table: done.inserted + done.updated for table, done in published.items()}


def write_staging(
    spark: SparkSession,
    zone: Zone,
    manifest: Manifest,
    table: str,
    credentials: Credentials,
    schema: str,
) -> None:
    """Write a table's rows of a batch into its staging table, by several connections."""
    entry = manifest.tables[table]
    folder = zone.batch_uri(table, manifest.batch)
    rows = lake.read_frame(spark, folder, entry.files, STAR[table].lake_schema)
    writers = -(-entry.rows // ROWS_PER_WRITER)
    # Times are text in the lake: with an unspecified type the server reads them as its column's.
    rows.repartition(writers).write.jdbc(
        f"{credentials.jdbc_url}&reWriteBatchedInserts=true&stringtype=unspecified",
        f"{schema}.{table}",
        mode="append",
        properties=credentials.jdbc_properties(batchsize=str(ROWS_PER_INSERT)),
    )


if __name__ == "__main__":
    main(sys.argv)
