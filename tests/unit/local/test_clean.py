"""`make clean`: all is removed, but nothing from under a run."""

from pathlib import Path

import pytest

from local import clean
from local.runner import exclusive


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_state_of_every_source_is_removed() -> None:
    for source in ("simulated", "host-5432-db"):
        Path(".state", source, "lake", "raw").mkdir(parents=True)

    assert clean.main() == 0
    assert not Path(".state").exists()
    assert clean.main() == 0


def test_what_a_run_is_using_stays(capsys: pytest.CaptureFixture[str]) -> None:
    state = Path(".state", "simulated")
    with exclusive(state):
        assert clean.main() == 1

    assert "a run is at work here" in capsys.readouterr().err
    assert state.exists()
