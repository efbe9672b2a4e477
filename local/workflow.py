"""The workflow's definition: jobs and the triggers that chain them, as Glue would take it.

One JSON file says it once; Terraform deploys it and the local runner executes it.
"""

import json
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.errors import CommandError

START_TYPES = ("SCHEDULED", "ON_DEMAND", "EVENT")
CONDITIONAL = "CONDITIONAL"
AND, ANY = "AND", "ANY"
# The states that a condition may wait for; a job run ends in one of them.
END_STATES = ("SUCCEEDED", "FAILED", "STOPPED", "TIMEOUT")


class WorkflowError(CommandError):
    """The definition does not say what is to be done, or says it in two ways."""


@dataclass(frozen=True)
class Job:
    """One job.

    Attributes:
        name: As in the definition.
        script: The script's name.
        timeout_minutes: How long it may take.
        arguments: What its command line says.
        on_demand: Whether it is started by itself, and by no trigger.
    """

    name: str
    script: str
    timeout_minutes: float
    arguments: Mapping[str, str]
    on_demand: bool = False


@dataclass(frozen=True)
class Trigger:
    """What starts jobs: the start of the workflow, or the end of other jobs.

    Attributes:
        name: As in the definition.
        logical: Whether all conditions have to hold (AND) or one of them (ANY).
        conditions: Pairs of a job and the state it has to end in; none for a start trigger.
        jobs: The jobs to start.
    """

    name: str
    logical: str
    conditions: tuple[tuple[str, str], ...]
    jobs: tuple[str, ...]

    @property
    def is_start(self) -> bool:
        """Whether it fires when the workflow starts."""
        return not self.conditions

    def fires(self, states: Mapping[str, str]) -> bool:
        """Whether the jobs that have ended, with the state of each, are what it waits for."""
        met = [states.get(job) == state for job, state in self.conditions]
        return all(met) if self.is_start or self.logical == AND else any(met)


@dataclass(frozen=True)
class Workflow:
    """A whole workflow; `jobs` stand in an order in which they could run, on-demand ones last."""

    name: str
    jobs: Mapping[str, Job]
    triggers: tuple[Trigger, ...]


def load_workflow(path: Path, values: Mapping[str, str]) -> Workflow:
    """Read a definition and put a value in the place of each ``${name}``.

    Raises:
        WorkflowError: If it is not well-formed, a value is missing, a trigger names a job that
            is not there, or some job could never start or be started twice.
    """
    try:
        content = substitute(json.loads(path.read_text(encoding="utf-8")), values)
        workflow = workflow_of(content)
    except WorkflowError as error:
        raise WorkflowError(f"{path}: {error}") from error
    except json.JSONDecodeError as error:
        raise WorkflowError(f"{path}: expected JSON, found an error: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise WorkflowError(
            f"{path}: expected jobs (script, timeout_minutes, arguments) and triggers (type, "
            f"actions, conditions), found something else near {error}"
        ) from error
    missing = [
        job.script for job in workflow.jobs.values() if not (path.parent / job.script).exists()
    ]
    if missing:
        raise WorkflowError(f"{path}: expected the script {missing[0]} beside it, found none")
    return workflow


def substitute(content: Any, values: Mapping[str, str]) -> Any:
    """Replace ``${name}`` in every string of a JSON document.

    Raises:
        WorkflowError: Naming every placeholder that has no value.
    """
    missing: set[str] = set()

    def replaced(part: Any) -> Any:
        if isinstance(part, dict):
            return {name: replaced(value) for name, value in part.items()}
        if isinstance(part, list):
            return [replaced(value) for value in part]
        if not isinstance(part, str):
            return part
        template = string.Template(part)
        if not template.is_valid():
            raise WorkflowError(f"expected ${{name}} (or $$ for a $), found {part!r}")
        missing.update(set(template.get_identifiers()) - values.keys())
        return template.safe_substitute(values)

    result = replaced(content)
    if missing:
        raise WorkflowError(
            f"no value for {', '.join(f'${{{name}}}' for name in sorted(missing))}; there are "
            f"values for {', '.join(sorted(values)) or 'none'}"
        )
    return result


def workflow_of(content: Mapping[str, Any]) -> Workflow:
    """A definition as a workflow; a trigger outside of it, and what it alone starts, left out.

    A workflow of Glue has one trigger that starts it, so what has a schedule of its own is none
    of it.

    Raises:
        WorkflowError: If a trigger names a job that is not there, or some job could never start
            or be started twice.
    """
    jobs = {
        name: Job(
            name,
            job["script"],
            float(job["timeout_minutes"]),
            dict(job["arguments"]),
            job.get("on_demand", False),
        )
        for name, job in content["jobs"].items()
    }
    inside = {n: it for n, it in content["triggers"].items() if it.get("in_workflow", True)}
    triggers = tuple(_trigger(name, trigger) for name, trigger in inside.items())
    for trigger in triggers:
        for job in (*(job for job, _ in trigger.conditions), *trigger.jobs):
            if job not in jobs:
                raise WorkflowError(
                    f"trigger {trigger.name} names job {job}; there are {', '.join(jobs) or 'none'}"
                )
    beside = {
        action["job"]
        for name in content["triggers"].keys() - inside.keys()
        for action in content["triggers"][name]["actions"]
    }
    order = _order({n: job for n, job in jobs.items() if n not in beside}, triggers)
    return Workflow(content["name"], {name: jobs[name] for name in order}, triggers)


def _trigger(name: str, content: Mapping[str, Any]) -> Trigger:
    kind = content["type"]
    conditions = tuple((part["job"], part["state"]) for part in content.get("conditions", ()))
    if kind not in (*START_TYPES, CONDITIONAL):
        raise WorkflowError(
            f"trigger {name}: expected type {', '.join(START_TYPES)} or {CONDITIONAL}, "
            f"found {kind!r}"
        )
    if (kind == CONDITIONAL) != bool(conditions):
        raise WorkflowError(
            f"trigger {name}: expected conditions for {CONDITIONAL} and for no other type, found "
            f"{len(conditions)} for {kind}"
        )
    unknown = [state for _, state in conditions if state not in END_STATES]
    if unknown:
        raise WorkflowError(
            f"trigger {name}: expected a state of {', '.join(END_STATES)}, found {unknown[0]!r}"
        )
    logical = content.get("logical", AND)
    if logical not in (AND, ANY):
        raise WorkflowError(f"trigger {name}: expected logical {AND} or {ANY}, found {logical!r}")
    return Trigger(name, logical, conditions, tuple(action["job"] for action in content["actions"]))


def _order(jobs: Mapping[str, Job], triggers: Iterable[Trigger]) -> list[str]:
    """The jobs in an order in which triggers could start them, then those on demand."""
    waiting = list(triggers)
    if not any(trigger.is_start for trigger in waiting):
        raise WorkflowError(f"expected a trigger of type {' or '.join(START_TYPES)}, found none")
    order: list[str] = []
    while ready := [t for t in waiting if {job for job, _ in t.conditions} <= set(order)]:
        for trigger in ready:
            waiting.remove(trigger)
            order += trigger.jobs
    if waiting:
        raise WorkflowError(
            f"trigger {waiting[0].name} waits for a job that only starts after it, or never"
        )
    twice = sorted({job for job in order if order.count(job) > 1})
    if twice:
        raise WorkflowError(f"expected one trigger to start job {twice[0]}, found several")
    on_demand = [name for name, job in jobs.items() if job.on_demand]
    both = sorted(set(on_demand) & set(order))
    if both:
        raise WorkflowError(f"expected no trigger to start job {both[0]}, on demand, found one")
    never = sorted(set(jobs) - set(order) - set(on_demand))
    if never:
        raise WorkflowError(f"expected a trigger to start job {never[0]}, found none")
    return order + on_demand
