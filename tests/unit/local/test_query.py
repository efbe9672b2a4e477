"""`make query` and `make sql` as someone at the keyboard meets them."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from rich.console import Console

from local import query, sql_prompt
from local.athena import LocalAthena
from local.run import next_steps
from local.settings import Settings
from tests import small_lake
from totelake.runtime import Credentials

ROWS = pa.table(
    {
        "id": pa.array([1, None], pa.int32()),
        "at": pa.array([datetime(2026, 1, 1), None], pa.timestamp("us")),
        "price": [Decimal("1.50"), None],
        "paid": [True, None],
        "name": ['say "a"', None],
        "day": [date(2026, 1, 2), None],
    }
)


@pytest.fixture
def opened(athena: LocalAthena, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lake is catalogued once for all tests."""

    @contextmanager
    def ready(lake: str, console: Console) -> Iterator[LocalAthena]:
        yield athena

    monkeypatch.setattr(query, "open_athena", ready)
    monkeypatch.setattr(sql_prompt, "open_athena", ready)


def test_query_is_answered_as_csv_where_there_is_no_terminal(
    lake: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sql = "select units_sold, null as nothing from current_fact_sales_order order by 1"
    assert query.main({"SQL": sql, "LAKE": f"file://{lake}"}) == 0
    assert capsys.readouterr().out == '"units_sold","nothing"\n"31",\n"40",\n'


def test_named_query_goes_into_a_file(opened: None, lake: Path, tmp_path: Path) -> None:
    to = tmp_path / "rows.parquet"
    asked = {"NAME": "history_of_an_order", "LAKE": f"file://{lake}", "TO": str(to)}
    assert query.main(asked) == 0
    assert pq.read_table(to).column("units_sold").to_pylist() == [10, 40]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "best_designs"),
        ({"SQL": "select 1", "NAME": "quarantine"}, "one of them"),
        ({"NAME": "nothing"}, "expected a NAME of best_designs"),
        ({"SQL": "select 1", "TO": "rows.xls"}, "ends in .csv or .parquet"),
        ({"SQL": "select 1"}, "`make run` makes it"),
        ({"SQL": "select 1", "QUICK": "maybe"}, "QUICK"),
    ],
)
def test_what_cannot_be_answered_is_said(
    asked: dict[str, str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert query.main(asked) == 1
    assert words in capsys.readouterr().err


def test_problem_of_a_query_is_said(
    opened: None, lake: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert query.main({"SQL": "drop table dim_date", "LAKE": f"file://{lake}"}) == 1
    assert "DROP is not run here" in capsys.readouterr().err


def test_file_that_fits_no_table_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small_lake.write(tmp_path)
    (tmp_path / "processed" / "dim_design" / "notes.txt").write_text("mine")
    query.main({"SQL": "select 1", "LAKE": f"file://{tmp_path}"})
    assert "notes.txt" in capsys.readouterr().err


def test_table_has_values_as_athena_writes_them() -> None:
    console = Console(file=io.StringIO(), width=120)
    query.show(console, ROWS)
    head, first, second, *_ = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert head.split() == ["id", "at", "price", "paid", "name", "day"]
    assert first.split() == [
        "1",
        "2026-01-01",
        "00:00:00.000",
        "1.50",
        "true",
        "say",
        '"a"',
        "2026-01-02",
    ]
    assert second.split() == ["NULL"] * 6


def test_long_answer_is_cut_and_says_so() -> None:
    console = Console(file=io.StringIO(), width=80)
    query.show(console, pa.table({"n": range(query.ROWS_SHOWN + 7)}))
    assert "… and 7 rows more" in console.file.getvalue()  # type: ignore[attr-defined]


def test_csv_has_quotes_and_nulls_as_athena_has_them(tmp_path: Path) -> None:
    query.write(ROWS, tmp_path / "rows.csv")
    assert (tmp_path / "rows.csv").read_text().splitlines()[1:] == [
        '"1","2026-01-01 00:00:00.000","1.50","true","say ""a""","2026-01-02"',
        ",,,,,",
    ]


def typed(athena: LocalAthena, text: str, history: Path) -> list[str]:
    """The texts that a prompt takes when keys are pressed."""
    shell = sql_prompt.Shell(athena, Console(file=io.StringIO()))
    taken = []
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        keys.send_text(text)
        prompt = sql_prompt.session(shell, history)
        try:
            while True:
                taken.append(prompt.prompt())
        except EOFError:
            return taken


def test_enter_ends_what_is_whole_and_history_stays(athena: LocalAthena, tmp_path: Path) -> None:
    history = tmp_path / "state" / "history"
    keys = "select 1\rfrom dim_staff;\rtables\r\x04"
    assert typed(athena, keys, history) == ["select 1\nfrom dim_staff;", "tables"]
    assert "+tables" in history.read_text()


def test_tables_columns_and_queries_are_completed(athena: LocalAthena, tmp_path: Path) -> None:
    shell = sql_prompt.Shell(athena, Console(file=io.StringIO()))
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        completer = sql_prompt.session(shell, tmp_path / "history").completer
        found = {
            completion.text
            for word in ("current_fact_s", "units_", "best", "SEL")
            for completion in completer.get_completions(Document(word), CompleteEvent())
        }
    assert found == {"current_fact_sales_order", "units_sold", "best_designs", "select"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("select count(*) from current_fact_sales_order;", "1 rows"),
        ("history_of_an_order", "2 rows"),
        ("tables", "current_dim_staff"),
        ("queries", "Every version of one sales order"),
        ("describe fact_payment", "decimal(10,2)"),
        ("describe nothing", "TABLE_NOT_FOUND"),
        ("help", "Ctrl-D leaves"),
        ("drop table dim_staff;", "DROP is not run here"),
        ("", ""),
    ],
)
def test_prompt_answers_and_goes_on(athena: LocalAthena, text: str, words: str) -> None:
    console = Console(file=io.StringIO(), width=200)
    assert sql_prompt.Shell(athena, console).answer(text)
    assert words in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "source", [None, Credentials("db", 5432, "totesys", "u", "secret", "require")]
)
def test_what_a_run_says_to_look_at_next_is_there(source: Credentials | None) -> None:
    makefile = (query.REPOSITORY / "Makefile").read_text(encoding="utf-8")
    settings = Settings(source=source)
    _, *commands = next_steps(settings)
    for line in commands:
        make, target, *given = line.split()
        assert make == "make"
        assert f"\n{target}: " in makefile
        lake = f"LAKE=file://{settings.state.resolve() / 'lake'}"
        assert (lake in given) == (source is not None)
    assert "NAME=sales_by_month_and_currency" in commands[0].split()
    assert "sales_by_month_and_currency" in query.named_queries()
    assert "secret" not in "".join(commands)


def test_prompt_leaves_when_asked(
    opened: None,
    lake: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        keys.send_text("\x03select 1;\rexit\r")
        assert sql_prompt.main({"LAKE": f"file://{lake}"}) == 0
    assert "_col0" in capsys.readouterr().out
