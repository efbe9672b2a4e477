"""A machine that has too little: a full disk, a heap that is too small."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from pg8000.native import identifier

from local.postgres import connect
from tests.jobs.conftest import Pipeline
from tests.jobs.faults import JOBS, Bench

from .conftest import Tried

# Text that no compression makes smaller: in one row, and in many.
WIDE = (
    "UPDATE design SET file_location ="
    " (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 20000) AS n)"
)
MANY = (
    "INSERT INTO address SELECT 1000 + n, md5(n::text), NULL, NULL, md5((-n)::text), '', '', '',"
    " now(), now() FROM generate_series(1, 9000) AS n"
)
# Rows of ten megabytes each, which compress well: they need no room but in memory.
HUGE = (
    "INSERT INTO design SELECT 1000 + n, now(), 'd', repeat('0123456789', 1048576), 'f', now()"
    " FROM generate_series(1, 30) AS n"
)
# Spark refuses to start with so little, unless it is told that there is more.
SMALL_HEAP = {"spark.driver.memory": "256m", "spark.testing.memory": "1073741824"}
REALLY_FULL = "disk full, really"


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk of 32 MB that everybody may write on, at a folder."""
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32m,mode=777", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no disk of its own for the test: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk where the test's zones are going to be."""
    with small_disk(tmp_path) as folder:
        yield folder


@pytest.fixture
def servers_disk() -> Iterator[Path]:
    """A small disk where another user, which the server may run as, can get to."""
    with TemporaryDirectory(dir="/var/tmp") as name, small_disk(Path(name)) as folder:
        yield folder


@pytest.fixture
def bench(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(pipeline, tmp_path_factory.mktemp("bench"))


def fill(disk: Path, room: int) -> Path:
    """Fill a disk but for some bytes; the file that does."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        with suppress(OSError):
            while True:
                file.write(bytes(4096))
        file.truncate(file.tell() - room)
    return ballast


def failed(pipeline: Pipeline, job: str) -> dict[str, Any]:
    """Run a job that has to fail; the last line of its log."""
    with pytest.raises(Exception, match=r"No space left on device"):
        getattr(pipeline, job)()
    line: dict[str, Any] = json.loads(pipeline.lines[-1])
    assert line["event"] == "failed"
    return line


@pytest.mark.parametrize(
    ("job", "change", "room", "file"),
    [
        ("extract", WIDE, 65536, r"raw/design/batch=\w+/part-00000.parquet"),
        ("extract", MANY, 65536, r"raw/address/batch=\w+/part-00000.parquet"),
        ("extract", WIDE, 0, r"raw/_attempts/\w+.json"),
        ("transform", WIDE, 65536, r"processed/dim_design/batch=\w+/part-00000.parquet"),
        ("transform", MANY, 65536, r"processed/dim_location/batch=\w+/part-00000.parquet"),
        ("transform", WIDE, 0, r"processed/"),
    ],
)
def test_a_full_disk(
    disk: Path, bench: Bench, tried: Tried, job: str, change: str, room: int, file: str
) -> None:
    """Guards against half a batch that counts, and an error that does not say where."""
    pipeline = bench.pipeline
    pipeline.run()
    pipeline.source.run(change)
    for earlier in JOBS[: JOBS.index(job)]:
        getattr(pipeline, earlier)()
    bench.keep()
    before = bench.state()
    pipeline.run()
    expected = bench.state()
    bench.back()
    ballast = fill(disk, room)
    line = failed(pipeline, job)
    assert re.search(file, line["message"])
    left = bench.state().items()
    assert {name: content for name, content in left if name in before} == before
    assert {name for name, _ in left if "/_batches/" in name} <= before.keys()
    ballast.unlink()
    pipeline.run()
    assert bench.state() == expected
    tried.faults[job, REALLY_FULL, f"{room} bytes left", f"{line['error']}; then as without"] += 1


def test_the_warehouses_disk_is_full(servers_disk: Path, bench: Bench, tried: Tried) -> None:
    pipeline = bench.pipeline
    space, database = (identifier(f"{pipeline.name}_{kind}") for kind in ("space", "warehouse"))
    folder = servers_disk / "tablespace"
    folder.mkdir()
    (pid,) = pipeline.source.run("SELECT pg_backend_pid()")[0]
    os.chown(folder, Path(f"/proc/{pid}").stat().st_uid, -1)
    pipeline.run()
    pipeline.source.run(MANY)
    pipeline.extract()
    pipeline.transform()
    bench.keep()
    before = bench.state()
    pipeline.load()
    expected = bench.state()
    bench.back()
    pipeline.warehouse.close()
    administrator = connect(pipeline.server.url("postgres"))
    administrator.run(f"CREATE TABLESPACE {space} LOCATION '{folder}'")
    administrator.run(f"ALTER DATABASE {database} SET TABLESPACE {space}")
    pipeline.warehouse = connect(pipeline.server.url(f"{pipeline.name}_warehouse"))
    ballast = fill(servers_disk, 524288)
    line = failed(pipeline, "load")
    bench.settle()
    left = bench.state().items()
    assert {name: content for name, content in left if "etl_staging" not in name} == before
    ballast.unlink()
    pipeline.load()
    assert bench.state() == expected
    administrator.run(f"DROP DATABASE {database} WITH (FORCE)")
    administrator.run(f"DROP TABLESPACE {space}")
    administrator.close()
    tried.faults["load", REALLY_FULL, "the warehouse's", f"{line['error']}; then as without"] += 1


def test_a_heap_that_is_too_small(pipeline: Pipeline, tmp_path: Path, tried: Tried) -> None:
    """Guards against a job that hangs, or ends well, when its Java has no memory left."""
    bench = Bench(pipeline, tmp_path)
    pipeline.run()
    pipeline.source.run(HUGE)
    for job in JOBS:
        before = bench.state()
        done = bench.process(job, **SMALL_HEAP)
        assert done.returncode == 1, done.stdout
        line = json.loads(done.stdout.splitlines()[-1])
        assert line["event"] == "failed"
        assert "OutOfMemoryError" in line["message"]
        bench.settle()
        left = bench.state().items()
        assert {name: content for name, content in left if name in before} == before
        done = bench.process(job)
        assert done.returncode == 0, done.stdout
        tried.faults[job, "out of memory", "its heap", f"{line['error']}; then as without"] += 1
    query = "SELECT design_id, length(file_location), md5(file_location) FROM {} ORDER BY 1"
    assert pipeline.rows(query.format("dim_design")) == pipeline.source.run(query.format("design"))
    assert len(pipeline.batches()) == 2
