"""A Glue crawler for this machine: reads folders, writes tables and partitions to the catalogue.

It takes a definition as `crawlers/*.json` has it and does what AWS documents for it, on a lake in
files or in S3, through Glue's API. What it knows of a lake is what AWS's knows: files and folders,
not manifests.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from local.classifiers import CSV
from local.crawled import Folder, Found, read_targets
from local.crawler_definition import (
    DELETE,
    EVERYTHING,
    LOG,
    NEW_FOLDERS,
    UPDATE,
    CrawlerError,
    Definition,
)
from local.glue_tables import (
    PARTITIONS_A_CALL,
    descriptor,
    partition_descriptor,
    partitions_of,
    table_input,
    tables_of,
)

CREATOR, DEPRECATED = "UPDATED_BY_CRAWLER", "DEPRECATED_BY_CRAWLER"


@dataclass(frozen=True)
class Crawl:
    """What a crawl did, as its log would say it.

    Attributes:
        created: Tables that are new in the catalogue.
        updated: Tables whose columns or partitions' descriptions changed.
        partitions: Per table, how many partitions were added.
        removed: Tables and partitions that were deleted or marked as deprecated.
        logged: Changes that the policy says to log and not to make.
        problems: Files and columns that fit no table; Athena will stumble over them.
    """

    created: tuple[str, ...]
    updated: tuple[str, ...]
    partitions: Mapping[str, int]
    removed: tuple[str, ...]
    logged: tuple[str, ...]
    problems: tuple[str, ...]


def crawl(
    glue: Any, definition: Definition, bucket: str = "", skip: AbstractSet[str] = frozenset()
) -> Crawl:
    """Crawl once.

    Args:
        glue: A boto3 client of Glue, whose catalogue has the database.
        definition: What to crawl, and how.
        bucket: For a lake in files, the folder that stands for its bucket: levels count from it.
        skip: URIs of folders of files to pass over.

    Raises:
        CrawlerError: If a table's level lies above a target.
    """
    run = _Run(glue, definition)
    known = tables_of(glue, definition.database)
    passed = set(skip)
    if definition.recrawl == NEW_FOLDERS:
        for name, table in known.items():
            located = [
                part["StorageDescriptor"] for part in partitions_of(glue, definition.database, name)
            ]
            passed |= {each["Location"].rstrip("/")
                       for each in [*located, table["StorageDescriptor"]]
                       if each.get("Location")}  # fmt: skip
    level = definition.table_level
    try:
        found = read_targets(definition.targets, definition.exclusions, level, bucket, passed)
    except ValueError as error:
        raise CrawlerError(f"crawler {definition.name}: {error}") from error
    run.problems += found.problems
    for folder in found.tables:
        if definition.open_csv and folder.format == CSV:
            folder.as_text()
        run.table(folder, known.get(folder.name))
    if definition.recrawl == EVERYTHING:
        run.gone(found, known)
    return run.result()


class _Run:
    """One crawl: what is in the catalogue becomes what was found, as far as policies allow."""

    def __init__(self, glue: Any, definition: Definition) -> None:
        self.problems: list[str] = []
        self._glue = glue
        self._definition = definition
        self._created: list[str] = []
        self._updated: list[str] = []
        self._partitions: dict[str, int] = {}
        self._removed: list[str] = []
        self._logged: list[str] = []

    def result(self) -> Crawl:
        """What was done."""
        return Crawl(
            tuple(self._created), tuple(self._updated), self._partitions,
            tuple(self._removed), tuple(self._logged), tuple(self.problems),
        )  # fmt: skip

    def table(self, found: Folder, known: Mapping[str, Any] | None) -> None:
        """Bring one table and its partitions to the catalogue."""
        database = self._definition.database
        table: Mapping[str, Any]
        if known is None:
            table = table_input(found, {CREATOR: self._definition.name})
            self._glue.create_table(DatabaseName=database, TableInput=table)
            self._created.append(found.name)
        else:
            table = self._changed(found, known)
        self._add_partitions(found, table)

    def _changed(self, found: Folder, known: Mapping[str, Any]) -> Mapping[str, Any]:
        """The table as it is in the catalogue from now on."""
        definition = self._definition
        name, old = found.name, known["StorageDescriptor"]
        if str(old.get("Location", "")).rstrip("/") != found.uri.rstrip("/"):
            raise CrawlerError(
                f"table {definition.database}.{name} lies at {old.get('Location')}, another of "
                f"that name at {found.uri}: AWS would make up a name; rename one of the folders"
            )
        columns = {column["Name"]: column["Type"] for column in old["Columns"]}
        if definition.merge_new_columns:
            wanted = columns | {k: v for k, v in found.columns.items() if k not in columns}
            self.problems += [
                f"{name}.{key}: {type_} in files, stays {columns[key]}"
                for key, type_ in found.columns.items()
                if columns.get(key, type_) != type_
            ]
        else:
            wanted = dict(found.columns)
        if wanted == columns:
            return known
        if definition.on_change == LOG:
            change = _difference(columns, wanted)
            self._logged.append(f"{name}: {change}")
            return known
        described = {**old, "Columns": descriptor(found, wanted)["Columns"]}
        changed = {**_writable(known), "StorageDescriptor": described}
        self._glue.update_table(DatabaseName=definition.database, TableInput=changed)
        self._updated.append(name)
        return changed

    def _add_partitions(self, found: Folder, table: Mapping[str, Any]) -> None:
        database, name = self._definition.database, found.name
        known = {tuple(p["Values"]): p for p in partitions_of(self._glue, database, name)}
        new = []
        for values, part in found.partitions.items():
            own = None if self._definition.inherit else part.columns
            wanted = partition_descriptor(table, part.uri, own)
            if values not in known:
                new.append({"Values": list(values), "StorageDescriptor": wanted,
                            "Parameters": {CREATOR: self._definition.name}})  # fmt: skip
            elif self._definition.on_change == UPDATE and self._definition.inherit:
                old = known[values]
                if _differs(old["StorageDescriptor"], wanted):
                    merged = {**old["StorageDescriptor"], **wanted,
                              "Location": old["StorageDescriptor"]["Location"]}  # fmt: skip
                    self._glue.update_partition(
                        DatabaseName=database, TableName=name, PartitionValueList=list(values),
                        PartitionInput={"Values": list(values), "StorageDescriptor": merged,
                                        "Parameters": old.get("Parameters", {})},
                    )  # fmt: skip
                    if name not in self._updated:
                        self._updated.append(name)
        for start in range(0, len(new), PARTITIONS_A_CALL):
            self._glue.batch_create_partition(
                DatabaseName=database, TableName=name,
                PartitionInputList=new[start : start + PARTITIONS_A_CALL],
            )  # fmt: skip
        if new:
            self._partitions[name] = len(new)

    def gone(self, found: Found, known: Mapping[str, Mapping[str, Any]]) -> None:
        """Deal with tables of this crawler, and partitions, whose files are gone."""
        database = self._definition.database
        there = {folder.name: folder for folder in found.tables}
        for name, table in known.items():
            if table.get("Parameters", {}).get(CREATOR) != self._definition.name:
                continue
            if name not in there:
                self._drop_table(name, table)
                continue
            for part in partitions_of(self._glue, database, name):
                if tuple(part["Values"]) not in there[name].partitions:
                    what = f"{name} {'/'.join(part['Values'])}"
                    if self._definition.on_delete != DELETE:
                        self._logged.append(f"{what}: its files are gone")
                        continue
                    self._glue.delete_partition(
                        DatabaseName=database, TableName=name, PartitionValues=part["Values"]
                    )
                    self._removed.append(what)

    def _drop_table(self, name: str, table: Mapping[str, Any]) -> None:
        database, policy = self._definition.database, self._definition.on_delete
        if policy == LOG:
            self._logged.append(f"{name}: its files are gone")
            return
        if policy == DELETE:
            self._glue.delete_table(DatabaseName=database, Name=name)
        elif DEPRECATED in table["Parameters"]:
            return
        else:
            parameters = {**table["Parameters"], DEPRECATED: "true"}
            marked = {**_writable(table), "Parameters": parameters}
            self._glue.update_table(DatabaseName=database, TableInput=marked)
        self._removed.append(name)


def _writable(table: Mapping[str, Any]) -> dict[str, Any]:
    """What of a table, as Glue gives it, Glue takes back."""
    keys = ("Name", "TableType", "Parameters", "PartitionKeys", "StorageDescriptor")
    return {key: table[key] for key in keys}


def _difference(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    parts = [f"+{name} {type_}" for name, type_ in new.items() if name not in old]
    parts += [f"-{name}" for name in old if name not in new]
    parts += [f"{n} {old[n]} → {t}" for n, t in new.items() if n in old and old[n] != t]
    return ", ".join(parts)


def _differs(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return any(old.get(key) != new[key] for key in ("Columns", "InputFormat", "SerdeInfo"))
