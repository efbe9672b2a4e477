"""What the notebooks ask: the lake on this machine, or Athena where its workgroup is set.

=================  ==============================================================================
ATHENA_WORKGROUP   the workgroup to query in; without it the lake that ``make run`` left is asked
ATHENA_DATABASE    the processed zone's database there
LAKE               another lake on this machine, as a URI of the folder with the zones
=================  ==============================================================================
"""

import functools
import json
import os
import sys
from contextlib import ExitStack, chdir
from pathlib import Path
from typing import Any

import fsspec
import matplotlib.pyplot as plt
import pandas as pd
import pyarrow as pa

_ROOT = Path(__file__).resolve().parent.parent
# As awswrangler gives them: whole numbers stay whole where some are missing.
_PANDAS_TYPES = {
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
    pa.string(): pd.StringDtype(),
    pa.float64(): pd.Float64Dtype(),
}


def query(sql: str) -> pd.DataFrame:
    """Run a query in Athena's SQL; decimals stay decimals, dates dates."""
    if not _workgroup():
        return _local()[0].query(sql).to_pandas(types_mapper=_PANDAS_TYPES.get)
    import awswrangler as wr

    return wr.athena.read_sql_query(
        sql, database=_database(), workgroup=_workgroup(), ctas_approach=False
    )


def manifests() -> pd.DataFrame:
    """One row per table and batch of the processed zone, as the committed manifests say it."""
    filesystem, root = fsspec.core.url_to_fs(_processed_zone())
    rows = []
    for path in sorted(filesystem.glob(f"{root.rstrip('/')}/_batches/*.json")):
        manifest = json.loads(filesystem.cat_file(path))
        begun = pd.to_datetime(manifest["batch"], format="%Y%m%dT%H%M%SZ", utc=True)
        committed = pd.to_datetime(manifest["committed_at"], utc=True)
        for table, entry in manifest["tables"].items():
            sizes = [file["bytes"] for file in entry["files"]]
            rows.append(
                {"number": manifest["number"], "batch": manifest["batch"], "taken": begun,
                 "committed": committed, "seconds": manifest["seconds"], "table": table,
                 "rows": entry["rows"], "rejected": entry["rejected"], "sizes": sizes,
                 "bytes": sum(sizes)}
            )  # fmt: skip
    return pd.DataFrame(rows)


def axes(title: str, rows: int = 1, columns: int = 1, **options: Any) -> Any:
    """Axes to draw on, in the notebooks' style."""
    style: dict[str, Any] = {
        "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
        "grid.alpha": 0.3, "figure.dpi": 110, "legend.frameon": False,
    }  # fmt: skip
    plt.rcParams.update(style)
    size = options.pop("figsize", (4.5 * columns if columns > 1 else 9, 3.6 * rows))
    figure, found = plt.subplots(rows, columns, figsize=size, layout="constrained", **options)
    figure.suptitle(title, fontweight="bold", x=0.01, ha="left")
    return found


def _workgroup() -> str:
    return os.environ.get("ATHENA_WORKGROUP", "")


def _database() -> str:
    name = os.environ.get("ATHENA_DATABASE", "")
    if not name:
        raise ValueError(
            "ATHENA_WORKGROUP is set and ATHENA_DATABASE is not: name the processed zone's "
            "database (terraform output)"
        )
    return name


def _processed_zone() -> str:
    if not _workgroup():
        return f"{_local()[1]}/processed"
    import awswrangler as wr

    location = str(wr.catalog.get_table_location(_database(), "fact_sales_order"))
    return location.rstrip("/").rsplit("/", 1)[0]


@functools.cache
def _local() -> tuple[Any, str, ExitStack]:
    """Athena's stand-in on the lake here, the lake's URI, and what keeps both open."""
    sys.path[:0] = [str(_ROOT), str(_ROOT / "glue_jobs")]
    from local.athena import LocalAthena
    from local.data_catalog import PROCESSED, catalogue_of
    from local.query import lake_of

    with chdir(_ROOT):  # where .state is
        lake = lake_of(os.environ)
    stack = ExitStack()
    glue, _ = stack.enter_context(catalogue_of(lake))
    return LocalAthena(glue, PROCESSED), lake, stack
