"""Compact: closed batches of each table are written together, for readers of the catalogue."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping

from totelake import batch, compact, merged, metrics, runtime
from totelake.batch import Manifest
from totelake.errors import ArgumentError
from totelake.lake import Zone
from totelake.runtime import Log
from totelake.swap import swap
from totelake.tables import SOURCE, STAR

SOURCE_KEYS = {name: table.key for name, table in SOURCE.items()}
STAR_KEYS = {name: table.key for name, table in STAR.items()}


def main(argv: list[str]) -> None:
    """Merge what was closed since the last time, and have the catalogue point there."""
    args = runtime.arguments(
        argv,
        ["raw_zone", "processed_zone", "open_batches"],
        {
            "raw_database": "",
            "raw_crawler": "",
            "processed_database": "",
            "processed_crawler": "",
        },
    )
    log = runtime.start_logging("compact")
    with log.job(args), metrics.measured(args["JOB_NAME"], log):
        if not args["open_batches"].isdecimal():
            raise ArgumentError(
                "--open_batches: expected a number of batches to leave alone, found "
                f"{args['open_batches']!r}"
            )
        keep = int(args["open_batches"])
        zones: dict[str, tuple[Mapping[str, str], Callable[[Zone], Iterator[Manifest]]]] = {
            "processed": (STAR_KEYS, batch.newest_processed),
            "raw": (SOURCE_KEYS, batch.newest_raw),
        }
        for name, (keys, newest_first) in zones.items():
            zone = Zone(args[f"{name}_zone"])
            merge(zone, newest_first(zone), keys, keep, log)
            if args[f"{name}_database"]:
                register(zone, args[f"{name}_database"], args[f"{name}_crawler"], keys, log)


def merge(
    zone: Zone, newest_first: Iterator[Manifest], keys: Mapping[str, str], keep: int, log: Log
) -> None:
    """Write closed batches together."""
    with log.timed("merged", zone=zone.uri) as facts:
        found = compact.merge(zone, newest_first, keys, keep)
        tables = found.tables if found else {}
        facts.update(
            through=found.through if found else "",
            batches={table: sum(len(run.batches) for run in tables[table]) for table in tables},
        )
    for stray in compact.sweep(zone, keys):
        log.event("swept", folder=stray)


def register(zone: Zone, database: str, crawler: str, tables: Iterable[str], log: Log) -> None:
    """Have the catalogue point at merged folders: those of a run that died, too."""
    with log.timed("swapped", database=database) as facts:
        merges = merged.read_merges(zone)
        facts.update(swap(runtime.client("glue"), database, zone, tables, merges, crawler))


if __name__ == "__main__":
    main(sys.argv)
