"""The workflow's definition: what is refused before anything starts."""

import json
from pathlib import Path
from typing import Any

import pytest

from local.workflow import WorkflowError, load_workflow

ROOT = Path(__file__).resolve().parents[3]
SUCCEEDED = [{"job": "a", "state": "SUCCEEDED"}]


def definition(**changes: Any) -> dict[str, Any]:
    """Two jobs, b after a."""
    job = {"timeout_minutes": 1, "arguments": {"--zone": "${zone}"}}
    return {
        "name": "two",
        "jobs": {"a": {"script": "a.py", **job}, "b": {"script": "b.py", **job}},
        "triggers": {
            "start": {"type": "ON_DEMAND", "actions": [{"job": "a"}]},
            "after-a": {
                "type": "CONDITIONAL",
                "logical": "AND",
                "conditions": SUCCEEDED,
                "actions": [{"job": "b"}],
            },
        },
        **changes,
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "a.py").touch()
    (tmp_path / "b.py").touch()
    return tmp_path / "workflow.json"


def test_a_definition_becomes_jobs_in_the_order_in_which_they_can_run(path: Path) -> None:
    content = definition()
    content["jobs"] = dict(reversed(content["jobs"].items()))
    path.write_text(json.dumps(content))

    workflow = load_workflow(path, {"zone": 'file:///a "quoted" \\ path', "unused": ""})

    assert list(workflow.jobs) == ["a", "b"]
    assert workflow.jobs["a"].arguments == {"--zone": 'file:///a "quoted" \\ path'}
    assert [trigger.is_start for trigger in workflow.triggers] == [True, False]


def test_every_placeholder_without_a_value_is_named(path: Path) -> None:
    content = definition(name="${stage} ${zone}", description="$${kept}")
    path.write_text(json.dumps(content))

    with pytest.raises(WorkflowError, match=r"no value for \$\{stage\}, \$\{zone\}; .* other"):
        load_workflow(path, {"other": ""})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "costs $5"}, r"expected \$\{name\} .*found 'costs \$5'"),
        ({"jobs": {}}, "trigger start names job a; there are none"),
        ({"jobs": {"a": {}, "b": {}}}, "expected jobs .* near 'script'"),
        ({"triggers": {}}, "expected a trigger of type SCHEDULED or ON_DEMAND or EVENT, found no"),
    ],
)
def test_a_malformed_definition(path: Path, changes: dict[str, Any], message: str) -> None:
    path.write_text(json.dumps(definition(**changes)))

    with pytest.raises(WorkflowError, match=message):
        load_workflow(path, {"zone": ""})


@pytest.mark.parametrize(
    ("trigger", "message"),
    [
        ({"actions": [{"job": "c"}]}, "trigger after-a names job c; there are a, b"),
        ({"conditions": [{"job": "c", "state": "FAILED"}]}, "trigger after-a names job c"),
        ({"conditions": [{"job": "a", "state": "DONE"}]}, "state of SUCCEEDED, .*found 'DONE'"),
        ({"conditions": []}, "expected conditions for CONDITIONAL"),
        ({"type": "EVENT"}, "and for no other type, found 1 for EVENT"),
        ({"type": "SOMETIMES"}, "expected type SCHEDULED, .*found 'SOMETIMES'"),
        ({"logical": "OR"}, "expected logical AND or ANY, found 'OR'"),
        ({"conditions": [{"job": "b", "state": "FAILED"}]}, "after-a waits for a job that only"),
        ({"actions": [{"job": "a"}]}, "expected one trigger to start job a, found several"),
        ({"actions": []}, "expected a trigger to start job b, found none"),
        ({"actions": [{"crawler": "raw"}]}, "expected jobs .* near 'job'"),
    ],
)
def test_a_trigger_that_says_nothing_useful(
    path: Path, trigger: dict[str, Any], message: str
) -> None:
    content = definition()
    content["triggers"]["after-a"] |= trigger
    path.write_text(json.dumps(content))

    with pytest.raises(WorkflowError, match=message):
        load_workflow(path, {"zone": ""})


def test_a_job_on_demand_is_started_by_no_trigger(path: Path) -> None:
    content = definition()
    content["jobs"]["a"] |= {"on_demand": True}
    path.write_text(json.dumps(content))
    with pytest.raises(WorkflowError, match="expected no trigger to start job a, on demand"):
        load_workflow(path, {"zone": ""})
    content = definition()
    content["jobs"] = {"c": {**content["jobs"]["a"], "on_demand": True}, **content["jobs"]}
    path.write_text(json.dumps(content))

    workflow = load_workflow(path, {"zone": ""})

    assert list(workflow.jobs) == ["a", "b", "c"]


def test_text_that_is_no_json(path: Path) -> None:
    path.write_text("{,}")

    with pytest.raises(WorkflowError, match=r"workflow.json: expected JSON, found an error"):
        load_workflow(path, {})


def test_a_script_that_is_not_there(path: Path) -> None:
    path.with_name("b.py").unlink()
    path.write_text(json.dumps(definition()))

    with pytest.raises(WorkflowError, match=r"expected the script b.py beside it, found none"):
        load_workflow(path, {"zone": ""})


def test_the_definition_that_is_deployed_is_sound() -> None:
    catalogue = ["raw_database", "raw_crawler", "processed_database", "processed_crawler"]
    names = ["source_secret", "warehouse_secret", "raw_zone", "processed_zone", "raw_format"]
    values = {
        name: name for name in [*names, *catalogue, "sweep", "max_rejected_ratio", "schedule"]
    } | dict.fromkeys(["compact_schedule", "open_batches"], "")

    workflow = load_workflow(ROOT / "glue_jobs" / "workflow.json", values)

    assert list(workflow.jobs) == ["extract", "transform", "load", "reconcile"]
