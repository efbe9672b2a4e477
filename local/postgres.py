"""PostgreSQL 18 from a Python package: a server of one's own, on the loopback interface only."""

import shutil
import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Self
from urllib.parse import quote, unquote, urlsplit

import psutil
from pg8000.native import Connection, identifier

from local.postgres_home import (
    PAUSE,
    SUPERUSER,
    PostgresError,
    find_home,
    initialise,
    lines_of,
    only_user_of,
    password_of,
    pointed_to,
    popen,
    reachable_programs,
    shut_down,
    stop_leftover,
)

__all__ = ["SUPERUSER", "PostgresError", "PostgresServer", "connect", "remove"]

_READY_LINE = 7  # of postmaster.pid; its first line is the server's process id
_STARTS = 10

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "shared_buffers": "256MB",
    "maintenance_work_mem": "256MB",
    "work_mem": "32MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "jit": "off",
    # The cores belong to Spark, and containers give little of the shared memory that this needs.
    "max_parallel_workers_per_gather": "0",
    "max_parallel_maintenance_workers": "0",
    # Extract reads these counters to learn whether rows were deleted.
    "track_counts": "on",
}
_THROWAWAY_SETTINGS = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


def connect(url: str) -> Connection:
    """Open a connection to a URL that `PostgresServer.url` returned."""
    parts = urlsplit(url)
    return Connection(
        user=unquote(parts.username or SUPERUSER),
        password=unquote(parts.password or ""),
        host=parts.hostname,
        port=parts.port,
        database=unquote(parts.path.lstrip("/")),
        ssl_context=False,
    )


def remove(folder: Path) -> None:
    """Delete a server's folder and whatever it keeps elsewhere; a server left over is stopped."""
    if not folder.exists():
        return
    folder = folder.resolve()
    with only_user_of(folder):
        home = pointed_to(folder) or folder
        stop_leftover(home)
        shutil.rmtree(home)
        shutil.rmtree(folder, ignore_errors=home == folder)


class PostgresServer:
    """A server that lives as long as its `with` block; its data stay in `folder`.

    Started by root, the server runs as an ordinary account and its data lie under /var/tmp,
    because that account may be unable to reach `folder`, which then only points there.

    Args:
        folder: Made when absent. One server at a time may use it.
        durable: False trades safety against power cuts for speed: for data nobody will miss.

    Raises:
        PostgresError: On entering, when the server cannot start or the folder is in use.
    """

    def __init__(self, folder: Path, durable: bool = True) -> None:
        self.folder = folder.resolve()
        self.durable = durable
        self.port = 0
        self._password = ""  # nosec B105  # known once it runs
        self._process: subprocess.Popen[bytes] | None = None
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as cleanup:
            cleanup.enter_context(only_user_of(self.folder))
            home = find_home(self.folder)
            stop_leftover(home)
            programs = reachable_programs(home)
            self._password = password_of(home)
            if not (home / "data").exists():
                initialise(home, programs, self.durable)
            # Registered before the start: the server leads a session of its own, so a Ctrl-C
            # that ends this process would leave it running.
            cleanup.callback(self._stop)
            self._start(home, programs)
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._process is None:
            raise PostgresError(f"PostgreSQL in {self.folder} is not running: enter it first.")
        return self._process.pid

    def url(self, database: str, user: str = SUPERUSER, password: str | None = None) -> str:
        """Return the URL of a database; without a password, the superuser's."""
        secret = self._password if password is None else password
        return (
            f"postgresql://{quote(user, safe='')}:{quote(secret, safe='')}"
            f"@127.0.0.1:{self.port}/{quote(database, safe='')}"
        )

    def ensure_database(self, name: str) -> None:
        """Create a database unless it is there."""
        connection = connect(self.url("postgres"))
        try:
            query = "SELECT 1 FROM pg_database WHERE datname = :name"
            if not connection.run(query, name=name):
                connection.run(f"CREATE DATABASE {identifier(name)}")
        finally:
            connection.close()

    def _start(self, home: Path, programs: Path) -> None:
        settings = _SETTINGS | ({} if self.durable else _THROWAWAY_SETTINGS)
        # Another program may take the free port first, and the workers of a server that was
        # killed need a moment to notice: both pass when tried again.
        for _ in range(_STARTS):
            self.port = _free_port()
            command = [str(programs / "postgres"), "-D", str(home / "data")]
            for name, value in (settings | {"port": str(self.port)}).items():
                command += ["-c", f"{name}={value}"]
            with (home / "log").open("ab") as log:
                self._process = popen(command, home, log)
            if _became_ready(self._process, home / "data" / "postmaster.pid"):
                return
            self._stop()
            time.sleep(PAUSE)
        raise PostgresError(
            f"PostgreSQL in {self.folder} did not start. The end of {home / 'log'}:\n"
            f"{_tail(home / 'log')}\n"
            f"If its data are beyond repair, remove {self.folder} and run again."
        )

    def _stop(self) -> None:
        if self._process is not None:
            if self._process.poll() is None:
                shut_down(psutil.Process(self._process.pid))
            self._process.wait()
            self._process = None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _became_ready(process: subprocess.Popen[bytes], pid_file: Path) -> bool:
    """Wait until the server takes connections; False when it ended instead."""
    while process.poll() is None:
        lines = lines_of(pid_file)
        # The file may still be the one that a killed server left behind.
        is_ours = lines[:1] == [str(process.pid)]
        if is_ours and "ready" in "".join(lines[_READY_LINE:]):
            return True
        time.sleep(PAUSE)
    return False


def _tail(log: Path, lines: int = 20) -> str:
    return "\n".join(lines_of(log)[-lines:])
