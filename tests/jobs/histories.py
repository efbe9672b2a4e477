"""Histories of a source at random, and what they must come to, worked out from what was committed.

The oracle knows nothing of batches, transaction ids or files: whenever extract commits a batch, it
asks the source what is committed, and a row that differs from the last accepted one of its key is
one more version.
"""

from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import hypothesis
import pyarrow.parquet as pq
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)
from pg8000.native import Connection

from local.postgres import connect
from tests.faults.effects import DEATH, Death
from totelake import batch
from totelake.source_views import SOURCE_VIEWS
from totelake.tables import DATE, ROW_BATCH, ROW_DELETED, STAR, StarTable

from .conftest import Pipeline
from .faults import Bench, raw_batches, watch

Row = tuple[Any, ...]
LONG_ROWS = (1, 2)  # purchase orders that only long transactions touch, one each
EFFECTS = {"extract": 25, "transform": 25, "load": 110}  # about as many as each has
orders = st.sampled_from((1, 2))
small = st.integers(1, 3)
places = st.sampled_from(("Leeds", "Hull", "York"))


@dataclass
class Oracle:
    """Every version of every key of the star that must be in the lake."""

    versions: dict[str, dict[Any, list[Row]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )

    def look(self, source: Connection) -> None:
        """Note what is committed."""
        for name, view in SOURCE_VIEWS.items():
            for row in source.run(view):
                values = plain(row)
                versions = self.versions[name][values[0]]
                if is_accepted(STAR[name], values) and versions[-1:] != [values]:
                    versions.append(values)

    def current(self, name: str) -> list[Row]:
        """The last version of each key."""
        return sorted((rows[-1] for rows in self.versions[name].values() if rows), key=repr)

    def loaded(self, fact: StarTable) -> dict[Any, list[Row]]:
        """A fact's versions without those that wait for a member of a dimension."""
        names = fact.column_names
        found = {}
        for key, rows in self.versions[fact.name].items():
            kept = [
                row
                for row in rows
                if all(
                    self.versions[c.references][row[names.index(c.name)]]
                    for c in fact.columns
                    if c.references and c.references != "dim_date"
                )
            ]
            if kept:
                found[key] = kept
        return found


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


class Histories(RuleBasedStateMachine):
    """One history: changes of the source, runs, and runs that are killed."""

    make: ClassVar[Callable[[], Bench]]
    tried: ClassVar[int] = 0
    runs: ClassVar[int] = 0
    killed: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.bench = self.make()
        self.pipeline: Pipeline = self.bench.pipeline
        self.oracle = Oracle()
        self.seen = 0
        self.next_key = 200
        self.long: dict[int, Connection] = {}
        self.run()

    def sql(self, statement: str, **values: Any) -> None:
        self.pipeline.source.run(statement, **values)

    @rule(design=st.sampled_from((8, 9)), staff=small, units=st.integers(1, 9))
    def insert(self, design: int, staff: int, units: int) -> None:
        self.next_key += 1
        self.sql(
            "WITH o AS (INSERT INTO sales_order VALUES (:key, '2001-01-01', '2001-01-01', :design,"
            " :staff, 1, :units, 2.50, 1, '2024-01-02', '2024-01-03', 1) RETURNING sales_order_id),"
            " t AS (INSERT INTO transaction SELECT :key, 'SALE', sales_order_id, NULL, now(), now()"
            " FROM o RETURNING transaction_id)"
            " INSERT INTO payment SELECT :key, now(), now(), transaction_id, 1, 2.5, 1, 1, FALSE,"
            " '2024-01-02', 1, 2 FROM t",
            key=self.next_key,
            design=design,
            staff=staff,
            units=units,
        )

    @rule(key=orders, units=st.integers(1, 3))
    def edit(self, key: int, units: int) -> None:
        self.sql(
            "UPDATE sales_order SET units_sold = :units, last_updated = now()"
            " WHERE sales_order_id = :key",
            key=key,
            units=units,
        )

    @rule(key=orders, staff=small)
    def edit_silently(self, key: int, staff: int) -> None:
        self.sql(
            "UPDATE sales_order SET staff_id = :staff WHERE sales_order_id = :key",
            key=key,
            staff=staff,
        )

    @rule(key=orders)
    def edit_and_undo(self, key: int) -> None:
        for sign in "+-":
            self.sql(
                f"UPDATE sales_order SET unit_price = unit_price {sign} 1"
                " WHERE sales_order_id = :key",
                key=key,
            )

    @rule(table=st.sampled_from(("design", "payment", "staff", "department", "address")))
    def update_to_the_same(self, table: str) -> None:
        self.sql(f"UPDATE {table} SET last_updated = last_updated")

    @rule(key=st.sampled_from((2, 3)), day=st.sampled_from(("2024-02-29", "2023-02-29", "soon")))
    def date_that_may_be_none(self, key: int, day: str) -> None:
        self.sql("UPDATE payment SET payment_date = :day WHERE payment_id = :key", key=key, day=day)

    @rule(key=st.sampled_from((1, 2)), place=st.none() | places)
    def move_department(self, key: int, place: str | None) -> None:
        self.sql(
            "UPDATE department SET location = :place WHERE department_id = :key",
            key=key,
            place=place,
        )

    @rule(key=small, phone=st.sampled_from(("1", "02")))
    def edit_address(self, key: int, phone: str) -> None:
        self.sql("UPDATE address SET phone = :phone WHERE address_id = :key", key=key, phone=phone)

    @rule(key=st.sampled_from((1, 2)), address=small)
    def move_counterparty(self, key: int, address: int) -> None:
        self.sql(
            "UPDATE counterparty SET legal_address_id = :address WHERE counterparty_id = :key",
            key=key,
            address=address,
        )

    @rule(department=st.sampled_from((1, 2)))
    def employ_somebody_who_sells(self, department: int) -> None:
        """The orders wait when the department has no location."""
        self.next_key += 1
        self.sql(
            "INSERT INTO staff VALUES (:key, 'A', 'B', :department, 'a@b', now(), now())",
            key=self.next_key,
            department=department,
        )
        self.sql(
            "UPDATE sales_order SET staff_id = :key WHERE sales_order_id = 2", key=self.next_key
        )

    @rule(how=st.sampled_from(("FREEZE", "FULL")))
    @precondition(lambda self: not self.long)
    def vacuum(self, how: str) -> None:
        self.sql(f"VACUUM ({how}) sales_order")

    @rule(key=st.sampled_from(LONG_ROWS), price=st.integers(1, 5), savepoint=st.booleans())
    def begin_or_go_on(self, key: int, price: int, savepoint: bool) -> None:
        """A transaction that stays open over whatever comes next."""
        if key not in self.long:
            self.long[key] = connect(self.pipeline.server.url(f"{self.pipeline.name}_source"))
            self.long[key].run("BEGIN")
        if savepoint:
            self.long[key].run("SAVEPOINT inner_one")
        self.long[key].run(
            "UPDATE purchase_order SET item_unit_price = :price WHERE purchase_order_id = :key",
            key=key,
            price=price,
        )

    @rule(key=st.sampled_from(LONG_ROWS), how=st.sampled_from(("COMMIT", "ROLLBACK")))
    def end(self, key: int, how: str) -> None:
        if key in self.long:
            connection = self.long.pop(key)
            connection.run(how)
            connection.close()

    @rule()
    def run(self) -> None:
        self.extract()
        self.pipeline.transform()
        self.pipeline.load()
        type(self).runs += 1
        self.check()

    @rule(job=st.sampled_from(("extract", "transform", "load")), at=st.integers(1, 110))
    def run_and_be_killed(self, job: str, at: int) -> None:
        """Killed at an effect of one of the jobs, if it has that many; the next run goes on."""
        jobs = {"extract": self.extract, "transform": self.pipeline.transform}
        jobs["load"] = self.pipeline.load
        for name, work in jobs.items():
            if name != job:
                work()
                continue
            try:
                with self.bench.armed(DEATH, at % EFFECTS[job] + 1):
                    work()
            except (Death, Exception):  # noqa: BLE001 - whatever it died of
                type(self).killed += 1
                return

    def extract(self) -> None:
        """Extract; the oracle looks when a batch was committed, even by a run that died after."""
        try:
            self.pipeline.extract()
        finally:
            self.look()

    def look(self) -> None:
        now = raw_batches(self.pipeline)
        if now > self.seen:
            self.oracle.look(self.pipeline.source)
            self.seen = now

    def check(self) -> None:
        """Lake and warehouse are what the oracle says."""
        for name in SOURCE_VIEWS:
            star = STAR[name]
            versions = {key: rows for key, rows in self.oracle.versions[name].items() if rows}
            lake = versions_in_lake(self.pipeline, star)
            if star.is_fact:
                assert lake == versions, name
                assert versions_in_warehouse(self.pipeline, star) == self.oracle.loaded(star), name
                current = name.replace("fact_", "etl.current_")
                expected = sorted(
                    (rows[-1] for rows in self.oracle.loaded(star).values()), key=repr
                )
            else:
                assert {key: rows[-1] for key, rows in lake.items()} == {
                    key: rows[-1] for key, rows in versions.items()
                }, name
                current, expected = name, self.oracle.current(name)
            assert rows_of(self.pipeline, star, current) == expected, current
        leftovers = [path for path in self.pipeline.objects() if "/." in path]
        assert leftovers == []

    def teardown(self) -> None:
        type(self).tried += 1
        for connection in self.long.values():
            with suppress(Exception):
                connection.close()


def columns_of(star: StarTable, alias: str) -> str:
    return ", ".join(f'{alias}."{name}"' for name in star.column_names)


def rows_of(pipeline: Pipeline, star: StarTable, relation: str) -> list[Row]:
    rows = pipeline.rows(f"SELECT {columns_of(star, 't')} FROM {relation} AS t")
    return sorted(map(plain, rows), key=repr)


def versions_in_warehouse(pipeline: Pipeline, star: StarTable) -> dict[Any, list[Row]]:
    found: dict[Any, list[Row]] = defaultdict(list)
    rows = pipeline.rows(
        f"SELECT {columns_of(star, 'f')} FROM {star.name} AS f"
        f" JOIN etl.{star.name}_version AS v ON v.record_id = f.{star.record_id}"
        " ORDER BY v.batch_id"
    )
    for row in map(plain, rows):
        found[row[0]].append(row)
    assert sum(map(len, found.values())) == pipeline.rows(f"SELECT count(*) FROM {star.name}")[0][0]
    return dict(found)


def versions_in_lake(pipeline: Pipeline, star: StarTable) -> dict[Any, list[Row]]:
    """Versions by key, equal neighbours once, read without Spark."""
    found: dict[Any, list[Row]] = defaultdict(list)
    root = Path(pipeline.processed.uri.removeprefix("file://")) / star.name
    for id_ in batch.processed_ids(pipeline.processed):
        entry = batch.read_processed(pipeline.processed, id_).tables[star.name]
        for file in entry.files:
            table = pq.ParquetFile(root / f"batch={id_}" / file.name).read()
            for values in table.to_pylist():
                assert not values.pop(ROW_DELETED)
                assert values.pop(ROW_BATCH) == id_
                row = plain(values.values())
                if found[row[0]][-1:] != [row]:
                    found[row[0]].append(row)
    return dict(found)


def run_histories(
    make_pipeline: Callable[[str], Pipeline],
    template: str,
    folder: Path,
    *,
    seed: int,
    histories: int,
    steps: int,
) -> type[Histories]:
    """Run some histories, the same ones for the same seed.

    Raises:
        AssertionError: Naming the seed, and what was to be and was not.
    """
    folder.mkdir(exist_ok=True)

    def make() -> Bench:
        pipeline = make_pipeline(template)
        watch(pipeline, folder)
        return Bench(pipeline, folder)

    machine = hypothesis.seed(seed)(type("Seeded", (Histories,), {"make": staticmethod(make)}))
    try:
        run_state_machine_as_test(
            machine,
            settings=hypothesis.settings(
                max_examples=histories,
                stateful_step_count=steps,
                deadline=None,
                database=None,
                # A history takes seconds: a shorter one that fails too is not worth minutes.
                phases=[hypothesis.Phase.generate],
                suppress_health_check=list(hypothesis.HealthCheck),
            ),
        )
    except BaseException as error:
        error.add_note(f"SEED={seed} tries these histories again")
        raise
    return machine
