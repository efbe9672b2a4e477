"""What lies in the folders that a crawler is pointed at: tables, partitions, and what fits none."""

import re
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from urllib.parse import unquote

import fsspec

from local.classifiers import CSV, UNKNOWN, Classified, ClassifyError, classify

_WIDER = ("tinyint", "smallint", "int", "bigint")
_DECIMAL = re.compile(r"decimal\((\d+),(\d+)\)")


@dataclass
class Part:
    """A partition: its folder and the columns of its files."""

    uri: str
    columns: dict[str, str] = field(default_factory=dict)


@dataclass
class Folder:
    """A table: its folder, its format and the columns of all of its files together.

    Of CSV it is said too whether fields may be in quotes, in which case all of them are text.
    """

    name: str
    uri: str
    format: str
    keys: tuple[str, ...]
    delimiter: str
    header: bool
    columns: dict[str, str] = field(default_factory=dict)
    partitions: dict[tuple[str, ...], Part] = field(default_factory=dict)
    quoted: bool = False

    def as_text(self) -> None:
        """Take the fields for text in quotes, which is all that OpenCSVSerDe knows."""
        self.quoted = True
        for columns in (self.columns, *(part.columns for part in self.partitions.values())):
            columns.update(dict.fromkeys(columns, "string"))


@dataclass(frozen=True)
class Found:
    """The tables of all targets, and what belongs to none of them."""

    tables: list[Folder]
    problems: list[str]


@dataclass(frozen=True)
class _File:
    path: str
    folders: tuple[str, ...]  # between its table's folder and itself
    content: Classified


def read_targets(
    targets: Sequence[str],
    exclusions: Sequence[str],
    level: int | None,
    bucket: str,
    skip: AbstractSet[str],
) -> Found:
    """Read all files of the targets and group them into tables.

    Args:
        targets: URIs of folders.
        exclusions: Glob patterns, counted from a target.
        level: How deep a table lies, its bucket being level 1; None: each target is a table.
        bucket: Where levels count from in a lake of files; S3 has its own.
        skip: URIs of folders that are catalogued already and not read again.

    Raises:
        ValueError: If the level lies above a target.
    """
    excluded = [_glob(pattern) for pattern in exclusions]
    tables: dict[str, list[_File]] = {}
    problems: list[str] = []
    for target in targets:
        filesystem, root = fsspec.core.url_to_fs(target, use_listings_cache=False)
        root = root.rstrip("/")
        depth = _depth(target, root, level, bucket)
        for path in _data_files(filesystem, root, excluded):
            inside = path[len(root) + 1 :].split("/")
            if depth >= len(inside):
                problems.append(f"{path}: lies above the level of tables, no table has it")
                continue
            folder = "/".join([root, *inside[:depth]])
            if filesystem.unstrip_protocol(path.rsplit("/", 1)[0]) in skip:
                continue
            try:
                content = classify(filesystem, path)
            except ClassifyError as error:
                problems.append(f"{path}: {error}")
                continue
            uri = filesystem.unstrip_protocol(folder)
            tables.setdefault(uri, []).append(_File(path, tuple(inside[depth:-1]), content))
    folders = [_folder(uri, files, problems) for uri, files in tables.items()]
    return Found([folder for folder in folders if folder], problems)


def _depth(target: str, root: str, level: int | None, bucket: str) -> int:
    """How many folders below a target its tables lie."""
    if level is None:
        return 0
    start = root.split("/", 1)[0] if target.startswith("s3:") else _path(bucket)
    above = 1 + len([part for part in root[len(start) :].split("/") if part])
    if level < above:
        raise ValueError(
            f"TableLevelConfiguration {level} lies above the target {target}, which is level "
            f"{above}: count the bucket as level 1"
        )
    return level - above


def _path(uri: str) -> str:
    return str(fsspec.core.url_to_fs(uri)[1]).rstrip("/")


def _data_files(
    filesystem: fsspec.AbstractFileSystem, root: str, excluded: Iterable[re.Pattern[str]]
) -> list[str]:
    """Paths of what is not empty, hidden or excluded."""
    try:
        listed = filesystem.find(root, detail=True)
    except FileNotFoundError:
        return []
    return [
        path
        for path, info in sorted(listed.items())
        if info["size"]
        and not any(part.startswith(("_", ".")) for part in path[len(root) + 1 :].split("/"))
        and not any(pattern.fullmatch(path[len(root) + 1 :]) for pattern in excluded)
    ]


def _folder(uri: str, files: Sequence[_File], problems: list[str]) -> Folder | None:
    """A table of the files in a folder: those of the format and depth that most of them have."""
    known = [file for file in files if file.content.format != UNKNOWN]
    shapes = [(file.content.format, len(file.folders)) for file in known]
    if not known:
        problems += [f"{file.path}: of no known format" for file in files]
        return None
    most = max(shapes, key=shapes.count)
    ours = [f for f in known if (f.content.format, len(f.folders)) == most]
    for file in files:
        if file not in ours:
            problems.append(
                f"{file.path}: expected {most[0]} {most[1]} folders deep as the rest of its table, "
                f"found {file.content.format} {len(file.folders)} deep; Athena reads it all the "
                "same and fails: move it away"
            )
    first = ours[0].content
    keys = tuple(_key(part, n) for n, part in enumerate(ours[0].folders))
    name = re.sub(r"[^a-z0-9_]", "_", uri.rstrip("/").rsplit("/", 1)[-1].lower())
    folder = Folder(name, uri, first.format, keys, first.delimiter, first.header)
    for file in ours:
        text = first.format == CSV
        folder.columns, unfit = merged_columns(folder.columns, file.content.columns, text)
        problems += [f"{file.path}: {words}" for words in unfit]
        if keys:
            values = tuple(unquote(part.partition("=")[2] or part) for part in file.folders)
            place = "/".join([uri, *file.folders])
            part = folder.partitions.setdefault(values, Part(place))
            part.columns, _ = merged_columns(part.columns, file.content.columns, text)
    return folder


def _key(folder: str, number: int) -> str:
    key, equals, _ = folder.partition("=")
    return key.lower() if equals else f"partition_{number}"


def merged_columns(
    columns: Mapping[str, str], more: Mapping[str, str], text: bool = False
) -> tuple[dict[str, str], list[str]]:
    """Columns of two files together, and which types of the second cannot be had with the first.

    Columns of text files always can: whatever they hold is text at the least.
    """
    result = dict(columns)
    unfit = []
    for name, type_ in more.items():
        merged = _wider(result.get(name, type_), type_, text)
        if merged is None:
            unfit.append(f"column {name} is {type_} here and {result[name]} elsewhere")
        else:
            result[name] = merged
    return result, unfit


def _wider(one: str, other: str, text: bool) -> str | None:
    """The type that holds values of both, if Athena can read both as it."""
    if one == other:
        return one
    if text:
        return "double" if {one, other} == {"bigint", "double"} else "string"
    if one in _WIDER and other in _WIDER:
        return max(one, other, key=_WIDER.index)
    if {one, other} == {"float", "double"}:
        return "double"
    numbers = [_DECIMAL.fullmatch(type_) for type_ in (one, other)]
    if numbers[0] and numbers[1]:
        (p, s), (q, t) = ((int(n[1]), int(n[2])) for n in numbers if n)
        scale = max(s, t)
        return f"decimal({min(38, max(p - s, q - t) + scale)},{scale})"
    return None


def _glob(pattern: str) -> re.Pattern[str]:
    """A glob as AWS's crawlers read it: * stays within a folder, ** does not."""
    result, position, braces = "", 0, 0
    while position < len(pattern):
        rest = pattern[position:]
        if rest.startswith("**"):
            result, position = result + ".*", position + 2
            continue
        character = rest[0]
        if character == "*":
            result += "[^/]*"
        elif character == "?":
            result += "[^/]"
        elif character == "\\" and len(rest) > 1:
            result += re.escape(rest[1])
            position += 1
        elif character == "[" and "]" in rest:
            inner = rest[1 : rest.index("]")]
            result += "[" + ("^" + inner[1:] if inner.startswith("!") else inner) + "]"
            position += len(inner) + 1
        elif character == "{" or (character == "}" and braces):
            result += "(?:" if character == "{" else ")"
            braces += 1 if character == "{" else -1
        elif character == "," and braces:
            result += "|"
        else:
            result += re.escape(character)
        position += 1
    return re.compile(result)
