"""Three analyst queries on a lake of BATCHES small batches (2000), before and after `make compact`.

The lake is written with pyarrow, without Spark. A query is timed from the catalogue on, as Athena
has one that lasts; making the laptop's catalogue, which reads the footer of every file it crawls,
is told apart. LIST is counted for each partition that is listed. GET is counted for each file,
which the engine opens twice: once for its types and once for its rows.
"""

import os
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

from rich.console import Console
from rich.table import Table

from compact import STAR_KEYS
from local import athena_files
from local.athena import LocalAthena
from local.data_catalog import PROCESSED, catalogue_of
from tests import small_lake
from totelake import batch, compact
from totelake.lake import Zone

QUERIES = {
    "current orders by currency": "select currency_code, count(*), sum(units_sold * unit_price)"
    " from current_fact_sales_order o join current_dim_currency c"
    " on c.currency_id = o.currency_id group by 1 order by 1",
    "an order's versions": "select batch, units_sold from versions_fact_sales_order"
    " where sales_order_id = 7 order by 1",
    "rows of each batch of a day": "select batch, count(*) from versions_fact_sales_order"
    " where batch like '20260103%' group by 1 order by 1",
}
ORDERS_A_BATCH, OPEN_BATCHES = 5, 100


def write(lake: Path, batches: int) -> None:
    """A batch each 20 minutes: new orders, and a change of one of the first hundred."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(batches):
        first = 1000 + number * ORDERS_A_BATCH
        orders = [small_lake.order(first + key) for key in range(ORDERS_A_BATCH)]
        orders.append(small_lake.order(1 + number % 100, units_sold=number))
        rows = {"fact_sales_order": orders, **(small_lake.DIMENSIONS if number % 10 == 0 else {})}
        moment = batch.batch_id(start + timedelta(minutes=20 * number))
        small_lake.put(lake / "processed", moment, rows, number=number + 1)


def measure(lake: Path) -> tuple[dict[str, tuple[float, Counter[str]]], list[object]]:
    """Seconds and requests of the catalogue and each query, and the answers."""
    found: dict[str, tuple[float, Counter[str]]] = {}
    answers: list[object] = []
    start = time.monotonic()
    with catalogue_of(f"file://{lake}") as (glue, _):
        found["(making the catalogue)"] = time.monotonic() - start, Counter()
        for name, sql in QUERIES.items():
            requests: Counter[str] = Counter()
            listed, footer = athena_files.data_files, athena_files._footer  # noqa: SLF001

            def count_list(location: str, listed=listed, requests=requests) -> list[str]:
                requests["LIST"] += 1
                return listed(location)

            def count_get(file: str, footer=footer, requests=requests) -> dict[str, str]:
                requests["GET"] += 2
                return footer(file)

            athena = LocalAthena(glue, PROCESSED)
            start = time.monotonic()
            with (
                patch.object(athena_files, "data_files", count_list),
                patch.object(athena_files, "_footer", count_get),
            ):
                answers.append(athena.query(sql).to_pylist())
            found[name] = time.monotonic() - start, requests
            athena.close()
    return found, answers


def main() -> None:
    """Measure, merge, measure again, and hold the answers against each other."""
    batches = int(os.environ.get("BATCHES", "2000"))
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory() as folder:
        lake = Path(folder)
        write(lake, batches)
        before, answers = measure(lake)
        zone = Zone(f"file://{lake}/processed")
        start = time.monotonic()
        compact.merge(zone, batch.newest_processed(zone), STAR_KEYS, OPEN_BATCHES)
        merging = time.monotonic() - start
        after, again = measure(lake)
    if answers != again:
        raise SystemExit("expected the same answers before and after merging, found others")
    table = Table(
        "", "before", "LIST", "GET", "after", "LIST", "GET", title=f"{batches:,} batches", box=None
    )
    for name, (seconds, requests) in before.items():
        later, fewer = after[name]
        table.add_row(
            name,
            f"{seconds:.1f} s", f"{requests['LIST']:,}", f"{requests['GET']:,}",
            f"{later:.1f} s", f"{fewer['LIST']:,}", f"{fewer['GET']:,}",
        )  # fmt: skip
    console.print(table)
    console.print(f"merging took {merging:.1f} s; the answers are the same")


if __name__ == "__main__":
    main()
