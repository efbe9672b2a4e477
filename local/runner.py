"""Runs a workflow as Glue does: triggers start jobs, and each job is a process of its own."""

import fcntl
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock, Thread
from typing import IO, Any, Protocol

from local.errors import CommandError
from local.workflow import Job, Workflow

Event = Mapping[str, Any]
SUCCEEDED, FAILED, STOPPED, TIMEOUT = "SUCCEEDED", "FAILED", "STOPPED", "TIMEOUT"

_SECONDS_TO_STOP = 10.0  # from the request to end to the end by force
_SECONDS_TO_DRAIN = 5.0  # for output that a job's own children still hold open
_TAIL_BYTES = 65_536


class BusyError(CommandError):
    """Another run is at work in the same folder."""


@dataclass(frozen=True)
class JobRun:
    """How one job went.

    Attributes:
        job: Its name.
        state: As Glue calls it: SUCCEEDED, FAILED, STOPPED or TIMEOUT.
        seconds: From its start to its end.
        events: What it logged on standard output, line by line.
        log: The file with all that it wrote.
        reason: Why it did not succeed; empty if it did.
    """

    job: str
    state: str
    seconds: float
    events: Sequence[Event]
    log: Path
    reason: str = ""


@dataclass(frozen=True)
class WorkflowRun:
    """How a run of a workflow went: one entry for each job that was started."""

    run_id: str
    jobs: Mapping[str, JobRun]

    @property
    def logs(self) -> Path:
        """The folder of its jobs' logs."""
        return next(iter(self.jobs.values())).log.parent

    @property
    def failures(self) -> list[JobRun]:
        """The jobs that did not succeed."""
        return [run for run in self.jobs.values() if run.state != SUCCEEDED]


class Observer(Protocol):
    """Whoever watches a run. Called from several threads when jobs run side by side."""

    def started(self, job: str) -> None:
        """A job begins."""

    def event(self, job: str, event: Event) -> None:
        """A job logged an event."""

    def ended(self, run: JobRun) -> None:
        """A job is over."""


class JobLog:
    """A job's log file; what it prints on standard output is read for events on the way."""

    def __init__(self, job: str, path: Path, observer: Observer) -> None:
        self.job = job
        self.path = path
        self.events: list[Event] = []
        self._observer = observer

    def copy(self, output: IO[str]) -> None:
        """Write every line of `output` to the log, until there are no more, and close it."""
        with output, self.path.open("a", encoding="utf-8") as log:
            for line in output:
                log.write(line)
                log.flush()
                event = _event(line)
                if event is not None:
                    self.events.append(event)
                    self._observer.event(self.job, event)

    def why_failed(self, status: int) -> str:
        """The reason that the job gave: its last "failed" event, else its last words."""
        for event in reversed(self.events):
            if event["event"] == "failed":
                return f"{event.get('error', 'Error')}: {event.get('message', '')}"
        if status < 0:
            name = signal.Signals(-status).name
            return f"ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
        with self.path.open("rb") as log:
            log.seek(max(0, self.path.stat().st_size - _TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
        words = [line.strip() for line in lines if line.strip() and _event(line) is None]
        return words[-1] if words else f"exit status {status}, without a word"


class Launcher(Protocol):
    """A way to run a job to its end."""

    def launch(self, job: Job, arguments: Sequence[str], log: JobLog) -> tuple[str, str]:
        """Run a job; return the state it ended in and, if it did not succeed, why."""

    def stop(self) -> None:
        """End all jobs that run, and start no more."""


class Processes:
    """Runs each job as a process that leads its own group, so that it can be ended whole.

    Args:
        scripts: The folder of the job scripts.
        environment: The jobs' whole environment.
        inherit: File descriptors to hand on. With a run's lock among them, the lock is held
            as long as any job lives, even if this process is killed.
    """

    def __init__(
        self, scripts: Path, environment: Mapping[str, str], inherit: Sequence[int] = ()
    ) -> None:
        self._scripts = scripts
        self._environment = environment
        self._inherit = inherit
        self._lock = Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False

    def launch(self, job: Job, arguments: Sequence[str], log: JobLog) -> tuple[str, str]:
        """Run a job's script with this Python; end it when its time is up."""
        command = [sys.executable, str(self._scripts / job.script), *arguments]
        process = self._start(command, log.path)
        if process is None:
            return STOPPED, "the run was stopped before it began"
        assert process.stdout is not None  # nosec B101  # asked for in _start
        reader = Thread(target=log.copy, args=(process.stdout,), daemon=True)
        reader.start()
        try:
            status = process.wait(job.timeout_minutes * 60)
        except subprocess.TimeoutExpired:
            _end([process])
            return TIMEOUT, f"it took longer than {job.timeout_minutes:g} minutes, its timeout"
        finally:
            reader.join(_SECONDS_TO_DRAIN)
            with self._lock:
                self._running.discard(process)
        if self._stopped:
            return STOPPED, "the run was stopped"
        return (SUCCEEDED, "") if status == 0 else (FAILED, log.why_failed(status))

    def stop(self) -> None:
        """End all jobs that run, and start no more."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        _end(running)

    def _start(self, command: Sequence[str], log: Path) -> subprocess.Popen[str] | None:
        with self._lock:
            if self._stopped:
                return None
            with log.open("ab") as errors:
                process = subprocess.Popen(
                    command,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    encoding="utf-8",
                    errors="replace",
                    start_new_session=True,
                    pass_fds=self._inherit,
                )
            self._running.add(process)
            return process


def run_workflow(
    workflow: Workflow,
    logs: Path,
    launcher: Launcher,
    observer: Observer,
    run_id: str | None = None,
) -> WorkflowRun:
    """Run a workflow once.

    A conditional trigger fires once, when the jobs that have ended are what it waits for. What
    depends on a job that failed is never started. The run is over when nothing is at work and
    no trigger can fire.

    Args:
        workflow: What to run.
        logs: Gets a folder named by the run's id, with one file per job.
        launcher: How to run a job.
        observer: Is told of everything as it happens.
        run_id: The run's id, if it has one already.
    """
    run_id = run_id or f"wr_{_unique()}"
    folder = logs / run_id
    folder.mkdir(parents=True)

    def run_job(job: Job) -> JobRun:
        return _run_job(job, job_arguments(job, workflow, run_id), folder, launcher, observer)

    runs: dict[str, JobRun] = {}
    waiting = list(workflow.triggers)
    active: set[Future[JobRun]] = set()
    with ThreadPoolExecutor(len(workflow.jobs)) as pool:
        try:
            while True:
                states = {name: run.state for name, run in runs.items()}
                for trigger in [trigger for trigger in waiting if trigger.fires(states)]:
                    waiting.remove(trigger)
                    active |= {pool.submit(run_job, workflow.jobs[job]) for job in trigger.jobs}
                if not active:
                    return WorkflowRun(run_id, runs)
                ended, active = wait(active, return_when=FIRST_COMPLETED)
                runs |= {run.job: run for run in (future.result() for future in ended)}
        except BaseException:
            launcher.stop()
            raise


def run_on_demand(job: Job, logs: Path, launcher: Launcher, observer: Observer) -> JobRun:
    """Run one job by itself; ``logs`` gets a folder for it, named as in `run_workflow`."""
    folder = logs / f"jr_{_unique()}"
    folder.mkdir(parents=True)
    try:
        return _run_job(job, job_arguments(job), folder, launcher, observer)
    except BaseException:
        launcher.stop()
        raise


def _unique() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}_{secrets.token_hex(4)}"


def _run_job(
    job: Job, arguments: Sequence[str], folder: Path, launcher: Launcher, observer: Observer
) -> JobRun:
    started = time.monotonic()
    log = JobLog(job.name, folder / f"{job.name}.log", observer)
    observer.started(job.name)
    state, reason = launcher.launch(job, arguments, log)
    seconds = time.monotonic() - started
    run = JobRun(job.name, state, seconds, log.events, log.path, reason)
    observer.ended(run)
    return run


def job_arguments(job: Job, workflow: Workflow | None = None, run_id: str = "") -> list[str]:
    """A job's command line as Glue makes it, by itself or inside a workflow's run."""
    named = {"--JOB_NAME": job.name, **job.arguments}
    if workflow:
        named |= {"--WORKFLOW_NAME": workflow.name, "--WORKFLOW_RUN_ID": run_id}
    return [word for name, value in named.items() for word in (name, value)]


@contextmanager
def exclusive(folder: Path) -> Iterator[int]:
    """Be the only run at work in a folder; the kernel ends the claim with the last holder.

    Yields:
        The descriptor that holds the claim, for jobs to inherit.

    Raises:
        BusyError: Naming who is at work there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise BusyError(
                f"{folder}: a run is at work here ({lock.read().strip() or 'just begun'}); "
                "wait until it ends, one runs at a time"
            ) from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()}, begun {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")
        lock.flush()
        yield lock.fileno()


def _event(line: str) -> Event | None:
    """The event that a line of output is; None when it is any other text."""
    if not line.startswith("{"):
        return None
    try:
        content = json.loads(line)
    except ValueError:
        return None
    return content if isinstance(content, dict) and "event" in content else None


def _end(processes: Sequence[subprocess.Popen[str]]) -> None:
    """End processes with all of their groups: first by asking, then by force."""
    for process in processes:
        _signal_group(process, signal.SIGTERM)
    deadline = time.monotonic() + _SECONDS_TO_STOP
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            pass
        finally:
            _signal_group(process, signal.SIGKILL)
        process.wait()


def _signal_group(process: subprocess.Popen[str], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return
