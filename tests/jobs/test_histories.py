"""A few random histories; `make soak` tries many more."""

from collections.abc import Callable
from pathlib import Path

from .conftest import Pipeline
from .histories import run_histories


def test_random_histories(
    make_pipeline: Callable[[str], Pipeline], small_source: str, tmp_path: Path
) -> None:
    done = run_histories(
        make_pipeline, small_source, tmp_path / "effects", seed=6, histories=3, steps=12
    )
    assert done["histories"] >= 3
