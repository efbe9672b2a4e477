"""`make compact`: the job that Glue starts weekly, on the lake that `make run` left here."""

import os
import sys
from collections.abc import Mapping

from rich.console import Console

from local.aws import running_aws
from local.front_end import front_end
from local.progress import Progress
from local.query import lake_of
from local.run import SCRIPTS, short, stop_at_failure
from local.runner import Event, Processes, run_on_demand
from local.settings import STATE
from local.workflow import Job

OPEN_BATCHES = 100


def main(environment: Mapping[str, str] = os.environ) -> int:
    """Run the job once; return the exit status."""
    return front_end(
        lambda console: _compact(environment, console),
        "The lake is as good as before: `make compact` goes on from here.",
    )


def _compact(environment: Mapping[str, str], console: Console) -> int:
    lake = lake_of(environment).rstrip("/")
    # There is no catalogue to tell: the one for queries is made anew from the lake each time.
    arguments = {
        "--raw_zone": f"{lake}/raw",
        "--processed_zone": f"{lake}/processed",
        "--open_batches": environment.get("OPEN", "").strip() or str(OPEN_BATCHES),
    }
    job = Job("compact", "compact.py", 60, arguments)
    kept = {name: value for name, value in environment.items() if not name.startswith("AWS_")}
    with running_aws() as aws:
        jobs = Processes(SCRIPTS, {**kept, **aws.environment(), "PYTHONPATH": str(SCRIPTS)})
        run = run_on_demand(job, STATE / "logs", jobs, Progress(console))
    stop_at_failure([run] if run.reason else [], "make compact")
    for event in run.events:
        if event["event"] == "merged":
            console.print(f"  {_told(event)}", markup=False, soft_wrap=True)
    console.print(f"  Its log: {short(run.log)}", soft_wrap=True)
    return 0


def _told(merged: Event) -> str:
    zone = str(merged["zone"]).rsplit("/", 1)[-1]
    batches = {table: count for table, count in merged["batches"].items() if count}
    if not batches:
        return f"{zone}: nothing to write together"
    most = max(batches.values())
    return f"{zone}: up to {most:,} batches of {len(batches)} tables written together"


if __name__ == "__main__":
    sys.exit(main())
