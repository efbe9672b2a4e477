"""Random histories until the time is over: MINUTES, 10 unless said otherwise."""

import os
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from tests.jobs.conftest import Pipeline
from tests.jobs.histories import run_histories


def test_random_histories(
    make_pipeline: Callable[[str], Pipeline],
    small_source: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    end = time.monotonic() + 60 * float(os.environ.get("MINUTES") or 10)
    tried = runs = killed = 0
    for seed in count(int(os.environ.get("SEED") or 1)):
        if time.monotonic() > end:
            break
        done = run_histories(
            make_pipeline, small_source, tmp_path / "effects", seed=seed, histories=5, steps=30
        )
        tried, runs, killed = tried + done.tried, runs + done.runs, killed + done.killed
        with capsys.disabled():
            print(f"\r{tried} histories, {runs} runs, {killed} killed; SEED={seed}", end="")  # noqa: T201
    assert tried
