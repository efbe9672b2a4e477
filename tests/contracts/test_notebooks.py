"""The notebooks run as they stand, on a fresh lake, and are kept without their outputs."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pandas as pd
import pytest

from local.notebooks import NOTEBOOKS, execute
from tests import small_lake

PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))


def outputs(path: Path) -> tuple[str, int]:
    """All text that a notebook gives, and how many pictures."""
    given = [o for cell in execute(path).cells for o in cell.get("outputs", [])]
    text = [o.get("text", "") + str(o.get("data", {}).get("text/plain", "")) for o in given]
    return "\n".join(text), sum("image/png" in o.get("data", {}) for o in given)


@pytest.mark.parametrize(
    ("name", "pictures", "words"),
    [
        ("business", 5, ["Granite II", "25.00"]),
        ("history", 3, ["2.50", "3.00", "design_id|units_sold", small_lake.SECOND]),
        ("operating", 4, ["newest batch   20261121T105500Z", "no date: 2026-02-30"]),
    ],
)
def test_notebook_runs_on_a_fresh_lake(
    name: str, pictures: int, words: list[str], lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKE", f"file://{lake}")
    monkeypatch.delenv("ATHENA_WORKGROUP", raising=False)
    text, drawn = outputs(NOTEBOOKS / f"{name}.ipynb")
    assert drawn >= pictures
    for word in words:
        assert any(part in text for part in word.split("|")), word


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_notebook_is_kept_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)


def test_all_notebooks_are_tested() -> None:
    assert [path.stem for path in PATHS] == ["business", "history", "operating"]


def test_the_same_query_goes_to_athena_where_its_workgroup_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[dict[str, Any]] = []

    def read_sql_query(sql: str, **options: Any) -> pd.DataFrame:
        asked.append({"sql": sql, **options})
        return pd.DataFrame({"a": [1]})

    athena = SimpleNamespace(read_sql_query=read_sql_query)
    monkeypatch.setitem(sys.modules, "awswrangler", SimpleNamespace(athena=athena))
    monkeypatch.syspath_prepend(str(NOTEBOOKS))
    import lake as notebooks_lake

    monkeypatch.setenv("ATHENA_WORKGROUP", "analysts")
    with pytest.raises(ValueError, match="ATHENA_DATABASE is not"):
        notebooks_lake.query("select 1")
    monkeypatch.setenv("ATHENA_DATABASE", "processed")
    assert notebooks_lake.query("select 1")["a"].tolist() == [1]
    expected = {"sql": "select 1", "database": "processed", "workgroup": "analysts"}
    assert asked == [{**expected, "ctas_approach": False}]
