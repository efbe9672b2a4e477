"""Every command ends with a status and, if something is wrong, a sentence, not a traceback."""

import os
import signal
import time

import pytest
from rich.console import Console

from local.errors import CommandError
from local.front_end import INTERRUPTED, front_end
from totelake.errors import LakeError


@pytest.mark.parametrize("error", [CommandError("no [lake] here"), LakeError("no [lake] here")])
def test_what_cannot_be_done_is_said(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    def work(_: Console) -> int:
        raise error

    assert front_end(work, "") == 1
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "✗ no [lake] here\n")


def test_what_is_not_foreseen_is_not_hidden() -> None:
    def work(_: Console) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        front_end(work, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_end_that_was_asked_for_is_said_after_cleaning_up(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    cleaned = []

    def work(_: Console) -> int:
        try:
            os.kill(os.getpid(), number)
            time.sleep(60)
        finally:
            cleaned.append(number)
        return 0

    assert front_end(work, "All is well.") == INTERRUPTED
    assert cleaned == [number]
    assert capsys.readouterr().err == "Stopped. All is well.\n"
