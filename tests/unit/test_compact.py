"""Merged folders and the swap: what readers see before, between and after, on files and on S3."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

import compact as job
from local.athena import LocalAthena
from local.data_catalog import PROCESSED, RAW, catalogue_of
from local.glue_tables import partitions_of
from tests import small_lake
from tests.small_lake import order
from totelake import batch, compact, merged, runtime
from totelake.batch import Manifest, TableEntry
from totelake.errors import CatalogError, ConflictError, LakeError
from totelake.lake import DataFile, Zone
from totelake.swap import closed_patterns
from totelake.tables import QUARANTINE, STAR

IDS = [f"20261120T10{minute:02}00Z" for minute in range(6)]
VIEWS = {
    "current": "select sales_order_id, units_sold from current_fact_sales_order order by 1",
    "versions": "select sales_order_id, batch, units_sold, row_deleted"
    " from versions_fact_sales_order order by 1, 2",
    "rejected": "select star_table, source_key, batch from current_quarantine",
    "batch": "select count(*) from versions_fact_sales_order where batch = '20261120T100200Z'",
}


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Six batches: an order that changes in each, one that goes, one that comes back."""
    for number, id_ in enumerate(IDS, 1):
        changed = [order(1, units_sold=number), order(10 + number)]
        if number in (2, 3, 5):
            changed.append(order(2, units_sold=number, row_deleted=number == 3))
        if number in (1, 3):  # its latest version is among the merged ones
            changed.append(order(3, units_sold=number))
        dimension = {"dim_design": [{"design_id": 1, "design_name": f"Name {number}"}]}
        rows = {"fact_sales_order": changed, **dimension}
        if number == 1:  # a view of all tables needs them all
            other = STAR.keys() - {"dim_date", *rows}
            rows |= {table: [{STAR[table].key: 1}] for table in other}
            rows |= {"dim_date": [{"date_id": date(2026, 11, 20)}]}
        if number == 3:  # of an order that came with batch 2, and is not mended
            rows |= {QUARANTINE: [{"star_table": "fact_sales_order", "source_key": "12"}]}
        small_lake.put(tmp_path / "processed", id_, rows, number=number)
        raw = {"currency": [{"currency_id": 1, "currency_code": f"C{number}", "row_xmin": 700}]}
        small_lake.put(tmp_path / "raw", id_, raw, number=number)
    return tmp_path


def run(lake: Path, *, keep: int = 2, database: str = "") -> None:
    """Run the job as Glue does."""
    catalogue = ["--processed_database", database, "--raw_database", RAW] if database else []
    job.main(
        ["compact.py", "--JOB_NAME", "compact", "--open_batches", str(keep),
         "--raw_zone", f"file://{lake}/raw", "--processed_zone", f"file://{lake}/processed",
         *catalogue]
    )  # fmt: skip


def seen(glue: Any) -> dict[str, Any]:
    """What the views show now."""
    athena = LocalAthena(glue, PROCESSED)
    try:
        return {name: athena.query(sql).to_pylist() for name, sql in VIEWS.items()}
    finally:
        athena.close()


def values(glue: Any, table: str = "fact_sales_order", database: str = PROCESSED) -> list[str]:
    return sorted(part["Values"][0] for part in partitions_of(glue, database, table))


@pytest.fixture
def glue(lake: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The catalogue of the lake before anything was merged, as the job meets it."""
    clients = runtime.client
    with catalogue_of(f"file://{lake}") as (client, _):
        monkeypatch.setattr(
            runtime, "client", lambda name: client if name == "glue" else clients(name)
        )
        yield client


class KilledError(Exception):
    """The process ends here."""


def after_each_effect(glue: Any, monkeypatch: pytest.MonkeyPatch, then: Callable[[], None]) -> None:
    """Do something right after each effect on the lake or the catalogue."""

    def followed(owner: Any, name: str) -> None:
        effect = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            answer = effect(*args, **kwargs)
            then()
            return answer

        monkeypatch.setattr(owner, name, wrapped)

    followed(Zone, "create")
    followed(compact, "write_part")
    for what in ("create", "delete", "update"):
        followed(glue, f"batch_{what}_partition")
    followed(glue, "update_table")


def test_readers_are_right_after_every_effect(
    lake: Path, glue: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, effects = seen(glue), []
    monkeypatch.setattr("totelake.swap._MOST_DELETIONS", 1)

    def look() -> None:
        effects.append(1)
        assert seen(glue) == before

    after_each_effect(glue, monkeypatch, look)
    run(lake, database=PROCESSED)
    assert len(effects) > 12
    assert seen(glue) == before
    small = [*IDS[4:], merged.latest_name(IDS[:4]), merged.older_name(IDS[:4])]
    assert values(glue) == values(glue, "dim_design") == sorted(small)
    assert values(glue, "currency", RAW) == sorted(small)


def test_killed_after_any_effect_a_rerun_ends_the_same(
    lake: Path, glue: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against a swap that only the run that began it can finish."""
    before = seen(glue)
    monkeypatch.setattr("totelake.swap._MOST_DELETIONS", 2)
    allowed, count, kills = 0, 0, 0

    def kill() -> None:
        nonlocal count
        count += 1
        if count > allowed:
            raise KilledError

    with pytest.MonkeyPatch.context() as killing:
        after_each_effect(glue, killing, kill)
        while True:
            count = 0
            try:
                run(lake, database=PROCESSED)
            except KilledError:
                kills += 1
                allowed += kills % 2  # each place twice: a rerun is killed as well
                assert seen(glue) == before
                continue
            break
    assert kills > 4
    assert seen(glue) == before
    assert values(glue) == sorted(
        [*IDS[4:], merged.latest_name(IDS[:4]), merged.older_name(IDS[:4])]
    )
    state = {path: path.read_bytes() for path in lake.rglob("*") if path.is_file()}
    run(lake, database=PROCESSED)
    assert {path: path.read_bytes() for path in lake.rglob("*") if path.is_file()} == state


def test_batches_and_their_manifests_stay(lake: Path) -> None:
    state = {path: path.read_bytes() for path in lake.rglob("*") if path.is_file()}
    run(lake)
    run(lake, keep=1)
    assert {path: path.read_bytes() for path in state} == state
    merges = merged.read_merges(Zone(f"file://{lake}/processed"))
    assert [it.number for it in merges] == [1]  # one batch more is nothing to write together
    rows = sum(f.rows for it in merged.runs_of(merges, "fact_sales_order") for f in it.folders)
    assert rows == 12


def test_the_laptops_catalogue_is_the_swapped_one(lake: Path) -> None:
    with catalogue_of(f"file://{lake}") as (glue, _):
        before = seen(glue)
    run(lake)
    with catalogue_of(f"file://{lake}") as (glue, problems):
        assert problems == []
        assert seen(glue) == before
        assert len(values(glue)) == 4


def test_a_compaction_that_comes_second_says_so(lake: Path) -> None:
    run(lake)
    zone = Zone(f"file://{lake}/processed")
    (merge,) = merged.read_merges(zone)
    merged.commit(zone, merge)
    with pytest.raises(ConflictError, match="another compaction committed merge 1 first"):
        merged.commit(zone, replace(merge, through=IDS[0]))


def test_what_a_dead_compaction_left_is_swept(lake: Path) -> None:
    folder = lake / "processed" / "merged" / "dim_design"
    for first, last in ((0, 1), (4, 5)):
        left = folder / f"batch={merged.latest_name([IDS[first], IDS[last]])}"
        left.mkdir(parents=True)
        (left / "part-00000.parquet").touch()
    half = lake / "processed" / "_merged" / f".00000001.json.{'0' * 32}"
    half.parent.mkdir()
    half.touch()
    run(lake)
    assert not half.exists()
    # One that begins after the merge may be at work now.
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"batch={name}"
        for name in (
            merged.latest_name(IDS[:4]), merged.older_name(IDS[:4]), merged.latest_name(IDS[4:]),
        )
    )  # fmt: skip


def test_rows_that_are_missing_are_not_merged_over(lake: Path) -> None:
    manifest = lake / "processed" / "_batches" / f"{IDS[1]}.json"
    content = json.loads(manifest.read_text())
    content["tables"]["fact_sales_order"]["files"][0]["rows"] += 1
    manifest.write_text(json.dumps(content))
    with pytest.raises(LakeError, match=rf"{IDS[1]}.*: expected 4 rows .*, found 3"):
        run(lake)
    assert not (lake / "processed" / "_merged").exists()


def entry(number: int, bytes_: int = 10, name: str = "a.parquet", **columns: str) -> Manifest:
    files = [DataFile(name, 1, bytes_)]
    return Manifest(
        number=number, batch=IDS[number], stage="transform", mode="changes", snapshot={},
        tables={"t": TableEntry(1, files, columns or {"id": "int"})}, started_at="",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("odd", "expected"),
    [
        ({}, [[0, 1, 2, 3, 4]]),
        ({"bytes_": compact.LARGE_BYTES}, [[0, 1], [3, 4]]),
        ({"name": "a.csv"}, [[0, 1], [3, 4]]),
        ({"id": "int", "colour": "string"}, [[0, 1, 2, 3, 4]]),
        ({"id": "string"}, [[0, 1], [3, 4]]),
    ],
)
def test_runs_are_neighbours(odd: dict[str, Any], expected: list[list[int]]) -> None:
    """Guards against a run around a batch that stays: its rows would be out of order."""
    manifests = [entry(n, **(odd if n == 2 else {})) for n in range(5)]
    found = compact.runs(manifests, "t")
    assert [[it.number for it in run] for run in found] == expected


def test_partitions_sort_as_their_batches() -> None:
    names = [merged.older_name(IDS[1:3]), merged.latest_name(IDS[1:3])]
    ordered = [IDS[0], IDS[1], names[0], IDS[2], names[1], IDS[3]]
    assert sorted(ordered) == ordered


def test_closed_batches_and_no_others_are_excluded() -> None:
    from local.crawled import _glob

    patterns = [_glob(it) for it in closed_patterns("20261120T101500Z")]
    for id_, closed in [
        ("20261120T101500Z", True), ("20261120T101459Z", True), ("20251231T235959Z", True),
        ("20261119T235959Z", True), ("20261120T101501Z", False), ("20261121T000000Z", False),
        ("20270101T000000Z", False),
    ]:  # fmt: skip
        path = f"batch={id_}/part-00000.parquet"
        assert any(pattern.fullmatch(path) for pattern in patterns) == closed, id_


def test_a_crawl_and_a_lost_note_bring_nothing_back(lake: Path, glue: Any) -> None:
    """Guards against small partitions beside those that took their place."""
    from local.crawler import crawl
    from local.crawler_definition import definition_of
    from totelake.catalog import Catalogue

    targets = [
        {"Path": f"file://{lake}/processed/{table}/", "Exclusions": ["**/_*"]}
        for table in ("fact_sales_order", "dim_design")
    ]
    levels = {
        "Version": 1.0,
        "Grouping": {
            "TableGroupingPolicy": "CombineCompatibleSchemas", "TableLevelConfiguration": 2,
        },
        "CrawlerOutput": {
            "Partitions": {"AddOrUpdateBehavior": "InheritFromTable"},
            "Tables": {"AddOrUpdateBehavior": "MergeNewColumns"},
        },
    }  # fmt: skip
    glue.create_crawler(
        Name="processed", Role="role", DatabaseName=PROCESSED, Targets={"S3Targets": targets},
        Configuration=json.dumps(levels), RecrawlPolicy={"RecrawlBehavior": "CRAWL_EVERYTHING"},
        SchemaChangePolicy={"UpdateBehavior": "UPDATE_IN_DATABASE", "DeleteBehavior": "LOG"},
    )  # fmt: skip
    calls: list[dict[str, Any]] = []
    glue.update_crawler = lambda **request: calls.append(request)  # moto has none
    zone = Zone(f"file://{lake}/processed")
    merge = compact.merge(zone, batch.newest_processed(zone), job.STAR_KEYS, 2)
    assert merge is not None
    from totelake.swap import swap

    swap(glue, PROCESSED, zone, job.STAR_KEYS, [merge], "processed")
    (call,) = calls
    crawler = glue.get_crawler(Name="processed")["Crawler"]
    crawler["Targets"] = call["Targets"]
    before, shown = values(glue), seen(glue)
    done = crawl(glue, definition_of(crawler), f"file://{lake}/processed")
    assert (done.created, done.partitions) == ((), {})
    log = runtime.start_logging("test")
    from totelake.metrics import Metrics

    Catalogue(PROCESSED, "").register(zone, batch.newest_processed(zone), log, Metrics("test"))
    assert values(glue) == before
    assert seen(glue) == shown


def test_nothing_goes_while_a_crawler_is_at_work(lake: Path, glue: Any) -> None:
    from totelake.swap import swap

    def running(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "CrawlerRunningException"}}, "UpdateCrawler")

    glue.create_crawler(Name="processed", Role="r", Targets={"S3Targets": [{"Path": "s3://b/"}]})
    glue.update_crawler = running
    zone = Zone(f"file://{lake}/processed")
    merge = compact.merge(zone, batch.newest_processed(zone), job.STAR_KEYS, 2)
    assert merge is not None
    with pytest.raises(CatalogError, match="found it at work"):
        swap(glue, PROCESSED, zone, job.STAR_KEYS, [merge], "processed")
    assert set(IDS) < set(values(glue))


def test_s3(bucket: str, lake: Path) -> None:
    zone = Zone(f"{bucket}/processed")
    for path in (lake / "processed").rglob("*"):
        if path.is_file():
            zone.write(path.read_bytes(), *path.relative_to(lake / "processed").parts)
    merge = compact.merge(zone, batch.newest_processed(zone), job.STAR_KEYS, 2)
    assert merged.read_merges(zone) == [merge]
    assert compact.sweep(zone, job.STAR_KEYS) == []
    assert boto3.client("s3").list_objects_v2(Bucket=bucket.removeprefix("s3://"))["KeyCount"] > 20
