"""What a person sees while the workflow runs, and when it has run."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from local.report import Added
from local.runner import SUCCEEDED, Event, JobRun, WorkflowRun
from totelake.reconcile import Report


class Progress:
    """Lines that stay for what is done and, on a terminal, one that moves for what is at work."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._status = console.status(_Working({}))
        self._working: dict[str, tuple[float, str]] = {}
        self._lock = Lock()

    def headline(self, text: str) -> None:
        """Say what comes next."""
        self.console.print(f"\n[bold]{escape(text)}[/]")

    @contextmanager
    def step(self, what: str) -> Iterator[Callable[[str], None]]:
        """Show a step while it runs, and how long it took.

        Yields:
            A function that tells how far it has come.
        """
        start = time.monotonic()
        self._begin(what)
        try:
            yield lambda detail: self._begin(what, detail)
        finally:
            self._end(what)
        self.done(what, time.monotonic() - start)

    def done(self, what: str, seconds: float, details: Sequence[str] = ()) -> None:
        """Say that something is done, and in a line each what came of it."""
        start = f"[green]✓[/] {escape(what):<22} {seconds:6.1f} s  "
        for detail in details or [""]:
            self.console.print(start + escape(detail), soft_wrap=True)
            start = " " * 35

    def started(self, job: str) -> None:
        """A job begins."""
        self._begin(job)

    def event(self, job: str, event: Event) -> None:
        """A job logged an event: the moving line follows."""
        words = [str(event[name]) for name in ("event", "table") if name in event]
        if isinstance(event.get("rows"), int):
            words.append(f"{event['rows']:,} rows")
        self._begin(job, " ".join(words))

    def ended(self, run: JobRun) -> None:
        """A job is over."""
        self._end(run.job)
        if run.state == SUCCEEDED:
            self.done(run.job, run.seconds, _outcome(run.events))
        else:
            self.console.print(f"[red]✗[/] {escape(run.job):<22} {run.seconds:6.1f} s  {run.state}")

    def _begin(self, what: str, detail: str = "") -> None:
        with self._lock:
            since, _ = self._working.get(what, (time.monotonic(), ""))
            self._working[what] = (since, detail)
            self._show()

    def _end(self, what: str) -> None:
        with self._lock:
            del self._working[what]
            self._show()

    def _show(self) -> None:
        self._status.update(_Working(dict(self._working)))
        if self._working:
            self._status.start()
        else:
            self._status.stop()


class _Working:
    """What is at work, since when; written anew at each refresh."""

    def __init__(self, working: Mapping[str, tuple[float, str]]) -> None:
        self._working = working

    def __rich__(self) -> Text:
        now = time.monotonic()
        parts = (
            f"{what} {now - since:.0f} s {detail}"
            for what, (since, detail) in self._working.items()
        )
        return Text(" · ".join(parts), no_wrap=True, overflow="ellipsis")


def _outcome(events: Sequence[Event]) -> list[str]:
    """A job's results in a few words, from what it logged."""
    outcome = []
    for event in events:
        if event["event"] == "committed":
            outcome.append(f"batch {event.get('batch')}, {event.get('rows', 0):,} rows")
        elif event["event"] == "nothing_to_do":
            outcome.append(f"nothing to do: {event.get('reason')}")
    return outcome


def run_names(count: int) -> list[str]:
    """What the runs are called."""
    return ["Run"] if count == 1 else [f"Run {number}" for number in range(1, count + 1)]


def closing_table(reports: Sequence[Report], runs: Sequence[Mapping[str, Added]] = ()) -> Table:
    """One row per table: what each place holds, what each run added.

    Beside runs there is room for one zone, the last that a table comes to.
    """
    table = _table("rows")
    for name in ("source", *(["lake"] if runs else ["raw", "lake"]), "warehouse", "versions"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in run_names(len(runs)):
        table.add_column(name.lower(), justify="right", no_wrap=True)
    table.add_column("")
    for report in reports:
        zones = [report.raw, report.lake]
        if runs:  # a table without a star table of its own comes to the raw zone, and no further
            zones = [report.raw if report.lake is None else report.lake]
        figures = (report.source, *zones, report.warehouse, report.versions)
        table.add_row(
            report.table,
            *("" if figure is None else f"{figure:,}" for figure in figures),
            *(_change(run[report.table]) if report.table in run else "" for run in runs),
            _agreement(report),
        )
    return table


def _agreement(report: Report) -> str:
    if report.differences:
        return "[red]✗[/]"
    return "[yellow]✓*[/]" if report.set_aside else "[green]✓[/]"


def _change(added: Added) -> str:
    parts = [f"+{added.new:,}"] * bool(added.new) + [f"~{added.changed:,}"] * bool(added.changed)
    return " ".join(parts) or "-"


def seconds_table(runs: Sequence[WorkflowRun]) -> Table:
    """The seconds of each stage of each run."""
    table = _table("seconds")
    for job in runs[0].jobs:
        table.add_column(job, justify="right", no_wrap=True)
    table.add_column("together", justify="right", no_wrap=True)
    for name, run in zip(run_names(len(runs)), runs, strict=True):
        seconds = [job.seconds for job in run.jobs.values()]
        table.add_row(name.lower(), *(f"{s:.1f}" for s in (*seconds, sum(seconds))))
    return table


def _table(first: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column(first, no_wrap=True)
    return table


def remarks(reports: Sequence[Report]) -> list[str]:
    """What has to be said beside the figures: what does not agree, and rows set aside."""
    lines = []
    for report in reports:
        lines += [f"{report.table}: {difference}" for difference in report.differences]
        for count, what in (
            (report.in_flight, "on the way: changed since, or not transformed yet"),
            (report.not_loaded, "not loaded yet"),
            (report.deleted, "deleted in the source, the table's sweep is not due yet"),
            (report.rejected, "rejected, why is in the lake's processed/quarantine"),
            (report.held, "held, a dimension member is missing"),
        ):
            if count:
                lines.append(f"* {report.table}: {count:,} {what}")
    return lines
