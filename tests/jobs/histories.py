"""Histories of a source at random, with runs and kills between, held against an oracle."""

import functools
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)
from pg8000.native import Connection, identifier

from local.postgres import connect
from tests.faults.effects import DEATH, Death
from totelake.source_views import SOURCE_VIEWS
from totelake.tables import SOURCE, STAR

from .conftest import Pipeline
from .faults import Bench, raw_batches, watch
from .oracle import Oracle, keys_in_raw, rows_of, versions_in_lake, versions_in_warehouse

LONG_ROWS = (1, 2)  # purchase orders that only long transactions touch, one each
EFFECTS = {"extract": 25, "transform": 25, "load": 110}  # about as many as each has
orders = st.sampled_from((1, 2))
small = st.integers(1, 3)
places = st.sampled_from(("Leeds", "Hull", "York"))
# The others' rows are those of long transactions.
deletable = st.sampled_from(sorted(SOURCE.keys() - {"purchase_order"}))


def step(**given: Any) -> Callable[[Callable[..., None]], Any]:
    """A rule that is counted."""

    def decorate(work: Callable[..., None]) -> Any:
        @functools.wraps(work)
        def counted(self: "Histories", **values: Any) -> None:
            self.counts.update(["steps", work.__name__])
            work(self, **values)

        return rule(**given)(counted)

    return decorate


class Histories(RuleBasedStateMachine):
    """One history: changes of the source, runs, and runs that are killed."""

    make: ClassVar[Callable[[], Bench]]
    # What was done in all histories: each rule by its name, and what came of the runs.
    counts: ClassVar[Counter[str]]

    def __init__(self) -> None:
        super().__init__()
        self.bench = self.make()
        self.pipeline: Pipeline = self.bench.pipeline
        self.oracle = Oracle()
        self.seen = 0
        self.next_key = 200
        self.long: dict[int, Connection] = {}
        # A source that restores rows has no foreign keys at that moment; this one never has.
        for table, name in self.pipeline.source.run(
            "SELECT conrelid::regclass::text, quote_ident(conname) FROM pg_constraint"
            " WHERE contype = 'f'"
        ):
            self.sql(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
        self.gone: list[tuple[str, Any]] = []
        self.bought = {key: self.row("purchase_order", key) for key in LONG_ROWS}
        self.run_all()

    def sql(self, statement: str, **values: Any) -> None:
        self.pipeline.source.run(statement, **values)

    @step(design=st.sampled_from((8, 9)), staff=small, units=st.integers(1, 9))
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

    def row(self, table: str, key: int) -> Any:
        name, column = identifier(table), identifier(SOURCE[table].key)
        return self.pipeline.source.run(
            f"SELECT to_jsonb(t)::text FROM {name} AS t WHERE {column} = :key", key=key
        )[0][0]

    @step(key=orders, units=st.integers(1, 3))
    def edit(self, key: int, units: int) -> None:
        self.sql(
            "UPDATE sales_order SET units_sold = :units, last_updated = now()"
            " WHERE sales_order_id = :key",
            key=key,
            units=units,
        )

    @step(key=orders, staff=small)
    def edit_silently(self, key: int, staff: int) -> None:
        self.sql(
            "UPDATE sales_order SET staff_id = :staff WHERE sales_order_id = :key",
            key=key,
            staff=staff,
        )

    @step(key=orders)
    def edit_and_undo(self, key: int) -> None:
        for sign in "+-":
            self.sql(
                f"UPDATE sales_order SET unit_price = unit_price {sign} 1"
                " WHERE sales_order_id = :key",
                key=key,
            )

    @step(table=st.sampled_from(("design", "payment", "staff", "department", "address")))
    def update_to_the_same(self, table: str) -> None:
        self.sql(f"UPDATE {table} SET last_updated = last_updated")

    @step(key=st.sampled_from((2, 3)), day=st.sampled_from(("2024-02-29", "2023-02-29", "soon")))
    def date_that_may_be_none(self, key: int, day: str) -> None:
        self.sql("UPDATE payment SET payment_date = :day WHERE payment_id = :key", key=key, day=day)

    @step(key=st.sampled_from((1, 2)), place=st.none() | places)
    def move_department(self, key: int, place: str | None) -> None:
        self.sql(
            "UPDATE department SET location = :place WHERE department_id = :key",
            key=key,
            place=place,
        )

    @step(key=small, phone=st.sampled_from(("1", "02")))
    def edit_address(self, key: int, phone: str) -> None:
        self.sql("UPDATE address SET phone = :phone WHERE address_id = :key", key=key, phone=phone)

    @step(key=st.sampled_from((1, 2)), address=small)
    def move_counterparty(self, key: int, address: int) -> None:
        self.sql(
            "UPDATE counterparty SET legal_address_id = :address WHERE counterparty_id = :key",
            key=key,
            address=address,
        )

    @step(department=st.sampled_from((1, 2)))
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

    @step(key=st.sampled_from((1, 2, 201, 202)))
    def delete_order(self, key: int) -> None:
        """With all that hangs on it, as a shop would."""
        found = self.pipeline.source.run(
            "SELECT transaction_id, payment_id FROM transaction LEFT JOIN payment"
            " USING (transaction_id) WHERE sales_order_id = :key",
            key=key,
        )
        self.sql("BEGIN")
        for transaction, payment in found:
            self.delete("payment", payment)
            self.delete("transaction", transaction)
        self.delete("sales_order", key)
        self.sql("COMMIT")

    @step(table=deletable, which=st.integers(0, 9))
    def delete_one(self, table: str, which: int) -> None:
        """Whatever refers to it: what stays behind has to be borne."""
        name, key = identifier(table), identifier(SOURCE[table].key)
        keys = [key for (key,) in self.pipeline.source.run(f"SELECT {key} FROM {name} ORDER BY 1")]
        if keys:
            self.delete(table, keys[which % len(keys)])

    def delete(self, table: str, key: int | None) -> None:
        name, column = identifier(table), identifier(SOURCE[table].key)
        deleted = self.pipeline.source.run(
            f"DELETE FROM {name} AS t WHERE {column} = :key RETURNING to_jsonb(t)::text", key=key
        )
        self.gone += [(table, row) for (row,) in deleted]

    @step(which=st.integers(0, 9), edited=st.booleans())
    @precondition(lambda self: self.gone)
    def bring_back(self, which: int, edited: bool) -> None:
        """A key that was deleted is there again, as it was or with one difference."""
        table, row = self.gone.pop(which % len(self.gone))
        insert(self.pipeline.source, table, row)
        if edited:
            self.sql(f"UPDATE {identifier(table)} SET last_updated = '2024-05-06'")

    @step(how=st.sampled_from(("FREEZE", "FULL")))
    @precondition(lambda self: not self.long)
    def vacuum(self, how: str) -> None:
        self.sql(f"VACUUM ({how}) sales_order")

    @step(key=st.sampled_from(LONG_ROWS), price=st.integers(1, 5), savepoint=st.booleans())
    def begin_or_go_on(self, key: int, price: int, savepoint: bool) -> None:
        """A transaction that stays open over whatever comes next."""
        long = self.open_long(key)
        if savepoint:
            long.run("SAVEPOINT inner_one")
        long.run(
            "UPDATE purchase_order SET item_unit_price = :price WHERE purchase_order_id = :key",
            key=key,
            price=price,
        )

    def open_long(self, key: int) -> Connection:
        if key not in self.long:
            self.long[key] = connect(self.pipeline.server.url(f"{self.pipeline.name}_source"))
            self.long[key].run("BEGIN")
        return self.long[key]

    @step(key=st.sampled_from(LONG_ROWS), undone=st.booleans())
    def delete_in_long(self, key: int, undone: bool) -> None:
        """Deleted, or there again, once the transaction commits; or undone inside it."""
        long = self.open_long(key)
        long.run("SAVEPOINT inner_one")
        found = long.run(
            "DELETE FROM purchase_order WHERE purchase_order_id = :key RETURNING 1", key=key
        )
        if not found:
            insert(long, "purchase_order", self.bought[key])
        if undone:
            long.run("ROLLBACK TO SAVEPOINT inner_one")

    @step(key=st.sampled_from(LONG_ROWS), how=st.sampled_from(("COMMIT", "ROLLBACK")))
    def end(self, key: int, how: str) -> None:
        if key in self.long:
            connection = self.long.pop(key)
            connection.run(how)
            connection.close()

    @step()
    def run(self) -> None:
        self.run_all()

    def run_all(self) -> None:
        self.extract()
        self.pipeline.transform()
        self.pipeline.load()
        self.counts["whole runs"] += 1
        self.check()

    @step(job=st.sampled_from(("extract", "transform", "load")), at=st.integers(1, 110))
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
                self.counts[f"{job} killed"] += 1
                return

    def extract(self) -> None:
        """Extract; the oracle looks, whether or not there was anything to land.

        One that dies may have committed its batch before: then it looks too.
        """
        try:
            self.pipeline.extract()
        except BaseException:
            if raw_batches(self.pipeline) > self.seen:
                self.look()
            raise
        self.look()

    def look(self) -> None:
        self.oracle.look(self.pipeline.source)
        self.seen = raw_batches(self.pipeline)

    def check(self) -> None:
        """Raw zone, lake and warehouse are what the oracle says."""
        for table in SOURCE:
            assert keys_in_raw(self.pipeline, table) == self.oracle.keys[table], table
        for name in SOURCE_VIEWS:
            star = STAR[name]
            versions = {key: rows for key, rows in self.oracle.versions[name].items() if rows}
            assert versions_in_lake(self.pipeline, star) == versions, name
            if star.is_fact:
                assert versions_in_warehouse(self.pipeline, star) == self.oracle.loaded(star), name
                current = name.replace("fact_", "etl.current_")
                assert rows_of(self.pipeline, star, current) == self.oracle.current(star), current
            else:
                assert rows_of(self.pipeline, star, name) == self.oracle.members(name), name
        deleted = self.pipeline.rows("SELECT table_name, member FROM etl.deleted_member")
        assert sorted(deleted) == self.oracle.deleted_members()
        leftovers = [path for path in self.pipeline.objects() if "/." in path]
        assert leftovers == []

    def teardown(self) -> None:
        """Whatever is open is rolled back; a history that went well so far ends with a run."""
        self.counts["histories"] += 1
        for connection in self.long.values():
            with suppress(Exception):
                connection.close()
        if sys.exception() is None:
            self.run_all()


def insert(connection: Connection, table: str, row: str) -> None:
    """Insert a row that ``to_jsonb`` gave."""
    name = identifier(table)
    connection.run(
        f"INSERT INTO {name} SELECT * FROM jsonb_populate_record(NULL::{name}, :row::jsonb)",
        row=row,
    )


def run_histories(
    make_pipeline: Callable[[str], Pipeline],
    template: str,
    folder: Path,
    *,
    seed: int,
    histories: int,
    steps: int,
) -> Counter[str]:
    """Run some histories, the same ones for the same seed.

    Returns:
        What was done: histories, whole runs, kills by job, each rule by its name.

    Raises:
        AssertionError: Naming the seed, and what was to be and was not.
    """
    folder.mkdir(exist_ok=True)

    def make() -> Bench:
        pipeline = make_pipeline(template)
        watch(pipeline, folder)
        return Bench(pipeline, folder)

    members = {"make": staticmethod(make), "counts": Counter()}
    machine = hypothesis.seed(seed)(type("Seeded", (Histories,), members))
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
    return machine.counts
