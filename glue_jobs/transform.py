"""Transform: committed raw batches become star-schema batches in the processed zone."""

import sys

from totelake import batch, processed, runtime
from totelake.batch import Manifest
from totelake.lake import Zone
from totelake.runtime import Log
from totelake.tables import QUARANTINE, STAR


def main(argv: list[str]) -> None:
    """Transform every committed raw batch that is not in the processed zone yet, in order."""
    args = runtime.arguments(argv, ["raw_zone", "processed_zone"])
    log = runtime.start_logging("transform")
    with log.job(args) as batches:
        raw_zone, zone = Zone(args["raw_zone"]), Zone(args["processed_zone"])
        pending = batch.pending_raw(raw_zone, zone)
        if not pending:
            log.event("nothing_to_do", reason="every raw batch has been transformed")
        for number in pending:
            committed = transform(raw_zone, zone, batch.read_raw(raw_zone, number), log)
            batches.append(committed.batch)
        batch.remove_hidden(zone)


def transform(raw_zone: Zone, zone: Zone, landed: Manifest, log: Log) -> Manifest:
    """Transform one raw batch and commit it to the processed zone."""
    started_at = batch.utc_now().isoformat()
    candidates = processed.candidates(
        runtime.spark_session("totelake transform", arrow=True), raw_zone, landed
    )
    accepted = processed.accepted(candidates)
    expected = processed.expected_rows(landed)

    def write(table: str) -> batch.TableEntry:
        with log.timed("table", batch=landed.batch, table=table) as facts:
            entry = processed.write_table(zone, landed.batch, table, accepted[table], expected)
            facts.update(rows=entry.rows)
        return entry

    entries = dict(zip(STAR, runtime.in_parallel(write, STAR), strict=True))
    with log.timed("table", batch=landed.batch, table=QUARANTINE) as facts:
        entries = processed.with_rejected(zone, landed.batch, candidates, entries)
        facts.update(rows=entries[QUARANTINE].rows)
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
