"""A ToteSys that lives: years of history at once, then one working day after another.

The same seed gives the same data on every machine, however the days are split over calls.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime, time, timedelta
from pathlib import Path

from pg8000.native import Connection

from local.totesys import changes

FIRST_DAY = date(2022, 11, 3)
LAST_DAY = date(2024, 8, 22)

_SQL = Path(__file__).parent / "totesys"
_OPENING = time(8)
_MILLISECONDS_OPEN = 11 * 60 * 60 * 1000
_PAYMENT_BATCH = time(7, 55, 11)
_SILENT_EDITS_A_DAY = 0.4  # of each table that has them
_SATURDAY = 5
_ADD = {
    "sales_order": changes.add_sales_order,
    "purchase_order": changes.add_purchase_order,
    "design": changes.add_design,
}


@dataclass(frozen=True)
class Size:
    """How many rows of each kind the history has; the defaults are the real company's."""

    sales_orders: int = 9845
    purchase_orders: int = 4114
    designs: int = 424
    staff: int = 20
    addresses: int = 30
    counterparties: int = 20

    def times(self, factor: float) -> "Size":
        """Return a size with `factor` times the rows of each kind, one at least."""
        return Size(**{kind: max(1, round(rows * factor)) for kind, rows in asdict(self).items()})


@dataclass(frozen=True)
class Activity:
    """What happened over some working days, in rows."""

    working_days: int = 0
    sales_orders: int = 0
    purchase_orders: int = 0
    designs: int = 0
    payments_paid: int = 0
    silent_edits: int = 0

    def __add__(self, other: "Activity") -> "Activity":
        """Return what happened over the days of both."""
        return Activity(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


def is_created(connection: Connection) -> bool:
    """Tell whether the database has the tables of ToteSys."""
    return bool(connection.run("SELECT to_regclass('public.sales_order') IS NOT NULL")[0][0])


def create(
    connection: Connection, seed: int, size: Size | None = None, last_day: date = LAST_DAY
) -> None:
    """Make the tables and their history up to the evening of `last_day`, all or nothing.

    Args:
        connection: Of a superuser, to an empty database.
        seed: Any whole number of 64 bits.
        size: The real company's when absent.
        last_day: The last day of the history.
    """
    if last_day < FIRST_DAY:
        raise ValueError(f"last_day is {last_day}; expected {FIRST_DAY}, the first day, or later")
    settings = {"seed": seed, "first_day": FIRST_DAY, "last_day": last_day}
    with changes.transaction(connection):
        connection.run((_SQL / "schema.sql").read_text())
        for name, value in (settings | asdict(size or Size())).items():
            sql = "SELECT set_config(:name, :value, true)"
            connection.run(sql, name=f"simulator.{name}", value=str(value))
        connection.run((_SQL / "history.sql").read_text())
    connection.run("ANALYZE")


def advance(
    connection: Connection,
    seed: int,
    *,
    days: int | None = None,
    until: date | None = None,
    on_day: Callable[[date, Activity], None] | None = None,
) -> Activity:
    """Let the business go on from the last day that the data know of.

    Args:
        connection: In autocommit: every order and every edit is a transaction of its own.
        seed: Any whole number; with that of `create` it fixes the data.
        days: How many working days to go on for; or
        until: the last day to work on.
        on_day: Told after each working day what happened on it.

    Returns:
        What happened over all the days.
    """
    if (days is None) == (until is None):
        raise ValueError(f"days is {days} and until is {until}; expected one of them")
    total = Activity()
    for day in _working_days_after(_last_day(connection)):
        if total.working_days == days or (until is not None and day > until):
            break
        activity = _work(connection, random.Random(f"{seed}:{day}"), day)  # nosec B311
        total += activity
        if on_day is not None:
            on_day(day, activity)
    return total


def _last_day(connection: Connection) -> date:
    rows = connection.run(
        """
        SELECT greatest(
            (SELECT max("created_at") FROM "transaction"),
            (SELECT max("created_at") FROM "design"),
            (SELECT max("last_updated") FROM "payment")
        )::date"""
    )
    return rows[0][0] or FIRST_DAY - timedelta(days=1)


def _working_days_after(day: date) -> Iterator[date]:
    while True:
        day += timedelta(days=1)
        if day.weekday() < _SATURDAY:
            yield day


def _work(connection: Connection, rng: random.Random, day: date) -> Activity:
    """Live through one working day."""
    batch = datetime.combine(day, _PAYMENT_BATCH) + timedelta(milliseconds=rng.randrange(1000))
    paid = changes.pay_due(connection, batch)
    sales, purchases, designs = rng.randint(15, 29), rng.randint(5, 13), rng.choice((0, 1, 1, 2))
    arrivals = ["sales_order"] * sales + ["purchase_order"] * purchases + ["design"] * designs
    rng.shuffle(arrivals)
    moments = sorted(rng.randrange(_MILLISECONDS_OPEN) for _ in arrivals)
    for table, moment in zip(arrivals, moments, strict=True):
        at = datetime.combine(day, _OPENING) + timedelta(milliseconds=moment)
        _ADD[table](connection, rng, at)
    edits = sum(
        changes.edit_silently(connection, rng, table, day)
        for table in changes.SILENTLY_EDITED
        if rng.random() < _SILENT_EDITS_A_DAY
    )
    return Activity(1, sales, purchases, designs, paid, edits)
