"""A catalogued table's files as DuckDB reads them, with the values that Athena would see.

All files of the table's registered partitions are read, hidden and empty ones apart. A column
that Athena could not read fails the query that uses it, and no other.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from local.athena_types import SqlError, can_read, duckdb_type
from local.classifiers import ClassifyError, parquet_columns
from local.glue_tables import LAZY_SERDE, OPEN_CSV_SERDE, PARQUET_SERDE


def quoted(name: str) -> str:
    """An identifier as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def select_files(table: Mapping[str, Any], partitions: Sequence[Mapping[str, Any]]) -> str:
    """The DuckDB query that gives a table's rows.

    Args:
        table: As Glue has it.
        partitions: Those that are registered; none for a table without partition keys.

    Raises:
        SqlError: If the table's files cannot be read as Athena would.
    """
    keys = [key["Name"] for key in table.get("PartitionKeys", [])]
    parts = {tuple(p["Values"]): p["StorageDescriptor"]["Location"] for p in partitions}
    if not keys:
        parts = {(): table["StorageDescriptor"]["Location"]}
    found: list[tuple[tuple[str, ...], str]] = []
    for values, location in parts.items():
        found += [(values, file) for file in data_files(location)]
    columns = {c["Name"]: c["Type"] for c in table["StorageDescriptor"]["Columns"]}
    if not found:
        nulls = [f"CAST(NULL AS {duckdb_type(t)}) AS {quoted(c)}" for c, t in columns.items()]
        nulls += [f"CAST(NULL AS varchar) AS {quoted(key)}" for key in keys]
        return f"SELECT {', '.join(nulls)} WHERE FALSE"
    serde = table["StorageDescriptor"]["SerdeInfo"]
    library = serde["SerializationLibrary"]
    files = [file for _, file in found]
    if library == PARQUET_SERDE:
        rows = _parquet(columns, files)
    elif library in (LAZY_SERDE, OPEN_CSV_SERDE):
        rows = _csv(columns, files, table)
    else:
        raise SqlError(f"{table['Name']}: serde {library} is not read here")
    return _with_keys(rows, columns, keys, found)


def data_files(location: str) -> list[str]:
    """Paths (of a disk) or URIs of what Athena reads in a folder, its sub-folders included."""
    filesystem, root = fsspec.core.url_to_fs(location, use_listings_cache=False)
    root = root.rstrip("/")
    try:
        listed = filesystem.find(root, detail=True)
    except FileNotFoundError:
        return []
    local = isinstance(filesystem, LocalFileSystem)
    return [
        path if local else str(filesystem.unstrip_protocol(path))
        for path, info in sorted(listed.items())
        if info["size"]
        and not any(part.startswith(("_", ".")) for part in path[len(root) + 1 :].split("/"))
    ]


def _parquet(columns: Mapping[str, str], files: Sequence[str]) -> str:
    """Rows of Parquet files: columns by name, those that are missing null."""
    unfit: dict[str, str] = {}
    there: set[str] = set()
    for file in files:
        for name, type_ in _footer(file).items():
            there.add(name)
            if name in columns and not can_read(type_, columns[name]):
                unfit.setdefault(
                    name,
                    f"HIVE_BAD_DATA: Column {name} of type {columns[name]} is {type_} in the "
                    f"Parquet file {file}",
                )
    selected = []
    for name, type_ in columns.items():
        value = quoted(name) if name in there else "NULL"
        if name in unfit:
            value = f"error({_literal(unfit[name])})"
        elif type_ == "timestamp" and name in there:
            # Athena reads milliseconds, rounded.
            value = f"make_timestamp((epoch_us({value}) + 500) // 1000 * 1000)"
        selected.append(f"CAST({value} AS {duckdb_type(type_)}) AS {quoted(name)}")
    listed = ", ".join(map(_literal, files))
    selected.append('"filename" AS "$path"')
    return (
        f"SELECT {', '.join(selected)} FROM read_parquet([{listed}], union_by_name = true,"
        " hive_partitioning = false, filename = true)"
    )


def _footer(file: str) -> dict[str, str]:
    with fsspec.open(file, "rb") as content:
        try:
            return parquet_columns(pq.ParquetFile(content))
        except (pa.ArrowInvalid, ClassifyError) as error:
            raise SqlError(f"HIVE_BAD_DATA: {file}: {error}") from error


def _csv(columns: Mapping[str, str], files: Sequence[str], table: Mapping[str, Any]) -> str:
    """Rows of CSV files: columns by place, as the serde reads them."""
    serde = table["StorageDescriptor"]["SerdeInfo"]
    given = serde.get("Parameters", {})
    skip = int(table.get("Parameters", {}).get("skip.header.line.count", 0))
    open_csv = serde["SerializationLibrary"] == OPEN_CSV_SERDE
    delimiter = given.get("separatorChar" if open_csv else "field.delim", ",")
    quote = given.get("quoteChar", '"') if open_csv else ""
    for file in files:
        with fsspec.open(file, "rb") as content:
            text = content.read()
        if quote and any(line.count(quote.encode()) % 2 for line in text.splitlines()):
            raise SqlError(
                f"{file}: a field with a line break, which breaks the row in Athena, is not read"
            )
    names = ", ".join(f"{_literal(name)}: 'varchar'" for name in columns)
    listed = ", ".join(map(_literal, files))
    selected = []
    for name, type_ in columns.items():
        if open_csv:
            value = f"coalesce({quoted(name)}, '')"
            value = value if type_ == "string" else f"CAST({value} AS {duckdb_type(type_)})"
        elif type_ == "string":
            value = f"nullif({quoted(name)}, '\\N')"
        else:
            value = f"TRY_CAST({quoted(name)} AS {duckdb_type(type_)})"
        selected.append(f"{value} AS {quoted(name)}")
    selected.append('"filename" AS "$path"')
    return (
        f"SELECT {', '.join(selected)} FROM read_csv([{listed}], columns = {{{names}}},"
        f" auto_detect = false, header = false, skip = {skip}, delim = {_literal(delimiter)},"
        f" quote = {_literal(quote)}, escape = {_literal(quote)}, nullstr = '\x01',"
        " null_padding = true, hive_partitioning = false, filename = true)"
    )


def _with_keys(
    rows: str,
    columns: Iterable[str],
    keys: Sequence[str],
    found: Iterable[tuple[Sequence[str], str]],
) -> str:
    """Rows with the values of their partitions, which come from the catalogue and no path."""
    names = ", ".join(quoted(name) for name in columns)
    if not keys:
        return f"SELECT {names} FROM ({rows})"
    listed = ", ".join(
        f"({', '.join(_literal(value) for value in [file, *values])})" for values, file in found
    )
    keyed = ", ".join(quoted(key) for key in keys)
    return (
        f'SELECT {names}, {keyed} FROM ({rows}) JOIN (VALUES {listed}) AS "$parts" ("$file", '
        f'{keyed}) ON "$path" = "$file"'
    )


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
