"""Apply, change, destroy: each leaves what it says."""

from concurrent.futures import Future

import pytest

from tests.aws.deployment import Deployment
from tests.aws.everything import leftovers, put_data

CHANGED = {
    "schedule": {"cron": "cron(0/15 * * * ? *)", "enabled": False},
    "workers": {"default": {"count": 3}, "load": {"type": "G.2X", "timeout_minutes": 30}},
    "crawl": "daily",
    "alarms": {"duration_minutes": 9},
    "athena_scan_limit_mb": 500,
    "retention": {"log_days": 30},
    "kms_key_arn": "arn:aws:kms:eu-west-2:123456789012:key/11111111-2222-3333-4444-555555555555",
}


def test_change_and_destroy(last_of_deployment: Deployment) -> None:
    deployment = last_of_deployment
    deployment.apply(**CHANGED)
    deployment.expect_empty_plan()
    glue = deployment.aws.client("glue")
    job = glue.get_job(JobName="totesys-test-load")["Job"]
    assert (job["WorkerType"], job["NumberOfWorkers"], job["Timeout"]) == ("G.2X", 2, 30)
    trigger = glue.get_trigger(Name="totesys-test-start")["Trigger"]
    assert (trigger["Schedule"], trigger["State"]) == ("cron(0/15 * * * ? *)", "CREATED")
    crawler = glue.get_crawler(Name="totesys-test-raw")["Crawler"]
    assert crawler["Schedule"]["ScheduleExpression"] == "cron(10 3 * * ? *)"

    # Back on: from a schedule that is off, with crawlers in the workflow.
    back = {**CHANGED, "schedule": {"cron": "cron(0/10 * * * ? *)"}, "crawl": "every_run"}
    deployment.apply(**back)
    deployment.expect_empty_plan()
    trigger = glue.get_trigger(Name="totesys-test-start")["Trigger"]
    assert (trigger["Schedule"], trigger["State"]) == ("cron(0/10 * * * ? *)", "ACTIVATED")
    branch = glue.get_trigger(Name="totesys-test-crawl-raw")["Trigger"]
    assert branch["Actions"] == [{"CrawlerName": "totesys-test-raw"}]

    put_data(deployment)
    deployment.destroy()
    assert leftovers(deployment.aws) == {}


@pytest.mark.whole
def test_everything_with_network_and_warehouse(everything_done: Future[None]) -> None:
    everything_done.result()
