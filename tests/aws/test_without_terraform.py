"""What a rehearsal deploys where Terraform is not installed is what Terraform deploys."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local import terraform
from local.crawler_definition import definition_of
from local.deployed import Deployment, without_terraform
from local.glue import own_arguments, read_workflow
from tests.aws import deployment as by_terraform
from tests.aws.deployment import REGION, REPOSITORY, Aws, running_moto
from totelake.tables import QUARANTINE, ROW_BATCH

PACKAGES = REPOSITORY / "terraform" / "tests" / "build"


@pytest.fixture(scope="module")
def own() -> Iterator[Aws]:
    with running_moto() as running:
        yield running


@pytest.fixture(scope="module")
def ours(own: Aws) -> Deployment:
    return without_terraform(own.client, REGION, PACKAGES, "totesys-test")


@pytest.fixture
def theirs(deployment: by_terraform.Deployment) -> Deployment:
    return Deployment.of(deployment.outputs())


def plain(value: Any, deployment: Deployment) -> Any:
    """Text without the names of buckets, which Terraform makes unique by the account."""
    text = repr(value)
    for purpose, bucket in deployment.buckets.items():
        text = text.replace(f"s3://{bucket}", f"<{purpose}>")
    return text


def test_names_are_the_same(ours: Deployment, theirs: Deployment) -> None:
    for name in ("workflow", "jobs", "crawlers", "databases", "secrets", "workgroup"):
        assert getattr(ours, name) == getattr(theirs, name)


def test_workflow_is_the_same(ours: Deployment, theirs: Deployment, own: Aws, account: Aws) -> None:
    mine, real = (read_workflow(aws.client("glue"), ours.workflow) for aws in (own, account))
    assert sorted(map(repr, mine.triggers)) == sorted(map(repr, real.triggers))
    assert mine.jobs.keys() == real.jobs.keys()


def test_jobs_are_the_same(ours: Deployment, theirs: Deployment, own: Aws, account: Aws) -> None:
    for name in ours.jobs.values():
        mine, real = (aws.client("glue").get_job(JobName=name)["Job"] for aws in (own, account))
        assert mine["Timeout"] == real["Timeout"]
        given, expected = mine["DefaultArguments"], real["DefaultArguments"]
        words = [[word for pair in it.items() for word in pair] for it in (given, expected)]
        own_words, real_words = (sorted(own_arguments(it)) for it in words)
        assert plain(own_words, ours) == plain(real_words, theirs)
        settings = (set(it["--conf"].split(" --conf ")) for it in (given, expected))
        assert next(settings) == next(settings)


def test_crawlers_views_and_queries_are_the_same(
    ours: Deployment, theirs: Deployment, own: Aws, account: Aws
) -> None:
    for name in ours.crawlers.values():
        mine, real = (
            definition_of(aws.client("glue").get_crawler(Name=name)["Crawler"])
            for aws in (own, account)
        )
        assert plain(mine, ours) == plain(real, theirs)
    views, queries = [], []
    for aws in (own, account):
        tables = aws.client("glue").get_tables(DatabaseName=ours.databases["processed"])
        columns = {t["Name"]: t["StorageDescriptor"]["Columns"] for t in tables["TableList"]}
        views.append({name: [(c["Name"], c["Type"]) for c in it] for name, it in columns.items()})
        athena = aws.client("athena")
        ids = athena.list_named_queries(WorkGroup=ours.workgroup)["NamedQueryIds"]
        found = [athena.get_named_query(NamedQueryId=it)["NamedQuery"] for it in ids]
        queries.append({query["Name"]: query["QueryString"] for query in found})
    assert views[0] == views[1]
    assert queries[0] == queries[1]


def test_the_table_of_rejected_rows_is_there_before_any_is(
    ours: Deployment, theirs: Deployment, own: Aws, account: Aws
) -> None:
    """Guards against a view that fails until the first row is rejected."""
    found = []
    for aws, deployed in ((own, ours), (account, theirs)):
        name = {"DatabaseName": deployed.databases["processed"], "Name": QUARANTINE}
        table = aws.client("glue").get_table(**name)["Table"]
        described = table["StorageDescriptor"]
        serde = described["SerdeInfo"]["SerializationLibrary"], described["SerdeInfo"]["Parameters"]
        uri = deployed.zones["processed"]
        assert described["Location"] == f"{uri}/{QUARANTINE}/"
        columns = [*described["Columns"], *table["PartitionKeys"]]
        typed = [(column["Name"], column["Type"]) for column in columns]
        formats = described["InputFormat"], described["OutputFormat"], serde
        found.append((typed, formats, table["TableType"], table["Parameters"]))
    assert found[0] == found[1]
    assert (ROW_BATCH, "string") in found[0][0]


def test_a_missing_terraform_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(terraform.NoTerraformError, match="terraform is not on the PATH"):
        terraform.apply(tmp_path, {})
