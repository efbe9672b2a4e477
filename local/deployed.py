"""A deployment on moto: by Terraform or, where that is not installed, from the same JSON files."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from local.data_catalog import PROCESSED, ZONES, declare
from local.package import REPOSITORY
from local.query import named_queries
from local.workflow import CONDITIONAL, substitute
from totelake.runtime import SPARK_SETTINGS

_ROLE = "arn:aws:iam::123456789012:role/rehearsal"
_PURPOSES = "source", "warehouse"
_OTHER_BUCKETS = "artifacts", "athena"
# Of Terraform's variables, as far as the JSON files name them; a test compares the two.
_DEFAULTS = {
    "schedule": "cron(0/20 * * * ? *)",
    "raw_format": "parquet",
    "sweep": "auto",
    "max_rejected_ratio": "0.5",
    "compact_schedule": "cron(40 2 ? * SUN *)",
    "open_batches": "100",
}

Client = Callable[[str], Any]


@dataclass(frozen=True)
class Deployment:
    """What is where, as Terraform's outputs of these names say it.

    Attributes:
        workflow: Its name.
        jobs: Names by what workflow.json calls them.
        crawlers: Names by zone.
        databases: Names by zone.
        zones: URIs by zone.
        buckets: Names by purpose.
        secrets: Names by purpose, source or warehouse.
        workgroup: Athena's.
    """

    workflow: str
    jobs: Mapping[str, str]
    crawlers: Mapping[str, str]
    databases: Mapping[str, str]
    zones: Mapping[str, str]
    buckets: Mapping[str, str]
    secrets: Mapping[str, str]
    workgroup: str

    @classmethod
    def of(cls, outputs: Mapping[str, Any]) -> Self:
        """From Terraform's outputs."""
        return cls(**{field.name: outputs[field.name] for field in fields(cls)})


def without_terraform(client: Client, region: str, packages: Path, prefix: str) -> Deployment:
    """Put into an account what a rehearsal needs of the deployment; roles and alarms are not.

    Args:
        client: Gives a client of boto3 for a service.
        region: Where buckets are.
        packages: The folder of `local.package`.
        prefix: First part of every name.
    """
    buckets = {purpose: f"{prefix}-{purpose}" for purpose in (*ZONES, *_OTHER_BUCKETS)}
    deployment = Deployment(
        workflow=prefix,
        jobs={},
        crawlers={zone: f"{prefix}-{zone}" for zone in ZONES},
        databases={zone: f"{prefix}-{zone}".replace("-", "_") for zone in ZONES},
        zones={zone: f"s3://{buckets[zone]}" for zone in ZONES},
        buckets=buckets,
        secrets={purpose: f"{prefix}/{purpose}" for purpose in _PURPOSES},
        workgroup=prefix,
    )
    values = dict(_DEFAULTS)
    values |= {f"{zone}_zone": uri for zone, uri in deployment.zones.items()}
    values |= {f"{zone}_database": name for zone, name in deployment.databases.items()}
    values |= {f"{zone}_crawler": name for zone, name in deployment.crawlers.items()}
    values |= {f"{purpose}_secret": name for purpose, name in deployment.secrets.items()}
    workflow = substitute(_json("glue_jobs/workflow.json"), values)
    for bucket in buckets.values():
        place = {"LocationConstraint": region}
        client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration=place)
        versioning = {"Status": "Enabled"}
        client("s3").put_bucket_versioning(Bucket=bucket, VersioningConfiguration=versioning)
    for name in deployment.secrets.values():
        client("secretsmanager").create_secret(Name=name)
    _catalogue(client, deployment, values)
    jobs = _jobs(client, workflow, packages, buckets["artifacts"], region, prefix)
    _workflow(client("glue"), workflow, prefix)
    return Deployment(**{**vars(deployment), "jobs": jobs})


def _catalogue(client: Client, deployment: Deployment, values: Mapping[str, str]) -> None:
    glue, athena = client("glue"), client("athena")
    for zone in ZONES:
        glue.create_database(DatabaseInput={"Name": deployment.databases[zone]})
        crawler = substitute(_json(f"crawlers/{zone}.json"), values)
        policy, excluded = crawler["schema_change_policy"], crawler["exclusions"]
        targets = [{"Path": path, "Exclusions": excluded} for path in crawler["targets"]]
        glue.create_crawler(
            Name=deployment.crawlers[zone],
            Role=_ROLE,
            DatabaseName=crawler["database"],
            Targets={"S3Targets": targets},
            RecrawlPolicy={"RecrawlBehavior": crawler["recrawl_behavior"]},
            SchemaChangePolicy={
                "UpdateBehavior": policy["update_behavior"],
                "DeleteBehavior": policy["delete_behavior"],
            },
            Configuration=json.dumps(crawler["configuration"]),
        )
    database = deployment.databases[PROCESSED]
    declare(glue, database, deployment.zones[PROCESSED])
    tags = [{"Key": "Project", "Value": deployment.workgroup}]  # moto cannot do without one
    athena.create_work_group(Name=deployment.workgroup, Configuration={}, Tags=tags)
    for query in named_queries().values():
        athena.create_named_query(
            Name=query.name, Description=query.description, Database=database,
            QueryString=query.sql, WorkGroup=deployment.workgroup,
        )  # fmt: skip


def _jobs(
    client: Client,
    workflow: Mapping[str, Any],
    packages: Path,
    bucket: str,
    region: str,
    prefix: str,
) -> dict[str, str]:
    def put(path: Path) -> str:
        client("s3").put_object(Bucket=bucket, Key=f"code/{path.name}", Body=path.read_bytes())
        return f"s3://{bucket}/code/{path.name}"

    settings = {"spark.hadoop.fs.s3a.endpoint.region": region, **SPARK_SETTINGS}
    common = {
        "--conf": " --conf ".join(f"{name}={value}" for name, value in settings.items()),
        "--extra-py-files": put(packages / "totelake.zip"),
        "--additional-python-modules": put(packages / "totelake.gluewheels.zip"),
    }
    for name, job in workflow["jobs"].items():
        script = put(REPOSITORY / "glue_jobs" / job["script"])
        client("glue").create_job(
            Name=f"{prefix}-{name}",
            Role=_ROLE,
            GlueVersion="5.1",
            Timeout=job["timeout_minutes"],
            Command={"Name": "glueetl", "ScriptLocation": script, "PythonVersion": "3"},
            ExecutionProperty={"MaxConcurrentRuns": 1},
            DefaultArguments={**common, **job["arguments"]},
        )
    return {name: f"{prefix}-{name}" for name in workflow["jobs"]}


def _workflow(glue: Any, workflow: Mapping[str, Any], prefix: str) -> None:
    most = workflow["max_concurrent_runs"]
    glue.create_workflow(Name=prefix, MaxConcurrentRuns=most)
    for name, trigger in workflow["triggers"].items():
        kind: dict[str, Any] = {"Type": trigger["type"]}
        if trigger["type"] == CONDITIONAL:
            conditions = [
                {
                    "LogicalOperator": "EQUALS",
                    "JobName": f"{prefix}-{condition['job']}",
                    "State": condition["state"],
                }
                for condition in trigger["conditions"]
            ]
            kind["Predicate"] = {"Logical": trigger["logical"], "Conditions": conditions}
        elif "schedule" in trigger:
            kind["Schedule"] = trigger["schedule"]
        if trigger.get("in_workflow", True):
            kind["WorkflowName"] = prefix
        glue.create_trigger(
            Name=f"{prefix}-{name}",
            Actions=[{"JobName": f"{prefix}-{action['job']}"} for action in trigger["actions"]],
            **kind,
        )


def _json(path: str) -> Any:
    return json.loads((REPOSITORY / path).read_text(encoding="utf-8"))
