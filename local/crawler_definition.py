"""What a crawler is asked to do, as `crawlers/*.json` or Glue's API says it.

What is not done here, or not by AWS, is refused.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.errors import CommandError
from local.workflow import substitute

EVERYTHING, NEW_FOLDERS = "CRAWL_EVERYTHING", "CRAWL_NEW_FOLDERS_ONLY"
UPDATE, LOG, DELETE, DEPRECATE = (
    "UPDATE_IN_DATABASE", "LOG", "DELETE_FROM_DATABASE", "DEPRECATE_IN_DATABASE"
)  # fmt: skip


class CrawlerError(CommandError):
    """A definition asks for what this crawler, or AWS, does not do."""


@dataclass(frozen=True)
class Definition:
    """What a crawler does.

    Attributes:
        name: Of the crawler.
        database: Where its tables go.
        targets: URIs of the folders to crawl.
        exclusions: Glob patterns of what to pass over, counted from a target.
        recrawl: ``CRAWL_EVERYTHING`` or ``CRAWL_NEW_FOLDERS_ONLY``.
        on_change: What becomes of a table whose files have other columns: ``UPDATE_IN_DATABASE``
            or ``LOG``.
        on_delete: What becomes of a table or partition whose files are gone: ``LOG``,
            ``DELETE_FROM_DATABASE`` or ``DEPRECATE_IN_DATABASE``.
        table_level: How deep tables lie, the bucket being level 1; None: each target is a table.
        merge_new_columns: Whether a table only ever gains columns.
        inherit: Whether partitions, old ones too, are described as their table is.
        open_csv: Whether it has the deployment's one classifier, for CSV with quotes.
    """

    name: str
    database: str
    targets: tuple[str, ...]
    exclusions: tuple[str, ...] = ()
    recrawl: str = EVERYTHING
    on_change: str = UPDATE
    on_delete: str = DEPRECATE
    table_level: int | None = None
    merge_new_columns: bool = False
    inherit: bool = False
    open_csv: bool = False


def load_definition(path: Path, values: Mapping[str, str]) -> Definition:
    """Read a definition file and put a value in the place of each ``${name}``.

    Raises:
        CrawlerError: If it asks for something that is not done here.
    """
    content = substitute(json.loads(path.read_text(encoding="utf-8")), values)
    policy = content["schema_change_policy"]
    return _definition(
        content["name"],
        content["database"],
        content["targets"],
        content["exclusions"],
        content["recrawl_behavior"],
        (policy["update_behavior"], policy["delete_behavior"]),
        content["configuration"],
        open_csv=values.get("raw_format") == "csv" and "csv_classifier" in content,
    )


def definition_of(crawler: Mapping[str, Any]) -> Definition:
    """A definition as Glue's API gives it (``get_crawler``).

    Raises:
        CrawlerError: If it asks for something that is not done here.
    """
    targets = crawler["Targets"]["S3Targets"]
    policy = crawler.get("SchemaChangePolicy", {})
    return _definition(
        crawler["Name"],
        crawler["DatabaseName"],
        [target["Path"] for target in targets],
        sorted({pattern for target in targets for pattern in target.get("Exclusions", [])}),
        crawler.get("RecrawlPolicy", {}).get("RecrawlBehavior", EVERYTHING),
        (policy.get("UpdateBehavior", UPDATE), policy.get("DeleteBehavior", DEPRECATE)),
        json.loads(crawler.get("Configuration") or '{"Version": 1.0}'),
        open_csv=bool(crawler.get("Classifiers")),
    )


def _definition(
    name: str,
    database: str,
    targets: Sequence[str],
    exclusions: Sequence[str],
    recrawl: str,
    policy: tuple[str, str],
    configuration: Mapping[str, Any],
    *,
    open_csv: bool,
) -> Definition:
    grouping = configuration.get("Grouping", {})
    output = configuration.get("CrawlerOutput", {})
    tables = output.get("Tables", {}).get("AddOrUpdateBehavior")
    partitions = output.get("Partitions", {}).get("AddOrUpdateBehavior")
    combine = grouping.get("TableGroupingPolicy")
    for what, found, known in (
        ("recrawl_behavior", recrawl, (EVERYTHING, NEW_FOLDERS)),
        ("update_behavior", policy[0], (UPDATE, LOG)),
        ("delete_behavior", policy[1], (LOG, DELETE, DEPRECATE)),
        ("TableGroupingPolicy", combine, ("CombineCompatibleSchemas",)),
        ("Tables.AddOrUpdateBehavior", tables, (None, "MergeNewColumns")),
        ("Partitions.AddOrUpdateBehavior", partitions, (None, "InheritFromTable")),
        ("configuration Version", configuration.get("Version"), (1.0,)),
    ):
        if found not in known:
            raise CrawlerError(
                f"crawler {name}: {what} {found} is not done here; "
                f"expected {' or '.join(str(one) for one in known)}"
            )
    if recrawl == NEW_FOLDERS and policy != (LOG, LOG):
        raise CrawlerError(
            f"crawler {name}: {NEW_FOLDERS} demands {LOG} for changes and for deletions, found "
            f"{policy[0]} and {policy[1]}; AWS refuses it too"
        )
    return Definition(
        name, database, tuple(targets), tuple(exclusions), recrawl, *policy,
        table_level=grouping.get("TableLevelConfiguration"),
        merge_new_columns=tables is not None,
        inherit=partitions is not None,
        open_csv=open_csv,
    )  # fmt: skip
