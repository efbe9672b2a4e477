"""What is applied is what the project declares."""

import base64
import json
import re
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.aws.deployment import REGION, REPOSITORY, Aws, Deployment, environment
from totelake import metrics
from totelake.metrics import Metrics
from totelake.runtime import Log
from totelake.tables import SOURCE, STAR

IN_WORKFLOW = ("extract", "transform", "load")
JOBS = tuple(json.loads((REPOSITORY / "glue_jobs/workflow.json").read_text())["jobs"])
PREFIX = "totesys-test"
TABLES = {"raw": list(SOURCE), "processed": list(STAR)}


def declared(path: str, outputs: dict[str, Any]) -> dict[str, Any]:
    """One of the project's declarations, with the placeholders that the deployment fills in."""
    values = {
        "schedule": "cron(0/20 * * * ? *)",
        "compact_schedule": "cron(40 2 ? * SUN *)",
        "open_batches": "100",
        "raw_format": "parquet",
        "sweep": "auto",
        "max_rejected_ratio": "0.5",
        **{f"{purpose}_secret": name for purpose, name in outputs["secrets"].items()},
        **{f"{zone}_zone": uri for zone, uri in outputs["zones"].items()},
        **{f"{zone}_database": name for zone, name in outputs["databases"].items()},
        **{f"{zone}_crawler": name for zone, name in outputs["crawlers"].items()},
    }
    text = string.Template((REPOSITORY / path).read_text()).substitute(values)
    content: dict[str, Any] = json.loads(text)
    return content


def test_second_plan_is_empty(deployment: Deployment) -> None:
    deployment.expect_empty_plan()


def test_bad_input_is_refused_at_plan_by_sentences_that_quote_it(deployment: Deployment) -> None:
    """As an operator sees it: all that is wrong at once, in lines that Terraform has broken."""
    wrong = {
        "schedule": {"cron": "every 20 minutes"},
        "workers": {"lod": {"type": "G.3X", "timeout_minutes": 2}},
        "alert_emails": ["someone.example.com"],
        "database_names": {"raw": "lake", "processed": "lake"},
        "secret_names": {"source": "db", "warehouse": "db"},
    }
    given = [f"-var={name}={json.dumps(value)}" for name, value in wrong.items()]
    said = deployment.terraform("plan", "-input=false", "-refresh=false", *given, ok=(1,))
    for sentence in (
        'such as cron(0/20 * * * ? *); got "every 20 minutes"',
        'A worker type is G.1X, G.2X, G.4X or G.8X; got {"lod":"G.3X"}',
        'shorter ones stop a run that has only started; got {"lod":2}',
        'or default; got ["lod"]',
        'alert_emails are e-mail addresses; got ["someone.example.com"]',
        'overwrite each other\'s tables; got {"processed":"lake","raw":"lake"}',
        'or one job could read the other\'s password; got "db" twice',
    ):
        assert sentence in re.sub(r"[\s│]+", " ", said)


def test_workflow_graph_is_that_of_the_declaration(deployment: Deployment) -> None:
    glue = deployment.aws.client("glue")
    workflow = declared("glue_jobs/workflow.json", deployment.outputs())

    def short(name: str) -> str:
        return name.removeprefix(f"{PREFIX}-")

    applied = {}
    for trigger in glue.get_triggers()["Triggers"]:
        # A workflow has one start trigger: what has a schedule of its own stands beside it.
        beside = trigger["Name"] == f"{PREFIX}-weekly"
        assert trigger.get("WorkflowName") == (None if beside else PREFIX)
        assert trigger["State"] == "ACTIVATED"
        shown = {
            "type": trigger["Type"],
            "actions": [{"job": short(it["JobName"])} for it in trigger["Actions"]],
        }
        if "Schedule" in trigger:
            shown["schedule"] = trigger["Schedule"]
        if "Predicate" in trigger:
            shown["logical"] = trigger["Predicate"]["Logical"]
            shown["conditions"] = [
                {"job": short(it["JobName"]), "state": it["State"]}
                for it in trigger["Predicate"]["Conditions"]
            ]
        applied[short(trigger["Name"])] = shown
    declared_triggers = workflow["triggers"]
    assert not declared_triggers["weekly"].pop("in_workflow")
    assert applied == declared_triggers
    limit = glue.get_workflow(Name=PREFIX)["Workflow"]["MaxConcurrentRuns"]
    assert limit == workflow["max_concurrent_runs"] == 1


@pytest.mark.parametrize("job", JOBS)
def test_job_is_as_declared(deployment: Deployment, job: str) -> None:
    workflow = declared("glue_jobs/workflow.json", deployment.outputs())["jobs"][job]
    applied = deployment.aws.client("glue").get_job(JobName=f"{PREFIX}-{job}")["Job"]
    arguments = applied["DefaultArguments"]
    # Glue's own arguments have hyphens, the job's have none.
    own = {k: v for k, v in arguments.items() if "-" not in k[2:] and k != "--conf"}
    assert own == workflow["arguments"]
    assert applied["Timeout"] == workflow["timeout_minutes"]
    assert applied.get("MaxRetries", 0) == 0
    assert applied["ExecutionProperty"] == {"MaxConcurrentRuns": 1}
    s3 = deployment.aws.client("s3")
    for uri in (
        applied["Command"]["ScriptLocation"],
        arguments["--extra-py-files"],
        arguments["--additional-python-modules"],
    ):
        bucket, key = uri.removeprefix("s3://").split("/", 1)
        s3.head_object(Bucket=bucket, Key=key)
    script = applied["Command"]["ScriptLocation"].removeprefix("s3://").split("/", 1)[1]
    stored = s3.get_object(Bucket=deployment.outputs()["buckets"]["artifacts"], Key=script)
    assert stored["Body"].read() == (REPOSITORY / "glue_jobs" / f"{job}.py").read_bytes()


@pytest.mark.parametrize("job", JOBS)
def test_job_has_log_groups_that_expire(deployment: Deployment, job: str) -> None:
    applied = deployment.aws.client("glue").get_job(JobName=f"{PREFIX}-{job}")["Job"]
    prefix = applied["DefaultArguments"]["--custom-logGroup-prefix"]
    logs = deployment.aws.client("logs")
    groups = logs.describe_log_groups(logGroupNamePrefix=f"{prefix}/")["logGroups"]
    found = {group["logGroupName"]: group.get("retentionInDays") for group in groups}
    assert found == {f"{prefix}/output": 90, f"{prefix}/error": 90}


@pytest.mark.parametrize("zone", ["raw", "processed"])
def test_crawler_targets_are_the_declared_tables(deployment: Deployment, zone: str) -> None:
    outputs = deployment.outputs()
    crawler = deployment.aws.client("glue").get_crawler(Name=outputs["crawlers"][zone])["Crawler"]
    targets = {target["Path"] for target in crawler["Targets"]["S3Targets"]}
    assert targets == {f"{outputs['zones'][zone]}/{table}/" for table in TABLES[zone]}
    wanted = declared(f"crawlers/{zone}.json", outputs)
    assert json.loads(crawler["Configuration"]) == wanted["configuration"]
    assert all(t["Exclusions"] == wanted["exclusions"] for t in crawler["Targets"]["S3Targets"])
    assert crawler["DatabaseName"] == outputs["databases"][zone]
    assert "Schedule" not in crawler


@pytest.mark.parametrize("table", list(STAR))
def test_view_is_one_that_athena_takes(deployment: Deployment, table: str) -> None:
    database = deployment.outputs()["databases"]["processed"]
    glue = deployment.aws.client("glue")
    view = glue.get_table(DatabaseName=database, Name=f"current_{table}")["Table"]
    assert view["TableType"] == "VIRTUAL_VIEW"
    assert view["Parameters"]["presto_view"] == "true"
    assert view["Parameters"]["comment"] == "Presto View"
    assert view["Owner"]
    assert "SerdeInfo" in view["StorageDescriptor"]
    text = view["ViewOriginalText"]
    assert text.startswith("/* Presto View: ")
    assert text.endswith(" */")
    content = json.loads(base64.b64decode(text[len("/* Presto View: ") : -len(" */")]))
    assert content["schema"] == database
    assert not {";", "`", "*"} & set(content["originalSql"])
    names = [column["name"] for column in content["columns"]]
    assert names == [column["Name"] for column in view["StorageDescriptor"]["Columns"]]
    assert names == STAR[table].column_names


def test_buckets_are_closed(deployment: Deployment) -> None:
    s3 = deployment.aws.client("s3")
    for bucket in deployment.outputs()["buckets"].values():
        block = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
        assert list(block.values()) == [True] * 4
        assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
        encryption = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]
        algorithm = encryption["Rules"][0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"]
        assert algorithm == "AES256"
        ownership = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"]
        assert ownership == [{"ObjectOwnership": "BucketOwnerEnforced"}]
        statements = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
        assert statements[0]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        assert (statements[0]["Effect"], statements[0]["Action"]) == ("Deny", "s3:*")


def test_no_secret_value_is_in_the_state(deployment: Deployment) -> None:
    secrets = deployment.aws.client("secretsmanager")
    for name in deployment.outputs()["secrets"].values():
        assert not secrets.describe_secret(SecretId=name).get("VersionIdsToStages")
    assert "secret_string" not in (deployment.folder / "terraform.tfstate").read_text()


@pytest.fixture
def inbox(aws: Aws, deployment: Deployment) -> Iterator[str]:
    """A queue that subscribes to the alerts, as a person's mailbox does."""
    sqs, sns = aws.client("sqs"), aws.client("sns")
    url: str = sqs.create_queue(QueueName="inbox")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    subscription = sns.subscribe(
        TopicArn=deployment.outputs()["alerts_topic"],
        Protocol="sqs",
        Endpoint=arn["Attributes"]["QueueArn"],
    )
    yield url
    sns.unsubscribe(SubscriptionArn=subscription["SubscriptionArn"])
    sqs.delete_queue(QueueUrl=url)


def send(aws: Aws, type_: str, **detail: str) -> None:
    entry = {"Source": "aws.glue", "DetailType": type_, "Detail": json.dumps(detail)}
    answer = aws.client("events").put_events(Entries=[entry])
    assert answer["FailedEntryCount"] == 0


def received(aws: Aws, queue: str) -> list[str]:
    messages = aws.client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
    return [json.loads(message["Body"])["Message"] for message in messages.get("Messages", [])]


def measure(aws: Aws, job: str, metric: str, value: float) -> None:
    """Publish a figure as the jobs do, under the name that the job has here."""
    with pytest.MonkeyPatch.context() as patch:
        for name, setting in environment(aws.endpoint).items():
            patch.setenv(name, setting)
        measured = Metrics(f"{PREFIX}-{job}")
        measured.add(metric, value)
        measured.publish(Log(job))


def told(aws: Aws, queue: str, alarm: str) -> list[str]:
    """The states that an alarm told of."""
    messages = [json.loads(message) for message in received(aws, queue)]
    return [it["NewStateValue"] for it in messages if it["AlarmName"] == f"{PREFIX}-{alarm}"]


@pytest.mark.parametrize(
    ("alarm", "job", "metric", "fine", "bad"),
    [
        ("rejected", "transform", metrics.ROWS_REJECTED, 0, 1),
        ("catalog-extract", "extract", metrics.REGISTRATION_FAILURES, 0, 1),
        ("catalog-transform", "transform", metrics.REGISTRATION_FAILURES, 0, 1),
        *((f"duration-{job}", job, metrics.BATCH_SECONDS, 899, 900) for job in IN_WORKFLOW),
    ],
)
def test_what_a_job_measures_makes_its_alarm_fire(
    aws: Aws, inbox: str, alarm: str, job: str, metric: str, fine: float, bad: float
) -> None:
    """Guards against an alarm on a metric, a job or dimensions that nothing ever publishes."""
    measure(aws, job, metric, fine)
    assert told(aws, inbox, alarm) == []
    measure(aws, job, metric, bad)
    assert told(aws, inbox, alarm) == ["ALARM"]


def test_a_warehouse_that_is_not_fresh_makes_its_alarm_fire(aws: Aws, inbox: str) -> None:
    """Silence of the load is a failure, and so is a load of what was looked at long ago."""
    aws.client("cloudwatch").set_alarm_state(
        AlarmName=f"{PREFIX}-freshness", StateValue="OK", StateReason="before the test"
    )
    received(aws, inbox)
    measure(aws, "extract", metrics.BATCH_SECONDS, 1)
    assert told(aws, inbox, "freshness") == ["ALARM"]
    measure(aws, "load", metrics.FRESHNESS_SECONDS, 1799)
    assert told(aws, inbox, "freshness") == ["OK"]
    measure(aws, "load", metrics.FRESHNESS_SECONDS, 1800)
    assert told(aws, inbox, "freshness") == ["ALARM"]


@pytest.mark.parametrize("state", ["FAILED", "TIMEOUT", "STOPPED"])
@pytest.mark.parametrize("job", JOBS)
def test_what_ends_badly_is_told(aws: Aws, inbox: str, job: str, state: str) -> None:
    name = f"{PREFIX}-{job}"
    run = {"jobRunId": "jr_1", "message": "the reason"}
    send(aws, "Glue Job State Change", jobName=name, state=state, **run)
    assert received(aws, inbox) == [f"Job {name} is {state}, run jr_1: the reason"]


@pytest.mark.parametrize("zone", ["raw", "processed"])
def test_crawler_that_fails_is_told(aws: Aws, inbox: str, zone: str) -> None:
    name = f"{PREFIX}-{zone}"
    send(aws, "Glue Crawler State Change", crawlerName=name, state="Failed", message="the reason")
    assert received(aws, inbox) == [f"Crawler {name} is Failed: the reason"]


def test_what_ends_well_or_is_not_ours_is_not_told(aws: Aws, inbox: str) -> None:
    send(aws, "Glue Job State Change", jobName=f"{PREFIX}-load", state="SUCCEEDED")
    send(aws, "Glue Job State Change", jobName="another-job", state="FAILED")
    send(aws, "Glue Crawler State Change", crawlerName=f"{PREFIX}-raw", state="Succeeded")
    assert received(aws, inbox) == []


def test_alarms_and_events_reach_the_topic(aws: Aws, deployment: Deployment) -> None:
    topic = deployment.outputs()["alerts_topic"]
    alarms = aws.client("cloudwatch").describe_alarms()["MetricAlarms"]
    names = {alarm["AlarmName"].removeprefix(f"{PREFIX}-") for alarm in alarms}
    assert names == {
        *("freshness", "rejected", "catalog-extract", "catalog-transform"),
        *(f"duration-{job}" for job in IN_WORKFLOW),
    }
    assert f"| alarms | {len(names)} × $" in (REPOSITORY / "docs/cost.md").read_text()
    assert all(alarm["AlarmActions"] == [topic] for alarm in alarms)
    assert all(alarm["ActionsEnabled"] for alarm in alarms)
    sns = aws.client("sns")
    policy = json.loads(sns.get_topic_attributes(TopicArn=topic)["Attributes"]["Policy"])
    allowed = {it["Principal"]["Service"]: it for it in policy["Statement"]}
    assert allowed.keys() == {"cloudwatch.amazonaws.com", "events.amazonaws.com"}
    assert "Condition" not in allowed["events.amazonaws.com"]
    emails = [
        it["Endpoint"]
        for it in sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
        if it["Protocol"] == "email"
    ]
    assert emails == ["operator@example.com"]


def test_queries_are_there_with_what_they_answer(account: Aws) -> None:
    athena = account.client("athena")
    ids = athena.list_named_queries(WorkGroup=PREFIX)["NamedQueryIds"]
    queries = [athena.get_named_query(NamedQueryId=id_)["NamedQuery"] for id_ in ids]
    files = {path.stem for path in Path(REPOSITORY / "terraform/queries").glob("*.sql")}
    assert {query["Name"] for query in queries} == files
    assert all(len(query["Description"]) > 20 for query in queries)
    group = athena.get_work_group(WorkGroup=PREFIX)["WorkGroup"]["Configuration"]
    assert group["EnforceWorkGroupConfiguration"]
    assert group["BytesScannedCutoffPerQuery"] == 10 * 1024**3
    assert group["ResultConfiguration"]["EncryptionConfiguration"]["EncryptionOption"] == "SSE_S3"


def test_dashboard_shows_every_job_in_the_region_it_is_in(account: Aws) -> None:
    body = account.client("cloudwatch").get_dashboard(DashboardName=PREFIX)["DashboardBody"]
    widgets = json.loads(body)["widgets"]
    assert {widget["properties"]["region"] for widget in widgets} == {REGION}
    titles = " ".join(widget["properties"]["title"] for widget in widgets)
    for subject in ("Freshness", "Rows landed", "Rows loaded", "rejected", "Seconds", "DPU-hours"):
        assert subject in titles
    for job in JOBS:  # how long it took, and its DPU-hours
        assert body.count(f'"{PREFIX}-{job}"') >= 2
