"""Batches exist whole or not at all, and only one of two extracts can commit."""

import json
import os
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

from totelake import batch
from totelake.batch import Attempt, Manifest, TableEntry
from totelake.errors import ConflictError, LakeError
from totelake.lake import DataFile, Zone, to_json

NOON = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
TABLES = ["staff", "payment"]
ZONES = st.sampled_from([UTC, ZoneInfo("Europe/London"), ZoneInfo("Asia/Kathmandu")])
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=ZONES)


@pytest.fixture
def folder(tmp_path: Path) -> Zone:
    """An empty raw zone on a disk."""
    return Zone(f"file://{tmp_path}/raw")


class Clock:
    """A clock that moves only when somebody sleeps."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment

    def sleep(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


def manifest(number: int = 1, id_: str = "20261120T120000Z", **more: Any) -> Manifest:
    entry = TableEntry(2, [DataFile("part-00000.parquet", 2, 99)], {"id": "int"}, lookups=1)
    values: dict[str, Any] = {
        "number": number,
        "batch": id_,
        "stage": "extract",
        "mode": "changes",
        "snapshot": {"system": "s", "xmin": 2**33, "xmax": 2**33 + 1, "server_version": 180000},
        "tables": {"staff": entry, "payment": TableEntry(3, [], {})},
        "started_at": NOON.isoformat(),
    }
    return Manifest(**{**values, **more})


def extract(raw: Zone, previous: Manifest | None, clock: Clock) -> tuple[Attempt, Manifest]:
    """Everything that an extract does before it commits."""
    attempt = batch.begin(raw, previous, clock.now, clock.sleep)
    for table in TABLES:
        raw.write(attempt.batch.encode(), table, f"batch={attempt.batch}", "part-00000.parquet")
    return attempt, manifest(attempt.number, attempt.batch)


def committed(raw: Zone, count: int = 1, start: datetime = NOON) -> list[Manifest]:
    done: list[Manifest] = []
    for number in range(count):
        clock = Clock(start + timedelta(minutes=number))
        attempt, content = extract(raw, done[-1] if done else None, clock)
        done.append(batch.commit_raw(raw, attempt, content))
    return done


def folders(raw: Zone) -> dict[str, list[str]]:
    return {table: raw.names(table) for table in TABLES}


@given(one=MOMENTS, other=MOMENTS)
def test_ids_sort_by_time_in_any_time_zone(one: datetime, other: datetime) -> None:
    """Guards against local time: at the end of summer time an hour comes twice."""
    first, second = batch.batch_id(one), batch.batch_id(other)
    seconds = [moment.astimezone(UTC).replace(microsecond=0) for moment in (one, other)]
    assert (first < second, first == second) == (
        seconds[0] < seconds[1],
        seconds[0] == seconds[1],
    )
    assert datetime.strptime(first, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) == seconds[0]


def test_a_manifest_comes_back_as_it_was_committed(zone: Zone) -> None:
    attempt = batch.begin(zone, None, Clock(NOON).now)
    written = batch.commit_raw(zone, attempt, manifest())
    assert batch.read_raw(zone, 1) == written == batch.latest_raw(zone)
    assert zone.names("_batches") == ["00000001.json"]
    assert zone.names("_attempts") == []
    assert written.rows == 5
    assert written.tables["staff"].schema == "`id` int"
    assert datetime.fromisoformat(written.committed_at).utcoffset() == timedelta(0)


def test_a_new_lake_has_no_batch(zone: Zone) -> None:
    assert batch.raw_numbers(zone) == []
    assert batch.latest_raw(zone) is None
    assert batch.processed_ids(zone) == []
    with pytest.raises(LakeError, match="run extract first"):
        batch.pending_raw(zone, zone)
    with pytest.raises(LakeError, match="run transform first"):
        batch.pending_processed(zone, set())


def test_of_two_extracts_after_the_same_batch_exactly_one_commits(zone: Zone) -> None:
    """Guards against two runs on one watermark: both would land the same changes."""
    (previous,) = committed(zone)
    winner, won = extract(zone, previous, Clock(NOON + timedelta(hours=1)))
    loser, lost = extract(zone, previous, Clock(NOON + timedelta(hours=2)))
    batch.commit_raw(zone, winner, won)
    with pytest.raises(ConflictError) as error:
        batch.commit_raw(zone, loser, lost)
    assert winner.batch in str(error.value)
    assert loser.batch in str(error.value)
    latest = batch.latest_raw(zone)
    assert latest is not None
    assert (latest.number, latest.batch) == (2, winner.batch)
    assert zone.names("_batches") == ["00000001.json", "00000002.json"]


def test_the_later_one_can_win_too(folder: Zone) -> None:
    """Guards against a winner by id: the first to commit wins, even with the younger id."""
    early, lost = extract(folder, None, Clock(NOON))
    late, won = extract(folder, None, Clock(NOON + timedelta(minutes=5)))
    batch.commit_raw(folder, late, won)
    with pytest.raises(ConflictError, match=late.batch):
        batch.commit_raw(folder, early, lost)


class RetryingZone(Zone):
    """A zone whose create is answered late: the client tries again and meets its own object."""

    def create(self, content: bytes, *parts: str) -> None:
        super().create(content, *parts)
        super().create(content, *parts)


def test_a_retried_request_that_meets_its_own_manifest_is_a_success(folder: Zone) -> None:
    """Guards against a run that calls its own commit a conflict and removes its files."""
    attempt, content = extract(folder, None, Clock(NOON))
    written = batch.commit_raw(RetryingZone(folder.uri), attempt, content)
    assert batch.read_raw(folder, 1).batch == written.batch
    assert folder.names("_attempts") == []
    other = Zone(f"{folder.uri}/processed")
    batch.commit_processed(RetryingZone(other.uri), manifest())
    assert batch.processed_ids(other) == ["20261120T120000Z"]


def test_ids_are_unique_within_one_second(folder: Zone) -> None:
    """Guards against two extracts of the same second that write into the same folder."""
    clocks = [Clock(NOON + timedelta(milliseconds=ms)) for ms in (0, 1, 999)]
    ids = [batch.begin(folder, None, clock.now, clock.sleep).batch for clock in clocks]
    assert ids == ["20261120T120000Z", "20261120T120001Z", "20261120T120002Z"]


def test_an_id_is_not_taken_again_after_its_batch_was_committed(folder: Zone) -> None:
    """Guards against a committed batch that a slower twin overwrites, then removes as its own.

    The twin read the newest batch before this commit and its clock shows the same second.
    """
    (done,) = committed(folder)
    clock = Clock(NOON)
    try:
        twin = batch.begin(folder, None, clock.now, clock.sleep)
    except ConflictError:
        return
    assert twin.batch != done.batch


@pytest.mark.parametrize("behind", [0, 1, 60])
def test_a_clock_that_is_a_little_behind_is_waited_for(folder: Zone, behind: int) -> None:
    (previous,) = committed(folder)
    clock = Clock(NOON - timedelta(seconds=behind))
    attempt = batch.begin(folder, previous, clock.now, clock.sleep)
    assert attempt == Attempt("20261120T120001Z", 2, NOON + timedelta(seconds=1))


def test_a_clock_that_is_far_behind_is_an_error(folder: Zone) -> None:
    """Guards against ids that do not sort by time, and against waiting for an hour."""
    (previous,) = committed(folder)
    clock = Clock(NOON - timedelta(seconds=61))
    with pytest.raises(LakeError, match=r"20261120T120000Z.*20261120T115859Z.*clock"):
        batch.begin(folder, previous, clock.now, clock.sleep)
    assert folder.names("_attempts") == []


@pytest.mark.parametrize("lost", [1, 2])
def test_a_missing_manifest_is_an_error(folder: Zone, lost: int) -> None:
    """Guards against a gap that a reader steps over: its rows would be lost for good."""
    committed(folder, 3)
    folder.remove("_batches", f"0000000{lost}.json")
    with pytest.raises(LakeError, match=f"1 to 3, number {lost} is missing"):
        batch.latest_raw(folder)


def test_other_objects_among_the_manifests_do_not_count(folder: Zone) -> None:
    committed(folder)
    for name in ("readme.txt", ".00000009.json.tmp", "9.json", "00000002.json.bak"):
        folder.write(b"", "_batches", name)
    assert batch.raw_numbers(folder) == [1]


def without(name: str) -> bytes:
    content = asdict(manifest())
    del content[name]
    return to_json(content)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"null", b"[]", b'"text"', b"{}"]
    + [without(name) for name in ("manifest_version", "batch", "tables", "snapshot")]
    + [to_json({**asdict(manifest()), "tables": {"staff": {"rows": 1}}})]
    + [to_json({**asdict(manifest()), "tables": ["staff"]})]
    + [to_json({**asdict(manifest()), "surprise": 1})],
)
def test_an_unreadable_manifest_is_an_error_that_names_it(folder: Zone, content: bytes) -> None:
    """Guards against a damaged manifest that counts as an empty batch."""
    folder.write(content, "_batches", "00000001.json")
    with pytest.raises(LakeError, match=r"raw/_batches/00000001\.json: expected a manifest"):
        batch.latest_raw(folder)


def test_a_manifest_of_another_release_is_an_error(folder: Zone) -> None:
    newer = to_json({**asdict(manifest()), "manifest_version": 2, "surprise": 1})
    folder.write(newer, "_batches", "00000001.json")
    with pytest.raises(LakeError, match="expected manifest version 1, found 2"):
        batch.latest_raw(folder)


def test_a_second_transform_of_a_batch_cannot_commit(zone: Zone) -> None:
    first = batch.commit_processed(zone, manifest())
    with pytest.raises(ConflictError, match="20261120T120000Z"):
        batch.commit_processed(zone, manifest(mode="full"))
    assert batch.read_processed(zone, first.batch) == first


def test_what_is_not_processed_yet_is_pending_in_order(folder: Zone, tmp_path: Path) -> None:
    processed = Zone(f"file://{tmp_path}/processed")
    landed = committed(folder, 3)
    assert batch.pending_raw(folder, processed) == [1, 2, 3]
    for done in landed[:2]:
        batch.commit_processed(processed, done)
    assert batch.pending_raw(folder, processed) == [3]
    batch.commit_processed(processed, landed[2])
    assert batch.pending_raw(folder, processed) == []


@pytest.mark.parametrize("foreign", [{"number": 9}, {"id_": "20261120T115959Z"}])
def test_a_processed_zone_of_another_lake_is_refused(
    folder: Zone, tmp_path: Path, foreign: dict[str, Any]
) -> None:
    """Guards against batches that are skipped because another lake had as many."""
    processed = Zone(f"file://{tmp_path}/processed")
    committed(folder)
    batch.commit_processed(processed, manifest(**foreign))
    with pytest.raises(LakeError, match="belong together"):
        batch.pending_raw(folder, processed)


def test_a_sweep_removes_only_attempts_whose_number_another_took(zone: Zone) -> None:
    """Guards against a sweep that takes a live extract's files, or committed ones."""
    (first,) = committed(zone)
    dead, _ = extract(zone, first, Clock(NOON + timedelta(minutes=1)))
    winner, won = extract(zone, first, Clock(NOON + timedelta(minutes=2)))
    batch.commit_raw(zone, winner, won)
    live, _ = extract(zone, won, Clock(NOON + timedelta(minutes=3)))
    assert batch.sweep(zone, TABLES) == [dead.batch]
    kept = [f"batch={id_}" for id_ in (first.batch, winner.batch, live.batch)]
    assert folders(zone) == dict.fromkeys(TABLES, kept)
    assert zone.names("_attempts") == [f"{live.batch}.json"]
    assert batch.sweep(zone, TABLES) == []


def test_a_sweep_keeps_a_committed_batch_whose_announcement_stayed(folder: Zone) -> None:
    """Guards against a crash right after the commit: the batch is there for good."""
    attempt, content = extract(folder, None, Clock(NOON))
    note = folder.read("_attempts", f"{attempt.batch}.json")
    batch.commit_raw(folder, attempt, content)
    folder.write(note, "_attempts", f"{attempt.batch}.json")
    assert batch.sweep(folder, TABLES) == []
    assert folders(folder) == {table: [f"batch={attempt.batch}"] for table in TABLES}
    assert folder.names("_attempts") == []


def test_a_sweep_passes_over_an_attempt_that_ends_meanwhile(folder: Zone) -> None:
    """Guards against a sweep that fails because another extract just took its note along."""

    class Vanishing(Zone):
        def names(self, *parts: str) -> list[str]:
            found = super().names(*parts)
            if parts == ("_attempts",):
                self.remove("_attempts", "20261120T120500Z.json")
            return found

    committed(folder)
    folder.write(b'{"number": 1}', "_attempts", "20261120T120500Z.json")
    assert batch.sweep(Vanishing(folder.uri), TABLES) == []


def test_a_sweep_removes_what_dead_runs_left_half_written(
    folder: Zone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against hidden files that pile up, one for each kill at the wrong moment."""
    (first,) = committed(folder)
    names = [("_batches", "00000001.json"), ("_attempts", f"{first.batch}.json"), ("_note.json",)]
    with monkeypatch.context() as patch:
        for effect in ("link", "replace", "unlink"):
            patch.setattr(os, effect, killed)
        for name in names:
            with pytest.raises(KeyboardInterrupt):
                folder.write(b"{}", *name)
    hidden = [n for name in names for n in folder.names(*name[:-1]) if n.startswith(".")]
    assert len(hidden) == 3
    batch.sweep(folder, TABLES)
    assert folder.names("_batches") == ["00000001.json"]
    assert folder.names("_attempts") == []
    assert folder.names() == ["_attempts", "_batches", *sorted(TABLES)]


def killed(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_an_abandoned_attempt_leaves_nothing(folder: Zone) -> None:
    (first,) = committed(folder)
    attempt, _ = extract(folder, first, Clock(NOON + timedelta(minutes=1)))
    batch.abandon(folder, attempt, TABLES)
    assert folders(folder) == {table: [f"batch={first.batch}"] for table in TABLES}
    assert folder.names("_attempts") == []


def test_strays_of_a_killed_transform_are_removed(zone: Zone) -> None:
    """Guards against rows that a reader of the folder, Athena for one, counts twice."""
    written = {"staff": ["part-00000.parquet"], "payment": []}
    for table, name in (
        ("staff", "part-00000.parquet"),
        ("staff", "part-00001.parquet"),
        ("payment", ".part-00000.parquet.5f"),
    ):
        zone.write(b"1", table, "batch=20261120T120000Z", name)
    zone.write(b"1", "staff", "batch=20261120T110000Z", "part-00007.parquet")
    entries = {
        table: TableEntry(1, [DataFile(name, 1, 1) for name in names], {})
        for table, names in written.items()
    }
    assert batch.remove_strays(zone, "20261120T120000Z", entries) == [
        "staff/batch=20261120T120000Z/part-00001.parquet",
        "payment/batch=20261120T120000Z/.part-00000.parquet.5f",
    ]
    assert zone.names("staff", "batch=20261120T120000Z") == ["part-00000.parquet"]
    assert zone.names("staff", "batch=20261120T110000Z") == ["part-00007.parquet"]


@pytest.fixture
def many(bucket: str) -> Zone:
    """A raw zone in S3 with 1001 manifests: one more than a page of a listing."""
    raw = Zone(f"{bucket}/raw")
    # Handed to the stand-in itself: a thousand requests would take it seconds.
    name = bucket.removeprefix("s3://")
    for number in range(1, 1002):
        content = to_json(asdict(manifest(number)))
        key = f"raw/_batches/{number:08d}.json"
        s3_backends[DEFAULT_ACCOUNT_ID]["aws"].put_object(name, key, content)
    return raw


def test_more_than_a_thousand_manifests_are_all_found(many: Zone) -> None:
    """Guards against an S3 listing cut at 1000 objects: the same batch would be landed again."""
    assert batch.raw_numbers(many) == list(range(1, 1002))
    latest = batch.latest_raw(many)
    assert latest is not None
    assert latest.number == 1001
    attempt = batch.begin(many, replace(latest, batch="20261120T115900Z"), Clock(NOON).now)
    assert attempt.number == 1002


def test_an_announcement_says_what_a_sweep_needs(folder: Zone) -> None:
    attempt = batch.begin(folder, manifest(6, "20261120T110000Z"), Clock(NOON).now)
    note = json.loads(folder.read("_attempts", f"{attempt.batch}.json"))
    assert note == {"number": 7, "started_at": "2026-11-20T12:00:00+00:00"}
