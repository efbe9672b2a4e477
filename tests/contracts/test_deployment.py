"""What Terraform deploys is what the jobs read, write and emit: no AWS, no Spark."""

import ast
import json
import re
import sys
from importlib.metadata import requires
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from local import athena_views, package, terraform_docs

ROOT = Path(__file__).resolve().parents[2]
TERRAFORM = ROOT / "terraform"
GLUE_JOBS = ROOT / "glue_jobs"
JOBS = ("extract", "transform", "load", "reconcile", "compact")
# Present on Glue 5.1 and 6.0 alike; botocore's and s3fs's own needs are there with them.
ON_GLUE = {"awsglue", "boto3", "botocore", "fsspec", "py4j", "pyarrow", "pyspark", "s3fs"}


def workflow() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((GLUE_JOBS / "workflow.json").read_text())
    return content


def arguments_read(job: str) -> set[str]:
    """Names in the call of ``runtime.arguments``: required and optional."""
    tree = ast.parse((GLUE_JOBS / f"{job}.py").read_text())
    (call,) = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "arguments"
    ]
    names: set[str] = set(ast.literal_eval(call.args[1]))
    for optional in call.args[2:]:
        assert isinstance(optional, ast.Dict)
        names |= {ast.literal_eval(key) for key in optional.keys if key is not None}
    return names


def constants() -> set[str]:
    """Every text constant in the code that Glue runs."""
    return {
        node.value
        for path in GLUE_JOBS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


@pytest.mark.parametrize("job", JOBS)
def test_arguments_passed_are_those_read(job: str) -> None:
    passed = {name.removeprefix("--") for name in workflow()["jobs"][job]["arguments"]}
    assert passed == arguments_read(job)


def test_jobs_are_the_scripts() -> None:
    scripts = {job["script"] for job in workflow()["jobs"].values()}
    assert scripts == {path.name for path in GLUE_JOBS.glob("*.py")}


def test_every_placeholder_is_filled_in_by_terraform() -> None:
    files = [GLUE_JOBS / "workflow.json", *(ROOT / "crawlers").glob("*.json")]
    named = {name for file in files for name in re.findall(r"\$\{(\w+)\}", file.read_text())}
    block = re.search(
        r"placeholders = \{(.*?)\n  \}", (TERRAFORM / "main.tf").read_text(), re.DOTALL
    )
    assert block is not None
    assert named <= set(re.findall(r"^    (\w+) +=", block[1], re.MULTILINE))


def test_access_is_said_for_every_job() -> None:
    block = re.search(r"job_access = \{(.*?)\n  \}", (TERRAFORM / "iam.tf").read_text(), re.DOTALL)
    assert block is not None
    assert set(re.findall(r"^    (\w+) +=", block[1], re.MULTILINE)) == set(workflow()["jobs"])


def test_spark_settings_are_those_of_the_library() -> None:
    block = re.search(r"spark_conf = \{(.*?)\n  \}", (TERRAFORM / "jobs.tf").read_text(), re.DOTALL)
    assert block is not None
    deployed = dict(re.findall(r'^    "([\w.]+)" += "?([\w.]+)"?$', block[1], re.MULTILINE))
    assert deployed.pop("spark.hadoop.fs.s3a.endpoint.region") == "var.region"
    tree = ast.parse((GLUE_JOBS / "totelake" / "runtime.py").read_text())
    (settings,) = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id == "SPARK_SETTINGS"
    ]
    assert deployed == settings


def metrics() -> set[str]:
    """Names of the metrics that alarms and the dashboard ask for, and their namespace."""
    text = (TERRAFORM / "watch.tf").read_text()
    alarms = re.findall(r'^ +metric += "(\w+)"', text, re.MULTILINE)
    shown = re.findall(r'local\.metric_namespace, "(\w+)"', text)
    by_table = re.search(r"by_table = \{ for metric, job in \{(.*?)\}", text)
    assert by_table is not None
    assert alarms
    return {*alarms, *shown, *re.findall(r"(\w+) =", by_table[1]), "Totelake"}


def test_metrics_watched_are_emitted_by_a_job() -> None:
    assert metrics() <= constants()


@pytest.mark.parametrize("job", JOBS)
def test_every_job_tells_how_long_it_took(job: str) -> None:
    """Guards against a line of the dashboard that stays empty."""
    called = {
        ast.unparse(node.func)
        for node in ast.walk(ast.parse((GLUE_JOBS / f"{job}.py").read_text()))
        if isinstance(node, ast.Call)
    }
    assert "metrics.measured" in called


def test_metrics_watched_are_the_agreed_ones() -> None:
    assert metrics() == {
        "Totelake",
        "FreshnessSeconds",
        "BatchSeconds",
        "RowsLanded",
        "RowsLoaded",
        "RowsRejected",
        "RegistrationFailures",
    }


def third_party(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    modules = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    return modules - set(sys.stdlib_module_names) - {"totelake", ""}


def test_what_the_jobs_import_is_on_glue_or_packaged() -> None:
    imported = {name for path in GLUE_JOBS.rglob("*.py") for name in third_party(path)}
    assert imported <= ON_GLUE | set(package.NOT_ON_GLUE)


def test_packaged_wheels_are_complete() -> None:
    on_every_glue = {"python-dateutil", "six"}
    needed, waiting = set(), ["pg8000"]
    while waiting:
        name = waiting.pop()
        needed.add(name)
        lines = [line for line in requires(name) or [] if "extra ==" not in line]
        waiting += [re.split(r"[^\w-]", line)[0].lower() for line in lines]
    assert needed - on_every_glue == set(package.NOT_ON_GLUE)


def test_same_files_give_the_same_zip(tmp_path: Path) -> None:
    files = package.library_files(GLUE_JOBS)
    package.write_zip(tmp_path / "one.zip", files)
    package.write_zip(tmp_path / "two.zip", reversed(files))
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    changed = [(name, content + b"#") for name, content in files]
    package.write_zip(tmp_path / "three.zip", changed)
    assert (tmp_path / "one.zip").read_bytes() != (tmp_path / "three.zip").read_bytes()


def test_library_is_found_in_its_zip(tmp_path: Path) -> None:
    package.write_zip(tmp_path / "totelake.zip", package.library_files(GLUE_JOBS))
    names = {name for name, _ in package.library_files(GLUE_JOBS)}
    modules = {str(p.relative_to(GLUE_JOBS)) for p in (GLUE_JOBS / "totelake").rglob("*.py")}
    assert names == modules
    assert "totelake/__init__.py" in names


def test_pins_are_those_of_the_requirements() -> None:
    pins = package.pins((ROOT / "requirements.txt").read_text())
    assert [pin.split("==")[0] for pin in pins] == list(package.NOT_ON_GLUE)
    with pytest.raises(ValueError, match=r"found none for scramp, asn1crypto"):
        package.pins("pg8000==1.31.6\n")


def test_wheels_come_with_the_list_that_glue_installs_by(tmp_path: Path) -> None:
    wheel = tmp_path / "pg8000-1.31.6-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    assert package.wheel_files([wheel], ["pg8000==1.31.6"]) == [
        ("wheels/requirements.txt", b"pg8000==1.31.6\n"),
        ("wheels/pg8000-1.31.6-py3-none-any.whl", b"wheel"),
    ]


def test_views_are_generated_from_the_declared_tables() -> None:
    athena_views.main(["--check"])


def test_page_of_inputs_and_outputs_is_generated() -> None:
    terraform_docs.main(["--check"])


def test_environments_share_no_state() -> None:
    names = {path.stem for path in (TERRAFORM / "env").glob("*.tfvars")}
    backends = {
        p.name.split(".")[0]: p.read_text() for p in (TERRAFORM / "env").glob("*.s3.tfbackend")
    }
    assert names == set(backends) == {"dev", "prod"}
    for name, text in backends.items():
        assert f"/{name}.tfstate" in text
        assert "use_lockfile = true" in text
        variables = (TERRAFORM / "env" / f"{name}.tfvars").read_text()
        assert re.search(rf'^environment +=? *= "{name}"$', variables, re.MULTILINE)


def test_terraform_tests_have_the_ending_that_is_run() -> None:
    found = [path.name for path in (TERRAFORM / "tests").glob("*.hcl")]
    assert found
    assert all(name.endswith(".tftest.hcl") for name in found)


@pytest.mark.parametrize(
    "variable",
    re.findall(r'^variable "(\w+)"', (TERRAFORM / "variables.tf").read_text(), re.MULTILINE),
)
def test_what_can_be_refused_is_refused_in_a_test(variable: str) -> None:
    text = (TERRAFORM / "variables.tf").read_text()
    starts = [*(m.start() for m in re.finditer(r'^variable "', text, re.MULTILINE)), len(text)]
    (block,) = [
        text[a:b] for a, b in pairwise(starts) if text[a:].startswith(f'variable "{variable}"')
    ]
    refused = (TERRAFORM / "tests" / "refused.tftest.hcl").read_text()
    tested = refused.count(f"expect_failures = [var.{variable}]")
    assert tested >= block.count("validation {")


def test_what_is_refused_is_quoted() -> None:
    """Guards against a sentence that leaves one to guess which value was wrong."""
    text = "".join(path.read_text() for path in TERRAFORM.glob("*.tf"))
    messages = re.findall(r'^ +error_message = "(.*)"$', text, re.MULTILINE)
    assert len(messages) == text.count("validation {") + text.count("precondition {")
    assert [message for message in messages if "${" not in message] == []
