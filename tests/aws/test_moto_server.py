"""What local/moto_server.py patches, seen through boto3: each test is red on plain moto."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.glue_records import MotoRecords
from tests.aws.deployment import Aws, running_moto


@pytest.fixture(scope="module")
def own() -> Iterator[Aws]:
    with running_moto() as running:
        yield running


def test_missing_action_is_refused_at_once(own: Aws) -> None:
    with pytest.raises(ClientError) as caught:
        own.client("glue").create_classifier(
            GrokClassifier={"Name": "a", "Classification": "b", "GrokPattern": "c"}
        )
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
    assert caught.value.response["ResponseMetadata"]["RetryAttempts"] == 0


def test_tls_only_bucket_is_usable_and_plain_denials_hold(own: Aws) -> None:
    s3 = own.client("s3")
    conditional = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": "arn:aws:s3:::closed/*",
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    plain = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:PutObject",
        "Resource": "arn:aws:s3:::closed/never/*",
    }
    s3.create_bucket(Bucket="closed", CreateBucketConfiguration={"LocationConstraint": "eu-west-2"})
    policy = json.dumps({"Version": "2012-10-17", "Statement": [conditional, plain]})
    s3.put_bucket_policy(Bucket="closed", Policy=policy)
    s3.put_object(Bucket="closed", Key="a", Body=b"a")
    assert s3.get_object(Bucket="closed", Key="a")["Body"].read() == b"a"
    with pytest.raises(ClientError, match="403"):
        s3.put_object(Bucket="closed", Key="never/a", Body=b"a")
    assert s3.get_bucket_policy(Bucket="closed")["Policy"] == policy


def test_bucket_with_delete_markers_can_be_emptied(own: Aws) -> None:
    s3 = own.client("s3")
    s3.create_bucket(Bucket="marked", CreateBucketConfiguration={"LocationConstraint": "eu-west-2"})
    s3.put_bucket_versioning(Bucket="marked", VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket="marked", Key="a", Body=b"a")
    s3.delete_object(Bucket="marked", Key="a")
    # As Terraform empties a bucket: versioning goes first.
    s3.put_bucket_versioning(Bucket="marked", VersioningConfiguration={"Status": "Suspended"})
    found = s3.list_object_versions(Bucket="marked")
    versions = [*found["Versions"], *found["DeleteMarkers"]]
    objects = [{"Key": it["Key"], "VersionId": it["VersionId"]} for it in versions]
    s3.delete_objects(Bucket="marked", Delete={"Objects": objects})
    s3.delete_bucket(Bucket="marked")


def job(**more: Any) -> dict[str, Any]:
    return {"Role": "role", "Command": {"Name": "glueetl"}, **more}


def test_job_is_overwritten_by_an_update(own: Aws) -> None:
    glue = own.client("glue")
    glue.create_job(Name="job", Timeout=60, DefaultArguments={"--a": "1", "--b": "2"}, **job())
    glue.update_job(JobName="job", JobUpdate=job(DefaultArguments={"--a": "3"}, NumberOfWorkers=4))
    updated = glue.get_job(JobName="job")["Job"]
    assert updated["DefaultArguments"] == {"--a": "3"}
    assert updated["NumberOfWorkers"] == 4
    assert "Timeout" not in updated


def test_crawler_is_updated(own: Aws) -> None:
    glue = own.client("glue")
    glue.create_crawler(Name="crawler", Role="role", Targets={"S3Targets": [{"Path": "s3://a/"}]})
    glue.update_crawler(Name="crawler", Schedule="cron(10 3 * * ? *)")
    updated = glue.get_crawler(Name="crawler")["Crawler"]
    assert updated["Schedule"]["ScheduleExpression"] == "cron(10 3 * * ? *)"
    assert updated["Targets"]["S3Targets"] == [{"Path": "s3://a/"}]
    assert updated["Version"] == 2


def test_trigger_is_updated(own: Aws) -> None:
    glue = own.client("glue")
    condition = {"LogicalOperator": "EQUALS", "JobName": "a", "State": "SUCCEEDED"}
    predicate = {"Logical": "AND", "Conditions": [condition]}
    glue.create_trigger(
        Name="trigger", Type="CONDITIONAL", Predicate=predicate, Actions=[{"JobName": "b"}]
    )
    other = {"Logical": "ANY", "Conditions": [{**condition, "State": "FAILED"}]}
    update = {"Actions": [{"JobName": "c"}], "Predicate": other}
    glue.update_trigger(Name="trigger", TriggerUpdate=update)
    updated = glue.get_trigger(Name="trigger")["Trigger"]
    assert updated["Actions"] == [{"JobName": "c"}]
    assert updated["Predicate"]["Conditions"][0]["State"] == "FAILED"


def test_connection_keeps_its_type_and_can_go(own: Aws) -> None:
    glue = own.client("glue")
    given = {"Name": "net", "ConnectionType": "NETWORK", "ConnectionProperties": {}}
    glue.create_connection(ConnectionInput=given)
    assert glue.get_connection(Name="net")["Connection"]["ConnectionType"] == "NETWORK"
    glue.update_connection(Name="net", ConnectionInput={**given, "Description": "changed"})
    assert glue.get_connection(Name="net")["Connection"]["Description"] == "changed"
    glue.delete_connection(ConnectionName="net")
    with pytest.raises(glue.exceptions.EntityNotFoundException):
        glue.get_connection(Name="net")


def test_workgroup_and_named_query_change_and_go(own: Aws) -> None:
    athena = own.client("athena")
    athena.create_work_group(Name="group", Configuration={}, Tags=[{"Key": "a", "Value": "b"}])
    changes = {"BytesScannedCutoffPerQuery": 10_000_000}
    athena.update_work_group(WorkGroup="group", ConfigurationUpdates=changes)
    group = athena.get_work_group(WorkGroup="group")["WorkGroup"]["Configuration"]
    assert group["BytesScannedCutoffPerQuery"] == 10_000_000
    made = athena.create_named_query(
        Name="q", Database="d", QueryString="select 1", WorkGroup="group"
    )
    id_ = made["NamedQueryId"]
    athena.update_named_query(NamedQueryId=id_, Name="q", QueryString="select 2")
    query = athena.get_named_query(NamedQueryId=id_)["NamedQuery"]
    assert query["QueryString"] == "select 2"
    athena.delete_named_query(NamedQueryId=id_)
    assert athena.list_named_queries(WorkGroup="group")["NamedQueryIds"] == []


def test_event_reaches_a_topic_as_the_transformer_words_it(own: Aws) -> None:
    sqs, sns, events = own.client("sqs"), own.client("sns"), own.client("events")
    url = sqs.create_queue(QueueName="inbox")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    topic = sns.create_topic(Name="alerts")["TopicArn"]
    allow = {
        "Effect": "Allow",
        "Action": "sns:Publish",
        "Resource": topic,
        "Principal": {"Service": "events.amazonaws.com"},
    }
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn["QueueArn"])
    pattern = {"source": ["aws.glue"], "detail": {"state": ["FAILED"]}}
    events.put_rule(Name="rule", EventPattern=json.dumps(pattern))
    transformer = {
        "InputPathsMap": {"name": "$.detail.jobName", "none": "$.detail.none"},
        "InputTemplate": '"<name> failed<none>"',
    }
    target = {"Id": "1", "Arn": topic, "InputTransformer": transformer}
    events.put_targets(Rule="rule", Targets=[target])
    conditional = {**allow, "Condition": {"StringEquals": {"aws:SourceAccount": "123456789012"}}}
    for state, statement in (("SUCCEEDED", allow), ("FAILED", conditional), ("FAILED", allow)):
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=policy)
        detail = json.dumps({"jobName": "load", "state": state})
        events.put_events(Entries=[{"Source": "aws.glue", "DetailType": "x", "Detail": detail}])
    messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    assert [json.loads(it["Body"])["Message"] for it in messages] == ["load failed"]


@pytest.mark.parametrize(("missing", "silent"), [("breaching", "ALARM"), ("notBreaching", "OK")])
def test_alarm_follows_its_metric_and_tells_its_topic(own: Aws, missing: str, silent: str) -> None:
    sqs, sns, cloudwatch = own.client("sqs"), own.client("sns"), own.client("cloudwatch")
    url = sqs.create_queue(QueueName=f"told-{missing}")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    topic = sns.create_topic(Name=f"alarms-{missing}")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn["QueueArn"])
    dimensions = [{"Name": "Job", "Value": missing}]
    cloudwatch.put_metric_alarm(
        AlarmName=missing,
        Namespace="Own",
        MetricName="Rows",
        Dimensions=dimensions,
        Statistic="Sum",
        Period=300,
        EvaluationPeriods=1,
        Threshold=10,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
        TreatMissingData=missing,
        AlarmActions=[topic],
        OKActions=[topic],
    )

    def put(value: float, *more: dict[str, str], name: str = "Rows") -> str:
        datum = {"MetricName": name, "Dimensions": [*dimensions, *more], "Value": value}
        cloudwatch.put_metric_data(Namespace="Own", MetricData=[datum])
        (alarm,) = cloudwatch.describe_alarms(AlarmNames=[missing])["MetricAlarms"]
        state: str = alarm["StateValue"]
        return state

    assert put(99, name="Another") == silent
    assert put(99, {"Name": "Table", "Value": "design"}) == silent
    assert put(9) == "OK"
    assert put(1) == "ALARM"
    messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    told = [json.loads(json.loads(it["Body"])["Message"])["NewStateValue"] for it in messages]
    assert told == (["ALARM", "OK", "ALARM"] if silent == "ALARM" else ["ALARM"])


def test_security_group_rule_keeps_its_description(own: Aws) -> None:
    ec2 = own.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/24")["Vpc"]["VpcId"]
    group = ec2.create_security_group(GroupName="g", Description="g", VpcId=vpc)["GroupId"]
    pair = {"GroupId": group, "Description": "driver and workers"}
    permission = {"IpProtocol": "tcp", "FromPort": 0, "ToPort": 1, "UserIdGroupPairs": [pair]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[permission])
    filters = [{"Name": "group-id", "Values": [group]}]
    rules = ec2.describe_security_group_rules(Filters=filters)["SecurityGroupRules"]
    assert "driver and workers" in {rule.get("Description") for rule in rules}


def test_manifests_are_created_and_never_replaced_at_will(own: Aws) -> None:
    s3 = own.client("s3")
    created_only = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:PutObject",
        "Resource": "arn:aws:s3:::lake/_batches/*",
        "Condition": {
            "Null": {"s3:if-none-match": "true"},
            "Bool": {"s3:ObjectCreationOperation": "true"},
        },
    }
    policy = {"Version": "2012-10-17", "Statement": [created_only]}
    s3.create_bucket(Bucket="lake", CreateBucketConfiguration={"LocationConstraint": "eu-west-2"})
    s3.put_bucket_policy(Bucket="lake", Policy=json.dumps(policy))
    s3.put_object(Bucket="lake", Key="_batches/1.json", Body=b"1", IfNoneMatch="*")
    s3.put_object(Bucket="lake", Key="part-0", Body=b"1")
    with pytest.raises(ClientError, match="403"):
        s3.put_object(Bucket="lake", Key="_batches/1.json", Body=b"2")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.put_object(Bucket="lake", Key="_batches/1.json", Body=b"2", IfNoneMatch="*")


def test_runs_are_as_they_are_told(own: Aws) -> None:
    glue = own.client("glue")
    records = MotoRecords(glue)
    glue.create_job(
        Name="told", Role="role", Command={"Name": "glueetl", "ScriptLocation": "s3://a"}
    )
    run = records.job_began("told", {"--zone": "a"})
    found = glue.get_job_run(JobName="told", RunId=run)["JobRun"]
    assert (found["JobRunState"], found["Arguments"]) == ("RUNNING", {"--zone": "a"})
    assert "CompletedOn" not in found
    records.job_ended("told", run, "FAILED", 2.4, "no rows")
    found = glue.get_job_run(JobName="told", RunId=run)["JobRun"]
    assert found["JobRunState"] == "FAILED"
    assert (found["ExecutionTime"], found["ErrorMessage"]) == (2, "no rows")
    glue.create_workflow(Name="told")
    run = glue.start_workflow_run(Name="told")["RunId"]
    records.workflow_ended("told", run, "COMPLETED", ["SUCCEEDED", "FAILED"])
    found = glue.get_workflow_run(Name="told", RunId=run)["Run"]
    assert found["Status"] == "COMPLETED"
    assert found["Statistics"]["FailedActions"] == 1
    glue.create_crawler(Name="told", Role="role", DatabaseName="d", Targets={"S3Targets": []})
    glue.start_crawler(Name="told")
    records.crawler_ended("told", "FAILED", "no files")
    found = glue.get_crawler(Name="told")["Crawler"]
    assert found["State"] == "READY"
    assert found["LastCrawl"]["Status"] == "FAILED"
    assert found["LastCrawl"]["ErrorMessage"] == "no files"
