"""moto in a process of its own, with the gaps closed (`moto_server.py`)."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local.errors import CommandError

_HOST = "127.0.0.1"
_SERVER = Path(__file__).resolve().parent / "moto_server.py"
_SECONDS_TO_START = 120  # on a busy machine
_SECONDS_TO_STOP = 10
_PAUSE = 0.05


class MotoError(CommandError):
    """moto does not run."""


@contextmanager
def running_moto() -> Iterator[str]:
    """Run moto on a free port while the block lasts; it ends with this process, however that ends.

    Yields:
        Its endpoint.

    Raises:
        MotoError: If it does not start.
    """
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, str(_SERVER), "-H", _HOST, "-p", str(port)],
        # Another AWS is nothing to this one.
        env={name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # A Ctrl-C is for who started it, and who may still need it to clean up.
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + _SECONDS_TO_START
        while not _listens(port):
            if process.poll() is not None:
                why = f"{sys.executable} {_SERVER} -p {port}"
                raise MotoError(f"moto ended before it listened; `{why}` says why")
            if time.monotonic() > deadline:
                raise MotoError(f"moto does not listen after {_SECONDS_TO_START} seconds")
            time.sleep(_PAUSE)
        yield f"http://{_HOST}:{port}"
    finally:
        process.terminate()
        try:
            process.wait(_SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin is not None:
            process.stdin.close()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((_HOST, port)) == 0
