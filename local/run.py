"""`make run`: the workflow on this machine, from a source to its warehouse, and what came of it."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from local.aws import Aws, forget_aws, running_aws
from local.databases import Databases, advance, open_connection, open_databases
from local.errors import CommandError
from local.front_end import front_end
from local.in_process import InProcess
from local.java import find_java, jdbc_driver
from local.progress import Progress, closing_table, remarks, run_names, seconds_table
from local.report import Added, added, mark, reconciled
from local.runner import (
    JobRun,
    Launcher,
    Processes,
    WorkflowRun,
    exclusive,
    run_on_demand,
    run_workflow,
)
from local.settings import Settings, read_settings, secret
from local.simulator import Activity
from local.spark import write_settings
from local.workflow import Job, Workflow, load_workflow
from totelake.reconcile import Report

REPOSITORY = Path(__file__).resolve().parents[1]
SCRIPTS = REPOSITORY / "glue_jobs"
CACHE = REPOSITORY / ".cache"
SOURCE_SECRET, WAREHOUSE_SECRET = "totesys/source", "totesys/warehouse"  # nosec B105  # names
WORKING_DAYS = 22  # of a month
# Settings of another Spark or AWS account, and what holds passwords: not for the jobs.
_NOT_INHERITED = ("AWS_", "SPARK_", "PYSPARK_", "MAKE", "MFLAGS", "SOURCE_URL", "WAREHOUSE_URL")


class RunError(CommandError):
    """The run cannot go on."""


@dataclass(frozen=True)
class Result:
    """One run of the workflow and what it brought to the warehouse."""

    workflow: WorkflowRun
    added: Mapping[str, Added]


@dataclass(frozen=True)
class Machine:
    """What stands for AWS on this machine, with the databases, ready for jobs.

    Attributes:
        workflow: The jobs, their arguments filled in.
        databases: Source and warehouse.
        launcher: Runs a job.
        progress: Is told of everything.
        logs: Gets a folder for each run.
        aws: Keeps the secrets.
        lake: The folder of the zones.
    """

    workflow: Workflow
    databases: Databases
    launcher: Launcher
    progress: Progress
    logs: Path
    aws: Aws
    lake: Path

    def on_demand(self, job: Job) -> JobRun:
        """Run one job by itself."""
        return run_on_demand(job, self.logs, self.launcher, self.progress)

    def reconcile(self, values: Mapping[str, str] | None = None) -> list[Report]:
        """Compare source, lake and warehouse, all rows of them.

        Args:
            values: Arguments of the job that are others than the workflow's.

        Raises:
            RunError: If the comparison could not be made.
        """
        job = self.workflow.jobs["reconcile"]
        done = self.on_demand(replace(job, arguments={**job.arguments, **(values or {})}))
        reports = reconciled(done.events)
        if not reports:
            stop_at_failure([done])
        return reports


def main() -> int:
    """Run as the environment says; return the exit status."""
    return command(run)


def command(work: Callable[[Settings, Progress], int]) -> int:
    """Do what a command is for that runs jobs; return the exit status."""

    def with_settings(console: Console) -> int:
        forget_aws()
        return work(read_settings(os.environ), Progress(console))

    return front_end(with_settings, "Nothing is lost or doubled: `make run` goes on from here.")


@contextmanager
def machine(settings: Settings, progress: Progress) -> Iterator[Machine]:
    """Start what jobs need, and end it after the block."""
    state = settings.state
    workflow = load_workflow(SCRIPTS / "workflow.json", _values(state))
    with ExitStack() as stack:
        lock = stack.enter_context(exclusive(state))
        with progress.step("PostgreSQL"):
            databases = open_databases(settings, stack)
        with progress.step("Java, Spark, AWS"):
            aws = stack.enter_context(running_aws())
            aws.create_secret(SOURCE_SECRET, secret(databases.source))
            aws.create_secret(WAREHOUSE_SECRET, secret(databases.warehouse))
            environment = job_environment(os.environ, aws, state)
        launcher: Launcher = Processes(SCRIPTS, environment, inherit=[lock])
        if settings.quick:
            os.environ.clear()
            os.environ.update(environment)
            launcher = InProcess(SCRIPTS)
        lake = state.resolve() / "lake"
        yield Machine(workflow, databases, launcher, progress, state / "logs", aws, lake)


def run(settings: Settings, progress: Progress) -> int:
    """Bring lake and warehouse up to date, once or over a simulated month, and compare."""
    with machine(settings, progress) as here:
        databases = here.databases

        def once() -> Result:
            with open_connection("warehouse", databases.warehouse) as warehouse:
                before = mark(warehouse)
            done = run_workflow(here.workflow, here.logs, here.launcher, progress)
            stop_at_failure(done.failures)
            with open_connection("warehouse", databases.warehouse) as warehouse:
                return Result(done, added(warehouse, before, mark(warehouse)))

        names = run_names(1 if databases.simulation is None else 2)
        progress.headline(names[0])
        results = [once()]
        if databases.simulation is not None:
            progress.headline(f"{names[1]}, after a month of business")
            with progress.step(f"{WORKING_DAYS} working days") as tell:
                activity = advance(databases, WORKING_DAYS, tell)
            progress.console.print(f"  {_told(activity)}")
            results.append(once())
        progress.headline("Source, lake and warehouse")
        reports = here.reconcile()
    console = progress.console
    console.print()
    console.print(closing_table(reports, [result.added for result in results]))
    console.print("[dim]+ new, ~ changed: a dimension in place, a fact by a further version[/]")
    console.print()
    console.print(seconds_table([result.workflow for result in results]))
    status = show_agreement(console, reports)
    lake, logs = short(settings.state / "lake"), short(results[-1].workflow.logs)
    console.print(f"  The lake: {lake}\n  The last run's logs: {logs}", soft_wrap=True)
    console.print("  `make run` goes on from here, `make clean` starts over.")
    console.print()
    for line in next_steps(settings):
        console.print(line, markup=False, soft_wrap=True)
    return status


def reconcile(settings: Settings, progress: Progress) -> int:
    """Compare source, lake and warehouse as the last runs left them."""
    with machine(settings, progress) as here:
        reports = here.reconcile()
    progress.console.print()
    progress.console.print(closing_table(reports))
    return show_agreement(progress.console, reports)


def job_environment(inherited: Mapping[str, str], aws: Aws, state: Path) -> dict[str, str]:
    """The environment of the jobs: this one's, and what Glue would give them."""
    spark = write_settings(state / "spark", [jdbc_driver(CACHE)])
    kept = {name: value for name, value in inherited.items() if not name.startswith(_NOT_INHERITED)}
    return (
        kept
        | aws.environment()
        | {
            "PYTHONPATH": str(SCRIPTS),
            "PYSPARK_PYTHON": sys.executable,
            "JAVA_HOME": str(find_java()),
            "SPARK_CONF_DIR": str(spark.resolve()),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "TZ": "UTC",
        }
    )


def _values(state: Path) -> dict[str, str]:
    """What stands for each ``${name}`` of the workflow on this machine."""
    lake = state.resolve() / "lake"
    return {
        "source_secret": SOURCE_SECRET,
        "warehouse_secret": WAREHOUSE_SECRET,
        "raw_zone": f"file://{lake / 'raw'}",
        "processed_zone": f"file://{lake / 'processed'}",
        "raw_format": "parquet",
        "sweep": "auto",
        "max_rejected_ratio": "0.5",
        # Empty: without a crawler there are no tables to register partitions of.
        **dict.fromkeys(("raw_database", "raw_crawler"), ""),
        **dict.fromkeys(("processed_database", "processed_crawler"), ""),
        "schedule": "none: make run starts it",
        "compact_schedule": "none: make compact starts it",
        "open_batches": "",
    }


def _told(activity: Activity) -> str:
    return (
        f"{activity.sales_orders:,} sales, {activity.purchase_orders:,} purchases, "
        f"{activity.designs:,} designs, {activity.payments_paid:,} payments paid, "
        f"{activity.silent_edits:,} silent edits"
    )


def stop_at_failure(failures: Iterable[JobRun], command: str = "make run") -> None:
    """Say why a job failed, and what goes on from there.

    Raises:
        RunError: If there is one.
    """
    for run in failures:
        raise RunError(
            f"Job {run.job} ended as {run.state}: {run.reason}\n"
            f"  Its log: {short(run.log)}\n"
            f"  Nothing is lost or doubled: once this is mended, `{command}` goes on from here."
        )


def show_agreement(console: Console, reports: Sequence[Report]) -> int:
    """Say whether all agree, and what does not; return the exit status."""
    console.print()
    for remark in remarks(reports):
        console.print(f"  {escape(remark)}", soft_wrap=True)
    differing = [report.table for report in reports if report.differences]
    if differing:
        console.print(f"[red]✗[/] They do not agree: {', '.join(differing)}.", soft_wrap=True)
        return 1
    aside = " but those set aside (*)" if any(report.set_aside for report in reports) else ""
    console.print(f"[green]✓[/] Source, lake and warehouse agree, in all rows{aside}.")
    return 0


def next_steps(settings: Settings) -> list[str]:
    """What can be looked at now, each a command that works as it stands."""
    # Another lake than that of the simulated source is named: a password is not asked for again.
    where = "" if settings.source is None else f" LAKE=file://{settings.state.resolve() / 'lake'}"
    return [
        "Look at it, in Athena's SQL on the lake:",
        f"  make query NAME=sales_by_month_and_currency{where}",
        f"  make sql{where:<32} a prompt, with the deployment's views and queries",
        f"  make notebooks{where:<26} the business, its history, the lake; pages to look at",
    ]


def short(path: Path) -> Path:
    """A path as a person would type it here."""
    return Path(os.path.relpath(path))


if __name__ == "__main__":
    sys.exit(main())
