"""A pipeline to work on: a source, a warehouse and two zones of its own for every test."""

import io
import json
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pg8000.native import Connection, identifier
from pyspark.sql import DataFrame, SparkSession

import extract
import load
import reconcile
import transform
from local.aws import Aws
from local.postgres import PostgresServer, connect
from totelake import batch, lake, runtime
from totelake.batch import Manifest
from totelake.errors import ReconcileError
from totelake.lake import Zone
from totelake.notes import NOTES
from totelake.tables import SOURCE

HERE = Path(__file__).parent
SCHEMA = HERE.parent.parent / "local" / "totesys" / "schema.sql"
Event = dict[str, Any]
MAINS = {
    "extract": extract.main,
    "transform": transform.main,
    "load": load.main,
    "reconcile": reconcile.main,
}
ARGUMENTS = {
    "extract": ("source_secret", "raw_zone", "raw_format"),
    "transform": ("raw_zone", "processed_zone"),
    "load": ("processed_zone", "warehouse_secret"),
    "reconcile": ("source_secret", "raw_zone", "processed_zone", "warehouse_secret"),
}


@dataclass
class Pipeline:
    """The three jobs on databases and zones of one test."""

    spark: SparkSession
    aws: Aws
    server: PostgresServer
    name: str
    source: Connection
    warehouse: Connection
    raw: Zone
    processed: Zone
    raw_format: str = "parquet"
    lines: list[str] = field(default_factory=list)

    def secret(self, database: str, **changed: Any) -> str:
        """A secret for a database of this test's server, with some fields changed."""
        url = self.server.url(database)
        user, rest = url.removeprefix("postgresql://").split(":", 1)
        password, _ = rest.rsplit("@", 1)
        content = {
            "host": "127.0.0.1",
            "port": self.server.port,
            "dbname": database,
            "username": user,
            "password": password,
            "sslmode": "disable",
            **changed,
        }
        name = f"{self.name}/{len(self.lines)}/{time.monotonic_ns()}"
        self.aws.create_secret(name, content)
        return name

    def words(self, job: str) -> list[str]:
        """A job's arguments, with secrets of their own."""
        values = {
            "source_secret": lambda: self.secret(f"{self.name}_source"),
            "warehouse_secret": lambda: self.secret(f"{self.name}_warehouse"),
            "raw_zone": lambda: self.raw.uri,
            "processed_zone": lambda: self.processed.uri,
            "raw_format": lambda: self.raw_format,
        }
        return [word for name in ARGUMENTS[job] for word in (f"--{name}", values[name]())]

    def extract(self, *more: str, secret: str | None = None) -> list[Event]:
        """Run extract; its log."""
        return self._run("extract", *more, source_secret=secret)

    def transform(self, *more: str) -> list[Event]:
        """Run transform; its log."""
        return self._run("transform", *more)

    def load(self, secret: str | None = None) -> list[Event]:
        """Run load; its log."""
        return self._run("load", warehouse_secret=secret)

    def reconcile(self, *more: str) -> dict[str, Event]:
        """Run reconcile; its report on each table."""
        before = len(self.lines)
        # That they differ is in the reports.
        with suppress(ReconcileError):
            self._run("reconcile", *more)
        events = map(json.loads, self.lines[before:])
        return {event["table"]: event for event in events if event["event"] == "reconciled"}

    def run(self) -> list[Event]:
        """Run all three; their log."""
        return self.extract() + self.transform() + self.load()

    def _run(self, job: str, *more: str, **given: str | None) -> list[Event]:
        words = [*self.words(job), *more]
        for name, value in given.items():
            if value is not None:
                words[words.index(f"--{name}") + 1] = value
        output = io.StringIO()
        try:
            with redirect_stdout(output):
                MAINS[job](["job.py", "--JOB_NAME", self.name, *words])
        finally:
            self.lines += output.getvalue().splitlines()
        return [json.loads(line) for line in output.getvalue().splitlines()]

    def batches(self) -> list[Manifest]:
        """The committed raw batches."""
        return [batch.read_raw(self.raw, number) for number in batch.raw_numbers(self.raw)]

    def landed(self, table: str, manifest: Manifest | None = None) -> DataFrame:
        """A table's rows of a raw batch, of the newest unless one is given."""
        manifest = manifest or self.batches()[-1]
        entry = manifest.tables[table]
        folder = self.raw.batch_uri(table, manifest.batch)
        return lake.read_frame(self.spark, folder, entry.files, entry.schema)

    def landed_keys(self, table: str, manifest: Manifest | None = None) -> dict[int, str]:
        """Key and ``row_change`` of a table's rows of a raw batch."""
        rows = self.landed(table, manifest).select(SOURCE[table].key, "row_change").collect()
        result = dict(map(tuple, rows))
        assert len(result) == len(rows), "a key twice in one batch"
        return result

    def star(self, table: str, batch_id: str | None = None) -> DataFrame:
        """A table's rows of a processed batch, of the newest unless one is given."""
        manifest = batch.read_processed(
            self.processed, batch_id or batch.processed_ids(self.processed)[-1]
        )
        entry = manifest.tables[table]
        folder = self.processed.batch_uri(table, manifest.batch)
        return lake.read_frame(self.spark, folder, entry.files, entry.schema)

    def rows(self, query: str, **parameters: Any) -> list[Any]:
        """What a query on the warehouse gives."""
        return list(self.warehouse.run(query, **parameters))

    def objects(self) -> dict[str, bytes]:
        """Every file of both zones by its path, hidden ones too, but their notes."""
        root = Path(self.raw.uri.removeprefix("file://")).parent
        return {
            str(path.relative_to(root)): path.read_bytes()
            for path in sorted(root.rglob("*"))
            if path.is_file() and path.name not in NOTES
        }


@pytest.fixture(scope="session")
def empty_source(postgres: PostgresServer) -> str:
    """A database with the source's schema and no rows, to copy."""
    postgres.ensure_database("empty_source")
    connection = connect(postgres.url("empty_source"))
    connection.run(SCHEMA.read_text())
    connection.close()
    return "empty_source"


@pytest.fixture(scope="session")
def small_source(postgres: PostgresServer, empty_source: str) -> str:
    """A database with a few rows in every table, to copy."""
    _copy_database(postgres, empty_source, "small_source")
    connection = connect(postgres.url("small_source"))
    connection.run((HERE / "small.sql").read_text())
    connection.close()
    return "small_source"


def _copy_database(server: PostgresServer, template: str, name: str) -> None:
    connection = connect(server.url("postgres"))
    connection.run(f"CREATE DATABASE {identifier(name)} TEMPLATE {identifier(template)}")
    connection.close()


@pytest.fixture
def make_pipeline(
    spark: SparkSession, aws: Aws, postgres: PostgresServer, tmp_path: Path
) -> Iterator[Callable[[str], Pipeline]]:
    """Makes a pipeline whose source is a copy of a database."""
    made: list[Pipeline] = []
    administrator = connect(postgres.url("postgres"))

    def make(template: str) -> Pipeline:
        name = f"test{time.monotonic_ns()}"
        _copy_database(postgres, template, f"{name}_source")
        postgres.ensure_database(f"{name}_warehouse")
        pipeline = Pipeline(
            spark,
            aws,
            postgres,
            name,
            connect(postgres.url(f"{name}_source")),
            connect(postgres.url(f"{name}_warehouse")),
            Zone((tmp_path / name / "raw").as_uri()),
            Zone((tmp_path / name / "processed").as_uri()),
        )
        made.append(pipeline)
        return pipeline

    yield make
    for pipeline in made:
        runtime.close(pipeline.source)
        runtime.close(pipeline.warehouse)
        # Left to the end, they cost minutes when the server writes them all out and is removed.
        for kind in ("source", "warehouse", "backup"):
            database = identifier(f"{pipeline.name}_{kind}")
            administrator.run(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
    administrator.close()


@pytest.fixture
def pipeline(make_pipeline: Callable[[str], Pipeline], small_source: str) -> Pipeline:
    """A pipeline whose source has a few rows in every table."""
    return make_pipeline(small_source)
