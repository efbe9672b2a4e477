"""`make rehearse`: what Terraform deploys, deployed on this machine and run there.

The deployed workflow, as the local Glue runs it; what came of it is compared and told.
"""

import os
import sys

from rich.console import Console
from rich.markup import escape

from local.aws import forget_aws
from local.databases import Simulation, advance
from local.front_end import front_end
from local.progress import Progress, closing_table, remarks
from local.rehearsal_checks import Check, answers, checked, unchanged
from local.rehearsal_stage import RehearsalError, Result, Stage, on_stage, spoil
from local.run import short
from local.settings import STATE, SettingsError, read_settings
from totelake.reconcile import Report
from totelake.runtime import AWS_ERRORS

FOLDER = STATE / "rehearsal"
_SIZE, _SEED = 0.05, 1
_WORKING_DAYS = 3


def rehearse(simulation: Simulation, console: Console) -> int:
    """Deploy, run and compare; return the exit status."""
    progress = Progress(console)
    with on_stage(FOLDER, simulation, progress) as stage:
        progress.headline("Run 1: everything")
        results = [_run(stage, console)]
        progress.headline(f"Run 2: after {_WORKING_DAYS} working days, and a date that is none")
        with progress.step(f"{_WORKING_DAYS} working days") as tell:
            advance(stage.databases, _WORKING_DAYS, tell)
            spoil(stage.databases)
        results.append(_run(stage, console))
        progress.headline("Run 3: after one more")
        with progress.step("1 working day") as tell:
            advance(stage.databases, 1, tell)
        results.append(_run(stage, console))
        progress.headline("Closed batches written together")
        with progress.step("queries, before"):
            before = answers(stage.client("glue"), stage.deployment)
        stage.compact(progress)
        with progress.step("queries, after"):
            after = answers(stage.client("glue"), stage.deployment)
        progress.headline("Source, lake, warehouse and catalogue")
        reports = stage.reconcile(progress)
        with progress.step("objects, catalogue"):
            checks = checked(stage.client, stage.deployment, reports)
            stage.copy_lake()
    checks.append(unchanged(before, after))
    _show(console, results, reports, checks)
    whole = not any(report.differences for report in reports)
    return 0 if whole and not any(check.problems for check in checks) else 1


def _simulation() -> Simulation:
    """The source to make, by SEED and SIZE of the environment."""
    settings = read_settings(os.environ)
    if settings.source is not None:
        raise SettingsError("SOURCE_URL is for `make run`: a rehearsal makes its own source")
    return Simulation(
        _SEED if settings.seed is None else settings.seed,
        _SIZE if settings.size is None else settings.size,
    )


def _run(stage: Stage, console: Console) -> Result:
    result = stage.run(console)
    for run in (*result.workflow.failures, *(c for c in result.crawls if c.reason)):
        raise RehearsalError(f"{run.job} ended as {run.state}: {run.reason}\n  {short(run.log)}")
    return result


def _show(
    console: Console, results: list[Result], reports: list[Report], checks: list[Check]
) -> None:
    console.print()
    console.print(closing_table(reports))  # what each of three runs added would not fit 80 columns
    console.print()
    for remark in remarks(reports):
        console.print(f"  {escape(remark)}", soft_wrap=True)
    differing = [report.table for report in reports if report.differences]
    agree = Check("source = lake = warehouse, in all rows but those set aside (*)", differing)
    for check in (agree, *checks):
        mark_ = "[red]✗[/]" if check.problems else "[green]✓[/]"
        console.print(f"{mark_} {escape(check.what)}", soft_wrap=True)
        for problem in check.problems:
            console.print(f"    {escape(problem)}", soft_wrap=True)
    lake = (FOLDER / "lake").resolve()
    console.print(f"  Logs: {short(results[-1].workflow.logs)}", soft_wrap=True)
    console.print(f"  A copy of the lake: make sql LAKE=file://{lake}", soft_wrap=True)


def main() -> int:
    """Rehearse as the environment says; return the exit status."""

    def work(console: Console) -> int:
        forget_aws()
        try:
            return rehearse(_simulation(), console)
        except AWS_ERRORS as error:
            raise RehearsalError(f"AWS, as moto stands for it here: {error}") from error

    return front_end(work, "Nothing runs on; the next `make rehearse` starts anew.")


if __name__ == "__main__":
    sys.exit(main())
