"""Objects that are whole or not there, and rows that come back as they were written."""

import os
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest
from chispa import assert_df_equality
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from totelake import lake
from totelake.errors import LakeError
from totelake.lake import CSV, FORMATS, PARQUET, DataFile, Zone, write_object

# What a PostgreSQL text can hold.
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
HARD_TEXT = [
    "12E3456",
    "0012345",
    "007",
    "NaN",
    "null",
    "NULL",
    "true",
    "2024-01-01",
    "",
    " ",
    " padded ",
    'say "hi"',
    '"',
    '""',
    "'",
    ",",
    "a,b",
    "\\",
    '\\"',
    "line\nline",
    "line\r\nline",
    "\r",
    "\n",
    "\t",
    "#not a comment",
    "\ufeff",
    "Bolívar ✓ 😀",
    None,
]


def local_zone(folder: Path) -> Zone:
    return Zone(f"file://{folder}/zone")


def everything_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_an_object_comes_back_as_it_was_written(zone: Zone) -> None:
    zone.write(b"first", "_batches", "a.json")
    zone.write(b"second", "_batches", "a.json")
    assert zone.read("_batches", "a.json") == b"second"


def test_creating_an_object_twice_fails_and_leaves_the_first(zone: Zone) -> None:
    """Guards against two runs on one watermark, on a disk and in S3."""
    zone.create(b"first", "_batches", "a.json")
    with pytest.raises(FileExistsError):
        zone.create(b"second", "_batches", "a.json")
    assert zone.read("_batches", "a.json") == b"first"
    assert zone.names("_batches") == ["a.json"]


def test_names_are_sorted_and_those_of_one_folder(zone: Zone) -> None:
    for name in ("b", "a", "c/deeper"):
        zone.write(b"", "table", *name.split("/"))
    assert zone.names("table") == ["a", "b", "c"]
    assert zone.names("table", "c") == ["deeper"]
    assert zone.names("absent") == []


def test_removing_takes_the_folder_and_nothing_beside_it(zone: Zone) -> None:
    """Guards against a prefix that also matches its neighbour: batch=1 and batch=10."""
    for name in ("batch=1/x", "batch=1/y", "batch=10/x"):
        zone.write(b"1", "table", *name.split("/"))
    zone.remove("table", "batch=1")
    zone.remove("table", "batch=2")
    assert zone.names("table") == ["batch=10"]
    assert zone.names("table", "batch=10") == ["x"]


def test_a_listing_is_never_an_old_one(zone: Zone) -> None:
    """Guards against cached listings: another process writes to the same zone."""
    assert zone.names("table") == []
    Zone(zone.uri).write(b"1", "table", "x")
    assert zone.names("table") == ["x"]


def test_a_trailing_slash_changes_no_place(tmp_path: Path) -> None:
    plain, slashed = Zone(f"file://{tmp_path}/z"), Zone(f"file://{tmp_path}/z/")
    assert plain.path("a", "b") == slashed.path("a", "b") == f"{tmp_path}/z/a/b"
    assert (
        plain.batch_uri("t", "7")
        == slashed.batch_uri("t", "7")
        == (f"file://{tmp_path}/z/t/batch=7")
    )


@pytest.mark.parametrize("only_if_absent", [False, True])
def test_a_failed_write_leaves_what_was_there_and_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, only_if_absent: bool
) -> None:
    """Guards against half a file under its final name and hidden files left behind."""
    files = fsspec.filesystem("file")
    target = tmp_path / "table" / "part"
    if not only_if_absent:
        write_object(files, str(target), b"old")

    def disk_full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match=f"No space left on device: '{target}'"):
        write_object(files, str(target), b"new", only_if_absent=only_if_absent)
    assert everything_in(tmp_path) == ([] if only_if_absent else ["table/part"])
    assert only_if_absent or target.read_bytes() == b"old"


def test_no_reader_sees_a_name_before_its_content_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against writing in place: at the sync all bytes are hidden under another name."""
    seen = []
    monkeypatch.setattr(os, "fsync", lambda _: seen.extend(everything_in(tmp_path)))
    write_object(fsspec.filesystem("file"), str(tmp_path / "part"), b"new")
    assert len(seen) == 1
    assert seen[0].startswith(".part.")
    assert everything_in(tmp_path) == ["part"]


def batch_of(texts: list[str | None], first_id: int = 0) -> pa.RecordBatch:
    numbered = [{"id": number, "text": text} for number, text in enumerate(texts, first_id)]
    return pa.RecordBatch.from_pylist(
        numbered, pa.schema([("id", pa.int32()), ("text", pa.string())])
    )


@pytest.mark.parametrize("file_format", FORMATS)
def test_any_text_comes_back(spark: SparkSession, tmp_path: Path, file_format: str) -> None:
    """Guards against text guessed into numbers, quotes, line breaks, and empty taken for null.

    Each example is a file of its own; Spark reads them all at once, for it is slow to start.
    """
    folder = f"file://{tmp_path}/batch=1"
    written: list[list[str | None]] = []
    files = []

    @settings(max_examples=40)
    @given(texts=st.lists(st.none() | TEXT, min_size=1, max_size=40))
    @example(texts=HARD_TEXT)
    @example(texts=[None])
    @example(texts=[""])
    def write(texts: list[str | None]) -> None:
        part = len(written)
        first_id = sum(map(len, written))
        file = lake.write_part([batch_of(texts, first_id)], folder, part, file_format)
        assert file is not None
        assert (file.name, file.rows) == (f"part-{part:05d}.{file_format}", len(texts))
        written.append(texts)
        files.append(file)

    write()
    rows = lake.read_frame(spark, folder, files, "id int, text string").collect()
    found = {row["id"]: row["text"] for row in rows}
    assert len(rows) == len(found)
    assert found == dict(enumerate(text for texts in written for text in texts))


@pytest.mark.parametrize("file_format", FORMATS)
def test_every_type_of_the_lake_comes_back_exactly(
    spark: SparkSession, tmp_path: Path, file_format: str
) -> None:
    """Guards against float money, ids as 2.0, milliseconds dropped, and times moved by a zone."""
    schema = (
        "id int, item_code string, price decimal(10,2), at timestamp_ntz, day date, paid boolean, "
        "row_xmin bigint, row_change string"
    )
    moment = datetime(2024, 3, 31, 1, 30, 0, 7000)  # no such time in London that day
    last_moment = datetime(1999, 12, 31, 23, 59, 59, 999000)
    rows: list[tuple[Any, ...]] = [
        (2, "12E3456", Decimal("0.10"), moment, date(2024, 2, 29), True, 4294967295, "change"),
        (-1, "0012345", Decimal("99999999.99"), last_moment, None, False, 3, "lookup"),
        (3, "", Decimal("-0.01"), datetime(2024, 1, 1), date(9999, 12, 31), None, 0, "change"),
        (None,) * 8,
    ]
    frame = spark.createDataFrame(rows, schema).coalesce(1)
    folder = f"file://{tmp_path}/batch=1"
    files = lake.write_frame(frame, folder, file_format)
    read = lake.read_frame(spark, folder, files, schema)
    assert_df_equality(read, frame, ignore_nullable=True)


def test_each_partition_with_rows_is_one_file_and_nothing_else_is_there(
    spark: SparkSession, tmp_path: Path
) -> None:
    """Guards against _SUCCESS, temporary folders, empty files, and files doubled by a rerun."""
    frame = spark.range(0, 100, 1, numPartitions=4).where("id < 25 OR id >= 50")
    folder = f"file://{tmp_path}/batch=1"
    files = lake.write_frame(frame, folder)
    assert [(file.name, file.rows) for file in files] == [
        ("part-00000.parquet", 25),
        ("part-00002.parquet", 25),
        ("part-00003.parquet", 25),
    ]
    sizes = [(tmp_path / "batch=1" / file.name).stat().st_size for file in files]
    assert sizes == [file.bytes for file in files]
    before = everything_in(tmp_path)
    assert lake.write_frame(frame, folder) == files
    assert everything_in(tmp_path) == before == [f"batch=1/{file.name}" for file in files]


def test_few_rows_are_written_alike_by_the_driver(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against a second way of writing that differs from the first."""
    monkeypatch.setattr(lake, "FEW_ROWS", 3)
    frame = spark.createDataFrame(
        [
            (1, "a", Decimal("0.10"), datetime(2024, 3, 31, 1, 30, 0, 7000), date(2024, 2, 29)),
            (2, "b", None, None, None),
            (3, "a", Decimal("-1.00"), datetime(1999, 12, 31), date(1, 1, 1)),
        ],
        "id int, kind string, price decimal(10,2), at timestamp_ntz, day date",
    ).coalesce(1)
    # Dates that Python cannot hold are no reason to fail here.
    frame = frame.withColumn("late", F.expr("CAST('+20241-01-01 00:00:00' AS timestamp_ntz)"))
    folders = [f"file://{tmp_path}/{name}" for name in ("executors", "driver")]
    results = [
        lake.write_counted(frame, folder, count_by="kind", few=few)
        for folder, few in zip(folders, (False, True), strict=True)
    ]
    assert results[0] == results[1]
    assert results[1][1] == {"a": 2, "b": 1}
    one, other = (tmp_path / name / "part-00000.parquet" for name in ("executors", "driver"))
    assert one.read_bytes() == other.read_bytes()
    more = spark.range(0, 4, 1, numPartitions=2)
    assert len(lake.write_frame(more, f"file://{tmp_path}/more", few=True)) == 2


def test_no_rows_are_no_files(spark: SparkSession, tmp_path: Path) -> None:
    folder = f"file://{tmp_path}/batch=1"
    assert lake.write_frame(spark.range(0), folder) == []
    assert lake.write_frame(spark.range(0), folder, few=True) == []
    assert everything_in(tmp_path) == []
    empty = lake.read_frame(spark, folder, [], "id bigint, text string")
    assert empty.isEmpty()
    assert empty.columns == ["id", "text"]


def test_only_the_named_files_are_read(spark: SparkSession, tmp_path: Path) -> None:
    """Guards against strays: what a dead task left beside a batch's files is no part of it."""
    folder = f"file://{tmp_path}/batch=20240101T000000Z"
    named = [lake.write_part([batch_of(["a"])], folder, part, PARQUET) for part in (0, 1)]
    lake.write_part([batch_of(["stray"])], folder, 2, PARQUET)
    read = lake.read_frame(spark, folder, [file for file in named if file], "id int, text string")
    assert [row["text"] for row in read.collect()] == ["a", "a"]


def test_files_named_from_the_table_carry_their_batch(spark: SparkSession, tmp_path: Path) -> None:
    """Guards against a batch id that Spark takes for a number or a time."""
    ids = ["20240101T000000Z", "20241231T235959Z"]
    files = []
    for batch in ids:
        lake.write_part([batch_of([batch])], f"file://{tmp_path}/batch={batch}", 0, CSV)
        files.append(DataFile(f"batch={batch}/part-00000.csv", 1, 1))
    read = lake.read_frame(spark, f"file://{tmp_path}", files, "id int, text string")
    assert dict(read.dtypes)["batch"] == "string"
    assert sorted((row["text"], row["batch"]) for row in read.collect()) == [(b, b) for b in ids]


@pytest.mark.parametrize("names", [["a.parquet", "b.csv"], ["a.orc"]])
def test_files_of_no_single_known_format_are_refused(spark: SparkSession, names: list[str]) -> None:
    with pytest.raises(LakeError, match="expected files of one format, parquet or csv"):
        lake.read_frame(spark, "file:///x", [DataFile(name, 1, 1) for name in names], "id int")


def test_row_groups_are_joined_up_to_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against one row group per record batch, and rows lost between two of them."""
    monkeypatch.setattr(lake, "ROW_GROUP_ROWS", 5)
    batches = [batch_of([str(number)] * 2) for number in range(7)]
    groups = list(lake._row_groups(batches))
    assert [group.num_rows for group in groups] == [6, 6, 2]
    assert pa.concat_tables(groups) == pa.Table.from_batches(batches)


def test_json_keeps_order_and_umlauts() -> None:
    assert lake.to_json({"b": "ü", "a": 1}) == '{\n  "b": "ü",\n  "a": 1\n}\n'.encode()
