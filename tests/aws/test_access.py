"""Each role can do what its job or crawler does, and nothing else.

For objects moto enforces the applied policies; for the rest the policy documents are read, because
moto knows no resource but "*" there.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from botocore.exceptions import ClientError

from tests.aws.deployment import Aws, Deployment

PREFIX = "totesys-test"
JOBS = ("extract", "transform", "load", "reconcile", "compact")
DATA = "address/batch=20261120T101500Z/part-00000.parquet"
MANIFEST = "_batches/00000001.json"
ATTEMPT = "_attempts/20261120T101500Z.json"
NOTE = "_looked_at.json"
MERGED = "merged/address/batch=20261120T101500Z-to-20261120T103500Z/part-00000.parquet"
MERGE = "_merged/00000001.json"
CODE = "code/0/extract.py"

READ = [("get", it) for it in (DATA, ATTEMPT, MANIFEST, NOTE, MERGED, MERGE)]

# Role → bucket → what it may do with which object; all else is refused.
ALLOWED = {
    "extract-job": {
        "raw": {
            ("get", DATA), ("put", DATA), ("delete", DATA),
            ("get", ATTEMPT), ("put", ATTEMPT), ("delete", ATTEMPT),
            ("get", MANIFEST), ("put", MANIFEST),
            ("get", NOTE), ("put", NOTE),
            ("get", MERGED), ("put", MERGED), ("delete", MERGED),
            ("get", MERGE), ("put", MERGE),
        },
        "artifacts": {("get", CODE)},
    },
    "transform-job": {
        "raw": {*READ},
        "processed": {
            ("get", MERGED), ("put", MERGED), ("delete", MERGED),
            ("get", MERGE), ("put", MERGE),
            ("get", DATA), ("put", DATA), ("delete", DATA),
            ("get", ATTEMPT), ("put", ATTEMPT),
            ("get", MANIFEST), ("put", MANIFEST),
            ("get", NOTE), ("put", NOTE),
        },
        "artifacts": {("get", CODE)},
    },
    "load-job": {"processed": {*READ}, "artifacts": {("get", CODE)}},
    "reconcile-job": {"raw": {*READ}, "processed": {*READ}, "artifacts": {("get", CODE)}},
    "compact-job": {
        "raw": {*READ, ("put", MERGED), ("delete", MERGED), ("put", MERGE)},
        "processed": {*READ, ("put", MERGED), ("delete", MERGED), ("put", MERGE)},
        "artifacts": {("get", CODE)},
    },
    "raw-crawler": {"raw": {*READ}},
    "processed-crawler": {"processed": {*READ}},
}  # fmt: skip
OBJECTS = {
    "raw": [DATA, MANIFEST, ATTEMPT, NOTE, MERGED, MERGE],
    "processed": [DATA, MANIFEST, ATTEMPT, NOTE, MERGED, MERGE],
    "artifacts": [CODE],
    "athena": ["results/1.csv"],
}


@pytest.fixture(scope="module")
def stored(aws: Aws, deployment: Deployment) -> dict[str, str]:
    """Bucket names by purpose; every object that is asked for is there."""
    buckets: dict[str, str] = deployment.outputs()["buckets"]
    for purpose, keys in OBJECTS.items():
        for key in keys:
            put(aws.client("s3"), buckets[purpose], key)
    return buckets


def put(s3: Any, bucket: str, key: str) -> None:
    """Write an object; a manifest as the jobs do, which only ever create one."""
    only_new = {"IfNoneMatch": "*"} if key in (MANIFEST, MERGE) else {}
    try:
        s3.put_object(Bucket=bucket, Key=key, Body=b"{}", **only_new)
    except ClientError as error:
        if error.response["Error"]["Code"] != "PreconditionFailed":
            raise


@pytest.fixture
def enforced(aws: Aws) -> Iterator[None]:
    """Policies are enforced while the test runs."""
    requests.post(f"{aws.endpoint}/moto-api/reset-auth", data="0", timeout=10)
    yield
    requests.post(f"{aws.endpoint}/moto-api/reset-auth", data="inf", timeout=10)


@pytest.fixture
def s3(request: pytest.FixtureRequest, account: Aws) -> Any:
    """S3 as a role; the role is taken on before policies are enforced."""
    arn = f"arn:aws:iam::123456789012:role/{PREFIX}-{request.param}"
    answer = account.client("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
    request.getfixturevalue("enforced")
    return account.client(
        "s3",
        aws_access_key_id=answer["AccessKeyId"],
        aws_secret_access_key=answer["SecretAccessKey"],
        aws_session_token=answer["SessionToken"],
    )


def attempt(s3: Any, action: str, bucket: str, key: str) -> bool:
    """Whether S3 lets it happen."""
    try:
        if action == "get":
            s3.get_object(Bucket=bucket, Key=key)
        elif action == "put":
            put(s3, bucket, key)
        else:
            s3.delete_object(Bucket=bucket, Key=key)
            put(s3, bucket, key)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("AccessDenied", "403"):
            raise
        return False
    return True


@pytest.mark.parametrize(("s3", "role"), [(role, role) for role in ALLOWED], indirect=["s3"])
def test_objects(s3: Any, role: str, stored: dict[str, str]) -> None:
    granted = {
        (purpose, action, key)
        for purpose, keys in OBJECTS.items()
        for key in keys
        for action in ("get", "put", "delete")
        if attempt(s3, action, stored[purpose], key)
    }
    expected = {(purpose, *what) for purpose, whats in ALLOWED[role].items() for what in whats}
    assert granted == expected


def statements(aws: Aws, role: str) -> list[dict[str, Any]]:
    """The statements of a role's only policy."""
    iam = aws.client("iam")
    name = f"{PREFIX}-{role}"
    assert iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"] == []
    (policy,) = iam.list_role_policies(RoleName=name)["PolicyNames"]
    document = iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
    found: list[dict[str, Any]] = document["Statement"]
    return found


def granted(aws: Aws, role: str, action: str) -> list[str]:
    """The resources on which a role may do an action."""
    return [
        resource
        for statement in statements(aws, role)
        if action in statement["Action"]
        for resource in statement["Resource"]
    ]


@pytest.mark.parametrize("role", ALLOWED)
def test_actions_are_named_and_resources_narrow(account: Aws, role: str) -> None:
    for statement in statements(account, role):
        assert statement["Effect"] == "Allow"
        assert not [action for action in statement["Action"] if "*" in action]
        if "*" in statement["Resource"]:
            assert statement["Action"] == ["cloudwatch:PutMetricData"]
            namespaces = statement["Condition"]["StringEquals"]["cloudwatch:namespace"]
            assert namespaces == ["Totelake", "Glue"]


def test_each_job_reads_the_secrets_of_its_databases_only(aws: Aws, deployment: Deployment) -> None:
    secrets = aws.client("secretsmanager")
    arns = {
        purpose: secrets.describe_secret(SecretId=name)["ARN"]
        for purpose, name in deployment.outputs()["secrets"].items()
    }
    read = {role: granted(aws, role, "secretsmanager:GetSecretValue") for role in ALLOWED}
    assert read == {
        "extract-job": [arns["source"]],
        "transform-job": [],
        "load-job": [arns["warehouse"]],
        "reconcile-job": [arns["source"], arns["warehouse"]],  # it compares the two
        "compact-job": [],
        "raw-crawler": [],
        "processed-crawler": [],
    }


@pytest.mark.parametrize(
    ("role", "database"),
    [
        ("extract-job", "raw"),
        ("transform-job", "processed"),
        ("raw-crawler", "raw"),
        ("processed-crawler", "processed"),
    ],
)
def test_catalogue_of_its_own_zone_only(
    aws: Aws, deployment: Deployment, role: str, database: str
) -> None:
    own = deployment.outputs()["databases"][database]
    resources = granted(aws, role, "glue:BatchCreatePartition")
    names = [resource.split(":", 5)[5] for resource in resources]
    assert names == ["catalog", f"database/{own}", f"table/{own}/*"]


@pytest.mark.parametrize(
    ("job", "crawler"),
    [
        ("extract", "raw"),
        ("transform", "processed"),
        ("load", None),
        ("reconcile", None),
        ("compact", None),
    ],
)
def test_each_job_starts_the_crawler_of_its_zone_only(
    account: Aws, job: str, crawler: str | None
) -> None:
    names = [it.split(":", 5)[5] for it in granted(account, f"{job}-job", "glue:StartCrawler")]
    assert names == ([f"crawler/{PREFIX}-{crawler}"] if crawler else [])


REGISTER = {
    "glue:GetTable",
    "glue:BatchCreatePartition",
    "glue:StartCrawler",
}


# What catalog.py, swap.py, catalogued.py and metrics.py call, and nothing beside it.
@pytest.mark.parametrize(
    ("role", "actions"),
    [
        ("extract-job", REGISTER),
        ("transform-job", REGISTER),
        (
            "compact-job",
            {
                "glue:GetTable",
                "glue:UpdateTable",
                "glue:GetPartitions",
                "glue:GetCrawler",
                "glue:BatchCreatePartition",
                "glue:BatchDeletePartition",
                "glue:BatchUpdatePartition",
                "glue:UpdateCrawler",
            },
        ),
        ("load-job", set()),
        ("reconcile-job", {"glue:GetTables", "glue:GetPartitions"}),
    ],
)
def test_a_job_may_do_what_it_calls(account: Aws, role: str, actions: set[str]) -> None:
    granted_actions = {action for it in statements(account, role) for action in it["Action"]}
    assert {action for action in granted_actions if action.startswith("glue:")} == actions
    cloudwatch = {action for action in granted_actions if action.startswith("cloudwatch:")}
    assert cloudwatch == {"cloudwatch:PutMetricData"}


def test_jobs_keep_no_tables_and_crawlers_start_nothing(account: Aws) -> None:
    for role in ALLOWED:
        is_crawler = role.endswith("crawler")
        assert bool(granted(account, role, "glue:CreateTable")) == is_crawler
        assert not granted(account, role, "glue:DeleteTable")
        assert not granted(account, role, "glue:StartJobRun")
        if is_crawler:
            assert not granted(account, role, "glue:StartCrawler")


@pytest.mark.parametrize("job", JOBS)
def test_logs_of_its_own_only(account: Aws, job: str) -> None:
    groups = [
        arn.split(":log-group:")[1] for arn in granted(account, f"{job}-job", "logs:PutLogEvents")
    ]
    assert groups == [f"/{PREFIX}/{job}/*", "/aws-glue/jobs/*"]


@pytest.mark.parametrize("role", ALLOWED)
def test_only_glue_of_this_account_takes_a_role(account: Aws, role: str) -> None:
    document = account.client("iam").get_role(RoleName=f"{PREFIX}-{role}")["Role"]
    trust = document["AssumeRolePolicyDocument"]["Statement"]
    assert trust == [
        {
            "Effect": "Allow",
            "Action": "sts:AssumeRole",
            "Principal": {"Service": "glue.amazonaws.com"},
            "Condition": {"StringEquals": {"aws:SourceAccount": "123456789012"}},
        }
    ]


def test_manifests_are_create_only_by_bucket_policy(aws: Aws, deployment: Deployment) -> None:
    buckets = deployment.outputs()["buckets"]
    for zone in ("raw", "processed"):
        policy = aws.client("s3").get_bucket_policy(Bucket=buckets[zone])["Policy"]
        (deny,) = [s for s in json.loads(policy)["Statement"] if s["Action"] == "s3:PutObject"]
        assert deny["Effect"] == "Deny"
        manifests = [
            f"arn:aws:s3:::{buckets[zone]}/{folder}/*" for folder in ("_batches", "_merged")
        ]
        assert deny["Resource"] == manifests
        assert deny["Condition"]["Null"] == {"s3:if-none-match": "true"}
