"""`make docs`: docs/tables.md from the declarations; `--check` says if it is current."""

import sys
from pathlib import Path

from totelake.tables import STAR, StarTable

PAGE = Path(__file__).resolve().parents[1] / "docs" / "tables.md"
_HEAD = """# Tables

Made from `glue_jobs/totelake/tables.py` by `make docs`.

The raw zone holds the source's tables as they are, with `row_xmin` (the source transaction that
wrote the version) and `row_change` (`change`, `lookup`: it accompanies a change of a joined
table, or `tombstone`). The processed zone holds the tables below with `row_deleted` and
`row_batch` (the batch that the row came with). Both have the partition column `batch`. In the lake
a fact has no record id and its times are text (`HH:MM:SS.mmm`); the warehouse has the types given
here.
"""


def page() -> str:
    """The page's text."""
    return "\n".join([_HEAD, *map(_section, STAR.values())])


def _section(table: StarTable) -> str:
    source = f"From `{table.source}`" if table.source else "From the dates of the facts"
    record = f"; each version has a `{table.record_id}` in the warehouse" if table.is_fact else ""
    lines = [
        f"## {table.name}\n",
        f"Grain: {table.grain}. Key: `{table.key}`{record}. {source}.\n",
        "| column | type | null | points to |",
        "|---|---|---|---|",
    ]
    for column in table.columns:
        null = "yes" if column.nullable else ""
        target = f"`{column.references}`" if column.references else ""
        lines.append(f"| `{column.name}` | {column.type} | {null} | {target} |")
    return "\n".join([*lines, ""])


def main(arguments: list[str]) -> int:
    """Write the page, or with ``--check`` compare it; return the exit status."""
    if arguments == ["--check"]:
        if PAGE.read_text(encoding="utf-8") == page():
            return 0
        print(f"{PAGE.name} is not what tables.py says; run `make docs`", file=sys.stderr)  # noqa: T201
        return 1
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
