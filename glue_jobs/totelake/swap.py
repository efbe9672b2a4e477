"""What the catalogue points at: merged folders in, the batches that are in them out.

The order holds at every moment, and so do the views: merged partitions first, then the crawler is
told to leave closed batches alone, and only then do the small partitions go. In between a row
can be there twice, never not at all; ``current_…`` and ``versions_…`` give it once. All of it is
derived from the merges and the catalogue, so a run that died is finished by the next.
"""

import re
from collections.abc import Iterable
from typing import Any

from totelake import merged, runtime
from totelake.catalog import MOST_PARTITIONS, create_partitions, find_table, partition
from totelake.errors import CatalogError
from totelake.lake import Zone
from totelake.merged import Merge
from totelake.tables import ROW_BATCH

# What of a table, as Glue gives it, Glue takes back.
_TABLE_INPUT = (
    "Name", "Description", "Owner", "Retention", "StorageDescriptor", "PartitionKeys", "TableType",
    "Parameters",
)  # fmt: skip
# Deletions of one call.
_MOST_DELETIONS = 25
# What an exclusion of closed batches begins with, and no other does.
_CLOSED = "batch="


def swap(
    glue: Any,
    database: str,
    zone: Zone,
    tables: Iterable[str],
    merges: list[Merge],
    crawler: str = "",
) -> dict[str, Any]:
    """Have a database of the catalogue point at merged folders.

    Args:
        glue: A client of Glue.
        database: The zone's.
        zone: The zone.
        tables: All that can be merged. Where merged folders come in, the table and the partitions
            that stay get the column of merged rows.
        merges: All merges of the zone.
        crawler: The zone's crawler, to be kept from cataloguing the small folders again; empty
            if there is none that crawls by itself.

    Returns:
        What was done: partitions added and removed, tables that no crawler has made yet.

    Raises:
        CatalogError: If the catalogue or the crawler refuses.
    """
    known = {name: find_table(glue, database, name) for name in tables}
    there = {name: table for name, table in known.items() if table is not None}
    changed = [table for name, table in there.items() if merged.runs_of(merges, name)]
    for table in changed:
        _complete_table(glue, database, table)
    added = sum(_add(glue, database, zone, table, merges) for table in there.values())
    absent = [name for name in known if name not in there and merged.runs_of(merges, name)]
    if crawler and merges:
        # A table that is to be made needs folders to be made from.
        _exclude(glue, crawler, [] if absent else closed_patterns(merges[-1].through))
    removed = sum(_remove(glue, database, name, merges) for name in there)
    for table in changed:
        _complete_partitions(glue, database, table)
    return {"added": added, "removed": removed, "absent_tables": absent}


def _complete_table(glue: Any, database: str, table: dict[str, Any]) -> None:
    """Give a table the column of merged rows, which a crawl of raw files does not find."""
    if _is_complete(table):
        return
    descriptor = table["StorageDescriptor"]
    columns = [*descriptor["Columns"], {"Name": ROW_BATCH, "Type": "string"}]
    table["StorageDescriptor"] = {**descriptor, "Columns": columns}
    changed = {key: table[key] for key in _TABLE_INPUT if key in table}
    glue.update_table(DatabaseName=database, TableInput=changed)


def _is_complete(thing: dict[str, Any]) -> bool:
    return any(column["Name"] == ROW_BATCH for column in thing["StorageDescriptor"]["Columns"])


def _complete_partitions(glue: Any, database: str, table: dict[str, Any]) -> None:
    """Describe the partitions that stay as the table is: a crawl would, and has nothing to do."""
    name, columns = table["Name"], table["StorageDescriptor"]["Columns"]
    pages = glue.get_paginator("get_partitions").paginate(DatabaseName=database, TableName=name)
    entries = [
        {
            "PartitionValueList": found["Values"],
            "PartitionInput": {
                "Values": found["Values"],
                "StorageDescriptor": {**found["StorageDescriptor"], "Columns": columns},
                "Parameters": found.get("Parameters", {}),
            },
        }
        for page in pages
        for found in page["Partitions"]
        if not _is_complete(found)
    ]
    for start in range(0, len(entries), MOST_PARTITIONS):
        answer = glue.batch_update_partition(
            DatabaseName=database,
            TableName=name,
            Entries=entries[start : start + MOST_PARTITIONS],
        )
        for refused in answer.get("Errors", []):
            detail = refused["ErrorDetail"]
            raise CatalogError(
                f"{database}.{name}, partition {refused['PartitionValueList']}: expected it to take"
                f" the column {ROW_BATCH}, found {detail['ErrorCode']}: "
                f"{detail.get('ErrorMessage', '')}; run compact again"
            )


def _add(
    glue: Any, database: str, zone: Zone, table: dict[str, Any], merges: Iterable[Merge]
) -> int:
    name = table["Name"]
    folders = [folder for run in merged.runs_of(merges, name) for folder in run.folders]
    there = _partitions(glue, database, name)
    return create_partitions(
        glue,
        database,
        name,
        [
            partition(table, each.partition, merged.merged_uri(zone, name, each.partition))
            for each in folders
            if each.partition not in there
        ],
    )


def _remove(glue: Any, database: str, table: str, merges: Iterable[Merge]) -> int:
    small = sorted(_partitions(glue, database, table) & merged.merged_away(merges, table))
    for start in range(0, len(small), _MOST_DELETIONS):
        answer = glue.batch_delete_partition(
            DatabaseName=database,
            TableName=table,
            PartitionsToDelete=[
                {"Values": [value]} for value in small[start : start + _MOST_DELETIONS]
            ],
        )
        for refused in answer.get("Errors", []):
            detail = refused["ErrorDetail"]
            if detail["ErrorCode"] != "EntityNotFoundException":
                raise CatalogError(
                    f"{database}.{table}, partition {refused['PartitionValues']}: expected it to "
                    f"go, found {detail['ErrorCode']}: {detail.get('ErrorMessage', '')}; its rows "
                    "are there twice, run compact again"
                )
    return len(small)


def _partitions(glue: Any, database: str, table: str) -> set[str]:
    pages = glue.get_paginator("get_partitions").paginate(
        DatabaseName=database, TableName=table, ExcludeColumnSchema=True
    )
    return {found["Values"][0] for page in pages for found in page["Partitions"]}


def _exclude(glue: Any, crawler: str, patterns: list[str]) -> None:
    """Have a crawler leave folders alone, besides what its definition excludes.

    Raises:
        CatalogError: If it is at work: it may be cataloguing what is about to go.
    """
    targets = glue.get_crawler(Name=crawler)["Crawler"]["Targets"]["S3Targets"]
    wanted = []
    for target in targets:
        own = [it for it in target.get("Exclusions", []) if not it.startswith(_CLOSED)]
        wanted.append({**target, "Exclusions": [*own, *patterns]})
    if wanted == targets:
        return
    try:
        glue.update_crawler(Name=crawler, Targets={"S3Targets": wanted})
    except runtime.AWS_ERRORS as error:
        if runtime.error_code(error) != "CrawlerRunningException":
            raise
        raise CatalogError(
            f"crawler {crawler}: expected it to be at rest, found it at work; merged and small "
            "partitions are both there until compact runs again"
        ) from error


def closed_patterns(through: str) -> list[str]:
    """Globs of all folders of batches up to one: at most one for each digit of its id.

    >>> closed_patterns("2001Z")
    ['batch=[0-1]*/**', 'batch=200[0-0]*/**', 'batch=2001Z/**']
    """
    patterns = [
        f"{_CLOSED}{through[:place]}[0-{int(digit) - 1}]*/**"
        for place, digit in enumerate(through)
        if re.fullmatch("[1-9]", digit)
    ]
    return [*patterns, f"{_CLOSED}{through}/**"]
