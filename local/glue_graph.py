"""A workflow's run as Glue's console shows it: a graph of triggers and nodes, live."""

import time
from threading import Lock
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.tree import Tree

from local.runner import SUCCEEDED, Event, JobRun
from local.workflow import Trigger, Workflow

RUNNING = "RUNNING"


class Graph:
    """Watches a run, and shows it as long as the block lasts; the last state stays to be read."""

    def __init__(self, workflow: Workflow, console: Console) -> None:
        self._workflow = workflow
        self._began: dict[str, float] = {}
        self._ended: dict[str, JobRun] = {}
        self._lock = Lock()
        self._console = console
        self._live = Live(console=console, get_renderable=self.tree, refresh_per_second=4)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()
        if not self._console.is_terminal:
            self._console.line()  # which a Live leaves out where nothing moves

    def started(self, job: str) -> None:
        """A node begins."""
        with self._lock:
            self._began[job] = time.monotonic()

    def event(self, job: str, event: Event) -> None:
        """What a node logs is in its log."""

    def ended(self, run: JobRun) -> None:
        """A node is over."""
        with self._lock:
            self._ended[run.job] = run

    @property
    def runs(self) -> list[JobRun]:
        """What is over: jobs, and crawlers whoever started them."""
        with self._lock:
            return list(self._ended.values())

    def tree(self) -> Tree:
        """The graph as it is now; a node that waits for several stands below the first of them."""
        with self._lock:
            root = Tree(escape(self._workflow.name))
            for trigger in self._workflow.triggers:
                if trigger.is_start:
                    self._add(root, trigger)
            outside = [node for node in self._began if node not in self._workflow.jobs]
            if outside:
                branch = root.add("[dim]started by jobs[/]")
                for node in outside:
                    branch.add(self._node(node))
            return root

    def _add(self, place: Tree, trigger: Trigger) -> None:
        words = [f"{job} {state}" for job, state in trigger.conditions]
        when = f" when {f' {trigger.logical} '.join(words)}" if words else ""
        branch = place.add(f"[dim]{escape(trigger.name + when)}[/]")
        for job in trigger.jobs:
            node = branch.add(self._node(job))
            for after in self._workflow.triggers:
                if after.conditions and after.conditions[0][0] == job:
                    self._add(node, after)

    def _node(self, job: str) -> str:
        run = self._ended.get(job)
        if run is not None:
            mark = "[green]●[/]" if run.state == SUCCEEDED else "[red]✗[/]"
            return f"{mark} {escape(job)}  {run.state}  {run.seconds:.1f} s"
        if job in self._began:
            seconds = time.monotonic() - self._began[job]
            return f"[yellow]●[/] {escape(job)}  {RUNNING}  {seconds:.0f} s"
        return f"[dim]○ {escape(job)}[/]"
