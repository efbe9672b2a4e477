"""Two runs at once, really at once: one wins, the other says what to do, nothing is doubled."""

import contextlib
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from totelake import batch
from totelake.errors import ConflictError

from .conftest import MAINS, Pipeline
from .faults import Bench, change_some


def at_once(pipeline: Pipeline, *jobs: str) -> list[Exception | None]:
    """Start jobs at the same moment; how each ended."""
    start = Barrier(len(jobs))

    def run(job: str) -> Exception | None:
        words = pipeline.words(job)
        start.wait()
        try:
            MAINS[job](["job.py", "--JOB_NAME", "race", *words])
        except Exception as error:  # noqa: BLE001 - the test says which one it may be
            return error
        return None

    with contextlib.redirect_stdout(io.StringIO()), ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(run, jobs))


def the_loser(ends: list[Exception | None], words: str) -> None:
    """One run succeeded; the other did too, having found nothing to do, or says who won."""
    errors = [error for error in ends if error]
    assert len(errors) < len(ends)
    for error in errors:
        assert isinstance(error, ConflictError), repr(error)
        assert words in str(error)


def test_two_extracts(pipeline: Pipeline) -> None:
    pipeline.run()
    change_some(pipeline)
    the_loser(at_once(pipeline, "extract", "extract"), "another extract committed batch")
    assert len(pipeline.batches()) == 2
    assert pipeline.landed_keys("sales_order") == {1: "change"}
    pipeline.run()
    assert len(pipeline.batches()) == 2
    paths = list(pipeline.objects())
    assert not [path for path in paths if "/." in path or "/_attempts/" in path]
    known = {manifest.batch for manifest in pipeline.batches()}
    folders = {path.split("batch=")[1].split("/")[0] for path in paths if "batch=" in path}
    assert folders == known


@pytest.mark.whole
def test_two_transforms(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline.run()
    change_some(pipeline)
    pipeline.extract()
    the_loser(at_once(pipeline, "transform", "transform"), "another transform committed batch")
    pipeline.load()
    twice = Bench(pipeline, tmp_path).state()
    last = batch.processed_ids(pipeline.processed)[-1]
    for path in [path for path in pipeline.objects() if last in path and "processed" in path]:
        (Path(pipeline.raw.uri.removeprefix("file://")).parent / path).unlink()
    pipeline.transform()
    assert Bench(pipeline, tmp_path).state() == twice


def test_two_loads(pipeline: Pipeline) -> None:
    pipeline.extract()
    pipeline.transform()
    the_loser(at_once(pipeline, "load", "load"), "another load is at work")
    assert pipeline.rows("SELECT count(*) FROM fact_payment") == [[4]]
    assert pipeline.rows("SELECT count(*) FROM etl.batch") == [[1]]


@pytest.mark.whole
def test_a_load_beside_a_transform(pipeline: Pipeline) -> None:
    pipeline.run()
    change_some(pipeline)
    pipeline.extract()
    assert at_once(pipeline, "load", "transform") == [None, None]
    pipeline.load()
    assert pipeline.rows("SELECT count(*) FROM etl.batch") == [[2]]
    assert pipeline.rows("SELECT count(*) FROM fact_sales_order") == [[3]]


def test_all_three_at_once(pipeline: Pipeline) -> None:
    pipeline.run()
    change_some(pipeline)
    assert at_once(pipeline, "extract", "transform", "load") == [None] * 3
    pipeline.run()
    assert pipeline.rows("SELECT count(*) FROM fact_sales_order") == [[3]]
