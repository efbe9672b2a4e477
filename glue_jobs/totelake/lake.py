"""Where things are in the lake, and reading and writing them.

A zone is a folder (``file://`` or ``s3://``) with one folder per table and, inside, one folder
per batch. Data files are written by the executors with pyarrow, whole, under names that depend
only on the partition number: no rename, no ``_SUCCESS``, no temporary folder, and writing the
same rows again replaces the same files.
"""

import io
import json
import os
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Protocol, TypeVar

import fsspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet
from fsspec.implementations.local import LocalFileSystem
from pyspark.sql import DataFrame, SparkSession

from totelake.errors import LakeError

PARQUET, CSV = "parquet", "csv"
FORMATS = (PARQUET, CSV)
# A row group is what a reader holds in memory at once, and the writer too.
ROW_GROUP_ROWS = 262_144
ROW_GROUP_BYTES = 128 * 1024 * 1024
# So many rows of up to a page each are no burden to a driver.
FEW_ROWS = 10_000
# No PostgreSQL text can hold it, so no value is ever taken for a null by mistake.
_NO_VALUE = "\u0000"
_Document = TypeVar("_Document")
_HIDDEN = re.compile(r"\.(.+)\.[0-9a-f]{32}")


@dataclass(frozen=True)
class DataFile:
    """One data file of a batch: its name inside the batch's folder, rows and bytes."""

    name: str
    rows: int
    bytes: int


@dataclass(frozen=True)
class Zone:
    """A zone of the lake, by its URI (no trailing slash needed)."""

    uri: str

    @property
    def filesystem(self) -> fsspec.AbstractFileSystem:
        """The fsspec filesystem of the URI; listings are never cached."""
        return fsspec.core.url_to_fs(self.uri, use_listings_cache=False)[0]

    def path(self, *parts: str) -> str:
        """The filesystem's own path of something inside the zone."""
        root = fsspec.core.url_to_fs(self.uri, use_listings_cache=False)[1]
        return "/".join([root.rstrip("/"), *parts])

    def batch_uri(self, table: str, batch: str) -> str:
        """URI of the folder that holds a table's rows of a batch."""
        return "/".join([self.uri.rstrip("/"), table, f"batch={batch}"])

    def names(self, *parts: str) -> list[str]:
        """Sorted names of what lies directly in a folder; empty when there is no such folder."""
        try:
            found = self.filesystem.ls(self.path(*parts), detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in found)

    def read(self, *parts: str) -> bytes:
        """Content of one object of the zone."""
        content: bytes = self.filesystem.cat_file(self.path(*parts))
        return content

    def write(self, content: bytes, *parts: str) -> None:
        """Write one object, whole or not at all, replacing what was there."""
        write_object(self.filesystem, self.path(*parts), content)

    def create(self, content: bytes, *parts: str) -> None:
        """Write one object, whole or not at all.

        Raises:
            FileExistsError: If the object is already there; it stays as it is.
        """
        write_object(self.filesystem, self.path(*parts), content, only_if_absent=True)

    def remove(self, *parts: str) -> None:
        """Remove an object or a folder with all in it; nothing happens when it is not there."""
        try:
            self.filesystem.rm(self.path(*parts), recursive=True)
        except FileNotFoundError:
            return


def read_document(
    zone: Zone, folder: str, name: str, kind: str, version: int, parse: Callable[[Any], _Document]
) -> _Document:
    """Read one JSON document that a job committed to a zone.

    Args:
        zone: The zone.
        folder: Folder of the document.
        name: Its file name.
        kind: What it is; its field ``<kind>_version`` says in which version.
        version: The version that this library knows.
        parse: What makes the document of its JSON value.

    Raises:
        LakeError: If it is unreadable or of another version.
    """
    place = f"{zone.uri}/{folder}/{name}"
    try:
        content = json.loads(zone.read(folder, name))
        found = content[f"{kind}_version"]
        if found != version:
            raise LakeError(
                f"{place}: expected {kind} version {version}, found {found}; it was written by "
                "another release of these jobs, deploy that one"
            )
        return parse(content)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise LakeError(
            f"{place}: expected a {kind}, found something unreadable ({error!r}); nothing was "
            "done, restore the object from its previous version"
        ) from error


def write_object(
    filesystem: fsspec.AbstractFileSystem,
    path: str,
    content: bytes,
    *,
    only_if_absent: bool = False,
) -> None:
    """Write an object so that no reader, and no crash, ever leaves a part of it.

    S3 does so by itself (and creates conditionally by ``If-None-Match``). On a local disk the
    bytes go to a hidden file first, which then takes its name in one step.

    Raises:
        FileExistsError: If ``only_if_absent`` and the object is there.
    """
    if not isinstance(filesystem, LocalFileSystem):
        filesystem.pipe_file(path, content, mode="create" if only_if_absent else "overwrite")
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    while True:
        try:
            _write_file(path, content, only_if_absent)
        except FileNotFoundError:
            # Another run took the hidden file for one that a dead run left.
            if only_if_absent:
                raise FileExistsError(path) from None
        else:
            return


def _write_file(path: str, content: bytes, only_if_absent: bool) -> None:
    folder, name = os.path.split(path)
    hidden = os.path.join(folder, f".{name}.{uuid.uuid4().hex}")
    try:
        with open(hidden, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if only_if_absent:
            os.link(hidden, path)
        else:
            os.replace(hidden, path)
    except OSError as error:
        # Of a full disk, writing does not say which file it has no room for.
        error.filename = error.filename or path
        raise
    finally:
        with suppress(FileNotFoundError):
            os.unlink(hidden)


def written_as(name: str) -> str | None:
    """What a hidden file was to be called, which a run left that died while it wrote one."""
    match = _HIDDEN.fullmatch(name)
    return match[1] if match else None


class _FileWriter(Protocol):
    def write_table(self, table: pa.Table) -> None: ...

    def close(self) -> None: ...


def _open_writer(file_format: str, sink: io.BytesIO, schema: pa.Schema) -> _FileWriter:
    writer: _FileWriter
    if file_format == PARQUET:
        writer = pa.parquet.ParquetWriter(sink, schema, compression="zstd")
    else:
        writer = pa.csv.CSVWriter(sink, schema)
    return writer


def _row_groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Join small record batches into tables the size of a row group."""
    waiting: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        waiting.append(batch)
        rows += batch.num_rows
        size += batch.nbytes
        if rows >= ROW_GROUP_ROWS or size >= ROW_GROUP_BYTES:
            yield _nullable(waiting)
            waiting, rows, size = [], 0, 0
    if rows:
        yield _nullable(waiting)


def _nullable(batches: list[pa.RecordBatch]) -> pa.Table:
    # Whether Spark knows that a column has no nulls depends on its plan; a table's files must not.
    table = pa.Table.from_batches(batches)
    return table.cast(pa.schema([field.with_nullable(True) for field in table.schema]))


def write_part(
    batches: Iterable[pa.RecordBatch], folder_uri: str, part: int, file_format: str
) -> DataFile | None:
    """Write one partition's rows as one file of a batch's folder.

    Args:
        batches: The rows, all of one schema.
        folder_uri: The batch's folder.
        part: Number of the partition; the file's name follows from it alone.
        file_format: ``parquet`` or ``csv``.

    Returns:
        What was written, or None when there were no rows.
    """
    sink = io.BytesIO()
    writer: _FileWriter | None = None
    rows = 0
    for table in _row_groups(batches):
        if writer is None:
            writer = _open_writer(file_format, sink, table.schema)
        writer.write_table(table)
        rows += table.num_rows
    if writer is None:
        return None
    writer.close()
    name = f"part-{part:05d}.{file_format}"
    Zone(folder_uri).write(sink.getvalue(), name)
    return DataFile(name, rows, sink.getbuffer().nbytes)


def write_frame(
    frame: DataFrame, folder_uri: str, file_format: str = PARQUET, *, few: bool = False
) -> list[DataFile]:
    """Write a frame into a batch's folder, one file per partition that has rows.

    Args:
        frame: The rows.
        folder_uri: The batch's folder.
        file_format: ``parquet`` or ``csv``.
        few: Whether the rows may be few, and none of them wide. Up to ``FEW_ROWS`` are written by
            the driver, as one file: starting Python on the executors takes longer than that.

    Returns:
        The files written, in the order of their partitions.
    """
    return write_counted(frame, folder_uri, file_format, few=few)[0]


def write_counted(
    frame: DataFrame,
    folder_uri: str,
    file_format: str = PARQUET,
    count_by: str = "",
    *,
    few: bool = False,
) -> tuple[list[DataFile], Counter[str]]:
    """Write a frame as ``write_frame`` does, and count its rows on the way.

    Args:
        frame: The rows.
        folder_uri: The batch's folder.
        file_format: ``parquet`` or ``csv``.
        count_by: A text column without nulls; empty: nothing is counted.
        few: Whether the rows may be few, and none of them wide (see ``write_frame``).

    Returns:
        The files written, in the order of their partitions; rows by value of ``count_by``.
    """
    counts: Counter[str] = Counter()
    if few:
        # Public, as toArrow(), from Spark 4 on only.
        batches = frame.limit(FEW_ROWS + 1)._collect_as_arrow()  # noqa: SLF001
        if sum(batch.num_rows for batch in batches) <= FEW_ROWS:
            file = write_part(_counted(batches, count_by, counts), folder_uri, 0, file_format)
            return [file] if file else [], counts

    def write(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        # Imported by the executor: the driver has no task to ask for its number.
        from pyspark import TaskContext

        context = TaskContext.get()
        assert context is not None  # nosec B101  # always so inside a task
        part = context.partitionId()
        counts: Counter[str] = Counter()
        file = write_part(_counted(batches, count_by, counts), folder_uri, part, file_format)
        if file is not None:
            row = {"part": part, **asdict(file), "counts": json.dumps(counts)}
            yield _report(row)

    schema = "part long, name string, rows long, bytes long, counts string"
    written = sorted(frame.mapInArrow(write, schema).collect(), key=lambda row: int(row["part"]))
    for row in written:
        counts.update(json.loads(row["counts"]))
    return [DataFile(row["name"], row["rows"], row["bytes"]) for row in written], counts


def _report(row: dict[str, Any]) -> pa.RecordBatch:
    # Making an array from Python values, pyarrow imports pandas, which takes longer than writing
    # a small table does; reading JSON it does not.
    return pa.json.read_json(io.BytesIO(json.dumps(row).encode())).to_batches()[0]


def _counted(
    batches: Iterable[pa.RecordBatch], column: str, counts: Counter[str]
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        if column:
            for entry in batch.column(column).value_counts():
                counts[entry["values"].as_py()] += entry["counts"].as_py()
        yield batch


def read_frame(
    spark: SparkSession, folder_uri: str, files: Iterable[DataFile], schema: str
) -> DataFrame:
    """Read the named files, and nothing else that may lie beside them.

    Args:
        spark: The session.
        folder_uri: The batch's folder, or the table's when ``files`` are named from there; then
            the frame also has the column ``batch``.
        files: As manifests name them; Parquet and CSV are told apart by their names.
        schema: Spark DDL of all columns of the files, in their order.

    Returns:
        A frame of ``schema``; empty when there are no files.

    Raises:
        LakeError: If the files are of several formats or of none that is known.
    """
    names = [file.name for file in files]
    if not names:
        return spark.createDataFrame([], schema)
    formats = {name.rsplit(".", 1)[-1] for name in names}
    if len(formats) > 1 or not formats <= {*FORMATS}:
        raise LakeError(
            f"{folder_uri}: expected files of one format, {' or '.join(FORMATS)}, found "
            f"{', '.join(sorted(formats))}; the batch's manifest is damaged, restore it"
        )
    reader = spark.read.schema(schema).option("basePath", folder_uri)
    if formats == {CSV}:
        # As written here: nulls are empty, empty text is "".
        reader = reader.options(
            header=True,
            multiLine=True,
            quote='"',
            escape='"',
            nullValue=_NO_VALUE,
            emptyValue="",
            enforceSchema=False,
            mode="FAILFAST",
            timestampNTZFormat="yyyy-MM-dd HH:mm:ss[.SSSSSS]",
        )
    return reader.format(formats.pop()).load([f"{folder_uri}/{name}" for name in names])


def to_json(content: dict[str, Any]) -> bytes:
    """A JSON document for people and programs: indented, in the given order."""
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
