"""The Glue catalogue of a lake on this machine: what the deployment's crawlers and jobs put there.

It is made from the lake whenever it is needed and kept nowhere: there is nothing that could be
out of step with the lake. The crawlers find tables and folders; a folder that no manifest names
is then taken out again, as no job registered it, and merged folders take the place of theirs.
The table that Terraform declares gets its partitions by the manifests, as from the jobs.
"""

import base64
import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import fsspec
from botocore.config import Config

from local.aws import REGION, running_aws
from local.classifiers import PARQUET
from local.crawled import Folder
from local.crawler import crawl
from local.crawler_definition import load_definition
from local.glue_tables import partitions_of, table_input, tables_of
from totelake.catalog import create_partitions, partition
from totelake.lake import Zone
from totelake.merged import merged_away, read_merges
from totelake.swap import swap

REPOSITORY = Path(__file__).resolve().parents[1]
ZONES = RAW, PROCESSED = "raw", "processed"
_ACCOUNT = "x-moto-account-id"
_OWNER = "totelake"
_BATCHES_A_CALL = 25  # deletions that Glue takes at once


@contextmanager
def catalogue_of(lake: str) -> Iterator[tuple[Any, list[str]]]:
    """A client of a Glue whose catalogue is that of a lake.

    Args:
        lake: URI of the folder with the zones.

    Yields:
        The client, and what the crawlers found that fits no table.
    """
    with running_aws() as aws:
        glue = boto3.client(
            "glue",
            endpoint_url=aws.endpoint,
            region_name=REGION,
            aws_access_key_id="local",
            aws_secret_access_key="local",  # nosec B106  # the stand-in takes any
            config=Config(proxies={}),
        )
        # moto keeps one memory for all servers of a process, apart by account: this is a new one.
        account = f"{secrets.randbelow(10**12):012}"
        glue.meta.events.register(
            "before-call", lambda params, **_: params["headers"].update({_ACCOUNT: account})
        )
        yield glue, catalogue(glue, lake)


def catalogue(glue: Any, lake: str) -> list[str]:
    """Catalogue a lake: its two databases, their tables, committed partitions and views.

    Returns:
        What the crawlers found that fits no table.
    """
    zones = {zone: f"{lake.rstrip('/')}/{zone}" for zone in ZONES}
    values = {f"{zone}_zone": uri for zone, uri in zones.items()}
    values |= {f"{zone}_database": zone for zone in ZONES}
    problems: list[str] = []
    for zone, uri in zones.items():
        glue.create_database(DatabaseInput={"Name": zone})
        definition = load_definition(REPOSITORY / "crawlers" / f"{zone}.json", values)
        merges = read_merges(Zone(uri))
        tables = [target.rstrip("/").rsplit("/", 1)[-1] for target in definition.targets]
        # A folder whose rows are elsewhere need not be read; one of each table makes the table.
        merged = {
            f"{uri}/{table}/batch={batch}"
            for table in tables
            for batch in sorted(merged_away(merges, table))[:-1]
        }
        problems += crawl(glue, definition, bucket=uri, skip=merged).problems
        forget_uncommitted(glue, zone, uri)
        swap(glue, zone, Zone(uri), tables, merges)
    declare(glue, PROCESSED, zones[PROCESSED])
    _register_declared(glue, PROCESSED, Zone(zones[PROCESSED]))
    return problems


def declare(glue: Any, database: str, zone: str) -> None:
    """Put what Terraform declares into the processed zone's database: its table and views."""
    for table in _declared("tables"):
        glue.create_table(DatabaseName=database, TableInput=declared_table(table, zone))
    for view in _declared("views"):
        glue.create_table(DatabaseName=database, TableInput=view_input(view, database))


def _declared(what: str) -> list[dict[str, Any]]:
    path = REPOSITORY / "terraform" / f"{what}.json"
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return found


def declared_table(table: Mapping[str, Any], zone: str) -> dict[str, Any]:
    """A table as Terraform puts it into the catalogue (`terraform/catalog.tf`)."""
    columns = {column["name"]: column["hive_type"] for column in table["columns"]}
    uri = f"{zone.rstrip('/')}/{table['name']}"
    described = Folder(table["name"], uri, PARQUET, ("batch",), "", False, columns)
    more = {"Description": table["description"], "Owner": _OWNER}
    return {**table_input(described, {}), **more}


def _register_declared(glue: Any, database: str, zone: Zone) -> None:
    manifests = committed(zone.uri)
    for name in (table["name"] for table in _declared("tables")):
        table = glue.get_table(DatabaseName=database, Name=name)["Table"]
        filled = [it["batch"] for it in manifests if it["tables"].get(name, {}).get("files")]
        parts = [partition(table, batch, zone.batch_uri(name, batch)) for batch in filled]
        create_partitions(glue, database, name, parts)


def committed(zone: str) -> list[dict[str, Any]]:
    """Manifests of a zone's committed batches."""
    filesystem, root = fsspec.core.url_to_fs(zone, use_listings_cache=False)
    manifests = sorted(filesystem.glob(f"{root.rstrip('/')}/_batches/*.json"))
    return [json.loads(filesystem.cat_file(path)) for path in manifests]


def forget_uncommitted(glue: Any, database: str, zone: str) -> list[str]:
    """Take the partitions of batches that no manifest names out of the catalogue.

    Returns:
        Each as ``table/batch``.
    """
    batches = {manifest["batch"] for manifest in committed(zone)}
    forgotten = []
    for table in tables_of(glue, database):
        stray = [
            partition["Values"]
            for partition in partitions_of(glue, database, table)
            if partition["Values"][0] not in batches
        ]
        for start in range(0, len(stray), _BATCHES_A_CALL):
            glue.batch_delete_partition(
                DatabaseName=database,
                TableName=table,
                PartitionsToDelete=[
                    {"Values": values} for values in stray[start : start + _BATCHES_A_CALL]
                ],
            )
        forgotten += [f"{table}/{values[0]}" for values in stray]
    return forgotten


def view_input(view: Mapping[str, Any], database: str) -> dict[str, Any]:
    """A view as Terraform puts it into the catalogue (`terraform/catalog.tf`)."""
    content = {
        "originalSql": view["sql"],
        "catalog": "awsdatacatalog",
        "schema": database,
        "columns": [{"name": c["name"], "type": c["type"]} for c in view["columns"]],
    }
    encoded = base64.b64encode(json.dumps(content).encode()).decode()
    return {
        "Name": view["name"],
        "Description": view["description"],
        "Owner": _OWNER,
        "TableType": "VIRTUAL_VIEW",
        "ViewExpandedText": "/* Presto View */",
        "ViewOriginalText": f"/* Presto View: {encoded} */",
        "Parameters": {"presto_view": "true", "comment": "Presto View"},
        "StorageDescriptor": {
            "SerdeInfo": {"Name": "-", "SerializationLibrary": "-"},
            "Columns": [{"Name": c["name"], "Type": c["hive_type"]} for c in view["columns"]],
        },
    }
