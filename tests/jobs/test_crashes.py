"""Jobs killed by SIGKILL, whole, at chosen effects; `make soak` kills them at each."""

from pathlib import Path

import pytest

from .conftest import Pipeline
from .faults import Bench, change_some, watch


@pytest.fixture
def bench(pipeline: Pipeline, tmp_path: Path) -> Bench:
    folder = tmp_path / "effects"
    folder.mkdir()
    watch(pipeline, folder)
    return Bench(pipeline, folder)


@pytest.mark.whole
def test_killed_just_before_their_commits(bench: Bench) -> None:
    pipeline = bench.pipeline
    pipeline.run()
    change_some(pipeline)
    bench.keep()
    pipeline.run()
    expected = bench.state()
    bench.back()
    killed = -9
    assert bench.run_and_kill("extract", match="os.link raw/_batches/00000002.json") == killed
    assert len(pipeline.batches()) == 1
    pipeline.extract()
    pipeline.transform()
    assert bench.run_and_kill("load", match="sql INSERT INTO etl.table_load") == killed
    assert pipeline.rows("SELECT count(*) FROM etl.batch") == [[1]]
    pipeline.run()
    assert bench.state() == expected
