"""`make compact`: the job that Glue starts weekly, on the lake that `make run` left here."""

import os
import subprocess
import sys
from collections.abc import Mapping

from rich.console import Console

from local.aws import running_aws
from local.data_catalog import REPOSITORY
from local.query import QueryError, lake_of
from local.settings import SettingsError

OPEN_BATCHES = 100


def main(environment: Mapping[str, str] = os.environ) -> int:
    """Run the job once; return its exit status."""
    try:
        lake = lake_of(environment).rstrip("/")
    except (QueryError, SettingsError) as error:
        Console(stderr=True).print(f"✗ {error}", markup=False, highlight=False, soft_wrap=True)
        return 1
    scripts = REPOSITORY / "glue_jobs"
    # There is no catalogue to tell: the one for queries is made anew from the lake each time.
    arguments = {
        "--JOB_NAME": "compact",
        "--raw_zone": f"{lake}/raw",
        "--processed_zone": f"{lake}/processed",
        "--open_batches": environment.get("OPEN", "").strip() or str(OPEN_BATCHES),
    }
    words = [word for argument in arguments.items() for word in argument]
    kept = {name: value for name, value in environment.items() if not name.startswith("AWS_")}
    with running_aws() as aws:
        return subprocess.run(
            [sys.executable, str(scripts / "compact.py"), *words],
            env={**kept, **aws.environment(), "PYTHONPATH": str(scripts)},
            check=False,
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
