"""Reconcile: compare source, lake, warehouse and catalogue, row by row; change nothing."""

import sys

from totelake import batch, catalogued, metrics, runtime
from totelake.catalogued import Catalogued
from totelake.errors import ReconcileError
from totelake.lake import Zone
from totelake.places import Batches, Places, open_warehouse_snapshot
from totelake.reconcile import Report, reports
from totelake.runtime import Log
from totelake.source import open_source
from totelake.window import AUTO


def main(argv: list[str]) -> None:
    """Compare every table in all places; end with an error unless all agree."""
    args = runtime.arguments(
        argv,
        ["source_secret", "raw_zone", "processed_zone", "warehouse_secret"],
        {"raw_database": "", "processed_database": ""},
    )
    log = runtime.start_logging("reconcile")
    with log.job(args), metrics.measured(args["JOB_NAME"], log):
        raw, processed = Zone(args["raw_zone"]), Zone(args["processed_zone"])
        with open_warehouse_snapshot(runtime.credentials(args["warehouse_secret"])) as warehouse:
            batches = Batches.of(raw, processed, warehouse.connection)
            with open_source(runtime.credentials(args["source_secret"])) as source:
                next_batch = source.look(batches.newest_snapshot, AUTO).window
                spark = runtime.spark_session("totelake reconcile")
                places = Places(spark, batches, raw, processed, source, next_batch, warehouse)
                found = reports(places)
        tell(found, in_catalogue(args["raw_database"], args["processed_database"], places), log)


def in_catalogue(raw_database: str, processed_database: str, places: Places) -> list[Catalogued]:
    """Hold the catalogue's databases against their zones; an empty name is that of none."""
    raw, processed, batches = places.raw, places.processed, places.batches
    zones = (
        (raw_database, raw, batches.raw, batch.newest_raw(raw)),
        (processed_database, processed, batches.processed, batch.newest_processed(processed)),
    )
    return [
        report
        for database, zone, known, newest_first in zones
        if database
        for report in catalogued.compare(
            runtime.client("glue"), database, zone, known, newest_first
        )
    ]


def tell(found: list[Report], partitions: list[Catalogued], log: Log) -> None:
    """Log every table's report.

    Raises:
        ReconcileError: Naming the tables that do not agree.
    """
    for report in found:
        log.event("reconciled", **vars(report))
    for entry in partitions:
        log.event("catalogued", **vars(entry))
    named = [(report.table, report.differences) for report in found]
    named += [(f"{entry.database}.{entry.table}", entry.differences) for entry in partitions]
    wrong = [f"{name}: {difference}" for name, differences in named for difference in differences]
    if wrong:
        raise ReconcileError(
            "expected source, raw zone, processed zone, warehouse and catalogue to agree, found: "
            + "; ".join(wrong)
            + ". Nothing was changed; the runbook says what to do"
        )


if __name__ == "__main__":
    main(sys.argv)
