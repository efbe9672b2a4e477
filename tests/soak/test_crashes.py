"""Every fault at every effect of every job: the end is that of a run without a fault."""

import random
from collections import Counter
from pathlib import Path

import pytest

from local.postgres import connect
from tests.faults import effects
from tests.faults.effects import DEATH, DISK_FULL, TERMINATE
from tests.jobs.conftest import Pipeline
from tests.jobs.faults import JOBS, Bench, change_some, strike_all, watch

CASES = [
    *[(job, fault) for fault in (DEATH, DISK_FULL) for job in JOBS[:2]],
    *[("load", fault) for fault in (DEATH, TERMINATE)],
]
PROCESSES = 6


@pytest.fixture
def bench(pipeline: Pipeline, tmp_path: Path) -> Bench:
    folder = tmp_path / "effects"
    folder.mkdir()
    watch(pipeline, folder)
    return Bench(pipeline, folder)


def before(bench: Bench, job: str, batch: str) -> None:
    """Bring the pipeline to just before a job, on its first batch or on one of changes."""
    if batch == "changes":
        bench.pipeline.run()
        change_some(bench.pipeline)
    for earlier in JOBS[: JOBS.index(job)]:
        getattr(bench.pipeline, earlier)()


@pytest.mark.parametrize("batch", ["changes", "first"])
@pytest.mark.parametrize(("job", "fault"), CASES)
def test_struck_at_each_effect(
    bench: Bench, job: str, fault: str, batch: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before(bench, job, batch)

    def terminate(pid: int) -> None:
        administrator = connect(bench.pipeline.server.url("postgres"))
        administrator.run("SELECT pg_terminate_backend(:pid)", pid=pid)
        administrator.close()

    effects.on_terminate[:] = [terminate]
    ends = strike_all(bench, job, fault)
    with capsys.disabled():
        outcomes = ", ".join(f"{end} {n}" for end, n in Counter(e for _, e in ends).items())
        print(f"\n{job}, {batch} batch, {fault} at each of {len(ends)} effects: {outcomes}")  # noqa: T201


def test_killed_processes(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """SIGKILL, at effects by chance, for as many as there is patience for."""
    pipeline = bench.pipeline
    pipeline.run()
    change_some(pipeline)
    bench.keep()
    pipeline.run()
    expected = bench.end_state()
    chance = random.Random(6)
    killed = 0
    for _ in range(PROCESSES):
        bench.back()
        for job in JOBS:
            killed += bench.run_and_kill(job, at=chance.randint(1, 25)) != 0
            getattr(pipeline, job)()
        pipeline.run()
        assert bench.end_state() == expected
    with capsys.disabled():
        print(f"\n{killed} of {3 * PROCESSES} processes killed by SIGKILL")  # noqa: T201
