"""How each command ends: with an exit status and, if it could not do its work, a sentence."""

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

from rich.console import Console
from rich.markup import escape

from local.errors import CommandError
from totelake.errors import TotelakeError

INTERRUPTED = 130  # as a shell has it for a Ctrl-C
_NARROWEST = 80


def front_end(work: Callable[[Console], int], stopped: str) -> int:
    """Do what a command is for.

    Args:
        work: Gets the console to show its results on; returns the exit status.
        stopped: What to say after a Ctrl-C, when `work` has cleaned up.
    """
    console, errors = Console(highlight=False), Console(stderr=True, highlight=False)
    console.width = max(console.width, _NARROWEST)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        status = work(console)
        sys.stdout.flush()
    except BrokenPipeError:  # as of `| head`: who reads has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        errors.print(f"Stopped. {stopped}", markup=False, soft_wrap=True)
        return INTERRUPTED
    except (CommandError, TotelakeError) as error:
        errors.print(f"[red]✗[/] {escape(str(error))}", soft_wrap=True)
        return 1
    return status


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """End as a Ctrl-C does."""
    raise KeyboardInterrupt
