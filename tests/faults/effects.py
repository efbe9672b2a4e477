"""Counts every effect that a job has, where it happens, and strikes at a chosen one.

An effect is what outlives the job: a change of the file system inside the zones, seen by Python's
own audit hook (so in Spark's Python workers too), a statement of pg8000 that is no question, a
JDBC write. Nothing is listed by name: code that comes later is seen as well. A fault strikes just
before an effect, which is also just after the one before it.

All processes of a job share a folder: `plan.json` says what to do, `effects` has a line for each
effect, `dead` is there once a `death` has struck.
"""

import errno
import fcntl
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FOLDER = "TOTELAKE_EFFECTS"
# The whole job, all its processes, ends by SIGKILL.
KILL = "kill"
# The same inside a process that has to live on: nothing has an effect any more, whatever `except`
# and `finally` try, until the plan is taken back.
DEATH = "death"
# From here on nothing can be written; what is there can be removed.
DISK_FULL = "disk_full"
# The database ends the connection that is about to make a statement.
TERMINATE = "terminate"

_QUESTIONS = ("SELECT", "SHOW", "SET", "BEGIN")
_REMOVALS = ("os.remove", "os.rmdir", "shutil.rmtree")
_CHANGES = {"os.rename": 2, "os.link": 2, "os.mkdir": 1, "os.truncate": 1}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_at_work = threading.local()


class Death(BaseException):
    """What a process that is dead would not see; it passes every `except Exception`."""


def install() -> None:
    """See the file system's changes of this process from now on."""
    sys.addaudithook(_audit)


def patch() -> None:
    """See the databases' changes of this process from now on."""
    import pg8000.native
    from pyspark.sql import DataFrameWriter

    run, jdbc = pg8000.native.Connection.run, DataFrameWriter.jdbc

    def counted_run(self: Any, sql: str, *args: Any, **named: Any) -> Any:
        if not sql.lstrip().upper().startswith(_QUESTIONS):
            effect(f"sql {' '.join(sql.split())[:60]}", connection=self)
        return run(self, sql, *args, **named)

    def counted_jdbc(self: Any, url: str, table: str, *args: Any, **named: Any) -> Any:
        effect(f"jdbc {table.rsplit('.', maxsplit=1)[-1]}")
        return jdbc(self, url, table, *args, **named)

    pg8000.native.Connection.run = counted_run
    DataFrameWriter.jdbc = counted_jdbc  # type: ignore[method-assign]


def _audit(event: str, args: Sequence[Any]) -> None:
    if FOLDER not in os.environ:
        return
    if event == "open":
        path, _, flags = args
        if isinstance(path, str) and isinstance(flags, int) and flags & _WRITING:
            _on_file("open", path, -1)
    elif event in _REMOVALS:
        _on_file(event, os.fspath(args[0]), args[1] if isinstance(args[1], int) else -1)
    elif event in _CHANGES:
        _on_file(event, os.fspath(args[_CHANGES[event] - 1]), -1)


def _on_file(event: str, path: str, folder: int) -> None:
    if getattr(_at_work, "busy", False):
        return
    if folder != -1 and not os.path.isabs(path):
        path = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), path)
    plan = _plan()
    if plan and path.startswith(plan["zones"] + "/"):
        effect(f"{event} {path.removeprefix(plan['zones'] + '/')}")


def _plan() -> dict[str, Any] | None:
    with _unseen():
        try:
            with open(os.path.join(os.environ[FOLDER], "plan.json")) as file:
                plan: dict[str, Any] = json.load(file)
                return plan
        except FileNotFoundError:
            return None


@contextmanager
def _unseen() -> Iterator[None]:
    """What happens here is the instrument's own."""
    before = getattr(_at_work, "busy", False)
    _at_work.busy = True
    try:
        yield
    finally:
        _at_work.busy = before


def effect(what: str, connection: Any = None) -> None:
    """Count an effect that is about to happen; strike, if it is the one."""
    if FOLDER not in os.environ or getattr(_at_work, "busy", False):
        return
    plan = _plan()
    if plan is None:
        return
    with _unseen():
        struck = _struck(plan, what)
        if struck:
            _strike(plan["fault"], what, connection)


def _struck(plan: dict[str, Any], what: str) -> bool:
    folder = os.environ[FOLDER]
    with open(os.path.join(folder, "effects"), "a+") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        log.seek(0)
        number = len(log.readlines()) + 1
        log.write(what.replace("\n", " ") + "\n")
    if plan["match"]:
        return bool(plan["match"] in what)
    if plan["fault"] in (KILL, TERMINATE):
        return bool(number == plan["at"])
    return bool(plan["at"] and number >= plan["at"])


def _strike(fault: str, what: str, connection: Any) -> None:
    if fault == KILL:
        kill_session()
    if fault == DEATH:
        raise Death(what)
    if fault == DISK_FULL and not what.startswith((*_REMOVALS, "sql", "jdbc")):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), what)
    if fault == TERMINATE and connection is not None:
        (pid,) = connection.run("SELECT pg_backend_pid()")[0]
        on_terminate[0](pid)


on_terminate: list[Callable[[int], None]] = []


def kill_session() -> None:
    """Kill all processes that this one's session leader started, as a machine that goes away."""
    session, own = os.getsid(0), os.getpid()
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != own:
            try:
                if os.getsid(int(entry)) == session:
                    os.kill(int(entry), signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
    os.kill(own, signal.SIGKILL)


@contextmanager
def armed(
    folder: Path, zones: Path, fault: str = DEATH, at: int = 0, match: str = ""
) -> Iterator[list[str]]:
    """Count the effects while the block runs and strike at one of them.

    Args:
        folder: That of the environment.
        zones: The folder of the zones.
        fault: What happens.
        at: At which effect, from 1; 0 for none.
        match: Instead: at the effects whose description has this in it.

    Yields:
        A list that holds the effects once the block is over.
    """
    seen: list[str] = []
    with _unseen():
        (folder / "effects").write_text("")
        (folder / "plan.json").write_text(
            json.dumps({"zones": str(zones), "fault": fault, "at": at, "match": match})
        )
    try:
        yield seen
    finally:
        with _unseen():
            (folder / "plan.json").unlink()
            seen += (folder / "effects").read_text().splitlines()
