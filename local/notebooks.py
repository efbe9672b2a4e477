"""`make notebooks`: runs the notebooks on the lake here and leaves them as pages to look at."""

import os
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbconvert import HTMLExporter
from nbconvert.preprocessors import CellExecutionError, ExecutePreprocessor
from rich.console import Console

from local.data_catalog import REPOSITORY
from local.query import QueryError, lake_of
from local.settings import STATE, SettingsError

NOTEBOOKS = REPOSITORY / "notebooks"
PAGES = STATE / "notebooks"
_SECONDS_A_CELL = 300


def execute(path: Path) -> Any:
    """Run a notebook where it lies, in this environment; return it with its outputs.

    Raises:
        CellExecutionError: Naming the cell that failed.
    """
    notebook = nbformat.read(path, as_version=4)
    quiet = ["--IPKernelApp.log_level=ERROR"]
    runner = ExecutePreprocessor(
        timeout=_SECONDS_A_CELL, kernel_name="python3", extra_arguments=quiet
    )
    runner.preprocess(notebook, {"metadata": {"path": str(path.parent)}})
    return notebook


def main() -> int:
    """Run all of them; return the exit status."""
    console = Console(highlight=False)
    try:
        if not os.environ.get("ATHENA_WORKGROUP"):
            lake_of(os.environ)
        PAGES.mkdir(parents=True, exist_ok=True)
        for path in sorted(NOTEBOOKS.glob("*.ipynb")):
            with console.status(path.stem):
                page, _ = HTMLExporter().from_notebook_node(execute(path))
            target = PAGES / f"{path.stem}.html"
            target.write_text(page, encoding="utf-8")
            console.print(f"[green]✓[/] {target}")
    except (CellExecutionError, QueryError, SettingsError) as error:
        console.print(f"✗ {error}", markup=False, soft_wrap=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
