"""Do source, lake and warehouse hold the same star? Rows are compared where they lie."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date

from pg8000.native import Connection

from local.fingerprints import POSTGRES, Fingerprint, fingerprint_query, quoted
from local.processed_zone import ProcessedZone
from local.source_views import SOURCE_VIEWS
from totelake.currencies import ISO_4217
from totelake.tables import DATE, FACTS, STAR, StarTable

DAYS = "dim_date"


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


@dataclass(frozen=True)
class TableReport:
    """One table of the star in the three places.

    Attributes:
        table: Its name.
        source: Current rows of the source's view; for dim_date the days that its rows name.
        lake: Current rows in the processed zone.
        warehouse: Current rows in the warehouse.
        versions: For a fact, all versions in the warehouse.
        rejected: Source rows whose newest version is in quarantine.
        held: Versions of a fact that wait in the warehouse for a dimension member.
        differences: What does not agree, in words; empty if all does.
    """

    table: str
    source: int
    lake: int
    warehouse: int
    versions: int | None
    rejected: int
    held: int
    differences: tuple[str, ...]


def mark(warehouse: Connection) -> Mark:
    """Note where the warehouse stands; one without tables yet stands at nothing."""
    if warehouse.run("SELECT to_regclass('etl.batch') IS NULL")[0][0]:
        return Mark(frozenset(), {fact.name: 0 for fact in FACTS})
    batches = warehouse.run("SELECT batch_id FROM etl.batch")
    keys = {
        fact.name: warehouse.run(
            f"SELECT count(DISTINCT {quoted(fact.key)}) FROM {_versions(fact)}"
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


def compare(source: Connection, warehouse: Connection, zone: ProcessedZone) -> list[TableReport]:
    """Compare every table of the star in the three places, each at one instant.

    Rows that the jobs set aside, rejected or held, are counted but not compared.
    """
    with _snapshot(source), _snapshot(warehouse):
        reports = []
        days: set[str] = set()
        for name in SOURCE_VIEWS:
            table = STAR[name]
            rejected = zone.rejected(table)
            held = _held(warehouse, table) if table.is_fact else []
            set_aside = [*rejected, *held]
            if table.is_fact:
                days |= _days(source, table, set_aside)
            current = Places(
                _fingerprint(source, SOURCE_VIEWS[name], table, set_aside),
                zone.current(table, set_aside),
                _fingerprint(warehouse, _current(table), table, set_aside),
            )
            reports.append(_report(warehouse, zone, table, current, rejected, held))
        return [_days_report(warehouse, zone, days), *reports]


@dataclass(frozen=True)
class Places:
    """A table's fingerprint in each place."""

    source: Fingerprint
    lake: Fingerprint
    warehouse: Fingerprint


def _report(
    warehouse: Connection,
    zone: ProcessedZone,
    table: StarTable,
    current: Places,
    rejected: list[str],
    held: list[str],
) -> TableReport:
    differences = []
    if current.source.content != current.lake.content:
        differences.append(_difference("source", current.source, "lake", current.lake))
    if current.lake.content != current.warehouse.content:
        differences.append(_difference("lake", current.lake, "warehouse", current.warehouse))
    versions = None
    if table.is_fact:
        everything = f"SELECT * FROM public.{quoted(table.name)}"
        set_aside = [*rejected, *held]
        stored = _fingerprint(warehouse, everything, table, set_aside)
        landed = zone.versions(table, set_aside)
        versions = stored.rows
        if landed.content != stored.content:
            differences.append("versions: " + _difference("lake", landed, "warehouse", stored))
    return TableReport(
        table.name,
        current.source.rows,
        current.lake.rows,
        current.warehouse.rows,
        versions,
        len(rejected),
        len(held),
        tuple(differences),
    )


def _days_report(warehouse: Connection, zone: ProcessedZone, days: set[str]) -> TableReport:
    """dim_date has no counterpart in the source: every day that its rows name has to be there."""
    table = STAR[DAYS]
    lake = zone.current(table, [])
    stored = _fingerprint(warehouse, _current(table), table, [])
    known = {day for (day,) in warehouse.run('SELECT date_id::text FROM public."dim_date"')}
    differences = []
    if lake.content != stored.content:
        differences.append(_difference("lake", lake, "warehouse", stored))
    if missing := sorted(days - known):
        differences.append(f"{len(missing)} days of the source are missing, first {missing[0]}")
    return TableReport(DAYS, len(days), lake.rows, stored.rows, None, 0, 0, tuple(differences))


def _difference(left: str, one: Fingerprint, right: str, other: Fingerprint) -> str:
    if one.compared != other.compared:
        return f"{one.compared:,} rows in the {left}, {other.compared:,} in the {right}"
    return f"the {left}'s {one.compared:,} rows and the {right}'s differ in content"


def _fingerprint(
    connection: Connection, relation: str, table: StarTable, set_aside: Sequence[str]
) -> Fingerprint:
    names = {}
    if ":currency_codes" in relation:
        names = {"currency_codes": list(ISO_4217), "currency_names": list(ISO_4217.values())}
    query = fingerprint_query(POSTGRES, relation, table.columns, table.key)
    return Fingerprint(*map(int, connection.run(query, set_aside=list(set_aside), **names)[0]))


def _current(table: StarTable) -> str:
    """The warehouse's current rows of a table."""
    if table.is_fact:
        return f"SELECT * FROM etl.{quoted(table.name.replace('fact_', 'current_'))}"
    return (
        f"SELECT * FROM public.{quoted(table.name)} AS member WHERE NOT EXISTS (SELECT FROM"
        f" etl.deleted_member AS gone WHERE gone.table_name = '{table.name}'"
        f" AND gone.member = member.{quoted(table.key)}::text)"
    )


def _versions(fact: StarTable) -> str:
    return f"etl.{quoted(fact.name + '_version')}"


def _held(warehouse: Connection, fact: StarTable) -> list[str]:
    """Keys of the versions that wait for a dimension member."""
    relation = f"etl.{quoted('held_' + fact.name)}"
    return [key for (key,) in warehouse.run(f"SELECT {quoted(fact.key)}::text FROM {relation}")]


def _days(source: Connection, fact: StarTable, set_aside: Sequence[str]) -> set[str]:
    """The days that a fact's source rows name, those that were set aside left out."""
    texts = ", ".join(f"{quoted(c.name)}::text" for c in fact.columns if c.type == DATE)
    rows = source.run(
        f"SELECT DISTINCT unnest(ARRAY[{texts}]) FROM ({SOURCE_VIEWS[fact.name]}) AS rows"
        f" WHERE NOT EXISTS (SELECT FROM unnest(CAST(:set_aside AS text[])) AS aside (key)"
        f" WHERE aside.key = rows.{quoted(fact.key)}::text)",
        set_aside=list(set_aside),
    )
    return {day for (day,) in rows if _is_day(day)}


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


@contextmanager
def _snapshot(connection: Connection) -> Iterator[None]:
    connection.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    try:
        connection.run("SET LOCAL datestyle TO 'ISO, YMD'")
        yield
    finally:
        connection.run("ROLLBACK")
