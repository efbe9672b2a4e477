"""Generate the views of the processed zone, and the table that no crawler makes.

``current_…`` shows the latest version of each key, without the keys that were deleted;
``versions_…`` every version with the batch that it came with, once, whether or not batches have
been merged, or are being merged. Terraform deploys ``terraform/views.json``; Athena refuses a view
whose declared columns differ from what its query gives, so columns are named, never ``*``, and
never typed by hand. ``terraform/tables.json`` holds quarantine: a crawler would make it when the
first row is rejected, and until then whoever asks for it would be told that it does not exist.

Use: ``python -m local.athena_views`` writes the files, with ``--check`` it compares.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from totelake.quality import QUARANTINE_COLUMNS
from totelake.tables import QUARANTINE, ROW_BATCH, ROW_DELETED, STAR, StarTable

_TERRAFORM = Path(__file__).resolve().parent.parent / "terraform"
VIEWS, TABLES = _TERRAFORM / "views.json", _TERRAFORM / "tables.json"
# Spark and Hive agree on the names of types; Athena's engine has its own for two of them.
_ATHENA_TYPES = {"int": "integer", "string": "varchar"}


def current(table: StarTable) -> dict[str, Any]:
    """The view of the latest version of each key, as Terraform needs to know it.

    Partitions of merged batches sort so that the latest by ``batch`` is the latest version: the
    view does without a row's own batch, which files of an earlier release lack.
    """
    names = _names(table)
    rank = f'row_number() OVER (PARTITION BY "{table.key}" ORDER BY "batch" DESC)'
    ranked = f'{names}, "{ROW_DELETED}", {rank} AS "version_rank"'
    # Names of our own declarations, and nothing is run here.
    latest = f'SELECT {names} FROM (SELECT {ranked} FROM "{table.name}")'  # nosec B608
    return {
        "name": f"current_{table.name}",
        "description": f"The latest version of each {table.key}, without deleted ones",
        "sql": f'{latest} WHERE "version_rank" = 1 AND NOT "{ROW_DELETED}"',
        "columns": _columns(table),
    }


def versions(table: StarTable) -> dict[str, Any]:
    """The view of all versions, each with its own batch, as Terraform needs to know it."""
    names = f'{_names(table)}, "{ROW_DELETED}"'
    batch = f'coalesce("{ROW_BATCH}", "batch")'
    copy = f'row_number() OVER (PARTITION BY "{table.key}", {batch} ORDER BY "batch")'
    counted = f'{names}, {batch} AS "version_batch", {copy} AS "version_copy"'
    found = f'SELECT {names}, "version_batch" AS "batch" FROM (SELECT {counted}'
    return {
        "name": f"versions_{table.name}",
        "description": f"Every version of each {table.key}, deletions too, with its batch",
        "sql": f'{found} FROM "{table.name}") WHERE "version_copy" = 1',  # nosec B608
        "columns": [
            *_columns(table),
            {"name": ROW_DELETED, "type": "boolean", "hive_type": "boolean"},
            {"name": "batch", "type": "varchar", "hive_type": "string"},
        ],
    }


def quarantine_view() -> dict[str, Any]:
    """The view of what is still rejected: a row that was mended, or deleted, is settled."""
    columns = [f'"{name}"' for name in (*QUARANTINE_COLUMNS, "batch")]
    names = ", ".join(f"q.{column}" for column in columns)
    versions = " UNION ALL ".join(
        f'SELECT \'{table.name}\' AS "star_table", CAST("{table.key}" AS varchar) AS'  # nosec B608
        f' "source_key", max(coalesce("{ROW_BATCH}", "batch")) AS "batch"'
        f' FROM "{table.name}" GROUP BY "{table.key}"'
        for table in STAR.values()
        if table.source
    )
    rank = 'row_number() OVER (PARTITION BY "star_table", "source_key" ORDER BY "batch" DESC)'
    newest = f'SELECT {", ".join(columns)}, {rank} AS "rejection_rank" FROM "{QUARANTINE}"'  # nosec B608
    # A rejected row may lack even its key, and then nothing can settle it.
    same = 'v."star_table" = q."star_table" AND v."source_key" = q."source_key"'
    return {
        "name": f"current_{QUARANTINE}",
        "description": "Rows that are rejected and neither mended nor deleted since",
        "sql": (
            f"SELECT {names} FROM ({newest}) q LEFT JOIN ({versions}) v"  # nosec B608
            f' ON {same} AND v."batch" > q."batch"'
            ' WHERE v."batch" IS NULL AND (q."rejection_rank" = 1 OR q."source_key" IS NULL)'
        ),
        "columns": [
            {"name": name, "type": "varchar", "hive_type": "string"}
            for name in (*QUARANTINE_COLUMNS, "batch")
        ],
    }


def quarantine_table() -> dict[str, Any]:
    """The quarantine's table, as Terraform needs to know it."""
    return {
        "name": QUARANTINE,
        "description": "Rejected rows, each with every rule that it broke",
        "columns": [
            {"name": name, "hive_type": "string"} for name in (*QUARANTINE_COLUMNS, ROW_BATCH)
        ],
    }


def _names(table: StarTable) -> str:
    return ", ".join(f'"{name}"' for name in table.column_names)


def _columns(table: StarTable) -> list[dict[str, str]]:
    return [
        {
            "name": column.name,
            "type": _ATHENA_TYPES.get(column.spark_type, column.spark_type),
            "hive_type": column.spark_type,
        }
        for column in table.columns
    ]


def documents() -> dict[Path, str]:
    """The files: two views per table of the star and the quarantine's, and its table."""
    of_tables = [view(table) for view in (current, versions) for table in STAR.values()]
    contents = {VIEWS: [*of_tables, quarantine_view()], TABLES: [quarantine_table()]}
    return {path: json.dumps(content, indent=2) + "\n" for path, content in contents.items()}


def main(argv: list[str] | None = None) -> None:
    """Write the files, or with ``--check`` end with status 1 if one is not what it should be."""
    parser = argparse.ArgumentParser(description="Generate terraform/{views,tables}.json.")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    check = parser.parse_args(argv).check
    for path, text in documents().items():
        if not check:
            path.write_text(text)
        elif path.read_text() != text:
            sys.exit(f"{path.name} differs from the declared tables: run make views")


if __name__ == "__main__":
    main()
