"""Transform: committed raw batches become star-schema batches in the processed zone."""

import logging
import sys
from dataclasses import replace

from totelake import batch, metrics, notes, processed, runtime
from totelake.batch import Manifest
from totelake.catalog import Catalogue
from totelake.lake import Zone
from totelake.runtime import Log
from totelake.tables import QUARANTINE, STAR

# Half of a table's rows: more is rather a change of form in the source, or a wrong rule.
MOST_REJECTED = "0.5"


def main(argv: list[str]) -> None:
    """Transform every committed raw batch that is not in the processed zone yet, in order."""
    args = runtime.arguments(
        argv,
        ["raw_zone", "processed_zone"],
        {"max_rejected_ratio": MOST_REJECTED, "processed_database": "", "processed_crawler": ""},
    )
    log = runtime.start_logging("transform")
    with log.job(args) as batches, metrics.measured(args["JOB_NAME"], log) as measured:
        ratio = runtime.ratio("max_rejected_ratio", args["max_rejected_ratio"])
        raw_zone, zone = Zone(args["raw_zone"]), Zone(args["processed_zone"])
        catalogue = Catalogue(args["processed_database"], args["processed_crawler"])
        looked_at = notes.looked_at(raw_zone)
        pending = batch.pending_raw(raw_zone, zone)
        if not pending:
            log.event("nothing_to_do", reason="every raw batch has been transformed")
        for number in pending:
            landed = batch.read_raw(raw_zone, number)
            with batch.files_named_if_damaged(raw_zone, landed):
                committed = transform(raw_zone, zone, landed, ratio, log)
            batches.append(committed.batch)
            rejected = {table: entry.rejected for table, entry in committed.tables.items()}
            measured.add(metrics.ROWS_REJECTED, sum(rejected.values()))
            measured.add_rows(metrics.ROWS_REJECTED, rejected)
            # At once: should a later batch fail, this one is queryable all the same.
            catalogue.register(zone, batch.newest_processed(zone), log, measured)
        if not pending:
            catalogue.register(zone, batch.newest_processed(zone), log, measured)
        if looked_at:
            notes.note_look(zone, looked_at)
        batch.remove_hidden(zone)


def transform(
    raw_zone: Zone, zone: Zone, landed: Manifest, max_rejected_ratio: float, log: Log
) -> Manifest:
    """Transform one raw batch and commit it to the processed zone."""
    started_at = batch.utc_now().isoformat()
    spark = runtime.spark_session("totelake transform", arrow=True)
    candidates = processed.candidates(spark, raw_zone, landed)
    accepted = processed.accepted(candidates)
    expected = processed.expected_rows(landed)

    def write(table: str) -> batch.TableEntry:
        with log.timed("table", batch=landed.batch, table=table) as facts:
            entry = processed.write_table(zone, landed.batch, table, accepted[table], expected)
            facts.update(rows=entry.rows)
        if not entry.rows:
            return entry
        warned = processed.warned(spark, raw_zone, landed, table)
        for rule, rows in warned.items():
            log.event(
                "warned", logging.WARNING, batch=landed.batch, table=table, rule=rule, rows=rows
            )
        return replace(entry, warned=warned)

    entries = dict(zip(STAR, runtime.in_parallel(write, STAR), strict=True))
    with log.timed("table", batch=landed.batch, table=QUARANTINE) as facts:
        entries = processed.with_rejected(zone, landed.batch, candidates, entries)
        facts.update(rows=entries[QUARANTINE].rows)
    processed.check_ratio(landed.batch, entries, max_rejected_ratio)
    for stray in batch.remove_strays(zone, landed.batch, entries):
        log.event("swept", batch=landed.batch, file=stray)
    manifest = Manifest(
        number=landed.number,
        batch=landed.batch,
        stage="transform",
        mode=landed.mode,
        snapshot=landed.snapshot,
        tables=entries,
        started_at=started_at,
    )
    committed = batch.commit_processed(zone, manifest)
    log.event("committed", batch=committed.batch, rows=committed.rows, seconds=committed.seconds)
    return committed


if __name__ == "__main__":
    main(sys.argv)
