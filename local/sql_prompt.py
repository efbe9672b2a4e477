"""`make sql`: a prompt for Athena's SQL on the lake that `make run` left here."""

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import FileHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.lexers import PygmentsLexer
from pygments.lexers.sql import SqlLexer
from rich.console import Console

from local.athena import LocalAthena
from local.athena_types import SqlError
from local.front_end import front_end
from local.query import NamedQuery, lake_of, named_queries, open_athena, show
from local.settings import STATE

_HELP = """A query ends with ; and may take several lines. Besides:
  tables          tables and views           describe NAME   its columns
  queries         the deployment's queries, each run by its name
  help, exit      Ctrl-C drops what is typed, Ctrl-D leaves"""
_KEYWORDS = (
    "select", "from", "where", "group by", "order by", "limit", "join", "left join", "on", "as",
    "and", "or", "not", "in", "between", "is null", "case when", "then", "else", "end", "count",
    "sum", "avg", "min", "max", "distinct", "over", "partition by", "date", "interval",
    "current_date", "date_trunc", "date_diff", "date_add", "union all", "having", "desc", "with",
)  # fmt: skip
_COMMANDS = ("tables", "queries", "describe", "help", "exit", "quit")


class Shell:
    """Answers what is typed."""

    def __init__(self, athena: LocalAthena, console: Console) -> None:
        self._athena = athena
        self._console = console
        self._queries: dict[str, NamedQuery] = named_queries()

    def words(self) -> list[str]:
        """What can be completed."""
        tables = self._athena.tables()
        columns = {name for table in tables for name, _ in self._columns(table)}
        return [*_COMMANDS, *_KEYWORDS, *self._queries, *tables, *sorted(columns)]

    def is_whole(self, text: str) -> bool:
        """Whether a text can be answered, or more has to come."""
        words = text.split()
        return not words or text.rstrip().endswith(";") or self._is_command(words)

    def answer(self, text: str) -> bool:
        """Answer a text; return whether to go on."""
        words = text.strip().rstrip(";").split()
        if words and words[0] in ("exit", "quit"):
            return False
        try:
            self._answer(text.strip().rstrip(";"), words)
        except SqlError as error:
            self._console.print(f"✗ {error}", markup=False, soft_wrap=True)
        return True

    def _is_command(self, words: list[str]) -> bool:
        if words[0] == "describe":
            return len(words) == 2
        return len(words) == 1 and words[0] in (*_COMMANDS, *self._queries)

    def _answer(self, text: str, words: list[str]) -> None:
        if not words:
            return
        if not self._is_command(words):
            rows = self._athena.query(text)
            show(self._console, rows)
            self._console.print(f"[dim]{rows.num_rows:,} rows[/]")
        elif words[0] in self._queries:
            sql = self._queries[words[0]].sql
            self._console.print(sql, style="dim", markup=False)
            self._answer(sql, sql.split())
        elif words[0] == "tables":
            self._list((name, self._kind(name)) for name in self._athena.tables())
        elif words[0] == "queries":
            self._list((query.name, query.description) for query in self._queries.values())
        elif words[0] == "describe":
            self._list(self._columns(words[1].lower()))
        else:
            self._console.print(_HELP, markup=False)

    def _columns(self, name: str) -> list[tuple[str, str]]:
        table = self._athena.tables().get(name)
        if table is None:
            raise SqlError(f"TABLE_NOT_FOUND: Table {name} does not exist; `tables` lists them")
        columns = [*table["StorageDescriptor"]["Columns"], *table.get("PartitionKeys", [])]
        return [(column["Name"], column["Type"]) for column in columns]

    def _kind(self, name: str) -> str:
        table = self._athena.tables()[name]
        kind = str(table.get("TableType", "")).lower().replace("_", " ")
        return str(table.get("Description") or kind)

    def _list(self, lines: Iterable[tuple[str, str]]) -> None:
        for name, words in lines:
            self._console.print(f"  {name:<30} {words}", markup=False, soft_wrap=True)


def session(shell: Shell, history: Path) -> PromptSession[str]:
    """A prompt with history and completion, where Enter ends only what is whole."""
    history.parent.mkdir(parents=True, exist_ok=True)
    keys = KeyBindings()
    prompt: PromptSession[str] = PromptSession(
        FormattedText([("bold", "sql> ")]),
        history=FileHistory(str(history)),
        completer=WordCompleter(shell.words(), ignore_case=True),
        complete_while_typing=False,
        lexer=PygmentsLexer(SqlLexer),
        multiline=True,
        prompt_continuation="...> ",
        key_bindings=keys,
    )

    @keys.add("enter", filter=Condition(lambda: shell.is_whole(prompt.default_buffer.text)))
    def _accept(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    return prompt


def main(environment: Mapping[str, str] = os.environ) -> int:
    """Answer until there is nothing more to answer; return the exit status."""
    return front_end(lambda console: _answer(environment, console), "A query changes nothing.")


def _answer(environment: Mapping[str, str], console: Console) -> int:
    with open_athena(lake_of(environment), console) as athena:
        shell = Shell(athena, console)
        prompt = session(shell, STATE / "sql_history")
        console.print(
            f"Athena's SQL on database {athena.database}, "
            f"{len(athena.tables())} tables and views. `help` helps.",
            markup=False,
        )
        while True:
            try:
                if not shell.answer(prompt.prompt()):
                    return 0
            except KeyboardInterrupt:
                continue
            except EOFError:
                return 0


if __name__ == "__main__":
    sys.exit(main())
