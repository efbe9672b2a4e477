"""A pipeline that is struck by faults: its state before, and what it comes to in the end."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pg8000.native import Connection, identifier

from local.postgres import connect
from local.run import SCRIPTS, job_environment
from tests.faults import effects
from totelake import batch

from .conftest import Pipeline

WATCH = Path(__file__).parent.parent / "faults"
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
        environment = job_environment(os.environ, self.pipeline.aws, self.folder / "process")
        environment["PYTHONPATH"] = f"{WATCH}:{environment['PYTHONPATH']}"
        words = [str(WATCH / "run_job.py"), str(SCRIPTS / f"{job}.py"), "--JOB_NAME", job]
        with self.armed(effects.KILL, at, match):
            done = subprocess.run(
                [sys.executable, *words, *self.pipeline.words(job)],
                env=environment,
                start_new_session=True,
                capture_output=True,
                check=False,
            )
        return done.returncode

    def keep(self) -> None:
        """Remember lake and warehouse as they are."""
        shutil.rmtree(self.folder / "kept", ignore_errors=True)
        if self.zones.exists():
            shutil.copytree(self.zones, self.folder / "kept")
        self._copy_database("warehouse", "backup")

    def back(self) -> None:
        """Put lake and warehouse back to what was remembered."""
        shutil.rmtree(self.zones, ignore_errors=True)
        if (self.folder / "kept").exists():
            shutil.copytree(self.folder / "kept", self.zones)
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

    def end_state(self) -> dict[str, Any]:
        """Every object of the lake and every row of the warehouse.

        Batches go by their numbers and not by the seconds they were taken at; record ids, which
        a transaction that failed uses up, are left out.
        """
        numbers = {m.batch: f"#{m.number}" for m in self.pipeline.batches()}
        state: dict[str, Any] = {
            _numbered(path, numbers): _content(path, content, numbers)
            for path, content in self.pipeline.objects().items()
        }
        return state | warehouse_rows(self.pipeline.warehouse, numbers)


def _numbered(text: str, numbers: dict[str, str]) -> str:
    for name, number in numbers.items():
        text = text.replace(name, number)
    return text


def _content(path: str, content: bytes, numbers: dict[str, str]) -> str:
    if "/_batches/" in path and path.endswith(".json") and "/." not in path:
        manifest = json.loads(content)
        for name in _TIMINGS:
            del manifest[name]
        return _numbered(json.dumps(manifest), numbers)
    return hashlib.md5(content).hexdigest()


def warehouse_rows(warehouse: Connection, numbers: dict[str, str]) -> dict[str, Any]:
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
        texts = (_numbered(json.dumps(row, sort_keys=True), numbers) for (row,) in rows)
        found[f"{schema}.{table}"] = sorted(texts)
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


def strike_all(bench: Bench, job: str, fault: str) -> list[tuple[str, str]]:
    """Strike a job at each of its effects, each time from the same state, and run everything.

    Args:
        bench: With a pipeline just before the job.
        job: The job.
        fault: See `effects`.

    Returns:
        Each effect and how the job that was struck there ended.
    """
    work = getattr(bench.pipeline, job)
    bench.keep()
    with bench.armed() as seen:
        work()
    bench.pipeline.run()
    expected = bench.end_state()
    ends = []
    for at, what in enumerate(seen, start=1):
        bench.back()
        end = "went on"
        with bench.armed(fault, at):
            try:
                work()
            except (effects.Death, Exception) as error:  # noqa: BLE001 - whatever it died of
                end = type(error).__name__
        bench.pipeline.run()
        found = bench.end_state()
        for name in {*expected, *found}:
            where = f"{job} struck by {fault} at effect {at}, {what}"
            assert found.get(name) == expected.get(name), f"{name}: {where}"
        ends.append((what, end))
    return ends


def raw_batches(pipeline: Pipeline) -> int:
    """How many batches are committed in the raw zone."""
    return len(batch.raw_numbers(pipeline.raw))
