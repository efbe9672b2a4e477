"""Every fault at every effect of every job: the end is that of a run without a fault."""

from pathlib import Path

import pytest

from local.postgres import connect
from tests.faults import effects
from tests.faults.effects import DEATH, DISK_FULL, KILL, TERMINATE
from tests.jobs.conftest import Pipeline
from tests.jobs.faults import JOBS, Bench, change_some, strike_all, watch

from .conftest import Tried

CASES = [
    *[(job, fault) for fault in (KILL, DEATH) for job in JOBS],
    *[(job, DISK_FULL) for job in JOBS[:2]],
    ("load", TERMINATE),
]
# What an effect is called by what its path has in it; the first that fits.
_OBJECTS = {
    "_batches/": "manifest",
    "_attempts/": "announcement",
    "part-": "data file",
    ".json": "note",
    "": "folder",
}


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


def kind(effect: str) -> str:
    """What sort of effect it is: words of SQL, or what is done to what sort of object."""
    how, what = effect.split(" ", 1)
    if how == "sql":
        return " ".join(word for word in what.split()[:2] if word.isupper())
    if how == "jdbc":
        return "staging of rows"
    sort = next(name for part, name in _OBJECTS.items() if part in what)
    return f"{how.rpartition('.')[2]} {sort}"


@pytest.mark.parametrize("batch", ["changes", "first"])
@pytest.mark.parametrize(("job", "fault"), CASES)
def test_struck_at_each_effect(
    bench: Bench, job: str, fault: str, batch: str, tried: Tried, capsys: pytest.CaptureFixture[str]
) -> None:
    before(bench, job, batch)

    def terminate(pid: int) -> None:
        administrator = connect(bench.pipeline.server.url("postgres"))
        administrator.run("SELECT pg_terminate_backend(:pid)", pid=pid)
        administrator.close()

    effects.on_terminate[:] = [terminate]
    strikes = again = 0
    for struck in strike_all(bench, job, fault):
        strikes, again = strikes + 1, again + struck.again
        end = f"{struck.end}, left {struck.left}; then as without"
        tried.faults[job, fault, kind(struck.effect), end] += 1
        with capsys.disabled():
            print(  # noqa: T201
                f"\r{job}, {batch} batch, {fault} at each of {strikes} effects, then {again} jobs",
                end="",
                flush=True,
            )
