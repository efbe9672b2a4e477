"""`make clean`: removes all that runs left behind; `make run` then starts over."""

import shutil
import sys

from rich.console import Console

from local.postgres import PostgresError, remove
from local.runner import BusyError, exclusive
from local.settings import STATE


def main() -> int:
    """Remove the state of every source, unless a run is at work there."""
    if not STATE.exists():
        return 0
    try:
        for state in sorted(path for path in STATE.iterdir() if path.is_dir()):
            with exclusive(state):
                remove(state / "postgres")
                shutil.rmtree(state)
        shutil.rmtree(STATE)
    except (BusyError, PostgresError) as error:
        Console(stderr=True).print(str(error), markup=False, soft_wrap=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
