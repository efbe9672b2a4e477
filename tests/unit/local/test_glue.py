"""The workflow that a Glue API holds, run as Glue runs it; its jobs are a few lines each."""

import json
import os
import re
import zipfile
from io import BytesIO, StringIO
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any

import boto3
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from local.aws import Aws
from local.glue import CRAWLER, Clients, LocalGlue, own_arguments, read_workflow
from local.glue_graph import Graph
from local.glue_tables import tables_of
from local.runner import Event, JobRun, Observer
from local.workflow import WorkflowError

_NAMES = count(1)
ECHO = """import json, os, sys
import library
print(json.dumps({"event": "ran", "words": sys.argv[1:], "library": library.NAME,
                  "conf": os.environ.get("PYSPARK_SUBMIT_ARGS")}))
"""


class Quiet:
    """Watches and says nothing."""

    def __init__(self) -> None:
        self.began: list[str] = []

    def started(self, job: str) -> None:
        self.began.append(job)

    def event(self, job: str, event: Event) -> None: ...

    def ended(self, run: JobRun) -> None: ...


class Account:
    """A workflow in Glue, its code in S3."""

    def __init__(self, bucket: str, folder: Path) -> None:
        self.bucket, self.folder = bucket, folder
        self.name = f"workflow-{next(_NAMES)}"
        self.glue = boto3.client("glue")
        self.clients = Clients(self.glue, boto3.client("events"))
        self.glue.create_workflow(Name=self.name, MaxConcurrentRuns=1)
        library = BytesIO()
        with zipfile.ZipFile(library, "w") as archive:
            archive.writestr("library.py", "NAME = 'of the zip'")
        self.put("code/library.zip", library.getvalue())

    def put(self, path: str, content: bytes) -> str:
        uri = f"{self.bucket}/{path}"
        fsspec.filesystem("s3", use_listings_cache=False).pipe_file(uri, content)
        return uri

    def job(self, name: str, script: str, **arguments: str) -> str:
        whole = f"{self.name}-{name}"
        self.glue.create_job(
            Name=whole,
            Role="role",
            Timeout=5,
            Command={"Name": "glueetl", "ScriptLocation": self.put(f"{name}.py", script.encode())},
            DefaultArguments={
                "--extra-py-files": f"{self.bucket}/code/library.zip",
                "--conf": "spark.a=1 --conf spark.b=2",
                **{f"--{key}": value for key, value in arguments.items()},
            },
        )
        return whole

    def trigger(self, name: str, *actions: dict[str, Any], **predicate: Any) -> None:
        kind = {"Type": "ON_DEMAND"}
        if predicate:
            kind = {"Type": "CONDITIONAL", "Predicate": {"Logical": "AND", **predicate}}  # type: ignore[dict-item]
        self.glue.create_trigger(
            Name=f"{self.name}-{name}", WorkflowName=self.name, Actions=list(actions), **kind
        )

    def run(self, observer: Observer | None = None) -> Any:
        environment = dict(os.environ)
        return LocalGlue(self.clients, environment, self.folder).start(
            self.name, observer or Quiet()
        )


@pytest.fixture
def account(aws: Aws, bucket: str, tmp_path: Path) -> Account:
    return Account(bucket, tmp_path)


def condition(name: str, state: str = "SUCCEEDED", kind: str = "Job") -> dict[str, str]:
    key = "State" if kind == "Job" else "CrawlState"
    return {"LogicalOperator": "EQUALS", f"{kind}Name": name, key: state}


def test_job_gets_its_code_from_s3_and_its_arguments_merged(account: Account) -> None:
    job = account.job("a", ECHO, zone="default", kept="yes")
    account.trigger("start", {"JobName": job, "Arguments": {"--zone": "of the trigger"}})
    run = account.run()
    (event,) = run.jobs[job].events
    words = dict(zip(event["words"][::2], event["words"][1::2], strict=True))
    assert words.pop("--WORKFLOW_RUN_ID") == run.run_id
    assert words == {
        "--JOB_NAME": job, "--zone": "of the trigger", "--kept": "yes",
        "--WORKFLOW_NAME": account.name,
    }  # fmt: skip
    assert event["library"] == "of the zip"
    assert event["conf"] == "--conf spark.a=1 --conf spark.b=2 pyspark-shell"
    properties = {"a": "b"}
    account.glue.put_workflow_run_properties(
        Name=account.name, RunId=run.run_id, RunProperties=properties
    )


def test_crawler_and_job_follow_a_job_and_wait_for_each_other(account: Account) -> None:
    sink = BytesIO()
    pq.write_table(pa.table({"id": [1]}), sink)
    account.put("orders/batch=1/part-00000.parquet", sink.getvalue())
    account.glue.create_database(DatabaseInput={"Name": account.name})
    account.glue.create_crawler(
        Name=account.name, Role="role", DatabaseName=account.name,
        Targets={"S3Targets": [{"Path": f"{account.bucket}/orders/"}]},
        Configuration=json.dumps({
            "Version": 1.0,
            "Grouping": {"TableGroupingPolicy": "CombineCompatibleSchemas",
                         "TableLevelConfiguration": 2},
        }),
    )  # fmt: skip
    first, second = account.job("a", "pass"), account.job("b", "pass")
    crawled = condition(account.name, kind="Crawler")
    account.trigger("start", {"JobName": first})
    account.trigger("crawl", {"CrawlerName": account.name}, Conditions=[condition(first)])
    account.trigger("end", {"JobName": second}, Conditions=[condition(first), crawled])
    observer = Quiet()
    run = account.run(observer)
    assert run.failures == []
    assert observer.began == [first, CRAWLER + account.name, second]
    assert list(tables_of(account.glue, account.name)) == ["orders"]


def test_crawler_that_a_job_starts_is_run_before_the_run_is_over(account: Account) -> None:
    sink = BytesIO()
    pq.write_table(pa.table({"id": [1]}), sink)
    account.put("orders/batch=1/part-00000.parquet", sink.getvalue())
    account.glue.create_database(DatabaseInput={"Name": account.name})
    grouping = {"TableGroupingPolicy": "CombineCompatibleSchemas", "TableLevelConfiguration": 2}
    account.glue.create_crawler(
        Name=account.name, Role="role", DatabaseName=account.name,
        Targets={"S3Targets": [{"Path": f"{account.bucket}/orders/"}]},
        Configuration=json.dumps({"Version": 1.0, "Grouping": grouping}),
    )  # fmt: skip
    script = f"import boto3; boto3.client('glue').start_crawler(Name={account.name!r})"
    first = account.job("a", script)
    account.trigger("start", {"JobName": first})
    observer = Quiet()
    run = account.run(observer)
    assert run.failures == []
    assert list(run.jobs) == [first]
    assert observer.began == [first, CRAWLER + account.name]
    assert list(tables_of(account.glue, account.name)) == ["orders"]
    assert account.glue.get_crawler(Name=account.name)["Crawler"]["State"] == "READY"


def test_failure_stops_what_waits_and_becomes_an_event(account: Account) -> None:
    queue = boto3.client("sqs").create_queue(QueueName=account.name)["QueueUrl"]
    arn = boto3.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
    first, second = account.job("a", "raise SystemExit('no rows')"), account.job("b", "pass")
    pattern = {"source": ["aws.glue"], "detail-type": ["Glue Job State Change"],
               "detail": {"jobName": [first], "state": ["FAILED", "TIMEOUT"]}}  # fmt: skip
    account.clients.events.put_rule(Name=account.name, EventPattern=json.dumps(pattern))
    target = {"Id": "queue", "Arn": arn["Attributes"]["QueueArn"]}
    account.clients.events.put_targets(Rule=account.name, Targets=[target])
    account.trigger("start", {"JobName": first})
    account.trigger("next", {"JobName": second}, Conditions=[condition(first)])
    run = account.run()
    assert [failed.job for failed in run.failures] == [first]
    assert second not in run.jobs
    (message,) = boto3.client("sqs").receive_message(QueueUrl=queue)["Messages"]
    assert json.loads(message["Body"])["detail"]["message"] == "no rows"


def test_start_beyond_the_most_runs_is_dropped(account: Account) -> None:
    wait = """
import pathlib, sys, time
end = time.monotonic() + 10
while not pathlib.Path(sys.argv[4]).exists() and time.monotonic() < end:
    time.sleep(0.05)
"""
    flag = account.folder / "go on"
    job = account.job("a", wait, flag=str(flag))
    account.trigger("start", {"JobName": job})
    local = LocalGlue(account.clients, dict(os.environ), account.folder)
    runs: list[Any] = []
    observer = Quiet()
    first = Thread(target=lambda: runs.append(local.start(account.name, observer)))
    first.start()
    while not observer.began:
        first.join(0.05)
    assert local.start(account.name, Quiet()) is None
    flag.touch()
    first.join()
    assert runs[0].failures == []


def test_graph_shows_states_and_what_was_not_reached(account: Account) -> None:
    first, second = account.job("a", "raise SystemExit(1)"), account.job("b", "pass")
    account.trigger("start", {"JobName": first})
    account.trigger("next", {"JobName": second}, Conditions=[condition(first)])
    console = Console(file=StringIO(), width=120)
    with Graph(read_workflow(account.glue, account.name), console) as graph:
        account.run(graph)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    lines = [" ".join(re.sub("[│├└─●○✗]", " ", line).split()) for line in shown.splitlines()]
    root, start, ran, after, waits = lines[-5:]
    assert (root, start, waits) == (account.name, f"{account.name}-start", second)
    assert re.fullmatch(rf"{first} FAILED \d+\.\d s", ran)
    assert after == f"{account.name}-next when {first} SUCCEEDED"


def test_workflow_that_is_not_there_is_named(account: Account) -> None:
    with pytest.raises(WorkflowError, match="workflow nothing: expected triggers"):
        read_workflow(account.glue, "nothing")


def test_what_glue_reads_itself_is_kept_from_the_script() -> None:
    assert own_arguments(["--conf", "a", "--zone", "z"]) == ["--zone", "z"]
