"""Tables and partitions as the Glue catalogue holds them."""

from collections.abc import Mapping
from typing import Any

from local.classifiers import CSV, PARQUET
from local.crawled import Folder

PARTITIONS_A_CALL = 100  # Glue takes no more
LAZY_SERDE = "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe"
OPEN_CSV_SERDE = "org.apache.hadoop.hive.serde2.OpenCSVSerde"
PARQUET_SERDE = "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"
_FORMATS = {
    PARQUET: (
        "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
        "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
    ),
    CSV: (
        "org.apache.hadoop.mapred.TextInputFormat",
        "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat",
    ),
}


def tables_of(glue: Any, database: str) -> dict[str, Mapping[str, Any]]:
    """All tables and views of a database, by name."""
    pages = glue.get_paginator("get_tables").paginate(DatabaseName=database)
    return {table["Name"]: table for page in pages for table in page["TableList"]}


def partitions_of(glue: Any, database: str, table: str) -> list[dict[str, Any]]:
    """All partitions of a table."""
    pages = glue.get_paginator("get_partitions").paginate(DatabaseName=database, TableName=table)
    return [partition for page in pages for partition in page["Partitions"]]


def table_input(found: Folder, parameters: Mapping[str, str]) -> dict[str, Any]:
    """A table as Glue's API takes it, described as a crawler describes it."""
    described = {"classification": found.format, "compressionType": "none", "typeOfData": "file"}
    if found.format == CSV:
        described |= {"delimiter": found.delimiter, "columnsOrdered": "true"}
        described |= {"areColumnsQuoted": str(found.quoted).lower()}
        described |= {"skip.header.line.count": "1"} if found.header else {}
    return {
        "Name": found.name,
        "TableType": "EXTERNAL_TABLE",
        "PartitionKeys": [{"Name": key, "Type": "string"} for key in found.keys],
        "Parameters": {**described, **parameters},
        "StorageDescriptor": {
            **descriptor(found, found.columns),
            "Location": found.uri.rstrip("/") + "/",
        },
    }


def descriptor(found: Folder, columns: Mapping[str, str]) -> dict[str, Any]:
    """Columns, formats and serde of a table's files."""
    read, write = _FORMATS[found.format]
    if found.quoted:
        serde = {
            "SerializationLibrary": OPEN_CSV_SERDE,
            "Parameters": {"separatorChar": found.delimiter, "quoteChar": '"'},
        }
    elif found.format == CSV:
        serde = {
            "SerializationLibrary": LAZY_SERDE,
            "Parameters": {"field.delim": found.delimiter},
        }
    else:
        serde = {
            "SerializationLibrary": PARQUET_SERDE,
            "Parameters": {"serialization.format": "1"},
        }
    return {
        "Columns": [{"Name": name, "Type": type_} for name, type_ in columns.items()],
        "InputFormat": read,
        "OutputFormat": write,
        "SerdeInfo": serde,
    }


def partition_descriptor(
    table: Mapping[str, Any], uri: str, columns: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """A partition described as its table is, or with columns of its own."""
    whole = table["StorageDescriptor"]
    keys = ("Columns", "InputFormat", "OutputFormat", "SerdeInfo")
    described = {key: whole[key] for key in keys}
    if columns is not None:
        described["Columns"] = [{"Name": n, "Type": type_} for n, type_ in columns.items()]
    return {**described, "Location": uri.rstrip("/") + "/"}
