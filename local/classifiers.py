"""What a file in the lake is and which columns it has, as Glue's built-in classifiers say it.

Parquet is told by its first bytes and typed by its footer. CSV is told as AWS documents it: one of
five delimiters, at least two columns and two rows, a header only if it looks unlike the rows
below it. CSV types are the four that the classifier gives: bigint, double, boolean, string.
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

PARQUET, CSV, UNKNOWN = "parquet", "csv", "UNKNOWN"
_MAGIC = b"PAR1"
_DELIMITERS = (",", "|", "\t", ";", "\x01")
_CSV_SAMPLE_BYTES = 1_048_576
_HEADER_LONGEST = 150
_NAME = re.compile(r"[^\x00-\x1f]+")

_SIMPLE_TYPES = {
    pa.bool_(): "boolean",
    pa.int8(): "tinyint",
    pa.int16(): "smallint",
    pa.int32(): "int",
    pa.int64(): "bigint",
    pa.uint8(): "smallint",
    pa.uint16(): "int",
    pa.uint32(): "bigint",
    pa.uint64(): "bigint",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.date32(): "date",
    pa.string(): "string",
    pa.large_string(): "string",
    pa.binary(): "binary",
    pa.large_binary(): "binary",
}


class ClassifyError(ValueError):
    """A file has a column that has no type in the catalogue."""


@dataclass(frozen=True)
class Classified:
    """What a file is.

    Attributes:
        format: ``parquet``, ``csv`` or ``UNKNOWN``.
        columns: Hive type of each column by its lower-case name, in the file's order.
        delimiter: Of a CSV file.
        header: Whether a CSV file's first line names its columns.
    """

    format: str
    columns: Mapping[str, str] = field(default_factory=dict)
    delimiter: str = ""
    header: bool = False


def classify(filesystem: fsspec.AbstractFileSystem, path: str) -> Classified:
    """Say what a file is.

    Raises:
        ClassifyError: If it is Parquet with a column that the catalogue cannot hold.
    """
    with filesystem.open(path, "rb") as file:
        sample = file.read(len(_MAGIC))
        if sample == _MAGIC:
            try:
                return Classified(PARQUET, parquet_columns(pq.ParquetFile(file)))
            except pa.ArrowInvalid:
                return Classified(UNKNOWN)
        sample += file.read(_CSV_SAMPLE_BYTES)
    return classify_text(sample)


def parquet_columns(file: pq.ParquetFile) -> dict[str, str]:
    """Hive type of each column of a Parquet file, by its lower-case name."""
    physical = {}
    for index in range(len(file.schema)):
        leaf = file.schema.column(index)
        physical[leaf.path.split(".")[0]] = leaf.physical_type
    columns: dict[str, str] = {}
    for column in file.schema_arrow:
        name = column.name.lower()
        if name in columns:
            raise ClassifyError(f"expected one column {name}, found two that differ in case only")
        # Nanoseconds in 64 bits are a plain number to Glue; the old 96-bit form is a timestamp.
        nanoseconds = column.type == pa.timestamp("ns") and physical[column.name] == "INT64"
        columns[name] = "bigint" if nanoseconds else hive_type(column.type, column.name)
    return columns


def hive_type(type_: pa.DataType, name: str) -> str:
    """The catalogue's name of an Arrow type.

    Raises:
        ClassifyError: If there is none.
    """
    if type_ in _SIMPLE_TYPES:
        return _SIMPLE_TYPES[type_]
    types = pa.types
    if types.is_timestamp(type_):
        return "timestamp"
    if types.is_decimal(type_):
        return f"decimal({type_.precision},{type_.scale})"
    if types.is_dictionary(type_):
        return hive_type(type_.value_type, name)
    if types.is_fixed_size_binary(type_):
        return "binary"
    if types.is_time(type_):
        return "int" if type_.bit_width == 32 else "bigint"
    if types.is_map(type_):
        return f"map<{hive_type(type_.key_type, name)},{hive_type(type_.item_type, name)}>"
    if types.is_list(type_) or types.is_large_list(type_):
        return f"array<{hive_type(type_.value_type, name)}>"
    if types.is_struct(type_):
        parts = (f"{part.name.lower()}:{hive_type(part.type, name)}" for part in type_)
        return f"struct<{','.join(parts)}>"
    raise ClassifyError(f"column {name}: the catalogue has no type for {type_}")


def classify_text(sample: bytes) -> Classified:
    """Say whether a file's beginning is CSV, and of which columns."""
    try:
        text = sample.decode("utf-8", errors="strict" if len(sample) < 2048 else "ignore")
    except UnicodeDecodeError:
        return Classified(UNKNOWN)
    if "\x00" in text:
        return Classified(UNKNOWN)
    if len(sample) > _CSV_SAMPLE_BYTES:
        text = text.rsplit("\n", 1)[0]  # its last line may be cut
    for delimiter in _DELIMITERS:
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row]
        widths = {len(row) for row in rows}
        if len(rows) >= 2 and len(widths) == 1 and widths.pop() >= 2:
            return _csv(rows, delimiter)
    return Classified(UNKNOWN)


def _csv(rows: Sequence[Sequence[str]], delimiter: str) -> Classified:
    first, *rest = rows
    header = _is_header(first, rest)
    names = [name.lower() for name in first] if header else [f"col{i}" for i in range(len(first))]
    columns = zip(*(rest if header else rows), strict=True)
    types = {name: _text_type(values) for name, values in zip(names, columns, strict=True)}
    return Classified(CSV, types, delimiter, header)


def _is_header(first: Sequence[str], rest: Sequence[Sequence[str]]) -> bool:
    """Whether a first row names the columns: all text, and some row below is not all text."""
    texts = all(_text_type([value]) == "string" for value in first)
    # A line may end in a delimiter: the last name alone may be missing.
    named = all(_NAME.fullmatch(value) and len(value) < _HEADER_LONGEST for value in first[:-1])
    other = any(_text_type([value]) != "string" for row in rest for value in row if value)
    return texts and named and other and len(set(map(str.lower, first))) == len(first)


def _text_type(values: Sequence[str]) -> str:
    found = [value.strip() for value in values if value.strip()]
    if not found:
        return "string"
    for type_, pattern in (
        ("bigint", r"[+-]?\d{1,18}"),
        ("double", r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"),
        ("boolean", r"(?i:true|false)"),
    ):
        if all(re.fullmatch(pattern, value) for value in found):
            return type_
    return "string"
