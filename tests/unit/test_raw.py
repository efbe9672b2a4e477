"""Which versions of the raw zone count as landed, and how far back they are looked for."""

from typing import Any

import pytest
from pyspark.sql import SparkSession

from totelake import batch
from totelake.batch import Attempt, Manifest
from totelake.lake import Zone
from totelake.raw import _History, _without_landed, write_table
from totelake.window import CHANGES, Snapshot, Window

Batch = tuple[str, int, int, list[dict[str, Any]]]


@pytest.fixture
def landed(spark: SparkSession, raw: Any, tmp_path: Any) -> Any:
    """Makes a raw zone of batches: system, xmin and xmax of the snapshot, payments."""

    def make(*batches: Batch) -> _History:
        zone = Zone(f"file://{tmp_path}/raw")
        for number, (system, xmin, xmax, rows) in enumerate(batches, 1):
            attempt = Attempt(f"2026112{number}T000000Z", number, batch.utc_now())
            frame = raw("payment", *rows)
            entry = write_table(zone, attempt.batch, "payment", frame, "parquet", few=True)
            manifest = Manifest(
                number,
                attempt.batch,
                "extract",
                CHANGES,
                Snapshot(system, xmin, xmax, 180000).as_dict(),
                {"payment": entry},
                attempt.started_at.isoformat(),
            )
            newest = batch.commit_raw(zone, attempt, manifest)
        return _History(spark, zone, newest)

    return make


def version(key: int, xmin: int) -> dict[str, int]:
    return {"payment_id": key, "row_xmin": xmin}


def new_ones(history: _History, raw: Any, wanted: Window, *rows: dict[str, int]) -> list[int]:
    frame = _without_landed(history, "payment", raw("payment", *rows), wanted)
    return sorted(row["payment_id"] for row in frame.collect())


def test_a_transaction_open_over_many_batches_doubles_nothing(landed: Any, raw: Any) -> None:
    """Guards against a look back of one batch, and against a late row that counts as landed."""
    history = landed(
        ("s", 10, 10, [version(1, 9)]),
        ("s", 10, 20, [version(2, 15)]),
        ("s", 10, 30, [version(3, 25)]),
    )
    rows = [version(2, 15), version(3, 25), version(2, 31), version(4, 10)]
    assert new_ones(history, raw, Window(CHANGES, 10), *rows) == [2, 4]


def test_ids_of_another_system_say_nothing(landed: Any, raw: Any) -> None:
    """Guards against a change after a restore that has the id of an older one by chance."""
    history = landed(("old", 10, 30, [version(1, 15)]), ("new", 10, 20, []))
    assert new_ones(history, raw, Window(CHANGES, 10), version(1, 15)) == [1]


def test_a_row_that_says_more_lands_again(landed: Any, raw: Any) -> None:
    """Guards against a new column whose values stay behind: no transaction wrote the rows."""
    history = landed(("s", 10, 20, [version(1, 15)]))
    wanted = Window(CHANGES, 10, new_columns={"payment": ["memo"]})
    assert new_ones(history, raw, wanted, version(1, 15)) == [1]


def test_the_history_is_whole_and_null_where_a_value_has_no_place(landed: Any) -> None:
    """Guards against a first batch that is forgotten, and a type that was changed for good."""
    history = landed(
        ("s", 1, 2, [{"payment_id": 1, "payment_date": "soon"}]),
        ("s", 2, 3, []),
        ("s", 3, 4, [{"payment_id": 2, "payment_date": "7"}]),
    )
    rows = history.all("payment", {"payment_id": "bigint", "payment_date": "int", "memo": "string"})
    found = [tuple(row) for row in rows.orderBy("payment_id").collect()]
    assert found == [(1, None, None, "20261121T000000Z"), (2, 7, None, "20261123T000000Z")]
