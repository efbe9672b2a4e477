"""A pipeline that is struck by faults: its state before, and what it comes to in the end."""

import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pg8000.native import Connection, identifier

from local.postgres import connect
from local.run import SCRIPTS, job_environment
from tests.faults import effects
from totelake import batch

from .conftest import Pipeline

State = dict[str, Any]
WATCH = Path(__file__).parent.parent / "faults"
_BATCH = re.compile(r"\d{8}T\d{6}Z")
# What is drawn by chance: names of hidden files and of staging.
_CHANCE = re.compile(r"(?<=\.)[0-9a-f]{32}|(?<=etl_staging_)[0-9a-f]{16}")
# What differs from run to run and says nothing.
_TIMINGS = ("started_at", "committed_at", "seconds", "snapshot")


def watch(pipeline: Pipeline, folder: Path) -> None:
    """Have this process and Spark's Python workers count their effects from now on."""
    if effects.FOLDER not in os.environ:
        effects.install()
        effects.patch()
    os.environ[effects.FOLDER] = str(folder)
    environment = pipeline.spark.sparkContext.environment
    environment[effects.FOLDER] = str(folder)
    environment["PYTHONPATH"] = f"{WATCH}:{os.environ['PYTHONPATH']}"


@dataclass
class Bench:
    """Puts a pipeline back to where it was, as often as it takes."""

    pipeline: Pipeline
    folder: Path

    @property
    def zones(self) -> Path:
        """The folder of both zones."""
        return Path(self.pipeline.raw.uri.removeprefix("file://")).parent

    @contextmanager
    def armed(
        self, fault: str = effects.DEATH, at: int = 0, match: str = ""
    ) -> Iterator[list[str]]:
        """See `effects.armed`."""
        with effects.armed(self.folder, self.zones, fault, at, match) as seen:
            yield seen

    def run_and_kill(self, job: str, at: int = 0, match: str = "") -> int:
        """Run a job in processes of its own, killed at an effect; its exit status."""
        with self.armed(effects.KILL, at, match):
            return self.process(job).returncode

    def process(self, job: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a job in processes of its own, with more settings of Spark's."""
        folder = self.folder / "process"
        environment = job_environment(os.environ, self.pipeline.aws, folder)
        environment["PYTHONPATH"] = f"{WATCH}:{environment['PYTHONPATH']}"
        with (folder / "spark" / "spark-defaults.conf").open("a") as settings:
            settings.writelines(f"{name} {value}\n" for name, value in more.items())
        words = [str(WATCH / "run_job.py"), str(SCRIPTS / f"{job}.py"), "--JOB_NAME", job]
        return subprocess.run(
            [sys.executable, *words, *self.pipeline.words(job)],
            env=environment,
            start_new_session=True,
            capture_output=True,
            text=True,
            check=False,
        )

    def keep(self) -> None:
        """Remember lake and warehouse as they are."""
        shutil.rmtree(self.folder / "kept", ignore_errors=True)
        if self.zones.exists():
            shutil.copytree(self.zones, self.folder / "kept")
        self._copy_database("warehouse", "backup")
        self.kept_rows = warehouse_rows(self.pipeline.warehouse)

    def back(self) -> None:
        """Put lake and warehouse back to what was remembered."""
        shutil.rmtree(self.zones, ignore_errors=True)
        if (self.folder / "kept").exists():
            shutil.copytree(self.folder / "kept", self.zones)
        if warehouse_rows(self.pipeline.warehouse) != self.kept_rows:
            self._copy_database("backup", "warehouse")

    def _copy_database(self, name: str, copy: str) -> None:
        pipeline = self.pipeline
        pipeline.warehouse.close()
        administrator = connect(pipeline.server.url("postgres"))
        old, new = (identifier(f"{pipeline.name}_{kind}") for kind in (name, copy))
        administrator.run(f"DROP DATABASE IF EXISTS {new} WITH (FORCE)")
        administrator.run(f"CREATE DATABASE {new} TEMPLATE {old}")
        administrator.close()
        pipeline.warehouse = connect(pipeline.server.url(f"{pipeline.name}_warehouse"))

    def settle(self) -> None:
        """Wait until the server has noticed that a job which died is gone."""
        pipeline = self.pipeline
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'totelake load'"
        end = time.monotonic() + 60
        while pipeline.rows(f"{query} AND datname = current_database()") != [[0]]:
            assert time.monotonic() < end, "a load that died still has a connection"
            time.sleep(0.01)

    def state(self) -> State:
        """Every object of the lake and every row of the warehouse.

        Names do not tell when or by which try they were made: batches go by their numbers, those
        that are not committed by their order. Record ids, which a transaction that failed uses
        up, are left out.
        """
        objects = self.pipeline.objects()
        numbers = {m.batch: f"#{m.number}" for m in self.pipeline.batches()}
        ids = sorted({id_ for path in objects for id_ in _BATCH.findall(path)} - numbers.keys())
        numbers |= {id_: f"#uncommitted {place}" for place, id_ in enumerate(ids)}
        state: State = {
            _numbered(path, numbers): _content(path, content, numbers)
            for path, content in objects.items()
        }
        return state | warehouse_rows(self.pipeline.warehouse, numbers)


def _numbered(text: str, numbers: Mapping[str, str]) -> str:
    for name, number in numbers.items():
        text = text.replace(name, number)
    return _CHANCE.sub("", text)


def _content(path: str, content: bytes, numbers: Mapping[str, str]) -> str:
    if "/_attempts/" in path:
        return "announced"
    if "/_batches/" in path and path.endswith(".json") and "/." not in path:
        manifest = json.loads(content)
        for name in _TIMINGS:
            del manifest[name]
        return _numbered(json.dumps(manifest), numbers)
    if path.startswith("processed/") and path.endswith(".parquet"):
        rows = pq.read_table(io.BytesIO(content))  # each names its batch
        content = _numbered(repr((rows.schema, rows.to_pylist())), numbers).encode()
    return hashlib.md5(content).hexdigest()


def warehouse_rows(
    warehouse: Connection, numbers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Every row of every table of the warehouse, but for times and record ids."""
    found: dict[str, Any] = {}
    tables = warehouse.run(
        "SELECT schemaname, tablename FROM pg_tables WHERE schemaname !~ '^(pg_|information)'"
    )
    for schema, table in tables:
        rows = warehouse.run(
            f"SELECT to_jsonb(t) - ARRAY['loaded_at', 'seconds', 'record_id', 'sales_record_id',"
            f" 'purchase_record_id', 'payment_record_id']"
            f" || jsonb_build_object('is_deletion', to_jsonb(t) -> 'record_id' = 'null'::jsonb)"
            f" FROM {identifier(schema)}.{identifier(table)} AS t"
        )
        texts = (_numbered(json.dumps(row, sort_keys=True), numbers or {}) for (row,) in rows)
        found[_numbered(f"{schema}.{table}", {})] = sorted(texts)
    return found


JOBS = ("extract", "transform", "load")


def change_some(pipeline: Pipeline) -> None:
    """Changes that reach a fact, both sides of a join, quarantine and several versions."""
    pipeline.source.run(
        "UPDATE sales_order SET staff_id = 2 WHERE sales_order_id = 1;"
        "UPDATE department SET location = 'Leeds' WHERE department_id = 1;"
        "UPDATE payment SET payment_date = 'soon' WHERE payment_id = 2;"
        "UPDATE payment SET paid = NOT paid WHERE payment_id = 3"
    )


@dataclass(frozen=True)
class Struck:
    """A job that was struck, and how it ended.

    Attributes:
        effect: The effect at which it was struck.
        end: The error it ended with, or that it went on.
        left: What it left of its work.
        again: How many jobs were run from there; none where another strike had left the very same.
    """

    effect: str
    end: str
    left: str
    again: int


def strike_all(bench: Bench, job: str, fault: str) -> Iterator[Struck]:
    """Strike a job at each of its effects, each time from the same state, and run on from there.

    From the same objects and rows the jobs come to the same end, so that they run once from each
    state that strikes leave.

    Args:
        bench: With a pipeline just before the job.
        job: The job.
        fault: See `effects`.

    Yields:
        What became of each strike, once the end was that of a run without one.
    """
    jobs = JOBS[JOBS.index(job) :]
    bench.keep()
    before = bench.state()
    with bench.armed() as seen:
        getattr(bench.pipeline, job)()
    done = bench.state()
    proven: dict[str, State] = {}
    expected = proven[_known_as(jobs, before)] = _run_on(bench, jobs[1:], done, proven)
    for at, what in enumerate(seen, start=1):
        if fault == effects.TERMINATE and not what.startswith("sql "):
            continue  # one of Spark's connections: Spark tries again
        bench.back()
        end = _strike(bench, job, fault, at)
        bench.settle()
        found = bench.state()
        left = "nothing" if found == before else "all" if found == done else "a part"
        known = len(proven)
        found = _run_on(bench, jobs, found, proven)
        for name in {*expected, *found}:
            where = f"{job} struck by {fault} at effect {at}, {what}"
            assert found.get(name) == expected.get(name), f"{name}: {where}"
        yield Struck(what, end, left, len(proven) - known)


def _strike(bench: Bench, job: str, fault: str, at: int) -> str:
    """Strike a job at one effect; how it ended."""
    if fault == effects.KILL:
        status = bench.run_and_kill(job, at)
        assert status == -signal.SIGKILL, f"{job} was to die at effect {at}, ended with {status}"
        return "SIGKILL"
    with bench.armed(fault, at):
        try:
            getattr(bench.pipeline, job)()
        except (effects.Death, Exception) as error:  # noqa: BLE001 - whatever it died of
            return type(error).__name__
    return "went on"


def _run_on(bench: Bench, jobs: tuple[str, ...], state: State, proven: dict[str, State]) -> State:
    """Run jobs from a state on; the state that they end in, known where it was so before."""
    if not jobs:
        return state
    name = _known_as(jobs, state)
    if name not in proven:
        getattr(bench.pipeline, jobs[0])()
        proven[name] = _run_on(bench, jobs[1:], bench.state(), proven)
    return proven[name]


def _known_as(jobs: tuple[str, ...], state: State) -> str:
    return json.dumps([jobs, state], sort_keys=True)


def raw_batches(pipeline: Pipeline) -> int:
    """How many batches are committed in the raw zone."""
    return len(batch.raw_numbers(pipeline.raw))
