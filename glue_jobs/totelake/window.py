"""Snapshots of the source, and which rows lie between two of them: pure functions."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from totelake.tables import SOURCE

FULL, CHANGES, COMPARE = "full", "changes", "compare"
ALWAYS, AUTO = "always", "auto"
SWEEPS = (AUTO, ALWAYS)
# Transaction ids are compared on a circle of 2^32: age() is right for half of it. The margin
# covers the ids that are used up while a batch is read.
XID_HORIZON = 2**31 - 10_000_000


@dataclass(frozen=True)
class Keys:
    """The keys of a table: equal figures mean the same keys.

    Attributes:
        rows: How many there are.
        digest: Sum of their 64-bit hashes, as text: JSON's numbers do not hold it.
        highest: The highest, None where there is none.
    """

    rows: int
    digest: str
    highest: int | None = None


@dataclass(frozen=True)
class Mark:
    """How far a table with a watermark has been read.

    Attributes:
        start: From where the next batch reads: the newest timestamp that is not in the future,
            less the overlap; None for an empty table.
        counters: What PostgreSQL had counted before the last sweep; only equality says something.
        swept_at: When that was.
    """

    start: str | None
    counters: str
    swept_at: str


@dataclass(frozen=True)
class Snapshot:
    """One instant of the source, as a manifest keeps it.

    Attributes:
        system: System identifier, timeline and database: which history the ids belong to. A
            restore or a move changes it.
        xmin: The oldest transaction that was still open; all before it had ended. 64 bits.
        xmax: The first id that was not given out yet. 64 bits.
        server_version: As ``server_version_num``.
        keys: Per table that is scanned, its keys.
        marks: Per table with a watermark, how far it was read.
        schema: Columns and types of every table of the schema, the undeclared included.
    """

    system: str
    xmin: int
    xmax: int
    server_version: int
    keys: Mapping[str, Keys] = field(default_factory=dict)
    marks: Mapping[str, Mark] = field(default_factory=dict)
    schema: Mapping[str, list[tuple[str, str]]] = field(default_factory=dict)

    @classmethod
    def of(cls, manifest_snapshot: Mapping[str, Any]) -> "Snapshot":
        """The snapshot that a manifest names; one of an older release lacks what came later."""
        keys, marks, schema = (manifest_snapshot.get(n, {}) for n in ("keys", "marks", "schema"))
        return cls(
            **{
                **manifest_snapshot,
                "keys": {table: Keys(**it) for table, it in keys.items()},
                "marks": {table: Mark(**it) for table, it in marks.items()},
                "schema": {table: [(n, t) for n, t in it] for table, it in schema.items()},
            }
        )

    def as_dict(self) -> dict[str, Any]:
        """What a manifest keeps."""
        return asdict(self)


@dataclass(frozen=True)
class Window:
    """Which rows a batch asks for.

    Attributes:
        mode: ``full`` takes all rows; ``changes`` those whose version may be newer than the
            previous snapshot; ``compare`` those whose content differs from the lake's.
        start: For ``changes``: the oldest transaction id (64 bits) that counts.
        marks: For ``changes``: per table with a watermark, the oldest timestamp that counts.
        swept: Tables whose keys are held against the lake's to find the deleted ones.
        compared: For ``changes``: tables that are compared as a whole all the same, because a
            watermark may have missed something.
        new_columns: Per table, the columns that it had not at the previous snapshot: a row with
            a value there counts as changed, though no transaction wrote it.
    """

    mode: str
    start: int = 0
    marks: Mapping[str, str] = field(default_factory=dict)
    swept: Collection[str] = frozenset()
    compared: Collection[str] = frozenset()
    new_columns: Mapping[str, Collection[str]] = field(default_factory=dict)

    @property
    def start_xid(self) -> int:
        """``start`` as rows carry it, in 32 bits."""
        return self.start % 2**32

    def mode_of(self, table: str) -> str:
        """How one table is read."""
        return COMPARE if table in self.compared else self.mode


def window(previous: Snapshot | None, current: Snapshot) -> Window:
    """Which rows to ask for, given the previous batch's snapshot and the current one."""
    if previous is None:
        return Window(FULL)
    if previous.system != current.system or not 0 <= current.xmax - previous.xmin < XID_HORIZON:
        return Window(COMPARE)
    return Window(CHANGES, previous.xmin)


def new_columns(previous: Snapshot, current: Snapshot) -> dict[str, list[str]]:
    """Per declared table, the columns that came since the previous snapshot."""
    came = {}
    for table in SOURCE:
        before = dict(previous.schema.get(table, current.schema.get(table, [])))
        names = [name for name, _ in current.schema.get(table, []) if name not in before]
        if names:
            came[table] = names
    return came


def sweep_is_due(previous: Mark, counters: str, now: str, table: str) -> bool:
    """Whether PostgreSQL's counters ask for a sweep of a table with a watermark.

    They are late and may be reset, so only that they are not what they were says something.
    """
    watermark = SOURCE[table].watermark
    if watermark is None or counters == previous.counters:
        return False
    since = datetime.fromisoformat(now) - datetime.fromisoformat(previous.swept_at)
    return since >= watermark.sweep_every
