"""What a job tells CloudWatch, read back from it."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from moto.cloudwatch.models import cloudwatch_backends
from moto.core import DEFAULT_ACCOUNT_ID

from local.aws import REGION, Aws
from totelake import metrics, runtime
from totelake.metrics import Metrics


@pytest.fixture
def job(aws: Aws, request: pytest.FixtureRequest) -> str:
    """The name of a job that nobody else measures."""
    return str(request.node.name)


@pytest.fixture
def log() -> Iterator[runtime.Log]:
    logger = logging.getLogger("totelake")
    before = logger.handlers, logger.level, logger.propagate
    yield runtime.start_logging("load")
    logger.handlers, logger.level, logger.propagate = before


def published(job: str, metric: str) -> dict[str, float]:
    """The values that CloudWatch got of a job's metric: by table, and of the job as ''.

    Read where moto keeps them: asked for Job alone, its API adds up those of all tables.
    """
    values = {}
    for datum in cloudwatch_backends[DEFAULT_ACCOUNT_ID][REGION].metric_data:
        dimensions = {it.name: it.value for it in datum.dimensions}
        if (datum.namespace, datum.name, dimensions["Job"]) == ("Totelake", metric, job):
            values[dimensions.get("Table", "")] = datum.value
    return values


def test_rows_are_by_job_and_table(job: str, log: runtime.Log) -> None:
    """Guards against figures that no alarm finds: an alarm asks for Job alone."""
    measured = Metrics(job)
    measured.add(metrics.ROWS_REJECTED, 3)
    measured.add_rows(metrics.ROWS_REJECTED, {"dim_staff": 1, "fact_payment": 2, "dim_date": 0})
    measured.publish(log)
    expected = {"": 3.0, "dim_staff": 1.0, "fact_payment": 2.0}
    assert published(job, "RowsRejected") == expected


def test_freshness_is_the_age_of_the_last_look(job: str, log: runtime.Log) -> None:
    measured = Metrics(job)
    measured.add_freshness(datetime.now(UTC) - timedelta(minutes=40))
    measured.publish(log)
    assert 2400 <= published(job, "FreshnessSeconds")[""] < 2460


def test_a_clock_that_is_ahead_makes_nothing_fresher_than_now(job: str, log: runtime.Log) -> None:
    measured = Metrics(job)
    measured.add_freshness(datetime.now(UTC) + timedelta(minutes=1))
    measured.publish(log)
    assert published(job, "FreshnessSeconds") == {"": 0.0}


def test_more_than_fit_into_a_call_are_all_sent(
    job: str, log: runtime.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against the limit of 1,000 figures a call, which moto does not have."""
    calls: list[int] = []

    class Cloudwatch:
        def put_metric_data(self, Namespace: str, MetricData: list[Any]) -> None:  # noqa: N803
            calls.append(len(MetricData))

    monkeypatch.setattr(runtime, "client", lambda _service: Cloudwatch())
    measured = Metrics(job)
    measured.add_rows(metrics.ROWS_LANDED, {f"t{number}": 1 for number in range(2_001)})
    measured.publish(log)
    assert calls == [1_000, 1_000, 1]


def test_a_run_that_succeeds_tells_its_duration(job: str, log: runtime.Log) -> None:
    with metrics.measured(job, log):
        pass
    assert 0 <= published(job, "BatchSeconds")[""] < 60


def test_a_run_that_fails_tells_what_it_committed_before(job: str, log: runtime.Log) -> None:
    """Guards against rejected rows that no alarm tells of, because a later batch failed."""

    def fail_after_a_batch() -> None:
        with metrics.measured(job, log) as measured:
            measured.add(metrics.ROWS_REJECTED, 5)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_after_a_batch()
    assert published(job, "RowsRejected") == {"": 5.0}
    assert published(job, "BatchSeconds") == {}


def test_a_failure_to_publish_is_a_warning_and_no_more(
    job: str,
    log: runtime.Log,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Guards against a job that fails after its commit, and against silence about it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDWATCH", "http://127.0.0.1:1")
    log = runtime.start_logging("load")  # to this test's own standard output
    with metrics.measured(job, log) as measured:
        measured.add(metrics.ROWS_REJECTED, 0)
    (line,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (line["event"], line["level"]) == ("metrics_not_published", "WARNING")
    assert line["metrics"] == ["BatchSeconds", "RowsRejected"]
    assert line["error"] == "EndpointConnectionError"
    assert "http://127.0.0.1:1" in line["message"]
