"""`make notebooks`: runs the notebooks on the lake here and leaves them as pages to look at."""

import os
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient.exceptions import CellControlSignal, DeadKernelError
from nbconvert import HTMLExporter
from nbconvert.preprocessors import ExecutePreprocessor
from rich.console import Console

from local.data_catalog import REPOSITORY
from local.errors import CommandError
from local.front_end import front_end
from local.query import lake_of
from local.settings import STATE

NOTEBOOKS = REPOSITORY / "notebooks"
PAGES = STATE / "notebooks"
_SECONDS_A_CELL = 300


def execute(path: Path) -> Any:
    """Run a notebook where it lies, in this environment; return it with its outputs.

    Raises:
        CommandError: Naming the cell that failed, or took too long.
    """
    notebook = nbformat.read(path, as_version=4)
    quiet = ["--IPKernelApp.log_level=ERROR"]
    runner = ExecutePreprocessor(
        timeout=_SECONDS_A_CELL, kernel_name="python3", extra_arguments=quiet
    )
    try:
        runner.preprocess(notebook, {"metadata": {"path": str(path.parent)}})
    except (CellControlSignal, DeadKernelError) as error:
        raise CommandError(f"{path.name}: {error}") from error
    return notebook


def main() -> int:
    """Run all of them; return the exit status."""
    return front_end(_pages, "The pages that are there are whole; `make notebooks` starts anew.")


def _pages(console: Console) -> int:
    if not os.environ.get("ATHENA_WORKGROUP"):
        lake_of(os.environ)
    PAGES.mkdir(parents=True, exist_ok=True)
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        with console.status(path.stem):
            page, _ = HTMLExporter().from_notebook_node(execute(path))
        target = PAGES / f"{path.stem}.html"
        target.write_text(page, encoding="utf-8")
        console.print(f"[green]✓[/] {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
