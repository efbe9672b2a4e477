"""What a job tells CloudWatch: the figures that the alarms and the dashboard watch."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from totelake import runtime
from totelake.runtime import Log

NAMESPACE = "Totelake"
# Age of the last look at the source whose every change is in the warehouse: load, by job.
FRESHNESS_SECONDS = "FreshnessSeconds"
# How long a run that succeeded took: every job, by job.
BATCH_SECONDS = "BatchSeconds"
# Rows of the batches that a run committed: extract, transform, load, by job and table.
ROWS_LANDED = "RowsLanded"
ROWS_REJECTED = "RowsRejected"
ROWS_LOADED = "RowsLoaded"
# Whether a run could not register what is committed in the catalogue: extract, transform, by job.
REGISTRATION_FAILURES = "RegistrationFailures"

_SECONDS, _COUNT = "Seconds", "Count"
# Of one call.
_MOST_DATUMS = 1_000


class Metrics:
    """What one run has measured so far."""

    def __init__(self, job: str) -> None:
        """Figures of one job, by the name that it has on Glue."""
        self._job = job
        self._datums: list[dict[str, Any]] = []

    def add(self, metric: str, value: float, unit: str = _COUNT, table: str = "") -> None:
        """Add a figure of the job, or of one table in it."""
        dimensions = [{"Name": "Job", "Value": self._job}]
        if table:
            dimensions.append({"Name": "Table", "Value": table})
        self._datums.append(
            {
                "MetricName": metric,
                "Dimensions": dimensions,
                "Timestamp": datetime.now(UTC),
                "Value": float(value),
                "Unit": unit,
            }
        )

    def add_rows(self, metric: str, rows: Mapping[str, int]) -> None:
        """Add the rows of a committed batch by table."""
        for table, count in rows.items():
            if count:  # a metric costs money for every hour in which it is sent
                self.add(metric, count, table=table)

    def add_freshness(self, looked_at: datetime) -> None:
        """Add how long ago the source was looked at; a clock that is behind counts as now."""
        age = (datetime.now(UTC) - looked_at).total_seconds()
        self.add(FRESHNESS_SECONDS, max(0.0, age), _SECONDS)

    def add_duration(self, seconds: float) -> None:
        """Add how long the run took."""
        self.add(BATCH_SECONDS, seconds, _SECONDS)

    def publish(self, log: Log) -> None:
        """Send everything to CloudWatch.

        What is committed is committed whether or not CloudWatch takes figures about it, so a
        failure is a warning; where it lasts, the freshness alarm finds its data missing.
        """
        datums, self._datums = self._datums, []
        if not datums:
            return
        try:
            cloudwatch = runtime.client("cloudwatch")
            for start in range(0, len(datums), _MOST_DATUMS):
                part = datums[start : start + _MOST_DATUMS]
                cloudwatch.put_metric_data(Namespace=NAMESPACE, MetricData=part)
        except runtime.AWS_ERRORS as error:
            log.event(
                "metrics_not_published",
                logging.WARNING,
                metrics=sorted({datum["MetricName"] for datum in datums}),
                error=type(error).__name__,
                message=str(error),
            )


@contextmanager
def measured(job: str, log: Log) -> Iterator[Metrics]:
    """Publish what a run measures, and its duration if it succeeds.

    What a run committed before it failed is published too.
    """
    metrics = Metrics(job)
    start = time.monotonic()
    try:
        yield metrics
        metrics.add_duration(time.monotonic() - start)
    finally:
        metrics.publish(log)
