"""The place of a rehearsal: what Terraform deploys, on this machine, with its databases and a Glue.

Package, `terraform apply` on moto, a small ToteSys and a warehouse in PostgreSQL; the lake is in
moto's S3.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import fsspec
from rich.console import Console

from local import package, simulator, terraform
from local.aws import REGION, Aws
from local.databases import Databases, Simulation, open_connection
from local.deployed import Deployment, without_terraform
from local.errors import CommandError
from local.glue import Clients, LocalGlue, read_workflow
from local.glue_graph import Graph
from local.glue_records import MotoRecords
from local.java import JavaError, jdbc_driver, s3a_jars
from local.moto_process import running_moto
from local.postgres import PostgresServer, remove
from local.progress import Progress
from local.report import Added, added, mark, reconciled
from local.run import CACHE, job_environment
from local.runner import JobRun, Observer, WorkflowRun, exclusive
from local.settings import parse_url, secret
from local.spark import s3a_settings, write_settings
from totelake.reconcile import Report

_ENVIRONMENT = "rehearse"
_ELSE = "Without S3A `make run` and `make test` work, with the lake in files."
# What the source takes, and the star does not.
_BAD_ROW = (
    'UPDATE "sales_order" SET "agreed_delivery_date" = \'2024-02-30\''
    ' WHERE "sales_order_id" = (SELECT min("sales_order_id") FROM "sales_order")'
)
# All but the newest batch, which a compaction always leaves alone.
_OPEN_BATCHES = 1


class RehearsalError(CommandError):
    """The rehearsal cannot go on."""


@dataclass(frozen=True)
class Result:
    """One run of the workflow.

    Attributes:
        workflow: Its jobs.
        crawls: The crawlers that ran meanwhile.
        added: What came to the warehouse, by table.
    """

    workflow: WorkflowRun
    crawls: list[JobRun]
    added: Mapping[str, Added]


@dataclass(frozen=True)
class Stage:
    """A deployment on this machine, its databases, and a Glue that runs it.

    Attributes:
        deployment: What is where.
        databases: Source and warehouse.
        glue: Runs the workflow.
        environment: That jobs run in.
        folder: All that is kept.
    """

    deployment: Deployment
    databases: Databases
    glue: LocalGlue
    environment: Mapping[str, str]
    folder: Path

    def client(self, service: str) -> Any:
        """A client of boto3, as an administrator."""
        return client(service)

    def run(self, console: Console) -> Result:
        """Run the workflow once, and show it; whether it went well is in the result."""
        name = self.deployment.workflow
        with open_connection("warehouse", self.databases.warehouse) as warehouse:
            before = mark(warehouse)
        with Graph(read_workflow(self.client("glue"), name), console) as graph:
            done = self.glue.start(name, graph)
        if done is None:
            raise RehearsalError(f"workflow {name}: a run is at work already")
        crawls = [run for run in graph.runs if run.job not in done.jobs]
        with open_connection("warehouse", self.databases.warehouse) as warehouse:
            return Result(done, crawls, added(warehouse, before, mark(warehouse)))

    def reconcile(self, observer: Observer) -> list[Report]:
        """Have the deployed job compare every row of source, lake and warehouse.

        Raises:
            RehearsalError: If it could not.
        """
        run = self.glue.run_job(self.deployment.jobs["reconcile"], observer)
        reports = reconciled(run.events)
        if not reports:
            raise RehearsalError(f"{run.job} ended as {run.state}: {run.reason}")
        return reports

    def compact(self, observer: Observer) -> None:
        """Have the deployed job write all batches but the newest together.

        Raises:
            RehearsalError: If it could not.
        """
        given = {"--open_batches": str(_OPEN_BATCHES)}
        run = self.glue.run_job(self.deployment.jobs["compact"], observer, given)
        if run.reason:
            raise RehearsalError(f"{run.job} ended as {run.state}: {run.reason}")

    def copy_lake(self) -> Path:
        """Copy the lake to the disk, where it outlives its account; return the folder."""
        copy = self.folder / "lake"
        for zone, uri in self.deployment.zones.items():
            filesystem, root = fsspec.core.url_to_fs(uri, use_listings_cache=False)
            filesystem.get(f"{root}/", f"{copy / zone}/", recursive=True)
        return copy


def client(service: str) -> Any:
    """A client of boto3 for the AWS that the environment names."""
    return boto3.client(service)


@contextmanager
def on_stage(folder: Path, simulation: Simulation, progress: Progress) -> Iterator[Stage]:
    """Deploy into an account that lasts as long as the block; the folder keeps the rest.

    The environment of this process is that of the account while the block lasts.
    """
    with ExitStack() as stack:
        stack.enter_context(exclusive(folder))
        _clear(folder)
        with progress.step("Java, S3A"):
            jars = _jars()
        with progress.step("PostgreSQL, ToteSys"):
            databases = _databases(folder, simulation, stack)
        with progress.step("moto"):
            aws = Aws(stack.enter_context(running_moto()))
        stack.enter_context(_environment(aws.environment()))
        deployment = deploy(folder, progress)
        for purpose, credentials in vars(databases).items():
            if purpose in deployment.secrets:
                client("secretsmanager").put_secret_value(
                    SecretId=deployment.secrets[purpose],
                    SecretString=json.dumps(secret(credentials)),
                )
        environment = job_environment(os.environ, aws, folder)
        write_settings(folder / "spark", jars, s3a_settings(aws.endpoint))
        glue = client("glue")
        clients = Clients(glue, client("events"))
        local = LocalGlue(clients, environment, folder, records=MotoRecords(glue))
        yield Stage(deployment, databases, local, environment, folder)


def deploy(folder: Path, progress: Progress) -> Deployment:
    """Package and deploy: by Terraform or, where it cannot be had, without it, which is said."""
    with progress.step("package"):
        package.build(folder / "deployment" / "build")
    copy = terraform.copy_configuration(
        folder / "deployment", terraform.LOCAL_STATE + terraform.NO_LIFECYCLE
    )
    given = {"environment": _ENVIRONMENT, "region": REGION, "protect_data": "false"}
    try:
        with progress.step("terraform apply"):
            aws = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
            return Deployment.of(terraform.apply(copy, terraform.environment(aws, given)))
    except terraform.NoTerraformError as error:
        progress.console.print(
            f"! {error}: jobs, crawlers and triggers are put into the account from the same JSON "
            "files instead. Roles, alarms and all else that terraform/ says is not rehearsed.",
            markup=False,
            soft_wrap=True,
        )
    with progress.step("boto3"):
        packages = folder / "deployment" / "build"
        return without_terraform(client, REGION, packages, f"totesys-{_ENVIRONMENT}")


def _clear(folder: Path) -> None:
    """Remove what an earlier rehearsal left: its account is gone."""
    remove(folder / "postgres")
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)


def _jars() -> list[Path]:
    driver = jdbc_driver(CACHE)
    try:
        return [driver, *s3a_jars(CACHE)]
    except JavaError as error:
        raise JavaError(f"{error}\n{_ELSE}") from error


def _databases(folder: Path, simulation: Simulation, stack: ExitStack) -> Databases:
    server = stack.enter_context(PostgresServer(folder / "postgres", durable=False))
    for name in ("totesys", "warehouse"):
        server.ensure_database(name)
    source, warehouse = (parse_url(name, server.url(name)) for name in ("totesys", "warehouse"))
    with open_connection("source", source) as connection:
        size = simulator.Size().times(simulation.size)
        simulator.create(connection, simulation.seed, size)
    return Databases(source, warehouse, simulation)


@contextmanager
def _environment(aws: Mapping[str, str]) -> Iterator[None]:
    """Send every AWS client of this process to an account while the block lasts."""
    before = dict(os.environ)
    os.environ.update(aws)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def spoil(databases: Databases) -> None:
    """Put a date into the source that is none: its row has to end in quarantine."""
    with open_connection("source", databases.source) as source:
        source.run(_BAD_ROW)
