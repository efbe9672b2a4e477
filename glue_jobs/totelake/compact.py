"""Writing closed batches of a table together, for those who read through the catalogue."""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, takewhile

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from totelake import batch, merged
from totelake.batch import Manifest
from totelake.errors import LakeError
from totelake.lake import PARQUET, Zone, write_part
from totelake.merged import Folder, Merge, Run
from totelake.tables import ROW_BATCH

# Of a table's rows in a batch: as many bytes of Parquet, or more, are a large enough folder as
# they are.
LARGE_BYTES = 64 * 1024 * 1024
# What is written together is in memory at once.
_RUN_BYTES = 256 * 1024 * 1024
# Small files take a round trip each, and nothing else.
_READS_AT_ONCE = 16


def merge(
    zone: Zone, newest_first: Iterable[Manifest], keys: Mapping[str, str], open_batches: int
) -> Merge | None:
    """Write the closed batches since the last merge together, and commit that.

    Args:
        zone: The zone.
        newest_first: Its manifests; only those that are needed are taken.
        keys: The tables to merge, with the key of each.
        open_batches: So many of the newest batches are left alone, one at least.

    Returns:
        The merge; None if there was nothing to write together.
    """
    merges = merged.read_merges(zone)
    done = merges[-1].through if merges else ""
    closed = islice(newest_first, max(open_batches, 1), None)
    manifests = list(takewhile(lambda manifest: manifest.batch > done, closed))[::-1]
    tables = {
        table: [_write(zone, table, key, run) for run in runs(manifests, table)]
        for table, key in keys.items()
    }
    if not any(tables.values()):
        return None
    committed = Merge(
        number=len(merges) + 1,
        through=manifests[-1].batch,
        tables={table: found for table, found in tables.items() if found},
        committed_at=batch.utc_now().isoformat(),
    )
    merged.commit(zone, committed)
    return committed


def runs(manifests: Iterable[Manifest], table: str) -> list[list[Manifest]]:
    """Which batches to write together, oldest first: neighbours, and two of them at least.

    A batch that is large stays as it is, and so do files other than Parquet. No run spans one
    that stays: the order of partitions would not be that of batches.
    """
    found: list[list[Manifest]] = [[]]
    size, columns = 0, dict[str, str]()
    for manifest in manifests:
        entry = manifest.tables.get(table)
        if entry is None or not entry.files:
            continue
        more = sum(file.bytes for file in entry.files)
        parquet = all(file.name.endswith(f".{PARQUET}") for file in entry.files)
        agree = all(columns.get(name, type_) == type_ for name, type_ in entry.columns.items())
        stays = more >= LARGE_BYTES or not parquet
        if stays or size + more > _RUN_BYTES or not agree:
            found.append([])
            size, columns = 0, {}
        if not stays:
            found[-1].append(manifest)
            size += more
            columns |= entry.columns
    return [run for run in found if len(run) > 1]


def _write(zone: Zone, table: str, key: str, run: Sequence[Manifest]) -> Run:
    """Write a run's merged folders."""
    rows = _read(zone, table, run)
    batches = [manifest.batch for manifest in run]
    columns = {k: v for manifest in run for k, v in manifest.tables[table].columns.items()}
    latest, older = split(rows, key)
    named = {merged.latest_name(batches): latest, merged.older_name(batches): older}
    folders = []
    for partition, part in named.items():
        uri = merged.merged_uri(zone, table, partition)
        file = write_part(part.to_batches(), uri, 0, PARQUET)
        if file is not None:
            folders.append(Folder(partition, file.rows, [file]))
    return Run(batches, columns, folders)


def _read(zone: Zone, table: str, run: Sequence[Manifest]) -> pa.Table:
    """All rows of a run, each with its batch.

    Raises:
        LakeError: If there are not as many as the manifests say.
    """
    files = [(it.batch, file) for it in run for file in it.tables[table].files]

    def read(batch_id: str, name: str) -> pa.Table:
        content = zone.read(table, f"batch={batch_id}", name)
        found = pq.ParquetFile(io.BytesIO(content)).read().replace_schema_metadata()
        if ROW_BATCH in found.column_names:
            found = found.drop_columns([ROW_BATCH])
        ids = pa.repeat(pa.scalar(batch_id), found.num_rows)
        return found.append_column(ROW_BATCH, ids)

    with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
        parts = list(pool.map(lambda it: read(it[0], it[1].name), files))
    for part, (batch_id, file) in zip(parts, files, strict=True):
        if part.num_rows != file.rows:
            raise LakeError(
                f"{zone.batch_uri(table, batch_id)}/{file.name}: expected {file.rows} rows (by the "
                f"manifest), found {part.num_rows}; nothing was merged, restore the object from "
                "its previous version"
            )
    return pa.concat_tables(parts, promote_options="default")


def split(rows: pa.Table, key: str) -> tuple[pa.Table, pa.Table]:
    """The latest row of each key, and all others; both sorted by key and batch."""
    ordered = rows.sort_by([(key, "ascending"), (ROW_BATCH, "ascending")])
    keys = ordered[key].combine_chunks()
    changes = pc.fill_null(pc.not_equal(keys[1:], keys[:-1]), True)
    last = pa.concat_arrays([_plain(changes), pa.array([True])])
    # The column of batches comes last, whatever columns the newest files have.
    names = [name for name in ordered.column_names if name != ROW_BATCH]
    ordered = ordered.select([*names, ROW_BATCH])
    return ordered.filter(last), ordered.filter(pc.invert(last))


def _plain(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def sweep(zone: Zone, tables: Iterable[str]) -> list[str]:
    """Remove merged folders that no manifest names, and what else dead compactions left.

    One that is at work at this moment began after the last merge, and so do its folders.

    Returns:
        The folders' paths inside the zone.
    """
    merges = merged.read_merges(zone)
    if not merges:
        return []
    batch.remove_late(zone, merged.MERGES)
    swept = []
    for table in tables:
        named = {f.partition for run in merged.runs_of(merges, table) for f in run.folders}
        for partition in _partitions(zone, table):
            if partition not in named and min(partition.split("-")) <= merges[-1].through:
                zone.remove(merged.MERGED, table, f"batch={partition}")
                swept.append(f"{merged.MERGED}/{table}/batch={partition}")
    return swept


def _partitions(zone: Zone, table: str) -> Iterator[str]:
    for name in zone.names(merged.MERGED, table):
        yield name.removeprefix("batch=")
