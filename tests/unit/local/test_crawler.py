"""The crawler does what AWS documents for its definition, on files and on S3."""

import io
from itertools import count
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from local.athena import LocalAthena
from local.aws import Aws
from local.classifiers import ClassifyError, classify_text, parquet_columns
from local.crawled import _glob, merged_columns
from local.crawler import Crawl, crawl
from local.crawler_definition import (
    DELETE,
    EVERYTHING,
    LOG,
    NEW_FOLDERS,
    UPDATE,
    CrawlerError,
    Definition,
    definition_of,
    load_definition,
)
from local.glue_tables import partitions_of, tables_of
from totelake.lake import Zone

ROOT = Path(__file__).resolve().parents[3]
_DATABASES = count(1)
ORDERS = pa.table({"order_id": pa.array([1, 2], pa.int32()), "price": pa.array([1.5, None])})


class Lake:
    """A zone, a database, and a crawler of the house's settings between them."""

    def __init__(self, zone: Zone, glue: Any, database: str) -> None:
        self.zone, self.glue, self.database = zone, glue, database
        glue.create_database(DatabaseInput={"Name": database})

    def put(self, path: str, table: pa.Table | bytes = ORDERS, **options: Any) -> None:
        content = table
        if isinstance(table, pa.Table):
            sink = io.BytesIO()
            pq.write_table(table, sink, **options)
            content = sink.getvalue()
        filesystem = self.zone.filesystem
        filesystem.makedirs(self.zone.path(*path.split("/")[:-1]), exist_ok=True)
        filesystem.pipe_file(self.zone.path(path), content)

    def crawl(self, *targets: str, **changes: Any) -> Crawl:
        uris = [f"{self.zone.uri}/{target}/" for target in targets] or [f"{self.zone.uri}/"]
        # The zone's bucket is its level 1; in S3 the tests' zone is a folder of a bucket.
        level = 3 if self.zone.uri.startswith("s3:") else 2
        settings = {
            "exclusions": ("**/_*", "**/.*", "**/_*/**"),
            "on_delete": LOG,
            "table_level": level,
            "merge_new_columns": True,
            "inherit": True,
        }
        definition = Definition("lake", self.database, tuple(uris), **(settings | changes))
        return crawl(self.glue, definition, bucket=self.zone.uri)

    def columns(self, table: str) -> dict[str, str]:
        described = tables_of(self.glue, self.database)[table]["StorageDescriptor"]["Columns"]
        return {column["Name"]: column["Type"] for column in described}

    def partitions(self, table: str) -> list[list[str]]:
        return sorted(part["Values"] for part in partitions_of(self.glue, self.database, table))


@pytest.fixture
def glue(aws: Aws) -> Any:
    return boto3.client("glue")


@pytest.fixture
def lake(zone: Zone, glue: Any) -> Lake:
    return Lake(zone, glue, f"crawled_{next(_DATABASES)}")


@pytest.fixture
def files(tmp_path: Path, glue: Any) -> Lake:
    return Lake(Zone(f"file://{tmp_path}/zone"), glue, f"crawled_{next(_DATABASES)}")


def test_two_tables_under_one_root_are_two(lake: Lake) -> None:
    lake.put("orders/batch=1/part-00000.parquet")
    lake.put("orders/batch=2/part-00000.parquet")
    lake.put("staff/batch=1/part-00000.parquet", pa.table({"Staff_ID": pa.array([1], pa.int64())}))
    done = lake.crawl()
    assert done.created == ("orders", "staff")
    assert lake.columns("orders") == {"order_id": "int", "price": "double"}
    assert lake.columns("staff") == {"staff_id": "bigint"}
    assert lake.partitions("orders") == [["1"], ["2"]]
    table = tables_of(lake.glue, lake.database)["orders"]
    assert table["PartitionKeys"] == [{"Name": "batch", "Type": "string"}]
    assert table["StorageDescriptor"]["Location"] == f"{lake.zone.uri}/orders/"
    assert table["Parameters"]["classification"] == "parquet"


def test_second_crawl_changes_nothing(lake: Lake) -> None:
    lake.put("orders/batch=1/part-00000.parquet")
    lake.crawl()
    before = tables_of(lake.glue, lake.database), lake.partitions("orders")
    again = lake.crawl()
    assert again == Crawl((), (), {}, (), (), ())
    assert (tables_of(lake.glue, lake.database), lake.partitions("orders")) == before


def test_without_a_level_two_tables_under_one_root_are_one(files: Lake) -> None:
    files.put("orders/batch=1/part-00000.parquet")
    files.put("staff/batch=1/part-00000.parquet")
    done = files.crawl(table_level=None)
    assert done.created == ("zone",)
    assert files.partitions("zone") == [["orders", "1"], ["staff", "1"]]
    keys = tables_of(files.glue, files.database)["zone"]["PartitionKeys"]
    assert [key["Name"] for key in keys] == ["partition_0", "batch"]


def test_added_column_is_merged_and_inherited(lake: Lake) -> None:
    lake.put("orders/batch=1/part-00000.parquet")
    lake.crawl("orders")
    lake.put(
        "orders/batch=2/part-00000.parquet", ORDERS.append_column("note", pa.array(["a", "b"]))
    )
    done = lake.crawl("orders")
    assert (done.updated, done.partitions) == (("orders",), {"orders": 1})
    assert lake.columns("orders") == {"order_id": "int", "price": "double", "note": "string"}
    for partition in partitions_of(lake.glue, lake.database, "orders"):
        names = [column["Name"] for column in partition["StorageDescriptor"]["Columns"]]
        assert names == ["order_id", "price", "note"]


def test_column_that_is_gone_stays_when_merging_and_goes_when_not(files: Lake) -> None:
    files.put("orders/batch=1/part-00000.parquet")
    files.crawl()
    files.put("orders/batch=1/part-00000.parquet", ORDERS.drop_columns("price"))
    assert files.crawl().updated == ()
    assert files.columns("orders") == {"order_id": "int", "price": "double"}
    assert files.crawl(merge_new_columns=False).updated == ("orders",)
    assert files.columns("orders") == {"order_id": "int"}


def test_merging_never_changes_a_type_but_says_so(files: Lake) -> None:
    files.put("orders/batch=1/part-00000.parquet")
    files.crawl()
    files.put("orders/batch=2/part-00000.parquet", pa.table({"order_id": ["x"]}))
    done = files.crawl()
    assert files.columns("orders")["order_id"] == "int"
    (problem,) = done.problems
    assert "column order_id is string here and int elsewhere" in problem
    assert "batch=2/part-00000.parquet" in problem


def test_change_is_only_logged_when_the_policy_says_so(files: Lake) -> None:
    files.put("orders/batch=1/part-00000.parquet")
    files.crawl()
    files.put(
        "orders/batch=2/part-00000.parquet", ORDERS.append_column("note", pa.array(["a", "b"]))
    )
    done = files.crawl(on_change=LOG)
    assert done.logged == ("orders: +note string",)
    assert "note" not in files.columns("orders")
    assert done.partitions == {"orders": 1}


@pytest.mark.parametrize(
    "name",
    ["orders/_SUCCESS", "orders/batch=2/_tmp", "orders/.h/a", "orders/_x/y/z", "_batches/1.json"],
)
def test_hidden_and_excluded_names_are_passed_over(files: Lake, name: str) -> None:
    files.put("orders/batch=1/part-00000.parquet")
    files.put(name, b"[1]")
    done = files.crawl()
    assert (done.created, done.problems) == (("orders",), ())
    assert files.partitions("orders") == [["1"]]


def test_exclusion_is_counted_from_the_target(files: Lake) -> None:
    files.put("orders/batch=1/part-00000.parquet")
    files.put("orders/draft/part-00000.parquet")
    assert files.crawl("orders", exclusions=("draft/**",)).problems == ()
    assert files.partitions("orders") == [["1"]]


def test_foreign_file_is_named_and_changes_no_table(lake: Lake) -> None:
    lake.put("orders/batch=1/part-00000.parquet")
    lake.put("orders/batch=1/manifest.json", b'{"a": 1}')
    lake.put("orders/batch=2/part-00000.parquet")
    lake.put("orders/batch=2/broken.parquet", b"PAR1 and then nothing")
    done = lake.crawl()
    assert lake.columns("orders") == {"order_id": "int", "price": "double"}
    assert len(done.problems) == 2
    assert "batch=1/manifest.json" in done.problems[0]
    assert "batch=2/broken.parquet" in done.problems[1]


def test_uncommitted_folder_is_catalogued_as_aws_would(files: Lake) -> None:
    files.put("_batches/00000001.json", b'{"batch": "1"}')
    files.put("orders/batch=1/part-00000.parquet")
    files.put("orders/batch=2/part-00000.parquet")
    files.crawl()
    assert files.partitions("orders") == [["1"], ["2"]]


def test_old_and_new_timestamps_are_one_type(files: Lake) -> None:
    moments = pa.table({"at": pa.array([1_000_000], pa.timestamp("us"))})
    files.put("orders/batch=1/part-00000.parquet", moments, use_deprecated_int96_timestamps=True)
    files.put("orders/batch=2/part-00000.parquet", moments)
    assert files.crawl().problems == ()
    assert files.columns("orders") == {"at": "timestamp"}
    files.put(
        "orders/batch=3/part-00000.parquet", moments.cast(pa.schema([("at", pa.timestamp("ns"))]))
    )
    (problem,) = files.crawl().problems
    assert "column at is bigint here and timestamp elsewhere" in problem


def test_table_without_files_is_none_and_without_rows_is_one(files: Lake) -> None:
    files.put("orders/batch=1/part-00000.parquet", ORDERS.slice(0, 0))
    files.put("staff/batch=1/part-00000.parquet", b"")
    done = files.crawl("orders", "staff", "nowhere")
    assert done.created == ("orders",)
    assert files.columns("orders") == {"order_id": "int", "price": "double"}


def test_level_above_a_target_is_refused(files: Lake) -> None:
    files.put("orders/batch=1/part-00000.parquet")
    with pytest.raises(CrawlerError, match="TableLevelConfiguration 1 lies above"):
        files.crawl("orders", table_level=1)


def test_partition_that_a_job_registered_is_left_alone(files: Lake) -> None:
    files.put("orders/batch=1/part-00000.parquet")
    files.crawl()
    files.put("orders/batch=2/part-00000.parquet")
    (crawled,) = partitions_of(files.glue, files.database, "orders")
    descriptor = dict(crawled["StorageDescriptor"], Location=f"{files.zone.uri}/orders/batch=2")
    files.glue.create_partition(
        DatabaseName=files.database,
        TableName="orders",
        PartitionInput={"Values": ["2"], "StorageDescriptor": descriptor},
    )
    assert files.crawl() == Crawl((), (), {}, (), (), ())


@pytest.mark.parametrize(("policy", "left"), [(LOG, [["1"], ["2"]]), (DELETE, [["2"]])])
def test_partition_whose_files_are_gone(files: Lake, policy: str, left: list[list[str]]) -> None:
    files.put("orders/batch=1/part-00000.parquet")
    files.put("orders/batch=2/part-00000.parquet")
    files.put("staff/batch=1/part-00000.parquet")
    files.crawl()
    files.zone.remove("orders", "batch=1")
    files.zone.remove("staff")
    done = files.crawl(on_delete=policy)
    assert files.partitions("orders") == left
    assert ("staff" in tables_of(files.glue, files.database)) == (policy == LOG)
    assert done.logged if policy == LOG else done.removed == ("orders 1", "staff")


def test_table_whose_files_are_gone_is_deprecated_once(files: Lake) -> None:
    files.put("orders/batch=1/part-00000.parquet")
    files.crawl()
    files.zone.remove("orders")
    assert files.crawl(on_delete="DEPRECATE_IN_DATABASE").removed == ("orders",)
    assert files.crawl(on_delete="DEPRECATE_IN_DATABASE").removed == ()
    assert "DEPRECATED_BY_CRAWLER" in tables_of(files.glue, files.database)["orders"]["Parameters"]


def test_new_folders_only_reads_no_folder_twice(lake: Lake) -> None:
    policy = {"recrawl": NEW_FOLDERS, "on_change": LOG, "on_delete": LOG}
    lake.put("orders/batch=1/part-00000.parquet")
    lake.crawl(**policy)
    lake.put("orders/batch=1/part-00001.parquet", b"broken, and not looked at")
    lake.put("orders/batch=2/part-00000.parquet")
    done = lake.crawl(**policy)
    assert (done.partitions, done.problems) == ({"orders": 1}, ())


def test_more_partitions_than_a_call_takes(files: Lake) -> None:
    for number in range(130):
        files.put(f"orders/batch={number:03}/part-00000.parquet")
    assert files.crawl().partitions == {"orders": 130}
    assert len(files.partitions("orders")) == 130


def test_definitions_of_the_lake_are_read() -> None:
    values = {
        f"{zone}_{what}": f"s3://{zone}" for zone in ("raw", "processed") for what in ("zone",)
    } | {"raw_database": "raw", "processed_database": "processed"}
    raw = load_definition(ROOT / "crawlers" / "raw.json", values)
    assert (raw.recrawl, raw.on_change, raw.on_delete) == (EVERYTHING, UPDATE, LOG)
    assert (raw.table_level, raw.merge_new_columns, raw.inherit) == (2, True, True)
    assert "s3://raw/sales_order/" in raw.targets


def from_api(**changes: Any) -> dict[str, Any]:
    return {"Name": "a", "DatabaseName": "b", "Targets": {"S3Targets": [{"Path": "s3://c/"}]},
            "Configuration": '{"Version": 1.0, "Grouping": '
            '{"TableGroupingPolicy": "CombineCompatibleSchemas"}}', **changes}  # fmt: skip


def test_definition_is_read_from_the_api() -> None:
    assert definition_of(from_api()).targets == ("s3://c/",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"RecrawlPolicy": {"RecrawlBehavior": "CRAWL_EVENT_MODE"}}, "CRAWL_EVENT_MODE"),
        ({"RecrawlPolicy": {"RecrawlBehavior": NEW_FOLDERS}}, "demands LOG"),
        ({"Configuration": '{"Version": 1.0}'}, "TableGroupingPolicy None"),
        ({"SchemaChangePolicy": {"DeleteBehavior": "ASK"}}, "delete_behavior ASK"),
    ],
)
def test_what_is_not_done_here_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(CrawlerError, match=words):
        definition_of(from_api(**changes))


@pytest.mark.parametrize(
    ("type_", "hive"),
    [
        (pa.bool_(), "boolean"),
        (pa.int8(), "tinyint"),
        (pa.uint16(), "int"),
        (pa.decimal128(10, 2), "decimal(10,2)"),
        (pa.date32(), "date"),
        (pa.timestamp("ms", "UTC"), "timestamp"),
        (pa.timestamp("us"), "timestamp"),
        (pa.timestamp("ns"), "bigint"),
        (pa.time32("ms"), "int"),
        (pa.time64("us"), "bigint"),
        (pa.large_string(), "string"),
        (pa.dictionary(pa.int32(), pa.string()), "string"),
        (pa.binary(4), "binary"),
        (pa.list_(pa.int32()), "array<int>"),
        (pa.map_(pa.string(), pa.float32()), "map<string,float>"),
        (pa.struct([("A", pa.int64()), ("b", pa.string())]), "struct<a:bigint,b:string>"),
    ],
)
def test_type_of_a_parquet_column(type_: pa.DataType, hive: str) -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"Column": pa.array([], type_)}), sink)
    assert parquet_columns(pq.ParquetFile(sink)) == {"column": hive}


def test_columns_that_differ_in_case_only_are_refused() -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": [1], "A": [2]}), sink)
    with pytest.raises(ClassifyError, match="two that differ in case"):
        parquet_columns(pq.ParquetFile(sink))


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("id,price,paid,day\n1,2.5,true,2026-01-01\n2,3,FALSE,\n",
         {"id": "bigint", "price": "double", "paid": "boolean", "day": "string"}),
        ('"Id"|"at"\n1|"2026-01-01 10:00:00"\n', {"id": "bigint", "at": "string"}),
        ("name,city\nAnn,Leeds\nBob,York\n", {"col0": "string", "col1": "string"}),
        ("1,2\n3,4\n", {"col0": "bigint", "col1": "bigint"}),
        ("one column\nonly\n", {}),
        ("a,b\n1,2,3\n", {}),
        ("id,price\n", {}),
    ],
)  # fmt: skip
def test_columns_of_a_csv_file(text: str, columns: dict[str, str]) -> None:
    assert classify_text(text.encode()).columns == columns


def test_csv_in_quotes_is_text_for_the_classifier_that_knows_them(files: Lake) -> None:
    files.put("orders/batch=1/part-00000.csv", b'"id","name"\n1,"x, y"\n2,\n')
    files.crawl(open_csv=True)
    assert files.columns("orders") == {"id": "string", "name": "string"}
    athena = LocalAthena(files.glue, files.database)
    found = athena.query("select id, name, batch from orders order by id").to_pylist()
    athena.close()
    assert [tuple(row.values()) for row in found] == [("1", "x, y", "1"), ("2", "", "1")]


def test_csv_table_is_described_for_its_serde(files: Lake) -> None:
    files.put("orders/batch=1/part-00000.csv", b"id,price\n1,2\n")
    files.put("orders/batch=2/part-00000.csv", b"id,price\nx,2.5\n")
    assert files.crawl().problems == ()
    table = tables_of(files.glue, files.database)["orders"]
    assert files.columns("orders") == {"id": "string", "price": "double"}
    assert table["StorageDescriptor"]["SerdeInfo"]["Parameters"] == {"field.delim": ","}
    assert table["Parameters"]["skip.header.line.count"] == "1"


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("int", "bigint", "bigint"),
        ("double", "float", "double"),
        ("decimal(10,2)", "decimal(9,4)", "decimal(12,4)"),
    ],
)
def test_wider_type_holds_both(one: str, other: str, together: str) -> None:
    assert merged_columns({"a": one}, {"a": other}) == ({"a": together}, [])


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("**/_*", "batch=1/_SUCCESS", True),
        ("**/_*", "_SUCCESS", False),
        ("*.csv", "a/b.csv", False),
        ("**.csv", "a/b.csv", True),
        ("{a,b}?.txt", "b1.txt", True),
        ("[!a]*", "b", True),
        ("a\\*", "ab", False),
    ],
)
def test_glob_is_read_as_aws_does(pattern: str, path: str, matches: bool) -> None:
    assert bool(_glob(pattern).fullmatch(path)) == matches
