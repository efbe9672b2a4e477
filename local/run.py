"""`make run`: the workflow on this machine, from a source to its warehouse, and what came of it."""

import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

from pg8000.exceptions import DatabaseError, InterfaceError
from pg8000.native import Connection
from rich.console import Console
from rich.markup import escape

from local import simulator
from local.aws import Aws, running_aws
from local.java import JavaError, find_java, jdbc_driver
from local.postgres import PostgresError, PostgresServer
from local.processed_zone import ProcessedZone
from local.progress import Progress, closing_table, remarks, seconds_table
from local.report import Added, TableReport, added, compare, mark
from local.runner import BusyError, Processes, WorkflowRun, exclusive, run_workflow
from local.settings import Settings, SettingsError, parse_url, read_settings, secret
from local.spark import write_settings
from local.workflow import WorkflowError, load_workflow
from totelake.runtime import Credentials

REPOSITORY = Path(__file__).resolve().parents[1]
SCRIPTS = REPOSITORY / "glue_jobs"
CACHE = Path(".cache")
SOURCE_SECRET, WAREHOUSE_SECRET = "totesys/source", "totesys/warehouse"  # nosec B105: names
WORKING_DAYS = 22  # of a month
# Settings of another Spark or AWS account, and what holds passwords: not for the jobs.
_NOT_INHERITED = ("AWS_", "SPARK_", "PYSPARK_", "MAKE", "MFLAGS", "SOURCE_URL", "WAREHOUSE_URL")


class RunError(RuntimeError):
    """The run cannot go on."""


@dataclass(frozen=True)
class Simulation:
    """How the simulated source was made: the same figures give the same data."""

    seed: int = 1
    size: float = 1.0


@dataclass(frozen=True)
class Databases:
    """Source and warehouse; a simulated source is one in which time can pass."""

    source: Credentials
    warehouse: Credentials
    simulation: Simulation | None = None


@dataclass(frozen=True)
class Result:
    """One run of the workflow and what it brought to the warehouse."""

    workflow: WorkflowRun
    added: Mapping[str, Added]


def main() -> int:
    """Run as the environment says; return the exit status."""
    console = Console(highlight=False)
    console.width = max(console.width, 80)
    signal.signal(signal.SIGTERM, _interrupt)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]  # another account's settings are nothing to the stand-in
    try:
        return run(read_settings(os.environ), Progress(console))
    except KeyboardInterrupt:
        console.print("Stopped. Nothing is lost or doubled: `make run` goes on from here.")
        return 130
    except (
        BusyError, JavaError, PostgresError, RunError, SettingsError, WorkflowError
    ) as error:  # fmt: skip
        console.print(f"[red]✗[/] {escape(str(error))}", soft_wrap=True)
        return 1


def run(settings: Settings, progress: Progress) -> int:
    """Bring lake and warehouse up to date, once or over a simulated month, and compare."""
    state = settings.state
    workflow = load_workflow(SCRIPTS / "workflow.json", _values(state))
    with ExitStack() as stack:
        lock = stack.enter_context(exclusive(state))
        with progress.step("PostgreSQL"):
            databases = _databases(settings, stack)
        with progress.step("Java, Spark, AWS"):
            aws = stack.enter_context(running_aws())
            aws.create_secret(SOURCE_SECRET, secret(databases.source))
            aws.create_secret(WAREHOUSE_SECRET, secret(databases.warehouse))
            environment = job_environment(os.environ, aws, state)
        launcher = Processes(SCRIPTS, environment, inherit=[lock])

        def once() -> Result:
            with _connection("warehouse", databases.warehouse) as warehouse:
                before = mark(warehouse)
            done = run_workflow(workflow, state / "logs", launcher, progress)
            _stop_at_failure(done)
            with _connection("warehouse", databases.warehouse) as warehouse:
                return Result(done, added(warehouse, before, mark(warehouse)))

        progress.headline("Run 1")
        results = [once()]
        if databases.simulation is not None:
            progress.headline("Run 2, after a month of business")
            _advance(databases, progress)
            results.append(once())
        progress.headline("Source, lake and warehouse")
        with progress.step("every row compared"):
            reports = _compare(databases, state)
    _show(progress.console, reports, results, state)
    return 1 if any(report.differences for report in reports) else 0


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
        "schedule": "none: make run starts it",
    }


def _databases(settings: Settings, stack: ExitStack) -> Databases:
    """Source and warehouse: those that were named, and embedded ones for the others."""
    if settings.source is not None and settings.warehouse is not None:
        databases = Databases(settings.source, settings.warehouse)
    else:
        server = stack.enter_context(PostgresServer(settings.state / "postgres"))
        server.ensure_database("warehouse")
        warehouse = parse_url("warehouse", server.url("warehouse"))
        if settings.source is not None:
            databases = Databases(settings.source, warehouse)
        else:
            server.ensure_database("totesys")
            source = parse_url("totesys", server.url("totesys"))
            databases = Databases(source, warehouse, _simulation(settings, source))
    for what, credentials in (("source", databases.source), ("warehouse", databases.warehouse)):
        with _connection(what, credentials):
            pass  # what cannot be reached is told before anything starts
    return databases


def _simulation(settings: Settings, source: Credentials) -> Simulation:
    """Make the simulated source, or find that it is the one that was asked for."""
    file = settings.state / "simulation.json"
    with _connection("source", source) as connection:
        if simulator.is_created(connection):
            made = Simulation(**json.loads(file.read_text()))
            if _asked(settings, made) != made:
                raise RunError(
                    f"{settings.state} was made with SEED={made.seed} SIZE={made.size:g}: go on "
                    "without them, or start over with `make clean`"
                )
            return made
        asked = _asked(settings, Simulation())
        file.write_text(json.dumps(asdict(asked)))
        simulator.create(connection, asked.seed, simulator.Size().times(asked.size))
        return asked


def _asked(settings: Settings, otherwise: Simulation) -> Simulation:
    return Simulation(
        otherwise.seed if settings.seed is None else settings.seed,
        otherwise.size if settings.size is None else settings.size,
    )


def _advance(databases: Databases, progress: Progress) -> None:
    simulation = databases.simulation
    assert simulation is not None  # nosec B101: asked before
    with (
        progress.step(f"{WORKING_DAYS} working days") as detail,
        _connection("source", databases.source) as connection,
    ):
        activity = simulator.advance(
            connection,
            simulation.seed,
            days=WORKING_DAYS,
            on_day=lambda day, _: detail(day.isoformat()),
        )
    progress.console.print(
        f"  {activity.sales_orders:,} sales, {activity.purchase_orders:,} purchases, "
        f"{activity.designs:,} designs, {activity.payments_paid:,} payments paid, "
        f"{activity.silent_edits:,} silent edits"
    )


def _compare(databases: Databases, state: Path) -> list[TableReport]:
    with (
        _connection("source", databases.source) as source,
        _connection("warehouse", databases.warehouse) as warehouse,
        closing(ProcessedZone(state / "lake" / "processed")) as zone,
    ):
        return compare(source, warehouse, zone)


def _stop_at_failure(done: WorkflowRun) -> None:
    for run in done.failures:
        raise RunError(
            f"Job {run.job} ended as {run.state}: {run.reason}\n"
            f"  Its log: {_short(run.log)}\n"
            "  Nothing is lost or doubled: once this is mended, `make run` goes on from here."
        )


def _show(
    console: Console, reports: Sequence[TableReport], results: Sequence[Result], state: Path
) -> None:
    console.print()
    console.print(closing_table(reports, [result.added for result in results]))
    console.print()
    console.print(seconds_table([result.workflow for result in results]))
    console.print()
    for remark in remarks(reports):
        console.print(f"  {escape(remark)}", soft_wrap=True)
    differing = [report.table for report in reports if report.differences]
    if differing:
        console.print(f"[red]✗[/] They do not agree: {', '.join(differing)}.", soft_wrap=True)
    else:
        console.print("[green]✓[/] Source, lake and warehouse agree, in every row and value.")
    console.print(f"  Lake: {_short(state / 'lake')}   Logs: {_short(state / 'logs')}")


@contextmanager
def _connection(what: str, credentials: Credentials) -> Iterator[Connection]:
    """Open a connection, and tell in a sentence if PostgreSQL refuses it or a statement."""
    try:
        with closing(credentials.connect("totelake local")) as connection:
            yield connection
    except (DatabaseError, InterfaceError, OSError) as error:
        told = error.args[0] if error.args else error
        reason = told.get("M", told) if isinstance(told, dict) else told
        raise RunError(
            f"The {what} at {credentials.place}, as {credentials.username!r}: {reason}"
        ) from error


def _short(path: Path) -> Path:
    return Path(os.path.relpath(path))


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
