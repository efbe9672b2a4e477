"""What a rehearsal looks at can be found wrong; the rehearsal itself takes minutes."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import compact
from local.data_catalog import ZONES, catalogue_of
from local.rehearsal_checks import answers, registered, unchanged
from tests import small_lake
from tests.small_lake import SECOND


def deployment(lake: Path) -> Any:
    zones = {zone: f"file://{lake}/{zone}" for zone in ZONES}
    return SimpleNamespace(zones=zones, databases=dict(zip(ZONES, ZONES, strict=True)))


def test_merged_partitions_are_those_of_the_manifests_and_answer_as_before(tmp_path: Path) -> None:
    small_lake.write(tmp_path)
    at = deployment(tmp_path)
    with catalogue_of(f"file://{tmp_path}") as (glue, _):
        before = answers(glue, at)
        assert registered(glue, at).problems == []
        assert " 0 of them merged" in registered(glue, at).what
    words = [f"--{zone}_zone=file://{tmp_path}/{zone}" for zone in ZONES]
    compact.main(["compact.py", "--JOB_NAME", "compact", "--open_batches", "1", *words])
    with catalogue_of(f"file://{tmp_path}") as (glue, _):
        found = registered(glue, at)
        assert found.problems == []
        assert " 3 of them merged" in found.what
        assert unchanged(before, answers(glue, at)).problems == []
        table = {"DatabaseName": "processed", "TableName": "fact_sales_order"}
        merged = f"{SECOND}-from-{small_lake.FIRST}"
        glue.delete_partition(**table, PartitionValues=[merged])
        what = f"processed.fact_sales_order {merged}: named by a manifest, not registered"
        assert registered(glue, at).problems == [what]
        problems = unchanged(before, answers(glue, at)).problems
        assert "processed.current_fact_sales_order" in problems


def test_rows_that_differ_or_are_there_twice_are_seen() -> None:
    before = {"a": Counter(["x"]), "b": Counter(["x"]), "c": Counter(["x"])}
    after = {"a": Counter(["x"]), "b": Counter(["x", "x"]), "c": "TABLE_NOT_FOUND"}
    assert unchanged(before, after).problems == ["b", "c", "c: TABLE_NOT_FOUND"]
