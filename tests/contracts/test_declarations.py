"""What is written down in several places is the same in all of them."""

import ast
import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pg8000.native import Connection

from local.postgres import PostgresServer, connect
from totelake import warehouse_sql
from totelake.errors import ArgumentError
from totelake.tables import EVOLVE, JOINS, SOURCE, SPARK_TYPES, STAR, STRICT

ROOT = Path(__file__).resolve().parents[2]
JOBS = ROOT / "glue_jobs"
TOTESYS = ROOT.parent / "shared" / "totesys"
MODULES = sorted(JOBS.rglob("*.py"))
WORKFLOW: dict[str, Any] = json.loads((JOBS / "workflow.json").read_text())
# Glue adds these itself.
GLUE_ARGUMENTS = {"JOB_NAME", "WORKFLOW_NAME", "WORKFLOW_RUN_ID"}
OPTIONAL = {
    *("--raw_format", "--sweep", "--max_rejected_ratio"),
    *("--raw_database", "--raw_crawler", "--processed_database", "--processed_crawler"),
}

needs_totesys = pytest.mark.skipif(
    not TOTESYS.is_dir(), reason=f"ToteSys' own schemas are not at {TOTESYS}"
)


# --- The declarations and ToteSys' own schemas


def database(postgres: PostgresServer, name: str, statements: list[str]) -> Iterator[Connection]:
    postgres.ensure_database(name)
    connection = connect(postgres.url(name))
    for statement in statements:
        connection.run(statement)
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def source(postgres: PostgresServer) -> Iterator[Connection]:
    ddl = (TOTESYS / "source_schema.sql").read_text()
    yield from database(postgres, "contract_source", [ddl])


@pytest.fixture(scope="module")
def warehouse(postgres: PostgresServer) -> Iterator[Connection]:
    ddl = (TOTESYS / "warehouse_schema.sql").read_text()
    yield from database(postgres, "contract_warehouse", [ddl])


@pytest.fixture(scope="module")
def ours(postgres: PostgresServer) -> Iterator[Connection]:
    yield from database(postgres, "contract_ours", warehouse_sql.star_ddl())


def columns_of(connection: Connection) -> dict[str, list[tuple[str, str, bool]]]:
    """Per table of schema public: name, type and whether null is allowed, in order."""
    found: dict[str, list[tuple[str, str, bool]]] = {}
    for table, name, type_, nullable in connection.run(
        "SELECT relname, attname, format_type(atttypid, atttypmod), NOT attnotnull"
        " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
        " WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0"
        " AND NOT attisdropped ORDER BY relname, attnum"
    ):
        found.setdefault(table, []).append((name, type_, nullable))
    return found


def keys_of(connection: Connection, kind: str) -> set[tuple[str, str]]:
    """Table and definition of each primary ('p') or foreign ('f') key."""
    rows = connection.run(
        "SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE connamespace = 'public'::regnamespace AND contype = :kind",
        kind=kind,
    )
    return {(table, definition) for table, definition in rows}


@needs_totesys
def test_the_source_is_declared_as_it_is(source: Connection) -> None:
    """Guards against a column forgotten, renamed, retyped or said to be never null."""
    declared = {
        table.name: [(column.name, column.type, column.nullable) for column in table.columns]
        for table in SOURCE.values()
    }
    assert columns_of(source) == declared


@needs_totesys
def test_the_sources_keys_are_as_declared(source: Connection) -> None:
    declared = {(table.name, f"PRIMARY KEY ({table.key})") for table in SOURCE.values()}
    assert keys_of(source, "p") == declared
    foreign = keys_of(source, "f")
    for join in JOINS:
        start = f"FOREIGN KEY ({join.column}) REFERENCES {join.parent}({SOURCE[join.parent].key})"
        assert any(t == join.child and d.startswith(start) for t, d in foreign), join


@needs_totesys
def test_the_star_is_declared_as_the_warehouse_is(warehouse: Connection) -> None:
    """Guards against a star that is nearly the one that was asked for."""
    declared = {
        table.name: [(table.record_id, "integer", False)] * table.is_fact
        + [(column.name, column.type, column.nullable) for column in table.columns]
        for table in STAR.values()
    }
    assert columns_of(warehouse) == declared
    keys = {(t.name, f"PRIMARY KEY ({t.record_id or t.key})") for t in STAR.values()}
    assert keys_of(warehouse, "p") == keys
    references = {
        (
            table.name,
            f"FOREIGN KEY ({column.name}) REFERENCES {column.references}"
            f"({STAR[column.references].key})",
        )
        for table in STAR.values()
        for column in table.columns
        if column.references
    }
    assert keys_of(warehouse, "f") == references


@needs_totesys
def test_our_ddl_makes_the_same_warehouse(warehouse: Connection, ours: Connection) -> None:
    """Guards against DDL that drifts from the declarations: keys, nulls, types, defaults."""
    defaults = (
        "SELECT table_name, column_name, column_default FROM information_schema.columns"
        " WHERE table_schema = 'public' AND column_default IS NOT NULL ORDER BY 1"
    )
    assert columns_of(ours) == columns_of(warehouse)
    for kind in ("p", "f", "u", "c"):
        assert keys_of(ours, kind) == keys_of(warehouse, kind)
    assert ours.run(defaults) == warehouse.run(defaults)
    assert len(ours.run(defaults)) == 3


def test_every_type_is_used() -> None:
    """Guards against types that nothing has, and would hide a misspelt one."""
    used = {c.type for table in [*SOURCE.values(), *STAR.values()] for c in table.columns}
    assert set(SPARK_TYPES) == used


def test_a_table_with_a_watermark_is_in_no_join() -> None:
    """Guards against lookups that a watermark would leave out."""
    joined = {table for join in JOINS for table in (join.child, join.parent)}
    for table in SOURCE.values():
        assert table.drift in (EVOLVE, STRICT)
        if table.watermark:
            columns = {column.name: column for column in table.columns}
            assert table.name not in joined
            assert not columns[table.watermark.column].nullable


# --- The crawlers


@pytest.mark.parametrize(("zone", "tables"), [("raw", [*SOURCE]), ("processed", [*STAR])])
def test_a_crawler_looks_at_exactly_the_declared_tables(zone: str, tables: list[str]) -> None:
    """Guards against a table without a catalog entry, and an entry without a table."""
    crawler = json.loads((ROOT / "crawlers" / f"{zone}.json").read_text())
    assert sorted(crawler["targets"]) == sorted(f"${{{zone}_zone}}/{table}/" for table in tables)
    assert crawler["database"] == f"${{{zone}_database}}"
    assert {"**/_*", "**/.*", "**/_*/**"} == set(crawler["exclusions"])


# --- The workflow


def arguments_of(job: str) -> tuple[set[str], str]:
    """What a job's script says that it takes, and the script's name."""
    script = WORKFLOW["jobs"][job]["script"]
    main = importlib.import_module(Path(script).stem).main
    with pytest.raises(ArgumentError, match="unknown argument --no_such_argument") as error:
        main([script, "--JOB_NAME", job, "--no_such_argument", "x"])
    return set(re.findall(r"--(\w+)", str(error.value).split("this job takes")[1])), script


@pytest.mark.parametrize("job", WORKFLOW["jobs"])
def test_the_workflow_gives_each_job_the_arguments_that_it_takes(job: str) -> None:
    """Guards against a misspelt argument, found out by the first run in the cloud."""
    taken, script = arguments_of(job)
    assert (JOBS / script).is_file()
    given = WORKFLOW["jobs"][job]["arguments"]
    assert {name.removeprefix("--") for name in given} == taken - GLUE_ARGUMENTS
    assert given == {name: f"${{{name.removeprefix('--')}}}" for name in given}


@pytest.mark.parametrize("job", WORKFLOW["jobs"])
def test_a_job_cannot_start_without_a_zone_or_a_secret(job: str) -> None:
    """Guards against a default that sends a job to the wrong place."""
    script = WORKFLOW["jobs"][job]["script"]
    main = importlib.import_module(Path(script).stem).main
    given = WORKFLOW["jobs"][job]["arguments"]
    for absent in given.keys() - OPTIONAL:
        others = [word for name in given if name != absent for word in (name, "x")]
        with pytest.raises(ArgumentError, match=f"missing argument {absent}"):
            main([script, "--JOB_NAME", job, *others])


def test_the_workflow_starts_each_job_once_and_in_order() -> None:
    """Guards against a job that no trigger starts, and one that runs beside its predecessor."""
    started = {
        action["job"]: [condition["job"] for condition in trigger.get("conditions", [])]
        for trigger in WORKFLOW["triggers"].values()
        for action in trigger["actions"]
    }
    beside = {name for name, it in WORKFLOW["triggers"].items() if not it.get("in_workflow", True)}
    assert beside == {"weekly"}
    assert started.pop("compact") == []
    assert started == {"extract": [], "transform": ["extract"], "load": ["transform"]}
    on_demand = [name for name, job in WORKFLOW["jobs"].items() if job.get("on_demand")]
    assert on_demand == ["reconcile"]
    assert [*started, *on_demand, "compact"] == list(WORKFLOW["jobs"])
    actions = [a for trigger in WORKFLOW["triggers"].values() for a in trigger["actions"]]
    assert len(actions) == len(started) + 1
    states = [c["state"] for t in WORKFLOW["triggers"].values() for c in t.get("conditions", [])]
    assert states == ["SUCCEEDED", "SUCCEEDED"]
    assert WORKFLOW["max_concurrent_runs"] == 1


# --- The boundaries between modules


def name_of(path: Path) -> str:
    return str(path.relative_to(JOBS))


def imports_of(path: Path) -> set[str]:
    """The top-level packages that a module imports, wherever in it."""
    packages: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            packages |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            packages.add((node.module or "").split(".")[0])
    return packages


def calls_of(path: Path) -> set[str]:
    """The names of the functions and methods that a module calls."""
    functions = (n.func for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call))
    return {
        function.id if isinstance(function, ast.Name) else f".{function.attr}"
        for function in functions
        if isinstance(function, ast.Name | ast.Attribute)
    }


def users_of(packages: set[str]) -> set[str]:
    return {name_of(path) for path in MODULES if imports_of(path) & packages}


def callers_of(*names: str) -> set[str]:
    return {name_of(path) for path in MODULES if calls_of(path) & set(names)}


def test_aws_is_known_to_one_module() -> None:
    """Guards against logic that runs in the cloud only."""
    assert users_of({"boto3", "botocore", "awsglue"}) == {"totelake/runtime.py"}


def test_the_lake_is_known_to_one_module() -> None:
    assert users_of({"fsspec", "s3fs"}) == {"totelake/lake.py"}
    assert users_of({"pyarrow"}) == {"totelake/lake.py", "totelake/compact.py"}


def test_the_jobs_know_nothing_of_the_laptop() -> None:
    """Guards against an import that fails on Glue, where only the jobs' own code is."""
    assert users_of({"local", "tests", "moto", "duckdb", "rich", "psutil"}) == set()


def test_no_job_prints_or_shows_rows() -> None:
    """Guards against personal data in the logs, and lines that are no JSON."""
    assert callers_of("print", ".show", ".printSchema", "pprint") == set()


def test_rows_stay_with_the_executors() -> None:
    """Guards against data on the driver: files and counts are collected there, and a few keys."""
    collecting = (".collect", ".toPandas", ".take", ".head", ".toArrow", "._collect_as_arrow")
    assert callers_of(*collecting) == {"totelake/lake.py", "totelake/reconcile.py"}
    assert callers_of(".toLocalIterator") == {"totelake/processed.py"}


def test_nothing_happens_when_a_module_is_imported() -> None:
    """Guards against a session, a client or a log that an import starts."""
    started = {"SparkSession", "boto3.client", "spark_session", "start_logging", "basicConfig"}
    for path in MODULES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Expr | ast.Assign | ast.AnnAssign | ast.Try | ast.With):
                text = ast.unparse(node)
                assert not any(f"{name}(" in text for name in started), f"{name_of(path)}: {text}"
                assert not isinstance(node, ast.Try | ast.With), f"{name_of(path)}: {text}"
