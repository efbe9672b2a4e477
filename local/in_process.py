"""Jobs in this very process: one Spark session for all of them, for quick turns and tests."""

import importlib.util
import os
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from threading import Lock, Thread
from typing import TextIO

from local.runner import FAILED, STOPPED, SUCCEEDED, JobLog
from local.workflow import Job

_STANDARD_ERROR = 2


class InProcess:
    """Calls each job's `main`, one at a time, in the environment that this process has.

    A job cannot be ended from outside here: its timeout does not count, and a run that is
    stopped waits for it.
    """

    def __init__(self, scripts: Path) -> None:
        self._scripts = scripts
        self._turn = Lock()
        self._stopped = False

    def launch(self, job: Job, arguments: Sequence[str], log: JobLog) -> tuple[str, str]:
        """Run a job; return the state it ended in and, if it did not succeed, why."""
        with self._turn:
            if self._stopped:
                return STOPPED, "the run was stopped before it began"
            script = self._scripts / job.script
            reading, writing = os.pipe()
            reader = Thread(target=log.copy, args=(os.fdopen(reading, encoding="utf-8"),))
            reader.start()
            with (
                os.fdopen(writing, "w", encoding="utf-8", buffering=1) as output,
                _errors_to(log.path),
            ):
                succeeded = _call(script, arguments, output)
            reader.join()
        return (SUCCEEDED, "") if succeeded else (FAILED, log.why_failed(1))

    def stop(self) -> None:
        """Start no more jobs."""
        self._stopped = True


@contextmanager
def _errors_to(log: Path) -> Iterator[None]:
    """Have standard error, that of a Java machine started meanwhile too, go to a log."""
    kept = os.dup(_STANDARD_ERROR)
    try:
        with log.open("ab") as file:
            os.dup2(file.fileno(), _STANDARD_ERROR)
        yield
    finally:
        os.dup2(kept, _STANDARD_ERROR)
        os.close(kept)


def _call(script: Path, arguments: Sequence[str], output: TextIO) -> bool:
    """Call a script's `main`, its output and its error going to `output`."""
    spec = importlib.util.spec_from_file_location(script.stem, script)
    assert spec is not None  # nosec B101  # it is a Python file
    assert spec.loader is not None  # nosec B101  # likewise
    module = importlib.util.module_from_spec(spec)
    try:
        with redirect_stdout(output):
            spec.loader.exec_module(module)
            module.main([str(script), *arguments])
    except (Exception, SystemExit):  # noqa: BLE001 - whatever it is, the job failed
        traceback.print_exc(file=output)
        return False
    return True
