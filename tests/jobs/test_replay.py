"""The processed zone and the warehouse made anew from the raw zone are what they were."""

from pathlib import Path

import pytest

from local.replay import copy_before
from totelake.lake import Zone

from .conftest import Pipeline
from .faults import Bench, change_some


def content(pipeline: Pipeline) -> dict[str, object]:
    """Everything but the raw zone."""
    state = Bench(pipeline, Path()).state()
    return {path: what for path, what in state.items() if not path.startswith("raw/")}


@pytest.mark.whole
def test_replay_wholly_and_from_a_batch_on(pipeline: Pipeline) -> None:
    pipeline.run()
    change_some(pipeline)
    pipeline.run()
    expected = content(pipeline)
    old, last = pipeline.processed, pipeline.batches()[-1].batch
    for since in ("", last):
        root = Path(old.uri.removeprefix("file://"))
        old_place = root.rename(root.with_name(f"before-{since or 'all'}"))
        if since:
            assert copy_before(Zone(old_place.as_uri()), old, since) == 1
        pipeline.warehouse.run("DROP SCHEMA public CASCADE; DROP SCHEMA etl CASCADE")
        pipeline.warehouse.run("CREATE SCHEMA public")
        pipeline.transform()
        pipeline.load()
        for path in sorted(old_place.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        old_place.rmdir()
        assert content(pipeline) == expected, since
