"""What the catalogue of a lake holds is what Athena's engine can read, rule by rule."""

import base64
import json
import re
from typing import Any

import pytest

from local.athena import LocalAthena
from local.athena_files import data_files
from local.athena_types import can_read
from local.classifiers import classify
from local.data_catalog import PROCESSED, REPOSITORY, ZONES
from local.glue_tables import PARQUET_SERDE, partitions_of, tables_of
from totelake.lake import Zone
from totelake.tables import SPARK_TYPES, STAR

Table = dict[str, Any]


@pytest.fixture(scope="module")
def views(glue: Any) -> list[Table]:
    found = [t for t in tables_of(glue, PROCESSED).values() if t["TableType"] == "VIRTUAL_VIEW"]
    assert len(found) == 2 * len(STAR) + 1  # and the quarantine's
    return [dict(view) for view in found]


@pytest.fixture(scope="module")
def partitions(glue: Any) -> list[tuple[Table, Table]]:
    """Every table with each of its partitions."""
    found = [
        (dict(table), partition)
        for zone in ZONES
        for name, table in tables_of(glue, zone).items()
        for partition in partitions_of(glue, zone, name)
    ]
    assert len(found) > 11
    return found


def content(view: Table) -> dict[str, Any]:
    match = re.fullmatch(r"/\* Presto View: (\S+) \*/", view["ViewOriginalText"])
    assert match is not None
    decoded: dict[str, Any] = json.loads(base64.b64decode(match[1]))
    return decoded


def test_view_is_marked_as_athena_marks_it(views: list[Table]) -> None:
    for view in views:
        assert view["Parameters"] == {"presto_view": "true", "comment": "Presto View"}
        assert view["Owner"]
        assert view["StorageDescriptor"]["SerdeInfo"] is not None


def test_terraform_marks_it_likewise(views: list[Table]) -> None:
    text = (REPOSITORY / "terraform" / "catalog.tf").read_text(encoding="utf-8")
    assert re.search(r'table_type += "VIRTUAL_VIEW"', text)
    assert re.search(r'presto_view = "true"\n +comment += "Presto View"\n', text)
    assert "/* Presto View: ${base64encode(" in text
    assert re.search(r"ser_de_info \{", text)
    assert re.search(r"^ +owner +=", text, re.MULTILINE)
    assert set(content(views[0])) == {"originalSql", "catalog", "schema", "columns"}
    assert all(re.search(rf"^ +{key} += ", text, re.MULTILINE) for key in content(views[0]))


def test_view_names_its_columns_and_has_their_types(
    views: list[Table], athena: LocalAthena
) -> None:
    for view in views:
        sql = content(view)["originalSql"]
        assert not re.search(r"[;`*]", sql)
        athena.query(f'select * from "{view["Name"]}"')  # refused if names or types differ
        hive = [c["Type"] for c in view["StorageDescriptor"]["Columns"]]
        names = {"integer": "int", "varchar": "string"}
        assert hive == [names.get(c["type"], c["type"]) for c in content(view)["columns"]]


def test_partition_has_place_format_and_serde(partitions: list[tuple[Table, Table]]) -> None:
    for table, partition in partitions:
        described = partition["StorageDescriptor"]
        (batch,) = partition["Values"]
        assert described["Location"].rstrip("/").endswith(f"/{table['Name']}/batch={batch}")
        assert described["Location"].startswith(table["StorageDescriptor"]["Location"])
        assert described["InputFormat"].endswith("MapredParquetInputFormat")
        assert described["SerdeInfo"]["SerializationLibrary"] == PARQUET_SERDE
        assert not re.search(r"['\"]", batch)


def test_all_that_lies_in_a_partition_is_data(partitions: list[tuple[Table, Table]]) -> None:
    for _, partition in partitions:
        location = partition["StorageDescriptor"]["Location"]
        files = data_files(location)
        assert files
        assert {classify(Zone(location).filesystem, file).format for file in files} == {"parquet"}


def test_columns_of_files_can_be_read_as_declared(partitions: list[tuple[Table, Table]]) -> None:
    for table, partition in partitions:
        declared = {c["Name"]: c["Type"] for c in table["StorageDescriptor"]["Columns"]}
        location = partition["StorageDescriptor"]["Location"]
        for file in data_files(location):
            for name, type_ in classify(Zone(location).filesystem, file).columns.items():
                assert can_read(type_, declared[name]), (file, name)


def test_partition_is_described_as_its_table(partitions: list[tuple[Table, Table]]) -> None:
    for table, partition in partitions:
        columns = partition["StorageDescriptor"].get("Columns") or []
        # What the table gained since comes last; by place, it is what the partition lacks.
        assert table["StorageDescriptor"]["Columns"][: len(columns)] == columns


def test_lake_has_no_type_that_athena_reads_otherwise() -> None:
    # No TIME, which cannot be read as text; no unsigned number; moments land with milliseconds.
    assert set(SPARK_TYPES.values()) == {
        "int", "string", "boolean", "date", "timestamp_ntz", "decimal(10,2)"
    }  # fmt: skip
    moments = [name for name, type_ in SPARK_TYPES.items() if type_ == "timestamp_ntz"]
    assert moments == ["timestamp(3) without time zone"]
