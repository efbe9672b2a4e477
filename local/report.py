"""What runs brought to the warehouse, and what reconcile found."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from pg8000.native import Connection, identifier

from totelake.reconcile import Report
from totelake.tables import FACTS, STAR
from totelake.warehouse_sql import version_table


@dataclass(frozen=True)
class Mark:
    """Where the warehouse stands: what is added later is counted from here.

    Attributes:
        batches: Ids of the batches loaded.
        keys: Per fact, how many orders or payments it has ever had a version of.
    """

    batches: frozenset[str]
    keys: Mapping[str, int]


@dataclass(frozen=True)
class Added:
    """What a run brought to a table: new keys, and changed members or further versions."""

    new: int
    changed: int


def mark(warehouse: Connection) -> Mark:
    """Note where the warehouse stands; one without tables yet stands at nothing."""
    if warehouse.run("SELECT to_regclass('etl.batch') IS NULL")[0][0]:
        return Mark(frozenset(), {fact.name: 0 for fact in FACTS})
    batches = warehouse.run("SELECT batch_id FROM etl.batch")
    keys = {
        fact.name: warehouse.run(
            f"SELECT count(DISTINCT {identifier(fact.key)}) FROM {version_table(fact)}"
            " WHERE record_id IS NOT NULL"
        )[0][0]
        for fact in FACTS
    }
    return Mark(frozenset(batch for (batch,) in batches), keys)


def added(warehouse: Connection, before: Mark, after: Mark) -> dict[str, Added]:
    """What the batches loaded between two marks brought to each table."""
    rows = warehouse.run(
        "SELECT table_name, sum(inserted)::bigint, sum(updated)::bigint FROM etl.table_load"
        " WHERE batch_id = ANY(CAST(:batches AS text[])) GROUP BY table_name",
        batches=sorted(after.batches - before.batches),
    )
    loaded = {table: (inserted, updated) for table, inserted, updated in rows}
    result = {}
    for name, table in STAR.items():
        new, changed = loaded.get(name, (0, 0))
        if table.is_fact:
            versions, new = new, after.keys[name] - before.keys[name]
            changed = versions - new
        result[name] = Added(new, changed)
    return result


def reconciled(events: Iterable[Mapping[str, Any]]) -> list[Report]:
    """What the job reconcile logged of each table."""
    known = {field.name for field in fields(Report)}
    return [
        Report(**{name: value for name, value in event.items() if name in known})
        for event in events
        if event["event"] == "reconciled"
    ]
