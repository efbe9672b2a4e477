"""A stand-in that does not come up is told and leaves nothing behind."""

import os
from pathlib import Path

import pytest

from local import moto_process
from local.moto_process import MotoError, running_moto


def server(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "server.py"
    path.write_text(text)
    monkeypatch.setattr(moto_process, "_SERVER", path)


def test_one_that_dies_at_its_start_says_how_to_learn_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server(tmp_path, "raise SystemExit(3)", monkeypatch)
    with pytest.raises(MotoError, match=r"ended before it listened; `.*server.py -p \d+` says why"):
        running_moto().__enter__()


def test_one_that_never_listens_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = tmp_path / "pid"
    text = f"import os, time\nopen({str(told)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)"
    server(tmp_path, text, monkeypatch)
    monkeypatch.setattr(moto_process, "_SECONDS_TO_START", 1)
    with pytest.raises(MotoError, match="does not listen after 1 seconds"):
        running_moto().__enter__()
    if told.exists():  # else it was ended before it could say so
        with pytest.raises(ProcessLookupError):
            os.kill(int(told.read_text()), 0)
