"""The front end: what the jobs inherit, and what a person reads."""

import io
import os
import sys
from pathlib import Path

import pytest
from rich.console import Console

from local import run as module
from local.aws import Aws
from local.databases import AccessError
from local.progress import Progress, closing_table, remarks, seconds_table
from local.report import Added
from local.run import job_environment, run
from local.runner import JobRun, WorkflowRun
from local.settings import read_settings
from totelake.reconcile import Report

URL = "postgresql://reader:hunter2@127.0.0.1:1/totesys"


@pytest.fixture
def output() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def console(output: io.StringIO) -> Console:
    return Console(file=output, width=80, highlight=False)


def test_the_jobs_inherit_no_password_and_nobody_elses_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "jdbc_driver", lambda cache: tmp_path / "driver.jar")
    inherited = {
        "HOME": "/home/me",
        "SOURCE_URL": URL,
        "WAREHOUSE_URL": URL,
        "MAKEFLAGS": f" -- SOURCE_URL={URL}",
        "AWS_PROFILE": "production",
        "SPARK_HOME": "/opt/spark",
        "PYSPARK_SUBMIT_ARGS": "--master yarn",
        "PYTHONPATH": "elsewhere",
    }
    monkeypatch.setenv("no_proxy", "example.com")

    environment = job_environment(inherited, Aws("http://127.0.0.1:1"), tmp_path)

    assert environment["HOME"] == "/home/me"
    assert "hunter2" not in str(environment)
    assert not environment.keys() & {"AWS_PROFILE", "SPARK_HOME", "PYSPARK_SUBMIT_ARGS"}
    assert environment["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1"
    assert environment["PYSPARK_PYTHON"] == sys.executable
    assert environment["PYTHONPATH"].endswith("glue_jobs")
    assert Path(environment["SPARK_CONF_DIR"], "spark-defaults.conf").exists()
    assert Path(environment["JAVA_HOME"]).is_dir()
    # AWS's stand-in is on this machine, whatever proxy leads out of it.
    assert environment["no_proxy"] == environment["NO_PROXY"] == "example.com,127.0.0.1"


def test_a_source_that_cannot_be_reached_is_told_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, console: Console, output: io.StringIO
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "running_aws", None)
    settings = read_settings({"SOURCE_URL": URL, "WAREHOUSE_URL": URL})

    with pytest.raises(AccessError, match=r"The source at 127.0.0.1:1/totesys, as 'reader'"):
        run(settings, Progress(console))

    assert "hunter2" not in output.getvalue()
    assert not list(tmp_path.rglob("*.log"))


def test_main_ends_with_a_sentence_and_a_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOURCE_URL", URL)
    monkeypatch.setenv("WAREHOUSE_URL", URL)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    assert module.main() == 1
    assert "✗ The source at 127.0.0.1:1/totesys" in capsys.readouterr().err

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "run", interrupted)
    assert module.main() == 130
    assert "Stopped." in capsys.readouterr().err


def test_the_closing_table_fits_a_terminal_and_shows_where_it_does_not_agree(
    console: Console, output: io.StringIO
) -> None:
    reports = [
        Report("dim_date", None, None, 1, 1, None),
        Report("dim_design", 473, 473, 473, 473, None, rejected=1),
        Report(
            "fact_sales_order", 11_187, 11_187, 11_187, 11_186, 11_211,
            in_flight=3, not_loaded=4, deleted=5, held=1, differences=("one row less",),
        ),
        Report("department", 8, 8, None, None, None),
    ]  # fmt: skip
    added = [
        {"dim_date": Added(1, 0), "dim_design": Added(424, 0), "fact_sales_order": Added(9845, 0)},
        {"dim_date": Added(0, 0), "dim_design": Added(49, 28), "fact_sales_order": Added(0, 24)},
    ]

    console.print(closing_table(reports, added))

    lines = output.getvalue().splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80
    assert lines[1].split() == ["dim_date", "1", "1", "+1", "-", "✓"]
    assert lines[2].split() == ["dim_design", "473", "473", "473", "+424", "+49", "~28", "✓*"]
    facts = ["fact_sales_order", "11,187", "11,187", "11,186", "11,211", "+9,845", "~24", "✗"]
    assert lines[3].split() == facts
    assert lines[4].split() == ["department", "8", "8", "✓"]
    rejected, difference, *told = remarks(reports)
    assert "dim_design: 1 rejected" in rejected
    assert difference == "fact_sales_order: one row less"
    assert [line.split(": ")[1][0] for line in told] == ["3", "4", "5", "1"]


def test_without_runs_all_places_stand_side_by_side(console: Console, output: io.StringIO) -> None:
    reports = [
        Report("dim_date", None, None, 1, 2, None, differences=("one more",)),
        Report("fact_sales_order", 5, 4, 3, 2, 6, in_flight=1),
        Report("department", 8, 8, None, None, None),
    ]

    console.print(closing_table(reports))

    header, *lines = (line.split() for line in output.getvalue().splitlines())
    assert header == ["rows", "source", "raw", "lake", "warehouse", "versions"]
    assert lines[0] == ["dim_date", "1", "2", "✗"]
    assert lines[1] == ["fact_sales_order", "5", "4", "3", "2", "6", "✓*"]
    assert lines[2] == ["department", "8", "8", "✓"]


def test_the_seconds_of_each_stage(console: Console, output: io.StringIO) -> None:
    jobs = {name: JobRun(name, "SUCCEEDED", 1.25, [], Path()) for name in ("extract", "load")}

    console.print(seconds_table([WorkflowRun("wr_1", jobs)]))

    header, row = (line.split() for line in output.getvalue().splitlines())
    assert header == ["seconds", "extract", "load", "together"]
    assert row == ["run", "1.2", "1.2", "2.5"]


def test_progress_keeps_a_line_for_what_is_done(console: Console, output: io.StringIO) -> None:
    progress = Progress(console)
    committed = {"event": "committed", "batch": "20240101T000000Z", "rows": 1234}
    nothing = {"event": "nothing_to_do", "reason": "all done"}

    logged = {"a": [committed, committed], "b": [nothing], "c": [{"event": "odd"}]}
    for job, events in logged.items():
        progress.started(job)
        for event in events:
            progress.event(job, event)
        progress.ended(JobRun(job, "SUCCEEDED", 1.0, events, Path()))
    progress.started("d")
    progress.ended(JobRun("d", "TIMEOUT", 60.0, [], Path(), "too long"))

    lines = [" ".join(line.split()) for line in output.getvalue().splitlines()]
    assert lines == [
        "✓ a 1.0 s batch 20240101T000000Z, 1,234 rows",
        "batch 20240101T000000Z, 1,234 rows",
        "✓ b 1.0 s nothing to do: all done",
        "✓ c 1.0 s",
        "✗ d 60.0 s TIMEOUT",
    ]
