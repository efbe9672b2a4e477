"""`make bench`: seconds and peak memory of each stage, beside a naive Spark program.

A source of 1x (4.65 million rows: 1 M sales orders, 0.5 M purchase orders, 1.5 M transactions
and payments each, 100 k addresses, 50 k counterparties) is made inside PostgreSQL; SIZE=0.1
makes a tenth. Both pipelines work on it in turn, in processes of their own with the same Spark
settings and a heap of 1 GB, first on everything, then on 500 changed rows.
"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from pg8000.native import Connection
from rich.console import Console
from rich.table import Table

from local import simulator
from local.aws import running_aws
from local.postgres import PostgresServer, connect, remove
from local.run import REPOSITORY, SCRIPTS, job_environment
from local.settings import parse_url, secret

SIZE_1X = simulator.Size(
    sales_orders=1_000_000,
    purchase_orders=500_000,
    designs=1_000,
    staff=100,
    addresses=100_000,
    counterparties=50_000,
)
CHANGED_ROWS = 500
_MEMORY_EVERY_SECONDS = 0.25
_BYTES_IN_A_MIB = 1024 * 1024


@dataclass(frozen=True)
class Measure:
    """What one process took: seconds from start to end, bytes of memory at its most."""

    seconds: float
    peak_bytes: int

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s, {self.peak_bytes / _BYTES_IN_A_MIB:,.0f} MiB"


class Bench:
    """Two pipelines on one source."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment

    def measure(self, *command: str) -> Measure:
        """Run a process to its end and watch it and its children."""
        log = self.folder / "log.txt"
        start = time.monotonic()
        with log.open("wb") as output:
            process = psutil.Popen(
                [sys.executable, *command],
                env=self.environment,
                cwd=REPOSITORY,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            peak = 0
            while process.poll() is None:
                peak = max(peak, _memory(process))
                time.sleep(_MEMORY_EVERY_SECONDS)
        if process.returncode:
            raise RuntimeError(f"{command[0]} failed:\n{log.read_text()[-4000:]}")
        return Measure(time.monotonic() - start, peak)

    def job(self, name: str, **arguments: str) -> Measure:
        """Measure one of the pipeline's jobs."""
        words = [word for item in arguments.items() for word in (f"--{item[0]}", item[1])]
        return self.measure(str(SCRIPTS / f"{name}.py"), "--JOB_NAME", name, *words)

    def ours(self) -> dict[str, Measure]:
        """Measure the three jobs."""
        raw, processed = self.zone("raw"), self.zone("processed")
        return {
            "extract": self.job("extract", source_secret="source", raw_zone=raw),  # nosec B106
            "transform": self.job("transform", raw_zone=raw, processed_zone=processed),
            "load": self.job("load", processed_zone=processed, warehouse_secret="warehouse"),  # nosec B106
        }

    def naive(self, run: str, since: str = "") -> dict[str, Measure]:
        """Measure the rival's two stages; its load gets the newest batch of our star."""
        words = ("--secret", "source", "--folder", self.zone(f"naive-{run}"), "--since", since)
        return {
            "extract": self.measure("-m", "benchmarks.naive", "extract", *words),
            "load": self.measure(
                *("-m", "benchmarks.naive", "load", "--secret", "warehouse"),
                *("--folder", self.zone("processed")),
            ),
        }

    def zone(self, name: str) -> str:
        """URI of a folder of the lake."""
        return (self.folder / "lake" / name).as_uri()


def _memory(process: psutil.Process) -> int:
    """Bytes that a process and its children hold, shared pages counted once."""
    total = 0
    for member in [process, *process.children(recursive=True)]:
        try:
            total += member.memory_full_info().pss
        except psutil.Error:
            continue  # it has just ended
    return total


def change_some(source: Connection) -> None:
    """Edit rows of three tables, as the business does: some move last_updated, some do not."""
    for table, column in (("sales_order", "staff_id"), ("purchase_order", "staff_id")):
        source.run(
            f"UPDATE {table} SET {column} = {column} % 10 + 1"  # nosec B608: names from above
            f" WHERE {table}_id IN (SELECT {table}_id FROM {table} ORDER BY md5({table}_id::text)"
            " LIMIT :rows)",
            rows=CHANGED_ROWS // 5,
        )
    source.run(
        "UPDATE payment SET paid = NOT paid, last_updated = now() WHERE payment_id IN"
        " (SELECT payment_id FROM payment ORDER BY md5(payment_id::text) LIMIT :rows)",
        rows=CHANGED_ROWS - 2 * (CHANGED_ROWS // 5),
    )


def main() -> None:
    """Measure, and print the table."""
    size = float(os.environ.get("SIZE") or 1)
    console = Console()
    folder = Path(tempfile.mkdtemp(prefix="totelake-bench-"))
    with PostgresServer(folder / "postgres") as server, running_aws() as aws:
        for name in ("source", "warehouse"):
            server.ensure_database(name)
            aws.create_secret(name, secret(parse_url(name, server.url(name))))
        console.print(f"Making a source of {size:g}x …")
        source = connect(server.url("source"))
        simulator.create(source, seed=1, size=SIZE_1X.times(size))
        warehouse = connect(server.url("warehouse"))
        warehouse.run("CREATE SCHEMA naive")
        environment = job_environment(os.environ, aws, folder)
        environment["PYTHONPATH"] += f":{REPOSITORY}"
        # Memory must not grow with the tables: a heap of 1 GB has to do for both.
        environment["PYSPARK_SUBMIT_ARGS"] = "--driver-memory 1g pyspark-shell"
        bench = Bench(folder, environment)
        results = {}
        since = source.run("SELECT max(last_updated)::text FROM payment")[0][0]
        console.print("Everything …")
        ours = bench.ours()
        results["all rows"] = (ours, bench.naive("full"))
        change_some(source)
        console.print(f"{CHANGED_ROWS} changed rows …")
        warehouse.run("DROP SCHEMA naive CASCADE; CREATE SCHEMA naive")
        ours = bench.ours()
        results[f"{CHANGED_ROWS} rows"] = (ours, bench.naive("changes", since))
        console.print(_table(results))
    remove(folder / "postgres")


def _table(results: dict[str, tuple[dict[str, Measure], dict[str, Measure]]]) -> Table:
    table = Table("rows", "stage", "this pipeline", "naive")
    for rows, (ours, naive) in results.items():
        for stage, measure in ours.items():
            table.add_row(rows, stage, str(measure), str(naive.get(stage, "")))
    return table


if __name__ == "__main__":
    main()
