"""A Glue for this machine: runs the workflow that a Glue API holds, as a deployment put it there.

Jobs, triggers and crawlers are read from the API. A job is a process of its own: its script and
library are fetched from S3, its arguments are its defaults and what the trigger adds. A crawler is
the one of this package. A failure is sent to EventBridge in the words of AWS.

What is not AWS here: workers and their sizes, roles and networks mean nothing; wheels are not
installed, Python has them already; no schedule fires by itself, a run is started. How runs went is
told to the API where it can be told (`glue_records.py`), and to the caller.
"""

import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import fsspec

from local.glue_crawls import CRAWLER, Clients, Crawls, failure_event
from local.glue_records import COMPLETED, NoRecords, Records
from local.runner import (
    STOPPED,
    SUCCEEDED,
    JobLog,
    JobRun,
    Observer,
    Processes,
    WorkflowRun,
    run_on_demand,
    run_workflow,
)
from local.workflow import CONDITIONAL, Job, Workflow, WorkflowError, workflow_of

__all__ = ["CRAWLER", "Clients", "LocalGlue", "failure_event", "own_arguments", "read_workflow"]

# What Glue itself reads of a job's arguments, and the script does not need.
_OF_GLUE = (
    "--conf", "--extra-py-files", "--additional-python-modules",
    "--python-modules-installer-option", "--job-language", "--enable-metrics",
    "--enable-observability-metrics", "--enable-job-insights",
    "--custom-logGroup-prefix", "--TempDir",
)  # fmt: skip


class LocalGlue:
    """Runs workflows.

    Args:
        clients: Of the account that holds them.
        environment: The jobs' whole environment, without what Glue adds.
        folder: For logs, and for the code while it runs.
        bucket: For a lake in files, the folder that stands for its bucket.
        records: Keeps how runs went.
    """

    def __init__(
        self,
        clients: Clients,
        environment: Mapping[str, str],
        folder: Path,
        bucket: str = "",
        records: Records | None = None,
    ) -> None:
        self._clients = clients
        self._environment = environment
        self._folder = folder
        self._bucket = bucket
        self._records = records or NoRecords()
        self._lock = Lock()
        self._active: dict[str, int] = {}

    def start(self, name: str, observer: Observer) -> WorkflowRun | None:
        """Run a workflow to its end; None if as many as it allows run already.

        Raises:
            WorkflowError: If the API holds no such workflow, or one that cannot run.
        """
        glue = self._clients.glue
        workflow = read_workflow(glue, name)
        most = glue.get_workflow(Name=name)["Workflow"].get("MaxConcurrentRuns")
        with self._lock:
            if most is not None and self._active.get(name, 0) >= most:
                return None  # dropped, as AWS does: not queued, not an error
            self._active[name] = self._active.get(name, 0) + 1
        try:
            return self._run(workflow, observer)
        finally:
            with self._lock:
                self._active[name] -= 1

    def run_job(
        self, name: str, observer: Observer, arguments: Mapping[str, str] | None = None
    ) -> JobRun:
        """Run one job by itself, to its end; arguments of this run override the job's own."""
        logs = self._folder / "logs"
        jobs: dict[str, dict[str, Any]] = {}
        action = {"JobName": name, "Arguments": arguments or {}}
        node = jobs[_add_node(self._clients.glue, jobs, action)]
        job = Job(name, node["script"], node["timeout_minutes"], node["arguments"])
        crawls = Crawls(self._clients, self._records, observer, logs, self._bucket)
        nodes = _Nodes(self._clients, self._environment, self._folder, crawls, self._records)
        return run_on_demand(job, logs, nodes, observer)

    def _run(self, workflow: Workflow, observer: Observer) -> WorkflowRun:
        name, logs = workflow.name, self._folder / "logs"
        run_id = self._clients.glue.start_workflow_run(Name=name)["RunId"]
        crawls = Crawls(self._clients, self._records, observer, logs / run_id, self._bucket)
        nodes = _Nodes(self._clients, self._environment, self._folder, crawls, self._records)
        try:
            with crawls:
                run = run_workflow(workflow, logs, nodes, observer, run_id)
        except BaseException:
            self._records.workflow_ended(name, run_id, STOPPED, [])
            raise
        states = [node.state for node in run.jobs.values()]
        self._records.workflow_ended(name, run_id, COMPLETED, states)  # whatever the nodes did
        return run


def read_workflow(glue: Any, name: str) -> Workflow:
    """A workflow as the triggers of a Glue API make it.

    Raises:
        WorkflowError: If there is none, or one that cannot run.
    """
    pages = glue.get_paginator("get_triggers").paginate()
    triggers = [t for page in pages for t in page["Triggers"] if t.get("WorkflowName") == name]
    if not triggers:
        raise WorkflowError(f"workflow {name}: expected triggers in Glue, found none")
    jobs: dict[str, dict[str, Any]] = {}
    content: dict[str, Any] = {"name": name, "jobs": jobs, "triggers": {}}
    for trigger in triggers:
        predicate = trigger.get("Predicate", {})
        conditions = [_condition(each) for each in predicate.get("Conditions", [])]
        content["triggers"][trigger["Name"]] = {
            "type": trigger["Type"],
            "logical": predicate.get("Logical", "AND"),
            "conditions": conditions if trigger["Type"] == CONDITIONAL else [],
            "actions": [{"job": _add_node(glue, jobs, action)} for action in trigger["Actions"]],
        }
    return workflow_of(content)


def _condition(condition: Mapping[str, Any]) -> dict[str, str]:
    if "CrawlerName" in condition:
        return {"job": CRAWLER + condition["CrawlerName"], "state": condition["CrawlState"]}
    return {"job": condition["JobName"], "state": condition["State"]}


def _add_node(glue: Any, jobs: dict[str, dict[str, Any]], action: Mapping[str, Any]) -> str:
    """Add what an action starts to the nodes; return the node's name."""
    if action.get("CrawlerName"):
        node = CRAWLER + str(action["CrawlerName"])
        jobs[node] = {"script": CRAWLER, "timeout_minutes": action.get("Timeout", 2880)}
        jobs[node]["arguments"] = {}
        return node
    node = str(action["JobName"])
    job = glue.get_job(JobName=node)["Job"]
    jobs[node] = {
        "script": job["Command"]["ScriptLocation"],
        "timeout_minutes": action.get("Timeout") or job.get("Timeout") or 480,
        "arguments": {**job.get("DefaultArguments", {}), **action.get("Arguments", {})},
    }
    return node


class _Nodes:
    """Launches the nodes of one run."""

    def __init__(
        self,
        clients: Clients,
        environment: Mapping[str, str],
        folder: Path,
        crawls: Crawls,
        records: Records,
    ) -> None:
        self._clients = clients
        self._environment = environment
        self._folder = folder
        self._crawls = crawls
        self._records = records
        self._lock = Lock()
        self._running: list[Processes] = []
        self._stopped = False

    def launch(self, job: Job, arguments: Sequence[str], log: JobLog) -> tuple[str, str]:
        """Run a job or a crawler; return the state it ended in and, if it did not succeed, why."""
        if job.script == CRAWLER:
            state, reason = self._crawls.run(job.name.removeprefix(CRAWLER), log.path)
        else:
            given = dict(zip(arguments[::2], arguments[1::2], strict=True))
            run_id = self._records.job_began(job.name, given)
            began = time.monotonic()
            state, reason = self._run(job, arguments, log)
            seconds = time.monotonic() - began
            self._records.job_ended(job.name, run_id, state, seconds, reason)
        if state not in (SUCCEEDED, STOPPED):
            event = failure_event(job.name, state, reason)
            self._clients.events.put_events(Entries=[event])
        return state, reason

    def stop(self) -> None:
        """End all jobs that run, and start no more."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for processes in running:
            processes.stop()

    def _run(self, job: Job, arguments: Sequence[str], log: JobLog) -> tuple[str, str]:
        code = self._folder / "code" / log.path.parent.name / job.name
        code.mkdir(parents=True)
        script = Path(fetch(job.script, code)).name
        libraries = [fetch(uri, code) for uri in _list(job.arguments.get("--extra-py-files"))]
        environment = {**self._environment, "PYTHONPATH": ":".join(libraries)}
        if "--conf" in job.arguments:
            conf = f"--conf {job.arguments['--conf']}"
            environment["PYSPARK_SUBMIT_ARGS"] = f"{conf} pyspark-shell"
        processes = Processes(code, environment)
        with self._lock:
            if self._stopped:
                return STOPPED, "the run was stopped before it began"
            self._running.append(processes)
        local = Job(job.name, script, job.timeout_minutes, job.arguments)
        return processes.launch(local, own_arguments(arguments), log)


def own_arguments(arguments: Sequence[str]) -> list[str]:
    """A command line without what Glue reads itself."""
    pairs = zip(arguments[::2], arguments[1::2], strict=True)
    return [word for name, value in pairs if name not in _OF_GLUE for word in (name, value)]


def fetch(uri: str, folder: Path) -> str:
    """Copy a file of S3, or of a disk, into a folder; return its path there.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    target = folder / uri.rsplit("/", 1)[-1]
    with fsspec.open(uri, "rb") as source:
        target.write_bytes(source.read())
    return str(target)


def _list(value: str | None) -> list[str]:
    return [part for part in shlex.split((value or "").replace(",", " ")) if part]
