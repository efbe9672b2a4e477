"""The pipeline of the tests of jobs, and a report at the end of what was tried."""

from collections import Counter
from dataclasses import dataclass, field

import pytest

from tests.jobs.conftest import empty_source, make_pipeline, pipeline, small_source

__all__ = ["empty_source", "make_pipeline", "pipeline", "small_source"]


@dataclass
class Tried:
    """What all tests have tried so far.

    Attributes:
        faults: Job, fault, kind of effect, and what it ended in; how often.
        histories: What histories did; how often.
    """

    faults: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    histories: Counter[str] = field(default_factory=Counter)


_TRIED = pytest.StashKey[Tried]()


@pytest.fixture
def tried(request: pytest.FixtureRequest) -> Tried:
    """Where a test notes what it tries."""
    return request.config.stash.setdefault(_TRIED, Tried())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was tried, failed tests or not."""
    found = terminalreporter.config.stash.get(_TRIED, Tried())
    if found.faults:
        terminalreporter.section(f"{found.faults.total()} faults")
        terminalreporter.line("| job | fault | at | times | ended in |")
        terminalreporter.line("|---|---|---|---|---|")
        for (job, fault, kind, end), times in sorted(found.faults.items()):
            terminalreporter.line(f"| {job} | {fault} | {kind} | {times} | {end} |")
    if found.histories:
        terminalreporter.section(f"{found.histories['histories']} random histories")
        for name, times in found.histories.most_common():
            terminalreporter.line(f"{times:7d} {name}")
