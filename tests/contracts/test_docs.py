"""What the pages say is what the project does."""

import ast
import math
import re
from pathlib import Path

import pytest

from local import catalogue
from tests.conftest import ROOT
from totelake import errors

README = ROOT / "README.md"


def test_the_table_catalogue_is_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert catalogue.main(["--check"]) == 0, capsys.readouterr().err


def test_every_command_of_the_readme_is_in_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    text = README.read_text(encoding="utf-8")
    commands = set(re.findall(r"(?:`|^\$ )make ([a-z-]+)", text, re.MULTILINE))
    assert commands >= {"run", "test", "clean"}
    assert commands <= targets


@pytest.mark.parametrize("page", [README, *sorted((ROOT / "docs").rglob("*.md"))], ids=str)
def test_every_path_of_a_page_exists(page: Path) -> None:
    """Links, and paths of this repository in backticks."""
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    paths = re.findall(r"`((?:glue_jobs|local|docs|tests|crawlers|benchmarks)/[\w./]*)`", text)
    missing = [link for link in links if not (page.parent / link).exists()]
    missing += [path for path in paths if not (ROOT / path).exists()]
    assert missing == []


def test_the_ci_runs_what_the_readme_names() -> None:
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert {"make lint", "make audit", "make test", "make test-all"} <= {it.strip() for it in lines}


def product(factors: str) -> float:
    """Of ``3 × 20 ÷ 60``, from left to right."""
    first, *rest = re.split(r" (?=[×÷])", factors)
    numbers = [float(it[2:]) ** (-1 if it[0] == "÷" else 1) for it in rest]
    return float(first) * math.prod(numbers)


def test_the_costs_are_what_their_arithmetic_gives() -> None:
    """Each sum or product with its result after ``=`` or in the next cell, its words left out."""
    text = (ROOT / "docs" / "cost.md").read_text(encoding="utf-8")
    figures = re.sub(r" +", " ", re.sub(r"[*$,]|[A-Za-z][\w.]*", "", text))
    number = r"\d+(?:\.\d+)?"
    found = re.findall(rf"({number}(?: [×÷+] {number})+) [=|] ({number})", figures)
    assert len(found) >= 20
    wrong = []
    for arithmetic, result in found:
        value = sum(product(factors) for factors in arithmetic.split(" + "))
        half_of_last_digit = 0.5 * 10 ** -len(result.partition(".")[2])
        if not math.isclose(value, float(result), abs_tol=half_of_last_digit):
            wrong.append(f"{arithmetic} = {value}, not {result}")
    assert wrong == []


def test_the_runbook_has_an_entry_for_every_alert() -> None:
    """Guards against an alarm at night that nobody knows what to do about."""
    watch = (ROOT / "terraform" / "watch.tf").read_text(encoding="utf-8")
    block = watch[watch.index("alarms = merge(") : watch.index('resource "aws_sns_topic"')]
    named = re.findall(r'"([a-z]+)(?:-\$\{job\})?" => \{$', block, re.MULTILINE)
    alarms = {*named, *re.findall(r"\{ (\w+) = \{$", block, re.MULTILINE)}
    states = re.findall(r"state = \[([^\]]+)\]", watch)
    assert alarms == {"freshness", "rejected", "catalog", "duration"}
    runbook = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    entries = [line for line in runbook.splitlines() if line.startswith("| ")]
    for alarm in alarms:
        assert any(re.match(rf"\| alarm `{alarm}[`-]", line) for line in entries), alarm
    for state in re.findall(r"\w+", " ".join(states)):
        assert any(f"is {state}`" in line for line in entries), state


def raised() -> dict[str, str]:
    """What each error of the jobs says, with … for what is filled in, by where it is made."""
    classes = {name for name, it in vars(errors).items() if isinstance(it, type)}
    calls = (
        (path.name, node)
        for path in sorted((ROOT / "glue_jobs").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    )
    return {
        f"{name}:{call.lineno}": template(call.args[0])
        for name, call in calls
        if call.func.id in classes
    }


def template(message: ast.expr) -> str:
    """A message's own words, with … for what is filled in."""
    if isinstance(message, ast.Constant):
        return str(message.value)
    if isinstance(message, ast.JoinedStr):
        return "".join(map(template, message.values))
    if isinstance(message, ast.BinOp):
        return template(message.left) + template(message.right)
    return "…"


def test_the_runbook_has_an_entry_for_every_error() -> None:
    """Guards against an error that nobody knows what to do about."""
    runbook = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    errors_table = runbook[: runbook.index("## Alerts")]
    firsts = re.findall(r"^\| ([^|]*)\|", errors_table, re.MULTILINE)
    known = [
        ".*".join(map(re.escape, words.split("…")))
        for first in firsts
        for words in re.findall(r"`([^`]+)`", first)
    ]
    messages = raised()
    assert len(messages) > 40
    unknown = {
        where: message
        for where, message in messages.items()
        if not any(re.search(words, message) for words in known)
    }
    assert unknown == {}
