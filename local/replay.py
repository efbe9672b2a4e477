"""`make replay TO=name`: processed zone and warehouse made anew from the raw zone, in a new place.

FROM=batch keeps the batches before that one as they are and transforms those from it on. The
new place is compared with source and raw zone; with SWITCH=1 it then takes the old one's place,
which is kept under another name.
"""

import os
import re
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from pg8000.native import identifier
from rich.markup import escape

from local.databases import open_connection
from local.progress import Progress, closing_table
from local.run import (
    Machine,
    RunError,
    command,
    machine,
    short,
    show_agreement,
    stop_at_failure,
)
from local.settings import Settings, SettingsError, secret
from totelake import batch
from totelake.batch import MANIFESTS
from totelake.lake import Zone

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


@dataclass(frozen=True)
class Wish:
    """What is to be made.

    Attributes:
        to: What the new place is called.
        since: The first batch to transform anew; empty for all.
        switch: Whether the new place takes the old one's.
    """

    to: str
    since: str = ""
    switch: bool = False

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Wish":
        """Read TO, FROM and SWITCH.

        Raises:
            SettingsError: If one has a form it cannot have.
        """
        to = environment.get("TO", "")
        if not _NAME.fullmatch(to):
            raise SettingsError(f"TO: expected a name like january (a-z, 0-9, _), found {to!r}")
        return cls(to, environment.get("FROM", ""), environment.get("SWITCH", "") == "1")


def copy_before(old: Zone, new: Zone, since: str) -> int:
    """Copy the batches of a processed zone that are older than one, each committed last.

    Returns:
        How many there are.
    """
    older = [id_ for id_ in batch.processed_ids(old) if id_ < since]
    for id_ in older:
        manifest = batch.read_processed(old, id_)
        for table, entry in manifest.tables.items():
            for file in entry.files:
                place = (table, f"batch={id_}", file.name)
                new.write(old.read(*place), *place)
        new.create(old.read(MANIFESTS, f"{id_}.json"), MANIFESTS, f"{id_}.json")
    return len(older)


def replay(settings: Settings, progress: Progress) -> int:
    """Make the new place, compare it and, if asked to, switch to it."""
    wish = Wish.of(os.environ)
    with machine(settings, progress) as here:
        if here.databases.warehouse.dbname == wish.to:
            raise SettingsError(f"TO: {wish.to!r} is the warehouse itself; give another name")
        new = here.lake / f"processed-{wish.to}"
        values = _make_place(here, wish, new)
        for name in ("transform", "load"):
            job = here.workflow.jobs[name]
            given = {key: values.get(key, value) for key, value in job.arguments.items()}
            run = here.on_demand(replace(job, arguments=given))
            stop_at_failure([run] if run.reason else [])
        reports = here.reconcile(values)
        progress.console.print()
        progress.console.print(closing_table(reports))
        status = show_agreement(progress.console, reports)
        if status == 0 and wish.switch:
            _switch(here, wish, new)
    lake = escape(str(short(new if not wish.switch else here.lake / "processed")))
    progress.console.print(f"  The new processed zone: {lake}", soft_wrap=True)
    return status


def _make_place(here: Machine, wish: Wish, new: Path) -> dict[str, str]:
    """An empty database and a zone with the batches that stay; the jobs' arguments for them."""
    old = Zone((here.lake / "processed").as_uri())
    ids = batch.processed_ids(old)
    if wish.since and wish.since not in ids:
        raise SettingsError(f"FROM: expected a batch of {old.uri}, found {wish.since!r}")
    if new.exists():
        raise RunError(f"{short(new)} is there already: give another TO, or remove it")
    warehouse = here.databases.warehouse
    with open_connection("warehouse", warehouse) as connection:
        connection.run(f"CREATE DATABASE {identifier(wish.to)}")
    here.aws.create_secret(f"replay/{wish.to}", secret(replace(warehouse, dbname=wish.to)))
    zone = Zone(new.as_uri())
    if wish.since:
        copy_before(old, zone, wish.since)
    return {"--processed_zone": zone.uri, "--warehouse_secret": f"replay/{wish.to}"}


def _switch(here: Machine, wish: Wish, new: Path) -> None:
    """Let the new place take the old one's; the old one stays, named after the switch."""
    warehouse = here.databases.warehouse
    current, kept = here.lake / "processed", f"before_{wish.to}"
    administrator = replace(warehouse, dbname="postgres").connect("totelake local")
    with closing(administrator) as connection:
        old, old_kept = identifier(warehouse.dbname), identifier(f"{warehouse.dbname}_{kept}")
        connection.run(f"ALTER DATABASE {old} RENAME TO {old_kept}")
        connection.run(f"ALTER DATABASE {identifier(wish.to)} RENAME TO {old}")
    current.rename(here.lake / f"processed-{kept}")
    new.rename(current)


if __name__ == "__main__":
    sys.exit(command(replay))
