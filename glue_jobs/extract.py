"""Extract: one snapshot of the source; what changed since the last one goes to the raw zone."""

import sys

from totelake import batch, lake, metrics, notes, raw, runtime
from totelake.batch import Attempt, Manifest, TableEntry
from totelake.catalog import Catalogue
from totelake.errors import ArgumentError, ConflictError
from totelake.lake import Zone
from totelake.runtime import Log
from totelake.source import CHANGES, Snapshot, Source, Window, open_source, window
from totelake.tables import SOURCE

TABLES = list(SOURCE)


def main(argv: list[str]) -> None:
    """Land one batch in the raw zone, or none when nothing changed."""
    args = runtime.arguments(
        argv,
        ["source_secret", "raw_zone"],
        {"raw_format": lake.PARQUET, "raw_database": "", "raw_crawler": ""},
    )
    log = runtime.start_logging("extract")
    with log.job(args) as batches, metrics.measured(args["JOB_NAME"], log) as measured:
        if args["raw_format"] not in lake.FORMATS:
            raise ArgumentError(
                f"--raw_format: expected {' or '.join(lake.FORMATS)}, found {args['raw_format']!r}"
            )
        zone = Zone(args["raw_zone"])
        looked_at = batch.utc_now()
        committed = extract(zone, args["source_secret"], args["raw_format"], log)
        if committed:
            batches.append(committed.batch)
            measured.add_rows(metrics.ROWS_LANDED, committed.table_rows)
        notes.note_look(zone, looked_at)
        for swept in batch.sweep(zone, TABLES):
            log.event("swept", batch=swept)
        catalogue = Catalogue(args["raw_database"], args["raw_crawler"])
        catalogue.register(zone, batch.newest_raw(zone), log, measured)


def extract(zone: Zone, secret: str, raw_format: str, log: Log) -> Manifest | None:
    """Land what changed in the source since the newest raw batch."""
    credentials = runtime.credentials(secret)
    previous = batch.latest_raw(zone)
    with open_source(credentials) as source:
        wanted = window(Snapshot.of(previous.snapshot) if previous else None, source.snapshot)
        to_read = source.tables_to_read(wanted)
        if wanted.mode == CHANGES and not to_read:
            log.event("nothing_to_do", reason="no row of the source changed since the last batch")
            return None
        attempt = batch.begin(zone, previous)
        try:
            entries = land(zone, attempt, previous, source, wanted, to_read, raw_format, log)
        except Exception:
            # It will never be committed, and this process is the only one that knows so.
            batch.abandon(zone, attempt, TABLES)
            raise
    if wanted.mode == CHANGES and all(entry.rows == entry.lookups for entry in entries.values()):
        batch.abandon(zone, attempt, TABLES)
        log.event("nothing_to_do", reason="every version that the source shows has landed")
        return None
    return commit(zone, attempt, source.snapshot, wanted, entries, log)


def land(
    zone: Zone,
    attempt: Attempt,
    previous: Manifest | None,
    source: Source,
    wanted: Window,
    to_read: set[str],
    raw_format: str,
    log: Log,
) -> dict[str, TableEntry]:
    """Write the batch's rows, several tables at once."""
    # Of changes there are mostly few, which need no Python on the executors.
    spark = runtime.spark_session("totelake extract", arrow=wanted.mode != CHANGES)
    frames = raw.frames(spark, zone, previous, source, wanted)

    def write(table: str) -> TableEntry:
        if table not in to_read:
            return raw.empty_entry(frames[table])
        with log.timed("table", batch=attempt.batch, table=table) as facts:
            few = table not in source.wide
            entry = raw.write_table(zone, attempt.batch, table, frames[table], raw_format, few=few)
            facts.update(rows=entry.rows, lookups=entry.lookups)
        return entry

    # The biggest first: none of them is then left to work alone at the end.
    biggest_first = sorted(TABLES, key=lambda table: -source.sizes[table])
    entries = dict(zip(biggest_first, runtime.in_parallel(write, biggest_first), strict=True))
    return {table: entries[table] for table in TABLES}


def commit(
    zone: Zone,
    attempt: Attempt,
    snapshot: Snapshot,
    wanted: Window,
    entries: dict[str, TableEntry],
    log: Log,
) -> Manifest:
    """Commit the batch; what was written goes only if another run took its place for certain."""
    manifest = Manifest(
        number=attempt.number,
        batch=attempt.batch,
        stage="extract",
        mode=wanted.mode,
        snapshot=snapshot.as_dict(),
        tables=entries,
        started_at=attempt.started_at.isoformat(),
    )
    try:
        committed = batch.commit_raw(zone, attempt, manifest)
    except ConflictError:
        batch.abandon(zone, attempt, TABLES)
        raise
    log.event("committed", batch=committed.batch, rows=committed.rows, seconds=committed.seconds)
    return committed


if __name__ == "__main__":
    main(sys.argv)
