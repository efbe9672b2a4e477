"""Partitions of committed batches, in a real enough Data Catalog."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from local.aws import Aws
from totelake import metrics, notes, runtime
from totelake.batch import Manifest, TableEntry
from totelake.catalog import Catalogue, create_partitions
from totelake.errors import CatalogError
from totelake.lake import DataFile, Zone
from totelake.metrics import Metrics

_NUMBERS = count(1)
COLUMNS = {"design_id": "int", "design_name": "string"}


@dataclass
class Place:
    """A zone with a database, a crawler and what was logged and measured."""

    zone: Zone
    database: str
    glue: Any
    events: list[dict[str, Any]] = field(default_factory=list)
    measured: Metrics = field(default_factory=lambda: Metrics("extract"))

    def event(self, event: str, level: int = 20, **facts: Any) -> None:
        self.events.append({"event": event, "level": level, **facts})

    def make_table(self, name: str, columns: Iterable[str] = COLUMNS) -> None:
        """A table as a crawler makes it."""
        descriptor = {
            "Columns": [{"Name": column, "Type": "string"} for column in columns],
            "Location": f"{self.zone.uri}/{name}/",
            "InputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
            "OutputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
            "SerdeInfo": {
                "SerializationLibrary": "org.apache.hadoop.hive.ql.io.parquet.serde"
                ".ParquetHiveSerDe",
                "Parameters": {"serialization.format": "1"},
            },
            "Parameters": {"classification": "parquet", "recordCount": "12", "sizeKey": "99"},
        }
        table = {
            "Name": name,
            "PartitionKeys": [{"Name": "batch", "Type": "string"}],
            "StorageDescriptor": descriptor,
            "Parameters": {"classification": "parquet", "objectCount": "3"},
        }
        self.glue.create_table(DatabaseName=self.database, TableInput=table)

    def partitions(self, table: str) -> dict[str, dict[str, Any]]:
        found = self.glue.get_partitions(DatabaseName=self.database, TableName=table)["Partitions"]
        return {partition["Values"][0]: partition for partition in found}

    def register(self, *manifests: Manifest, crawler: str | None = None) -> list[str]:
        """Register what is committed, oldest first here; the events by name."""
        self.events.clear()
        catalogue = Catalogue(self.database, self.database if crawler is None else crawler)
        newest_first = reversed(manifests)
        catalogue.register(self.zone, newest_first, self, self.measured)  # type: ignore[arg-type]
        return [event["event"] for event in self.events]

    def crawls(self) -> str:
        state: str = self.glue.get_crawler(Name=self.database)["Crawler"]["State"]
        return state


@pytest.fixture
def place(bucket: str, aws: Aws) -> Place:
    glue, name = boto3.client("glue"), f"catalogue_{next(_NUMBERS)}"
    glue.create_database(DatabaseInput={"Name": name})
    glue.create_crawler(Name=name, Role="role", Targets={"S3Targets": [{"Path": bucket}]})
    return Place(Zone(f"{bucket}/raw"), name, glue)


def manifest(number: int, *tables: str, empty: Iterable[str] = (), **columns: str) -> Manifest:
    entry = TableEntry(1, [DataFile("part-00000.parquet", 1, 10)], columns or COLUMNS)
    nothing = TableEntry(0, [], columns or COLUMNS)
    return Manifest(
        number=number,
        batch=f"20261120T{number:06d}Z",
        stage="extract",
        mode="changes",
        snapshot={},
        tables={**dict.fromkeys(tables, entry), **dict.fromkeys(empty, nothing)},
        started_at="2026-11-20T00:00:00+00:00",
    )


def failures(place: Place) -> list[float]:
    return [
        datum["Value"]
        for datum in place.measured._datums
        if datum["MetricName"] == metrics.REGISTRATION_FAILURES
    ]


def test_a_partition_is_the_table_in_the_batchs_folder(place: Place) -> None:
    place.make_table("design")
    assert place.register(manifest(1, "design", empty=["staff"])) == ["registered"]
    (partition,) = place.partitions("design").values()
    table = place.glue.get_table(DatabaseName=place.database, Name="design")["Table"]
    found, own = partition["StorageDescriptor"], table["StorageDescriptor"]
    assert partition["Values"] == ["20261120T000001Z"]
    assert found["Location"] == f"{place.zone.uri}/design/batch=20261120T000001Z/"
    for part in ("Columns", "InputFormat", "OutputFormat", "SerdeInfo"):
        assert found[part] == own[part]
    # The table's counts and sizes would be wrong of a partition.
    assert found["Parameters"] == partition["Parameters"] == {"classification": "parquet"}
    assert failures(place) == [0]


def test_registering_again_changes_nothing(place: Place) -> None:
    """Guards against a run that fails because another has registered its batch."""
    place.make_table("design")
    batch = manifest(1, "design")
    place.register(batch)
    before = place.partitions("design")
    assert place.register(batch) == []
    place.zone.remove(notes.REGISTERED)
    assert place.register(batch) == ["registered"]
    assert place.events[0]["partitions"] == 0
    assert place.partitions("design") == before


def test_what_a_dead_run_committed_is_registered_by_the_next(place: Place) -> None:
    place.make_table("design")
    place.make_table("staff")
    first, second = manifest(1, "design"), manifest(2, "staff")
    place.register(first)
    third = manifest(3, "design")
    place.register(first, second, third)
    assert set(place.partitions("design")) == {first.batch, third.batch}
    assert set(place.partitions("staff")) == {second.batch}


def test_only_manifests_of_what_is_not_registered_are_read(place: Place) -> None:
    """Guards against a run that costs what has piled up."""
    place.make_table("design")
    batches = [manifest(number, "design") for number in range(1, 6)]
    place.register(*batches)
    asked = iter([manifest(6, "design"), *reversed(batches)])
    catalogue = Catalogue(place.database, "")
    catalogue.register(place.zone, asked, place, place.measured)  # type: ignore[arg-type]
    assert [it.batch for it in asked] == [it.batch for it in reversed(batches)][1:]
    assert len(place.partitions("design")) == 6


def test_a_table_that_is_not_crawled_yet_is_no_error(place: Place) -> None:
    """The crawler is started, and the batch is registered once the table is there."""
    first, second = manifest(1, "design"), manifest(2, empty=["design"])
    assert place.register(first) == ["registered", "crawl"]
    assert place.events[1]["absent_tables"] == ["design"]
    assert place.events[1]["started"] is True
    assert place.crawls() == "RUNNING"
    assert failures(place) == [0]
    # Still at work: that is fine too.
    assert place.register(first, second) == ["registered", "crawl"]
    assert place.events[1]["started"] is False
    place.make_table("design")
    assert place.register(first, second) == ["registered"]
    assert set(place.partitions("design")) == {first.batch}


def test_a_new_column_starts_the_crawler(place: Place) -> None:
    place.make_table("design")
    batch = manifest(1, "design", design_id="int", Design_Name="string", colour="string")
    assert place.register(batch) == ["registered", "crawl"]
    assert place.events[1]["changed_tables"] == ["design"]
    assert place.crawls() == "RUNNING"
    assert set(place.partitions("design")) == {batch.batch}
    assert place.register(batch) == []


def test_columns_in_another_case_are_not_new(place: Place) -> None:
    """The catalogue has lower case only."""
    place.make_table("design")
    assert place.register(manifest(1, "design", DESIGN_ID="int")) == ["registered"]


def test_a_column_that_a_crawl_may_have_missed_is_looked_at_again(place: Place) -> None:
    place.make_table("design")
    place.glue.start_crawler(Name=place.database)
    batch = manifest(1, "design", colour="string")
    assert place.register(batch) == place.register(batch) == ["registered", "crawl"]


def test_no_crawler_is_started_where_it_runs_with_the_workflow(place: Place) -> None:
    place.make_table("design")
    place.register(manifest(1, "design", colour="string"), crawler="")
    assert place.events[1]["started"] is False
    assert place.crawls() == "READY"


def test_no_database_means_no_catalogue(place: Place) -> None:
    """A laptop without a crawler: nothing is asked of AWS, nothing is read."""

    def unread() -> Iterable[Manifest]:
        raise AssertionError
        yield

    Catalogue("", "").register(place.zone, unread(), place, place.measured)  # type: ignore[arg-type]
    assert place.events == []
    assert place.zone.names() == []


def denied(*_: Any, **__: Any) -> None:
    raise ClientError(
        {"Error": {"Code": "AccessDeniedException", "Message": "not yours"}}, "BatchCreatePartition"
    )


def refused(*_: Any, **__: Any) -> dict[str, Any]:
    detail = {"ErrorCode": "InternalServiceException", "ErrorMessage": "sorry"}
    return {"Errors": [{"PartitionValues": ["1"], "ErrorDetail": detail}]}


@pytest.mark.parametrize(
    ("answer", "message"),
    [(denied, "AccessDeniedException"), (refused, "InternalServiceException: sorry")],
)
def test_a_failure_is_told_and_the_next_run_catches_up(
    place: Place, monkeypatch: pytest.MonkeyPatch, answer: Callable[..., Any], message: str
) -> None:
    """Guards against a job that fails after its commit, and against silence about it."""
    place.make_table("design")
    client = boto3.client("glue")
    monkeypatch.setattr(client, "batch_create_partition", answer)
    monkeypatch.setattr(runtime, "client", lambda _service: client)
    assert place.register(manifest(1, "design")) == ["not_registered"]
    assert place.events[0]["level"] == 40
    assert message in place.events[0]["message"]
    assert failures(place) == [1]
    assert notes.registered(place.zone, place.database) == ""
    monkeypatch.undo()
    monkeypatch.setattr(runtime, "client", lambda _service: place.glue)
    assert place.register(manifest(1, "design"), manifest(2, "design")) == ["registered"]
    assert len(place.partitions("design")) == 2


def test_a_hundred_partitions_go_in_one_call() -> None:
    """Guards against Glue's limit, which moto does not have."""
    calls: list[int] = []

    class Glue:
        def batch_create_partition(self, **request: Any) -> dict[str, Any]:
            calls.append(len(request["PartitionInputList"]))
            exists = {"ErrorCode": "AlreadyExistsException"}
            return {"Errors": [{"PartitionValues": ["1"], "ErrorDetail": exists}]}

    assert create_partitions(Glue(), "lake", "design", [{}] * 201) == 198
    assert calls == [100, 100, 1]


def test_a_refusal_names_the_table_and_the_partition() -> None:
    class Glue:
        batch_create_partition = staticmethod(refused)

    with pytest.raises(CatalogError, match=r"lake\.design, partition \['1'\]"):
        create_partitions(Glue(), "lake", "design", [{}])


def test_the_note_says_how_far_it_has_come(place: Place) -> None:
    place.make_table("design")
    place.register(manifest(1, "design"), manifest(2, empty=["design"]))
    assert json.loads(place.zone.read(notes.REGISTERED)) == {
        "database": place.database,
        "batch": "20261120T000002Z",
    }
