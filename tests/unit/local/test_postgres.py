"""The embedded server: its settings, and what it makes of every way to end badly."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from pg8000.exceptions import DatabaseError

from local import postgres as postgres_module
from local import postgres_home
from local.postgres import PostgresError, PostgresServer, connect, remove

REPOSITORY = Path(__file__).resolve().parents[3]

HOLD = """
import sys, time
from pathlib import Path
from local.postgres import PostgresServer
with PostgresServer(Path(sys.argv[1]), durable=False) as server:
    print(server.pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder whose name a shell would change; each test leaves it stopped and sound."""
    path = tmp_path_factory.mktemp("servers") / "it's $HOME"
    yield path
    remove(path)


@pytest.fixture
def new_folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "server"
    remove(tmp_path / "server")


@pytest.fixture
def holder(folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Another process that serves the folder, and its server's process id."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    yield process, int(process.stdout.readline())
    process.kill()
    process.wait()
    process.stdout.close()


def ask(server: PostgresServer, sql: str, database: str = "postgres") -> object:
    connection = connect(server.url(database))
    try:
        rows = connection.run(sql)
        return rows[0][0] if rows else None
    finally:
        connection.close()


def is_running(pid: int) -> bool:
    try:
        # One that ended without a parent stays a zombie for as long as the system likes.
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def home_of(folder: Path) -> Path:
    pointer = folder / "moved_to"
    return Path(pointer.read_text()) if pointer.exists() else folder


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("SELECT current_setting('server_version_num')::int / 10000", 18),
        ("SELECT datcollate FROM pg_database LIMIT 1", "C"),
        ("SHOW server_encoding", "UTF8"),
        ("SHOW timezone", "UTC"),
        ("SHOW listen_addresses", "127.0.0.1"),
        ("SHOW unix_socket_directories", ""),
        ("SHOW track_counts", "on"),
        ("SHOW fsync", "off"),
    ],
)
def test_settings(postgres: PostgresServer, question: str, answer: object) -> None:
    assert ask(postgres, question) == answer


def test_a_wrong_password_is_refused(postgres: PostgresServer) -> None:
    with pytest.raises(DatabaseError, match="password authentication failed"):
        connect(postgres.url("postgres", password="wrong"))


def test_databases_are_made_once_whatever_their_name(postgres: PostgresServer) -> None:
    for _ in range(2):
        postgres.ensure_database('odd "name"/?')
    assert ask(postgres, "SELECT current_database()", 'odd "name"/?') == 'odd "name"/?'


def test_data_and_password_outlive_the_server(folder: Path) -> None:
    with PostgresServer(folder) as server:
        first = server.url("postgres", password="")
        assert ask(server, "SHOW fsync") == "on"
        ask(server, "CREATE TABLE kept AS SELECT 42 AS answer")
        password = home_of(folder) / "password"
        assert stat.S_IMODE(password.stat().st_mode) == 0o600
    with PostgresServer(folder) as server:
        assert ask(server, "SELECT answer FROM kept") == 42
        assert server.url("postgres", password="") != first  # a port of its own each time


def test_a_second_user_is_told_who_the_first_is(
    folder: Path, holder: tuple[subprocess.Popen[str], int]
) -> None:
    with pytest.raises(PostgresError, match=rf"in use by process {holder[0].pid}\b"):
        PostgresServer(folder, durable=False).__enter__()
    assert is_running(holder[1])


def test_a_server_left_over_by_a_killed_process_is_replaced(
    folder: Path, holder: tuple[subprocess.Popen[str], int]
) -> None:
    process, leftover = holder
    process.kill()
    process.wait()
    assert is_running(leftover)
    with PostgresServer(folder, durable=False) as server:
        assert server.pid != leftover
        assert ask(server, "SELECT 1") == 1
    assert not is_running(leftover)


def test_a_killed_server_recovers(folder: Path) -> None:
    with PostgresServer(folder) as server:
        ask(server, "CREATE TABLE survivor AS SELECT 42 AS answer")
        os.kill(server.pid, signal.SIGKILL)
    assert (home_of(folder) / "data" / "postmaster.pid").exists()
    with PostgresServer(folder) as server:
        assert ask(server, "SELECT answer FROM survivor") == 42


def test_a_process_id_that_went_to_another_program_is_no_server(
    folder: Path, postgres: PostgresServer
) -> None:
    with PostgresServer(folder, durable=False):
        pass
    pid_file = home_of(folder) / "data" / "postmaster.pid"
    pid_file.write_text(f"{postgres.pid}\n{pid_file.parent}\n")
    with PostgresServer(folder, durable=False) as server:
        assert ask(server, "SELECT 1") == 1
    assert is_running(postgres.pid)


def test_a_half_made_data_folder_is_made_again_and_remove_leaves_nothing(
    new_folder: Path,
) -> None:
    with PostgresServer(new_folder, durable=False):
        home = home_of(new_folder)
    (home / "data").rename(home / "data.part")
    (home / "data.part" / "PG_VERSION").unlink()
    with PostgresServer(new_folder, durable=False) as server:
        assert ask(server, "SELECT 1") == 1
    assert not (home / "data.part").exists()
    remove(new_folder)
    assert not new_folder.exists()
    assert not home.exists()


def test_interrupting_the_foreground_stops_the_server_cleanly(
    folder: Path, holder: tuple[subprocess.Popen[str], int]
) -> None:
    process, pid = holder
    assert os.getpgid(pid) != os.getpgid(process.pid)
    process.send_signal(signal.SIGINT)
    process.wait(30)
    assert not is_running(pid)
    assert "database system is shut down" in (home_of(folder) / "log").read_text()


def test_a_failed_start_names_the_folder_and_quotes_the_log(new_folder: Path) -> None:
    with PostgresServer(new_folder, durable=False):
        control = home_of(new_folder) / "data" / "global" / "pg_control"
    control.unlink()
    with pytest.raises(PostgresError) as caught:
        PostgresServer(new_folder, durable=False).__enter__()
    assert str(new_folder) in str(caught.value)
    assert "could not find the database system" in str(caught.value)


def test_a_port_taken_meanwhile_is_no_failure(
    folder: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = postgres_module._free_port()
    ports = iter([postgres.port, free])
    monkeypatch.setattr(postgres_module, "_free_port", lambda: next(ports))
    with PostgresServer(folder, durable=False) as server:
        assert server.port == free


def test_programs_out_of_reach_are_copied(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = iter([PermissionError("no entry")])
    run = postgres_home._run

    def closed_once(command: list[str], home: Path) -> None:
        for error in closed:
            raise error
        run(command, home)

    monkeypatch.setattr(postgres_home, "_run", closed_once)
    with PostgresServer(folder, durable=False) as server:
        assert ask(server, "SELECT 1") == 1
        assert Path(psutil.Process(server.pid).exe()).is_relative_to(home_of(folder) / "programs")


def test_remove_follows_no_pointer_that_is_not_returned(tmp_path: Path) -> None:
    precious, folder = tmp_path / "precious", tmp_path / "server"
    precious.mkdir()
    folder.mkdir()
    (folder / "moved_to").write_text(str(precious))
    remove(folder)
    assert (precious.exists(), folder.exists()) == (True, False)
