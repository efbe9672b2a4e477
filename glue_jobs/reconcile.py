"""Reconcile: compare source, raw zone, processed zone and warehouse, row by row; change nothing."""

import sys

from totelake import metrics, runtime
from totelake.errors import ReconcileError
from totelake.lake import Zone
from totelake.places import Batches, Places, open_warehouse_snapshot
from totelake.reconcile import Report, reports
from totelake.runtime import Log
from totelake.source import open_source


def main(argv: list[str]) -> None:
    """Compare every table in the four places; end with an error unless all agree."""
    args = runtime.arguments(
        argv, ["source_secret", "raw_zone", "processed_zone", "warehouse_secret"]
    )
    log = runtime.start_logging("reconcile")
    with log.job(args), metrics.measured(args["JOB_NAME"], log):
        raw, processed = Zone(args["raw_zone"]), Zone(args["processed_zone"])
        with open_warehouse_snapshot(runtime.credentials(args["warehouse_secret"])) as warehouse:
            batches = Batches.of(raw, processed, warehouse.connection)
            with open_source(runtime.credentials(args["source_secret"])) as source:
                spark = runtime.spark_session("totelake reconcile")
                places = Places(spark, batches, raw, processed, source, warehouse)
                found = reports(places)
        tell(found, log)


def tell(found: list[Report], log: Log) -> None:
    """Log every table's report.

    Raises:
        ReconcileError: Naming the tables that do not agree.
    """
    for report in found:
        log.event("reconciled", **vars(report))
    wrong = [
        f"{report.table}: {difference}" for report in found for difference in report.differences
    ]
    if wrong:
        raise ReconcileError(
            "expected source, raw zone, processed zone and warehouse to agree, found: "
            + "; ".join(wrong)
            + ". Nothing was changed; the runbook says what to do"
        )


if __name__ == "__main__":
    main(sys.argv)
