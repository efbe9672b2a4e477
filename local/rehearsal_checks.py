"""What has to be true of a deployment after its workflow has run: rows, objects, catalogue."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from local.athena import LocalAthena
from local.athena_types import SqlError
from local.crawler import crawl
from local.crawler_definition import definition_of
from local.data_catalog import PROCESSED, RAW
from local.deployed import Client, Deployment
from local.glue_tables import partitions_of, tables_of
from totelake import merged
from totelake.batch import ATTEMPTS, MANIFESTS, Manifest, newest_processed, newest_raw
from totelake.catalog import filled
from totelake.lake import Zone
from totelake.merged import MERGES
from totelake.notes import NOTES
from totelake.reconcile import Report
from totelake.tables import ROW_BATCH

_VIEW = "VIRTUAL_VIEW"
_MANIFESTS = (MANIFESTS, MERGES)
# Of a row, where it lies; it changes when batches are written together.
_PLACE = ("batch", ROW_BATCH)


@dataclass(frozen=True)
class Check:
    """What was looked at, with its figures, and what is wrong with it."""

    what: str
    problems: Sequence[str] = ()


def checked(client: Client, deployment: Deployment, reports: Sequence[Report]) -> list[Check]:
    """Check all but the rows, which the job reconcile has compared.

    Args:
        client: Gives a client of boto3 for a service.
        deployment: What is where.
        reports: What reconcile found.
    """
    return [
        objects(client("s3"), deployment.buckets[RAW], deployment.buckets[PROCESSED]),
        registered(client("glue"), deployment),
        crawled(client("glue"), deployment),
        *queries(client, deployment, reports),
        runs(client("glue"), deployment),
    ]


def objects(s3: Any, *buckets: str) -> Check:
    """Every object written once, under its own name; nothing renamed, left over or replaced.

    The buckets keep versions: a rename, or a temporary object, leaves a trace.
    """
    problems: list[str] = []
    count = 0
    for bucket in buckets:
        pages = list(s3.get_paginator("list_object_versions").paginate(Bucket=bucket))
        versions = Counter(v["Key"] for page in pages for v in page.get("Versions", []))
        removed = {v["Key"] for page in pages for v in page.get("DeleteMarkers", [])}
        count += len(versions)
        problems += [
            f"{bucket}/{key}: {why}"
            for key, times in sorted(versions.items())
            for why in _faults(key, times, key in removed)
        ]
    return Check(f"{count:,} objects, each written once: no _SUCCESS, no rename", problems)


def _faults(key: str, times: int, removed: bool) -> Iterable[str]:
    if key in NOTES:
        return  # the only objects that are ever rewritten
    place, _, rest = key.partition("/")
    if place == ATTEMPTS:
        return  # announced, and removed at the commit
    if removed:
        yield "removed"
    if times > 1:
        yield f"written {times} times"
    hidden = [part for part in rest.split("/") if not part or part.startswith(("_", "."))]
    if (place.startswith(("_", ".")) and place not in _MANIFESTS) or hidden or "$folder$" in key:
        yield "expected tables, manifests and notes only"


def registered(glue: Any, deployment: Deployment) -> Check:
    """The partitions in the catalogue are those that manifests name, no more and no fewer."""
    problems, count, large = [], 0, 0
    for zone, newest in ((RAW, newest_raw), (PROCESSED, newest_processed)):
        uri, database = deployment.zones[zone], deployment.databases[zone]
        small, merged_ = _named(newest(Zone(uri)), Zone(uri))
        named = small | merged_
        found = {
            (name, part["Values"][0]): str(part["StorageDescriptor"]["Location"]).rstrip("/")
            for name, table in tables_of(glue, database).items()
            if table.get("TableType") != _VIEW
            for part in partitions_of(glue, database, name)
        }
        count += len(found)
        large += len(merged_)
        for what, extra in (
            ("named by a manifest, not registered", named.items() - found.items()),
            ("registered, named by no manifest", found.items() - named.items()),
        ):
            problems += [f"{database}.{table} {batch}: {what}" for (table, batch), _ in extra]
    what = f"{count:,} partitions registered, {large:,} of them merged: those that manifests name"
    return Check(what, problems)


Partitions = dict[tuple[str, str], str]


def _named(manifests: Iterable[Manifest], zone: Zone) -> tuple[Partitions, Partitions]:
    """URIs of the batches that have not been merged away, and of merged folders."""
    merges = merged.read_merges(zone)
    tables = {table for merge in merges for table in merge.tables}
    away = {table: merged.merged_away(merges, table) for table in tables}
    small = {
        (table, manifest.batch): zone.batch_uri(table, manifest.batch)
        for manifest in manifests
        for table in filled(manifest)
        if manifest.batch not in away.get(table, ())
    }
    large = {
        (table, folder.partition): merged.merged_uri(zone, table, folder.partition)
        for table in tables
        for run in merged.runs_of(merges, table)
        for folder in run.folders
    }
    return small, large


def crawled(glue: Any, deployment: Deployment) -> Check:
    """One more crawl finds nothing to change."""
    problems = []
    for name in deployment.crawlers.values():
        done = crawl(glue, definition_of(glue.get_crawler(Name=name)["Crawler"]))
        for what in ("created", "updated", "partitions", "removed", "problems"):
            problems += [f"{name}: {what} {it}" for it in getattr(done, what)]
    return Check(f"{len(deployment.crawlers)} crawlers run again, which changes nothing", problems)


# What each query gave: rows, in any order, or why there are none.
Answers = Mapping[str, Counter[str] | str]


def answers(glue: Any, deployment: Deployment) -> Answers:
    """All rows of every view, and of every table of both zones but where they lie."""
    found: dict[str, Counter[str] | str] = {}
    with closing(LocalAthena(glue, deployment.databases[PROCESSED])) as engine:
        for zone, database in deployment.databases.items():
            for name, table in tables_of(glue, database).items():
                columns = [column["Name"] for column in table["StorageDescriptor"]["Columns"]]
                if table.get("TableType") != _VIEW:
                    columns = [column for column in columns if column not in _PLACE]
                listed = ", ".join(f'"{column}"' for column in columns)
                rows = _answer(engine, f'select {listed} from "{database}"."{name}"')  # nosec B608
                whole = rows if isinstance(rows, str) else Counter(map(repr, rows))
                found[f"{zone}.{name}"] = whole
    return found


def unchanged(before: Answers, after: Answers) -> Check:
    """Writing batches together changed no answer."""
    problems = [name for name in before if before[name] != after.get(name)]
    problems += [f"{name}: {why}" for name, why in after.items() if isinstance(why, str)]
    return Check(f"{len(after)} tables and views, the same rows before merging and after", problems)


def queries(client: Client, deployment: Deployment, reports: Sequence[Report]) -> Iterable[Check]:
    """The deployed views give the lake's current rows, the deployed named queries run."""
    expected = {f"current_{report.table}": report.lake for report in reports}
    glue, athena = client("glue"), client("athena")
    database = deployment.databases[PROCESSED]
    with closing(LocalAthena(glue, database)) as engine:
        views = [n for n, t in tables_of(glue, database).items() if t.get("TableType") == _VIEW]
        problems = []
        for view in views:
            found = _answer(engine, f'select count(*) as n from "{view}"')
            rows = found if isinstance(found, str) else found[0]["n"]
            if isinstance(found, str) or rows != expected.get(view, rows):
                problems.append(f"{view}: expected {expected.get(view)} rows, found {rows}")
        yield Check(f"{len(views)} views deployed, each giving the lake's current rows", problems)
        named = list(_named_queries(athena, deployment.workgroup))
        answers = {query["Name"]: _answer(engine, query["QueryString"]) for query in named}
        rows = ", ".join(f"{name} {len(answer)}" for name, answer in answers.items())
        failed = [f"{name}: {it}" for name, it in answers.items() if isinstance(it, str)]
        yield Check(f"{len(named)} named queries deployed, their rows: {rows}", failed)


def _answer(engine: LocalAthena, sql: str) -> list[dict[str, Any]] | str:
    """Rows, or why there are none."""
    try:
        rows: list[dict[str, Any]] = engine.query(sql).to_pylist()
    except SqlError as error:
        return str(error)
    return rows


def _named_queries(athena: Any, workgroup: str) -> Iterable[Mapping[str, Any]]:
    for query in athena.list_named_queries(WorkGroup=workgroup)["NamedQueryIds"]:
        found: Mapping[str, Any] = athena.get_named_query(NamedQueryId=query)["NamedQuery"]
        yield found


def runs(glue: Any, deployment: Deployment) -> Check:
    """The API knows of every run, and none is at work."""
    pages = glue.get_paginator("get_workflow_runs").paginate(Name=deployment.workflow)
    kept = [run for page in pages for run in page["Runs"]]
    problems = [
        f"{run['WorkflowRunId']}: {run['Status']}" for run in kept if run["Status"] != "COMPLETED"
    ]
    states = Counter(
        run["JobRunState"]
        for job in deployment.jobs.values()
        for run in glue.get_job_runs(JobName=job)["JobRuns"]
    )
    told = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    return Check(
        f"{len(kept)} runs of the workflow kept by the API; its jobs' runs: {told}", problems
    )
