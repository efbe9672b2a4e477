"""Extract: one snapshot of the source; what changed since the last one goes to the raw zone."""

import logging
import sys

from totelake import batch, drift, lake, metrics, notes, raw, runtime
from totelake.batch import Attempt, Manifest, TableEntry
from totelake.catalog import Catalogue
from totelake.errors import ArgumentError, ConflictError, SourceError
from totelake.lake import Zone
from totelake.runtime import Log
from totelake.source import Look, Source, open_source
from totelake.tables import SOURCE
from totelake.window import AUTO, CHANGES, SWEEPS, Snapshot

TABLES = list(SOURCE)


def main(argv: list[str]) -> None:
    """Land one batch in the raw zone, or none when nothing changed."""
    args = runtime.arguments(
        argv,
        ["source_secret", "raw_zone"],
        {"raw_format": lake.PARQUET, "sweep": AUTO, "raw_database": "", "raw_crawler": ""},
    )
    log = runtime.start_logging("extract")
    with log.job(args) as batches, metrics.measured(args["JOB_NAME"], log) as measured:
        for name, values in (("raw_format", lake.FORMATS), ("sweep", SWEEPS)):
            if args[name] not in values:
                raise ArgumentError(
                    f"--{name}: expected {' or '.join(values)}, found {args[name]!r}"
                )
        zone = Zone(args["raw_zone"])
        looked_at = batch.utc_now()
        committed = extract(zone, args["source_secret"], args["raw_format"], args["sweep"], log)
        if committed:
            batches.append(committed.batch)
            measured.add_rows(metrics.ROWS_LANDED, committed.table_rows)
        notes.note_look(zone, looked_at)
        for swept in batch.sweep(zone, TABLES):
            log.event("swept", batch=swept)
        catalogue = Catalogue(args["raw_database"], args["raw_crawler"])
        catalogue.register(zone, batch.newest_raw(zone), log, measured)


def extract(zone: Zone, secret: str, raw_format: str, sweep: str, log: Log) -> Manifest | None:
    """Land what changed in the source since the newest raw batch."""
    credentials = runtime.credentials(secret)
    previous = batch.latest_raw(zone)
    with open_source(credentials) as source:
        before = Snapshot.of(previous.snapshot) if previous else None
        report_drift(before, source.snapshot, log)
        look = source.look(before, sweep)
        if look.window.mode == CHANGES and not look.to_read:
            log.event("nothing_to_do", reason="no row of the source changed since the last batch")
            return None
        if look.window.swept:
            log.event("sweep", tables=sorted(look.window.swept))
        attempt = batch.begin(zone, previous)
        try:
            entries = land(zone, attempt, previous, source, look, raw_format, log)
        except Exception:
            # It will never be committed, and this process is the only one that knows so.
            batch.abandon(zone, attempt, TABLES)
            raise
    if look.window.mode == CHANGES and all(e.rows == e.lookups for e in entries.values()):
        batch.abandon(zone, attempt, TABLES)
        log.event("nothing_to_do", reason="every version that the source shows has landed")
        return None
    return commit(zone, attempt, look, entries, log)


def report_drift(before: Snapshot | None, now: Snapshot, log: Log) -> None:
    """Log what differs from the previous batch's schema, or for the first from the declared."""
    known = before.schema if before and before.schema else drift.declared()
    for change in drift.changes(known, now.schema):
        log.event("schema_changed", logging.WARNING, **vars(change))


def land(
    zone: Zone,
    attempt: Attempt,
    previous: Manifest | None,
    source: Source,
    look: Look,
    raw_format: str,
    log: Log,
) -> dict[str, TableEntry]:
    """Write the batch's rows, several tables at once."""
    # Of changes there are mostly few, which need no Python on the executors.
    spark = runtime.spark_session("totelake extract", arrow=look.window.mode != CHANGES)
    frames = raw.frames(spark, zone, previous, source, look.window)

    def write(table: str) -> TableEntry:
        if table not in look.to_read:
            return raw.empty_entry(frames[table])
        with log.timed("table", batch=attempt.batch, table=table) as facts:
            few = table not in source.wide
            try:
                entry = raw.write_table(
                    zone, attempt.batch, table, frames[table], raw_format, few=few
                )
            except runtime.SPARK_ERRORS as error:
                raise SourceError(
                    f"source {source.credentials.place}, table {table}: not read to its end: "
                    f"{source.unheld_value(table) or runtime.root_cause(error)}; nothing was "
                    "extracted, mend that and run again"
                ) from error
            facts.update(rows=entry.rows, lookups=entry.lookups)
        return entry

    # The biggest first: none of them is then left to work alone at the end.
    biggest_first = sorted(TABLES, key=lambda table: -source.sizes[table])
    entries = dict(zip(biggest_first, runtime.in_parallel(write, biggest_first), strict=True))
    return {table: entries[table] for table in TABLES}


def commit(
    zone: Zone,
    attempt: Attempt,
    look: Look,
    entries: dict[str, TableEntry],
    log: Log,
) -> Manifest:
    """Commit the batch; what was written goes only if another run took its place for certain."""
    manifest = Manifest(
        number=attempt.number,
        batch=attempt.batch,
        stage="extract",
        mode=look.window.mode,
        snapshot=look.snapshot.as_dict(),
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
