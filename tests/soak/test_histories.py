"""Random histories until the time is over: MINUTES, 10 unless said otherwise."""

import os
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from tests.jobs.conftest import Pipeline
from tests.jobs.histories import run_histories

from .conftest import Tried


def test_random_histories(
    make_pipeline: Callable[[str], Pipeline],
    small_source: str,
    tmp_path: Path,
    tried: Tried,
    capsys: pytest.CaptureFixture[str],
) -> None:
    end = time.monotonic() + 60 * float(os.environ.get("MINUTES") or 10)
    for seed in count(int(os.environ.get("SEED") or 1)):
        if time.monotonic() > end:
            break
        tried.histories.update(
            run_histories(
                make_pipeline, small_source, tmp_path / "effects", seed=seed, histories=5, steps=30
            )
        )
        with capsys.disabled():
            print(  # noqa: T201
                f"\r{tried.histories['histories']} histories, {tried.histories['steps']} steps, "
                f"{tried.histories['whole runs']} whole runs; SEED={seed}",
                end="",
                flush=True,
            )
    assert tried.histories
