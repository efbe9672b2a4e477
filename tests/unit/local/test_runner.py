"""The runner, on jobs of a few lines: what starts what, and every way to end."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Timer
from typing import Any

import psutil
import pytest

from local.in_process import InProcess
from local.runner import (
    BusyError,
    Event,
    JobRun,
    Processes,
    WorkflowRun,
    exclusive,
    job_arguments,
    run_on_demand,
    run_workflow,
)
from local.workflow import Job, Trigger, Workflow

ROOT = Path(__file__).resolve().parents[3]
SECRET = "hunter2-is-secret"
WAIT = 'import time\nprint(\'{"event": "waiting"}\', flush=True)\ntime.sleep(600)'
FAIL = "raise SystemExit(3)"


class Recorder:
    """An observer that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def started(self, job: str) -> None:
        self.told.append(f"{job} started")

    def event(self, job: str, event: Event) -> None:
        self.told.append(f"{job} {event['event']}")

    def ended(self, run: JobRun) -> None:
        self.told.append(f"{run.job} {run.state}")


def workflow(jobs: Sequence[str], triggers: Sequence[Trigger], minutes: float = 1) -> Workflow:
    scripts = {name: Job(name, f"{name}.py", minutes, {"--zone": "z"}) for name in jobs}
    return Workflow("test", scripts, tuple(triggers))


def start(*jobs: str) -> Trigger:
    return Trigger("start", "AND", (), jobs)


def after(conditions: Mapping[str, str], *jobs: str, logical: str = "AND") -> Trigger:
    return Trigger(f"after {conditions}", logical, tuple(conditions.items()), jobs)


class Bench:
    """A folder of job scripts and a way to run them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self.recorder = Recorder()
        environment = {"PATH": os.defpath, "PASSWORD": SECRET}
        self.launcher = Processes(folder, environment)

    def script(self, name: str, body: str = "") -> None:
        (self.folder / f"{name}.py").write_text(body)

    def run(self, definition: Workflow) -> WorkflowRun:
        for name in definition.jobs:
            if not (self.folder / f"{name}.py").exists():
                self.script(name)
        return run_workflow(definition, self.logs, self.launcher, self.recorder)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def states(run: WorkflowRun) -> dict[str, str]:
    return {name: job.state for name, job in run.jobs.items()}


def test_jobs_run_one_after_the_other_when_triggers_chain_them(bench: Bench) -> None:
    done = bench.run(
        workflow(
            ["a", "b", "c"],
            [
                start("a"),
                after({"b": "SUCCEEDED"}, "c"),
                after({"a": "SUCCEEDED"}, "b"),
            ],
        )
    )

    assert states(done) == {"a": "SUCCEEDED", "b": "SUCCEEDED", "c": "SUCCEEDED"}
    assert done.failures == []
    ended = [f"{job} {what}" for job in "abc" for what in ("started", "SUCCEEDED")]
    assert bench.recorder.told == ended


def test_and_waits_for_all_while_any_is_content_with_one(bench: Bench) -> None:
    bench.script("slow", "import time\ntime.sleep(0.5)")
    both = {"quick": "SUCCEEDED", "slow": "SUCCEEDED"}
    done = bench.run(
        workflow(
            ["quick", "slow", "one", "all"],
            [start("quick", "slow"), after(both, "one", logical="ANY"), after(both, "all")],
        )
    )

    assert set(states(done).values()) == {"SUCCEEDED"}
    told = bench.recorder.told
    assert told.index("one started") < told.index("slow SUCCEEDED") < told.index("all started")
    assert told.count("one started") == 1


def test_nothing_that_depends_on_a_failed_job_is_started(bench: Bench) -> None:
    bench.script("a", FAIL)
    done = bench.run(
        workflow(
            ["a", "b", "c"],
            [start("a"), after({"a": "SUCCEEDED"}, "b"), after({"b": "SUCCEEDED"}, "c")],
        )
    )

    assert states(done) == {"a": "FAILED"}


def test_a_trigger_may_wait_for_a_failure(bench: Bench) -> None:
    bench.script("a", FAIL)
    done = bench.run(workflow(["a", "alarm"], [start("a"), after({"a": "FAILED"}, "alarm")]))

    assert states(done) == {"a": "FAILED", "alarm": "SUCCEEDED"}
    assert [run.job for run in done.failures] == ["a"]


def failed_event(message: str) -> str:
    event: dict[str, Any] = {"event": "failed", "error": "SourceError", "message": message}
    return f"print({json.dumps(event)!r}, flush=True)\n"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (failed_event("no table") + "raise SystemExit('last')", "SourceError: no table"),
        ("print('{\"event\": \"x\"}')\nraise ValueError('odd\\nvalue')", "value"),
        (FAIL, "exit status 3, without a word"),
        ("import os\nos.kill(os.getpid(), 9)", "ended by SIGKILL (out of memory?)"),
    ],
)
def test_a_failure_says_why_and_where_its_log_is(bench: Bench, body: str, reason: str) -> None:
    bench.script("a", body)

    (failure,) = bench.run(workflow(["a"], [start("a")])).failures

    assert (failure.job, failure.state, failure.reason) == ("a", "FAILED", reason)
    assert failure.log.parent.parent == bench.logs
    assert failure.log.exists()


def test_events_are_told_and_everything_is_logged(bench: Bench) -> None:
    bench.script(
        "a",
        "import sys\n"
        'print(\'{"event": "table", "rows": 3, "new": "field"}\')\n'
        'print(\'{"no": "event"}\')\nprint("{broken")\nprint("plain ÿ")\n'
        'print("word", file=sys.stderr)\n',
    )

    run = bench.run(workflow(["a"], [start("a")])).jobs["a"]

    assert run.events == [{"event": "table", "rows": 3, "new": "field"}]
    assert bench.recorder.told == ["a started", "a table", "a SUCCEEDED"]
    logged = run.log.read_text()
    for text in ('"rows": 3', '{"no": "event"}', "{broken", "plain ÿ", "word"):
        assert text in logged


def test_a_job_that_takes_too_long_is_ended_with_its_children(bench: Bench) -> None:
    bench.script(
        "a",
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        'print(\'{"event": "child", "pid": %d}\' % child.pid, flush=True)\n'
        "time.sleep(600)",
    )

    run = bench.run(workflow(["a", "b"], [start("a"), after({"a": "TIMEOUT"}, "b")], 0.02))

    assert states(run) == {"a": "TIMEOUT", "b": "SUCCEEDED"}
    assert run.jobs["a"].reason == "it took longer than 0.02 minutes, its timeout"
    (event,) = run.jobs["a"].events
    assert not is_alive(event["pid"])


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)


def test_each_job_is_a_process_of_its_own_with_the_arguments_of_glue(bench: Bench) -> None:
    body = (
        "import json, os, sys\nprint(json.dumps({'event': 'i', 'am': [os.getpid(), sys.argv[1:]]}))"
    )
    bench.script("a", body)
    bench.script("b", body)

    run = bench.run(workflow(["a", "b"], [start("a", "b")]))

    (one, arguments), (other, _) = (job.events[0]["am"] for job in run.jobs.values())
    assert len({one, other, os.getpid()}) == 3
    name = next(iter(run.jobs))
    identity = ["--WORKFLOW_NAME", "test", "--WORKFLOW_RUN_ID", run.run_id]
    assert arguments == ["--JOB_NAME", name, "--zone", "z", *identity]
    assert run.run_id.startswith("wr_")


def test_a_job_on_demand_is_run_by_itself(bench: Bench) -> None:
    bench.script("a", "import sys, json\nprint(json.dumps({'event': 'am', 'am': sys.argv[1:]}))")
    job = workflow(["a"], [start("a")]).jobs["a"]

    run = run_on_demand(job, bench.folder / "logs", bench.launcher, Recorder())

    assert run.state == "SUCCEEDED"
    assert run.events[0]["am"] == ["--JOB_NAME", "a", "--zone", "z"]
    assert run.log.parent.name.startswith("jr_")


def test_what_the_environment_holds_is_in_no_log_and_no_argument(bench: Bench) -> None:
    bench.script("a", "import os\nassert os.environ['PASSWORD']\nraise SystemExit('bad')")
    definition = workflow(["a"], [start("a")])

    bench.run(definition)

    assert SECRET not in " ".join(job_arguments(definition.jobs["a"], definition, "wr_1"))
    files = [path for path in bench.folder.rglob("*") if path.is_file()]
    assert any(path.suffix == ".log" for path in files)
    assert not any(SECRET in path.read_text() for path in files)


def test_the_second_run_in_a_folder_is_told_who_is_at_work(tmp_path: Path) -> None:
    with (
        exclusive(tmp_path),
        pytest.raises(BusyError, match=f"a run is at work here .process {os.getpid()}, begun 20"),
        exclusive(tmp_path),
    ):
        pass
    with exclusive(tmp_path):
        pass


RUN = """
import sys
from pathlib import Path
from local.runner import Processes, exclusive, run_workflow
from tests.unit.local.test_runner import Recorder, start, workflow
folder = Path(sys.argv[1])
with exclusive(folder) as lock:
    launcher = Processes(folder, {}, inherit=[lock])
    run_workflow(workflow(["a", "b"], [start("a", "b")]), folder / "logs", launcher, Recorder())
"""


def start_run(bench: Bench) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """Start a run in a process of its own and wait until both of its jobs are at work."""
    bench.script("a", WAIT)
    bench.script("b", WAIT)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "glue_jobs")])}
    runner = subprocess.Popen(
        [sys.executable, "-c", RUN, str(bench.folder)],
        env=environment,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    while sum("waiting" in log.read_text() for log in bench.logs.rglob("*.log")) < 2:
        assert runner.poll() is None, runner.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return runner, psutil.Process(runner.pid).children()


def test_ctrl_c_ends_the_jobs_and_then_the_run(bench: Bench) -> None:
    runner, jobs = start_run(bench)

    runner.send_signal(signal.SIGINT)

    assert "KeyboardInterrupt" in runner.communicate(timeout=30)[1]
    assert runner.returncode != 0
    assert len(jobs) == 2
    assert not any(job.is_running() for job in jobs)
    with exclusive(bench.folder):
        pass


def test_jobs_that_outlive_a_killed_runner_keep_the_next_run_out(bench: Bench) -> None:
    runner, jobs = start_run(bench)

    runner.kill()
    runner.communicate(timeout=30)

    try:
        with pytest.raises(BusyError), exclusive(bench.folder):
            pass
    finally:
        for job in jobs:
            job.kill()
        psutil.wait_procs(jobs, timeout=30)
    with exclusive(bench.folder):
        pass


def test_nothing_starts_once_the_run_was_stopped(bench: Bench) -> None:
    bench.script("a", WAIT)
    Timer(0.3, bench.launcher.stop).start()

    done = bench.run(workflow(["a", "b"], [start("a"), after({"a": "STOPPED"}, "b")]))

    assert states(done) == {"a": "STOPPED", "b": "STOPPED"}


def test_jobs_may_run_in_this_process(bench: Bench) -> None:
    definition = workflow(["a", "b", "c"], [start("a", "b"), after({"b": "FAILED"}, "c")])
    bench.script("a", "import os\ndef main(argv): print({'event': os.getpid()}, argv[1:3])")
    bench.script("b", "def main(argv):\n    print('word')\n    raise ValueError('odd')")
    noise = "import subprocess\nsubprocess.run('echo java >&2', shell=True)\n"
    body = "import json, os\ndef main(argv): print(json.dumps({'event': os.getpid()}))"
    bench.script("c", noise + body)

    done = run_workflow(definition, bench.logs, InProcess(bench.folder), bench.recorder)

    assert states(done) == {"a": "SUCCEEDED", "b": "FAILED", "c": "SUCCEEDED"}
    assert done.jobs["b"].reason == "ValueError: odd"
    assert "['--JOB_NAME', 'a']" in done.jobs["a"].log.read_text()
    assert "Traceback" not in done.jobs["a"].log.read_text()
    assert done.jobs["c"].events == [{"event": os.getpid()}]
    assert "java" in done.jobs["c"].log.read_text()


def test_no_job_starts_in_this_process_once_the_run_was_stopped(bench: Bench) -> None:
    launcher = InProcess(bench.folder)
    launcher.stop()

    done = run_workflow(workflow(["a"], [start("a")]), bench.logs, launcher, bench.recorder)

    assert states(done) == {"a": "STOPPED"}
