"""The deployment with all that it can have, and what an account has left after a destroy."""

import json
from pathlib import Path
from typing import Any

from tests.aws.deployment import Aws, Deployment, prepare, running_moto

WAREHOUSE = "totesys-test/warehouse"
SECRET_FIELDS = {"engine", "host", "port", "dbname", "username", "password", "sslmode"}


def leftovers(aws: Aws) -> dict[str, list[str]]:
    """Names of everything that an account without this deployment does not have, by service."""
    glue, iam = aws.client("glue"), aws.client("iam")
    found = {
        "buckets": [it["Name"] for it in aws.client("s3").list_buckets()["Buckets"]],
        "jobs": [it["Name"] for it in glue.get_jobs()["Jobs"]],
        "triggers": [it["Name"] for it in glue.get_triggers()["Triggers"]],
        "crawlers": [it["Name"] for it in glue.get_crawlers()["Crawlers"]],
        "workflows": glue.list_workflows()["Workflows"],
        "databases": [it["Name"] for it in glue.get_databases()["DatabaseList"]],
        "connections": [it["Name"] for it in glue.get_connections()["ConnectionList"]],
        "roles": [
            it["RoleName"]
            for it in iam.list_roles()["Roles"]
            if not it["Path"].startswith("/aws-service-role/")
        ],
        "secrets": [it["Name"] for it in aws.client("secretsmanager").list_secrets()["SecretList"]],
        "topics": [it["TopicArn"] for it in aws.client("sns").list_topics()["Topics"]],
        "rules": [it["Name"] for it in aws.client("events").list_rules()["Rules"]],
        "alarms": [
            it["AlarmName"] for it in aws.client("cloudwatch").describe_alarms()["MetricAlarms"]
        ],
        "dashboards": [
            it["DashboardName"]
            for it in aws.client("cloudwatch").list_dashboards()["DashboardEntries"]
        ],
        "log groups": [
            it["logGroupName"] for it in aws.client("logs").describe_log_groups()["logGroups"]
        ],
        "workgroups": [
            it["Name"]
            for it in aws.client("athena").list_work_groups()["WorkGroups"]
            if it["Name"] != "primary"
        ],
        "databases in RDS": [
            it["DBInstanceIdentifier"]
            for it in aws.client("rds").describe_db_instances()["DBInstances"]
        ],
        "networks": [
            it["VpcId"]
            for it in aws.client("ec2").describe_vpcs()["Vpcs"]
            if not it.get("IsDefault")
        ],
    }
    return {what: names for what, names in found.items() if names}


def put_data(deployment: Deployment) -> None:
    """What a deployment that was used has: objects, old versions, delete markers."""
    s3 = deployment.aws.client("s3")
    for bucket in deployment.outputs()["buckets"].values():
        for _ in range(2):
            s3.put_object(Bucket=bucket, Key="address/batch=1/part-00000.parquet", Body=b"rows")
        s3.delete_object(Bucket=bucket, Key="address/batch=1/part-00000.parquet")
        s3.put_object(Bucket=bucket, Key="address/batch=2/part-00000.parquet", Body=b"rows")


def everything(folder: Path) -> None:
    """With network and warehouse, RDS and lifecycle: minutes of the provider's own waiting."""
    choices: dict[str, Any] = {"network": {"mode": "new"}, "warehouse": {"create": True}}
    with running_moto() as aws:
        deployment = prepare(folder, aws, lifecycle=True)
        deployment.apply(**choices)
        deployment.expect_empty_plan()
        secrets = aws.client("secretsmanager")
        first = json.loads(secrets.get_secret_value(SecretId=WAREHOUSE)["SecretString"])
        assert len(first["password"]) == 64
        assert set(first) == SECRET_FIELDS
        assert first["host"] == deployment.outputs()["warehouse_address"]

        deployment.apply(**choices, retention={"log_days": 30})
        again = json.loads(secrets.get_secret_value(SecretId=WAREHOUSE)["SecretString"])
        assert again == first
        choices["warehouse"] = {"create": True, "password_version": 2}
        deployment.apply(**choices)
        deployment.expect_empty_plan()
        second = json.loads(secrets.get_secret_value(SecretId=WAREHOUSE)["SecretString"])
        assert second["password"] != first["password"]
        state = (deployment.folder / "terraform.tfstate").read_text()
        assert first["password"] not in state
        assert second["password"] not in state

        glue = aws.client("glue")
        connected = {
            job["Name"].removeprefix("totesys-test-")
            for job in glue.get_jobs()["Jobs"]
            if job.get("Connections", {}).get("Connections")
        }
        assert connected == {"extract", "load", "reconcile"}

        put_data(deployment)
        deployment.destroy()
        assert leftovers(aws) == {}
