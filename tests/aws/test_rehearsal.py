"""The deployed workflow, run by the local Glue, its lake in S3: minutes, as Spark starts often."""

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import StringIO

import fsspec
import pytest
from rich.console import Console
from s3fs import S3FileSystem

from local.data_catalog import PROCESSED, RAW
from local.databases import Simulation, advance
from local.postgres import remove
from local.progress import Progress
from local.rehearsal_checks import answers, checked, objects, registered, unchanged
from local.rehearsal_stage import Result, Stage, on_stage, spoil
from totelake.batch import MANIFESTS, processed_ids, raw_numbers
from totelake.lake import Zone

pytestmark = pytest.mark.whole
MANY = 1005
LIST_BY_S3A = """
import sys
from pyspark.sql import SparkSession
spark = SparkSession.builder.config("spark.hadoop.fs.s3a.paging.maximum", "1000").getOrCreate()
path = spark._jvm.org.apache.hadoop.fs.Path(sys.argv[1])
system = path.getFileSystem(spark._jsc.hadoopConfiguration())
print(system.getClass().getSimpleName(), len(system.listStatus(path)))
"""


def console() -> Console:
    return Console(file=StringIO(), width=200)


def shown(result: Result) -> str:
    ended = [*result.workflow.jobs.values(), *result.crawls]
    return "\n".join(f"{run.job} {run.state} {run.reason}" for run in ended)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("rehearsal")
    # Other tests' S3 is at another endpoint, and s3fs keeps its instances.
    S3FileSystem.clear_instance_cache()
    with on_stage(folder, Simulation(seed=3, size=0.02), Progress(console())) as ready:
        yield ready
    S3FileSystem.clear_instance_cache()
    remove(folder / "postgres")


@pytest.fixture(scope="module")
def first(stage: Stage) -> Result:
    return stage.run(console())


def batches(stage: Stage) -> tuple[list[int], list[str]]:
    zones = stage.deployment.zones
    return raw_numbers(Zone(zones[RAW])), processed_ids(Zone(zones[PROCESSED]))


def test_first_run_loads_everything_and_its_crawlers_make_the_tables(
    stage: Stage, first: Result
) -> None:
    assert first.workflow.failures == [], shown(first)
    assert list(first.workflow.jobs) == [
        stage.deployment.jobs[job] for job in ("extract", "transform", "load")
    ]
    assert {run.job: run.state for run in first.crawls} == {
        f"crawler:{name}": "SUCCEEDED" for name in stage.deployment.crawlers.values()
    }
    assert first.added["fact_sales_order"].new > 0
    check = registered(stage.client("glue"), stage.deployment)
    assert check.problems == []
    assert not check.what.startswith("0 ")


def test_run_with_nothing_changed_makes_no_batch(stage: Stage, first: Result) -> None:
    before = batches(stage)
    again = stage.run(console())
    assert again.workflow.failures == [], shown(again)
    assert batches(stage) == before
    assert again.crawls == []
    assert not any(added.new or added.changed for added in again.added.values())


def test_a_changed_row_goes_all_the_way_and_everything_agrees(stage: Stage, first: Result) -> None:
    numbers, _ = batches(stage)
    spoil(stage.databases)
    changed = stage.run(console())
    assert changed.workflow.failures == [], shown(changed)
    assert batches(stage)[0] == [*numbers, len(numbers) + 1]
    # Its first rejected row is in a table that was there before.
    assert changed.crawls == []
    reports = stage.reconcile(Progress(console()))
    assert [report.source for report in reports if report.table == "fact_sales_order"] != [0]
    assert [report.differences for report in reports if report.differences] == []
    assert sum(report.rejected for report in reports) == 1
    checks = checked(stage.client, stage.deployment, reports)
    assert [check for check in checks if check.problems] == []


def test_written_together_the_batches_give_the_same_answers(stage: Stage, first: Result) -> None:
    glue = stage.client("glue")
    before = registered(glue, stage.deployment)
    assert before.problems == []
    assert " 0 of them merged" in before.what
    advance(stage.databases, 1, lambda _: None)  # a batch more, that compaction leaves alone
    again = stage.run(console())
    assert again.workflow.failures == [], shown(again)
    given = answers(glue, stage.deployment)
    stage.compact(Progress(console()))
    after = registered(glue, stage.deployment)
    assert after.problems == []
    assert " 0 of them merged" not in after.what
    assert unchanged(given, answers(glue, stage.deployment)).problems == []
    reports = stage.reconcile(Progress(console()))
    checks = checked(stage.client, stage.deployment, reports)
    assert [check for check in checks if check.problems] == []


def test_manifest_is_created_once(stage: Stage, first: Result) -> None:
    zone = Zone(stage.deployment.zones[RAW])
    name = f"{raw_numbers(zone)[0]:08d}.json"
    content = zone.read(MANIFESTS, name)
    with pytest.raises(FileExistsError):
        zone.create(b"other", MANIFESTS, name)
    if _has_policy(stage):  # which a request that does not ask for that has to meet
        with pytest.raises(PermissionError):
            zone.write(b"other", MANIFESTS, name)
    assert zone.read(MANIFESTS, name) == content


def _has_policy(stage: Stage) -> bool:
    s3 = stage.client("s3")
    try:
        return bool(s3.get_bucket_policy(Bucket=stage.deployment.buckets[RAW])["Policy"])
    except s3.exceptions.ClientError:
        return False


def test_more_than_a_thousand_objects_are_listed_by_both_clients(
    stage: Stage, first: Result
) -> None:
    bucket = stage.deployment.buckets["artifacts"]
    s3 = stage.client("s3")
    with ThreadPoolExecutor(8) as pool:
        puts = [
            pool.submit(s3.put_object, Bucket=bucket, Key=f"many/{number:05d}", Body=b"x")
            for number in range(MANY)
        ]
    assert all(put.result() for put in puts)
    page = s3.list_objects_v2(Bucket=bucket, Prefix="many/")
    assert (page["KeyCount"], page["IsTruncated"]) == (1000, True)
    assert len(Zone(f"s3://{bucket}").names("many")) == MANY
    job = stage.client("glue").get_job(JobName=stage.deployment.jobs["extract"])["Job"]
    conf = job["DefaultArguments"]["--conf"]
    listed = subprocess.run(
        [sys.executable, "-c", LIST_BY_S3A, f"s3://{bucket}/many"],
        env={**stage.environment, "PYSPARK_SUBMIT_ARGS": f"--conf {conf} pyspark-shell"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert listed.stdout.split() == ["S3AFileSystem", str(MANY)], listed.stderr[-2000:]


def test_what_should_not_be_in_a_bucket_is_seen(stage: Stage, first: Result) -> None:
    """The check that found nothing above can find something."""
    bucket = stage.deployment.buckets["artifacts"]
    filesystem = fsspec.filesystem("s3", use_listings_cache=False)
    for path in ("t/batch=1/_SUCCESS", "t/_temporary/0/part-0", "t/batch=1/a", "t/batch=1/a"):
        filesystem.pipe_file(f"{bucket}/{path}", b"x")
    filesystem.rm_file(f"{bucket}/t/_temporary/0/part-0")
    found = {
        problem for problem in objects(stage.client("s3"), bucket).problems if "/t/" in problem
    }
    wrong = "expected tables, manifests and notes only"
    assert found == {
        f"{bucket}/t/batch=1/_SUCCESS: {wrong}",
        f"{bucket}/t/_temporary/0/part-0: {wrong}",
        f"{bucket}/t/_temporary/0/part-0: removed",
        f"{bucket}/t/batch=1/a: written 2 times",
    }


def test_failure_is_in_the_api_and_an_alert_goes_out(stage: Stage, first: Result) -> None:
    sns, sqs, glue = (stage.client(service) for service in ("sns", "sqs", "glue"))
    topics = [topic["TopicArn"] for topic in sns.list_topics()["Topics"]]
    if not topics:
        pytest.skip("without Terraform no topic is deployed")
    queue = sqs.create_queue(QueueName="alerts")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]
    for topic in topics:
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn["QueueArn"])
    stage.client("secretsmanager").put_secret_value(
        SecretId=stage.deployment.secrets["source"], SecretString="no JSON"
    )
    result = stage.run(console())
    extract = stage.deployment.jobs["extract"]
    assert [run.job for run in result.workflow.failures] == [extract]
    assert list(result.workflow.jobs) == [extract]
    kept = {run["JobRunState"]: run for run in glue.get_job_runs(JobName=extract)["JobRuns"]}
    assert "expected a JSON object" in kept["FAILED"]["ErrorMessage"]
    run = glue.get_workflow_run(Name=stage.deployment.workflow, RunId=result.workflow.run_id)["Run"]
    assert run["Status"] == "COMPLETED"  # as AWS has it, whatever became of the jobs
    assert (run["Statistics"]["FailedActions"], run["Statistics"]["TotalActions"]) == (1, 1)
    messages = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    told = [json.loads(message["Body"])["Message"] for message in messages]
    assert any(extract in text and "expected a JSON object" in text for text in told), told
