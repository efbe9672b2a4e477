"""`make clean`: removes all that runs left behind; `make run` then starts over."""

import shutil
import sys

from rich.console import Console

from local.front_end import front_end
from local.postgres import remove
from local.runner import exclusive
from local.settings import STATE


def main() -> int:
    """Remove the state of every source, unless a run is at work there; return the exit status."""
    return front_end(_clean, "`make clean` goes on from here.")


def _clean(_: Console) -> int:
    if STATE.exists():
        for state in sorted(path for path in STATE.iterdir() if path.is_dir()):
            with exclusive(state):
                remove(state / "postgres")
                shutil.rmtree(state)
        shutil.rmtree(STATE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
