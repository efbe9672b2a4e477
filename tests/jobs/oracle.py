"""What a history must come to, worked out from what was committed, and what it has come to.

The oracle knows nothing of batches, transaction ids or files: whenever extract has ended, it asks
the source what is committed. A row that differs from the last accepted one of its key is one
more version, and a key that is gone ends in a deletion.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pg8000.native import Connection, identifier

from totelake import batch
from totelake.lake import Zone
from totelake.source_views import SOURCE_VIEWS
from totelake.tables import (
    DATE,
    ROW_BATCH,
    ROW_CHANGE,
    ROW_DELETED,
    SOURCE,
    STAR,
    TOMBSTONE,
    StarTable,
)

from .conftest import Pipeline

Row = tuple[Any, ...]
Versions = dict[Any, list[Row]]
DELETED: Row = ("deleted",)


@dataclass
class Oracle:
    """Every version of every key of the star that must be in the lake.

    Attributes:
        versions: By star table and key, oldest first; ``DELETED`` stands for a deletion.
        keys: By source table, the keys that it had when the oracle last looked.
    """

    versions: dict[str, Versions] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    keys: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))

    def look(self, source: Connection) -> None:
        """Note what is committed."""
        for name, view in SOURCE_VIEWS.items():
            rows = {row[0]: plain(row) for row in source.run(view)}
            for key, values in rows.items():
                versions = self.versions[name][key]
                if is_accepted(STAR[name], values) and versions[-1:] != [values]:
                    versions.append(values)
            for key in self.keys[str(STAR[name].source)] - rows.keys():
                self.versions[name][key].append(DELETED)
        for name, table in SOURCE.items():
            keys = source.run(f"SELECT {identifier(table.key)} FROM {identifier(name)}")
            self.keys[name] = {key for (key,) in keys}

    def members(self, name: str) -> list[Row]:
        """The last version of each member that was ever accepted: deleted ones stay."""
        alive = ([row for row in rows if row != DELETED] for rows in self.versions[name].values())
        return sorted((rows[-1] for rows in alive if rows), key=repr)

    def deleted_members(self) -> list[list[str]]:
        """Dimension and key of the members that are gone."""
        return sorted(
            [name, str(key)]
            for name in SOURCE_VIEWS
            if not STAR[name].is_fact
            for key, rows in self.versions[name].items()
            if rows[-1:] == [DELETED]
        )

    def loaded(self, fact: StarTable) -> Versions:
        """A fact's versions without those that wait for a member of a dimension."""
        names = fact.column_names
        found = {}
        for key, rows in self.versions[fact.name].items():
            kept = [
                row
                for row in rows
                if row == DELETED
                or all(
                    any(
                        it != DELETED
                        for it in self.versions[c.references][row[names.index(c.name)]]
                    )
                    for c in fact.columns
                    if c.references and c.references != "dim_date"
                )
            ]
            if kept:
                found[key] = kept
        return found

    def current(self, fact: StarTable) -> list[Row]:
        """The last version of each key that is not deleted, of those that are loaded."""
        last = (rows[-1] for rows in self.loaded(fact).values())
        return sorted((row for row in last if row != DELETED), key=repr)


def plain(row: Any) -> Row:
    """A row in values that all places have in common."""
    return tuple(
        value.isoformat("milliseconds")
        if isinstance(value, time)
        else value.isoformat()
        if isinstance(value, date)
        else f"{value:.2f}"
        if isinstance(value, Decimal)
        else value
        for value in row
    )


def is_accepted(star: StarTable, row: Row) -> bool:
    """Whether the star can have a row: no null where there must be none, dates that are dates."""
    for column, value in zip(star.columns, row, strict=True):
        if value is None and not column.nullable:
            return False
        if column.type == DATE:
            try:
                date.fromisoformat(value)
            except ValueError:
                return False
    return True


def columns_of(star: StarTable, alias: str) -> str:
    return ", ".join(f'{alias}."{name}"' for name in star.column_names)


def rows_of(pipeline: Pipeline, star: StarTable, relation: str) -> list[Row]:
    rows = pipeline.rows(f"SELECT {columns_of(star, 't')} FROM {relation} AS t")
    return sorted(map(plain, rows), key=repr)


def versions_in_warehouse(pipeline: Pipeline, star: StarTable) -> Versions:
    """A fact's versions by key, in the order of their batches."""
    found: Versions = defaultdict(list)
    rows = pipeline.rows(
        f"SELECT v.{star.key}, v.record_id IS NULL, {columns_of(star, 'f')}"
        f" FROM etl.{star.name}_version AS v"
        f" LEFT JOIN {star.name} AS f ON f.{star.record_id} = v.record_id ORDER BY v.batch_id"
    )
    for key, deleted, *row in rows:
        found[key].append(DELETED if deleted else plain(row))
    kept = sum(row != DELETED for rows in found.values() for row in rows)
    assert [[kept]] == pipeline.rows(f"SELECT count(*) FROM {star.name}"), star.name
    return dict(found)


def versions_in_lake(pipeline: Pipeline, star: StarTable) -> Versions:
    """Versions by key, equal neighbours once, read without Spark."""
    found: Versions = defaultdict(list)
    for id_ in batch.processed_ids(pipeline.processed):
        entry = batch.read_processed(pipeline.processed, id_).tables[star.name]
        for values in rows_of_files(pipeline.processed, star.name, id_, entry):
            assert values.pop(ROW_BATCH) == id_
            row = DELETED if values.pop(ROW_DELETED) else plain(values.values())
            key = values[star.key]
            if found[key][-1:] != [row]:
                found[key].append(row)
    return dict(found)


def keys_in_raw(pipeline: Pipeline, table: str) -> set[int]:
    """The keys of a raw table that are alive after the newest batch, read without Spark."""
    alive: set[int] = set()
    for manifest in pipeline.batches():
        for row in rows_of_files(pipeline.raw, table, manifest.batch, manifest.tables[table]):
            key = row[SOURCE[table].key]
            if row[ROW_CHANGE] == TOMBSTONE:
                alive.remove(key)  # fails for a key that is deleted twice
            else:
                alive.add(key)
    return alive


def rows_of_files(
    zone: Zone, table: str, batch_id: str, entry: batch.TableEntry
) -> Iterable[dict[str, Any]]:
    """The rows of a table in a batch."""
    folder = Path(zone.uri.removeprefix("file://")) / table / f"batch={batch_id}"
    for file in entry.files:
        yield from pq.ParquetFile(folder / file.name).read().to_pylist()
