"""Partitions of committed batches in the Glue Data Catalog.

Crawlers make the tables and follow their columns; a job registers the partitions of the batches
that it committed, so that Athena sees a batch as soon as it exists. How far that has come is
noted in the zone: a run registers what is committed since then, be it its own batches or those
of a run that died before it could.

The catalogue is beside the way to the warehouse. A batch is committed without it, so a failure
here does not fail the job, which would keep the next one from running: it is logged as an error
and published as a metric with an alarm, and the next run catches up.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from totelake import merged, metrics, notes, runtime
from totelake.batch import Manifest
from totelake.errors import CatalogError
from totelake.lake import Zone
from totelake.metrics import Metrics
from totelake.runtime import Log

# Partitions of one call.
MOST_PARTITIONS = 100
# Of what a crawler notes of a table, what is true of each of its partitions as well.
_INHERITED = ("classification", "compressionType", "typeOfData")


@dataclass(frozen=True)
class Catalogue:
    """A zone's database in the Data Catalog and its crawler.

    Attributes:
        database: Its name; empty for a zone that has none.
        crawler: The crawler to start when a table is new or has a new column; empty to start
            none, because it runs with the workflow.
    """

    database: str
    crawler: str

    def register(
        self, zone: Zone, newest_first: Iterable[Manifest], log: Log, measured: Metrics
    ) -> None:
        """Register the partitions of the batches that are committed and not registered yet.

        Args:
            zone: The zone.
            newest_first: Its manifests; only those that are needed are taken.
            log: Gets what was done, or why not.
            measured: Gets whether it failed.
        """
        if not self.database:
            return
        done = notes.registered(zone, self.database)
        pending = list(takewhile(lambda manifest: manifest.batch > done, newest_first))[::-1]
        if not pending:
            return
        try:
            complete = self._register(zone, pending, log)
        except (*runtime.AWS_ERRORS, CatalogError) as error:
            measured.add(metrics.REGISTRATION_FAILURES, 1)
            log.event(
                "not_registered",
                logging.ERROR,
                database=self.database,
                batches=len(pending),
                error=type(error).__name__,
                message=f"{error}; the batches are committed, the next run registers them",
            )
            return
        measured.add(metrics.REGISTRATION_FAILURES, 0)
        if complete:
            notes.note_registered(zone, self.database, pending[-1].batch)

    def _register(self, zone: Zone, pending: Sequence[Manifest], log: Log) -> bool:
        """Register some batches, oldest first; whether nothing is left for the next run."""
        glue = runtime.client("glue")
        absent, changed, created = [], [], 0
        merges = merged.merges_from(zone, pending[0].batch)
        tables = sorted({name for manifest in pending for name in filled(manifest)})
        for name in tables:
            batches = [manifest for manifest in pending if name in filled(manifest)]
            table = find_table(glue, self.database, name)
            if table is None:
                absent.append(name)
                continue
            away = merged.merged_away(merges, name)
            if has_new_columns(table, batches):
                changed.append(name)
            own = [manifest.batch for manifest in batches if manifest.batch not in away]
            parts = [partition(table, id_, zone.batch_uri(name, id_)) for id_ in own]
            created += create_partitions(glue, self.database, name, parts)
        log.event(
            "registered",
            database=self.database,
            batches=[manifest.batch for manifest in pending],
            partitions=created,
        )
        if not absent and not changed:
            return True
        started = self._crawl(glue, absent, changed, log)
        # A crawler that was at work already may have begun before this batch was there.
        return not absent and (started or not self.crawler)

    def _crawl(self, glue: Any, absent: list[str], changed: list[str], log: Log) -> bool:
        """Have the crawler make or change tables; False if it was at work, or is not ours."""
        started = False
        if self.crawler:
            try:
                glue.start_crawler(Name=self.crawler)
                started = True
            except runtime.AWS_ERRORS as error:
                if runtime.error_code(error) != "CrawlerRunningException":
                    raise
        log.event(
            "crawl",
            database=self.database,
            started=started,
            absent_tables=absent,
            changed_tables=changed,
        )
        return started


def filled(manifest: Manifest) -> set[str]:
    """The tables of which a batch has files; a crawler makes no table of an empty folder."""
    return {name for name, entry in manifest.tables.items() if entry.files}


def has_new_columns(table: dict[str, Any], batches: Iterable[Manifest]) -> bool:
    """Whether some batch has a column that the catalogue's table lacks."""
    known = {column["Name"] for column in table["StorageDescriptor"]["Columns"]}
    return any(
        column.lower() not in known
        for manifest in batches
        for column in manifest.tables[table["Name"]].columns
    )


def partition(table: Mapping[str, Any], value: str, folder_uri: str) -> dict[str, Any]:
    """A partition: the table's own columns, formats and serde, in the folder of its rows."""
    descriptor = table["StorageDescriptor"]
    return {
        "Values": [value],
        "StorageDescriptor": {
            **descriptor,
            "Location": f"{folder_uri}/",
            "Parameters": _inherited(descriptor),
        },
        "Parameters": _inherited(table),
    }


def _inherited(thing: Mapping[str, Any]) -> dict[str, str]:
    """A crawler's counts and sizes of the table are nothing to a partition."""
    found = thing.get("Parameters", {})
    return {name: found[name] for name in _INHERITED if name in found}


def find_table(glue: Any, database: str, name: str) -> dict[str, Any] | None:
    """A table of the catalogue; None if no crawler has made it yet."""
    try:
        table: dict[str, Any] = glue.get_table(DatabaseName=database, Name=name)["Table"]
    except runtime.AWS_ERRORS as error:
        if runtime.error_code(error) != "EntityNotFoundException":
            raise
        return None
    return table


def create_partitions(
    glue: Any, database: str, table: str, partitions: list[dict[str, Any]]
) -> int:
    """Create partitions; those that are there already stay. How many are new."""
    created = 0
    for start in range(0, len(partitions), MOST_PARTITIONS):
        part = partitions[start : start + MOST_PARTITIONS]
        answer = glue.batch_create_partition(
            DatabaseName=database, TableName=table, PartitionInputList=part
        )
        refused = [(it["PartitionValues"], it["ErrorDetail"]) for it in answer.get("Errors", [])]
        for values, detail in refused:
            if detail["ErrorCode"] != "AlreadyExistsException":
                raise CatalogError(
                    f"{database}.{table}, partition {values}: {detail['ErrorCode']}: "
                    f"{detail.get('ErrorMessage', '')}"
                )
        created += len(part) - len(refused)
    return created
