"""All three jobs on whole sources: the real exports, an empty one, a half-empty one."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import boto3
import pytest
from moto.cloudwatch.models import cloudwatch_backends
from moto.core import DEFAULT_ACCOUNT_ID
from pg8000.native import Connection, identifier

from local.aws import REGION
from tests.conftest import TOTESYS
from totelake.tables import SOURCE

from .conftest import Event, Pipeline

SNAPSHOTS = TOTESYS / "snapshots"
# Referenced tables first.
ORDER = (
    "address",
    "department",
    "currency",
    "payment_type",
    "design",
    "counterparty",
    "staff",
    "sales_order",
    "purchase_order",
    "transaction",
    "payment",
)


def copy(connection: Connection, table: str, file: Path) -> None:
    with file.open("rb") as stream:
        header = stream.readline().decode().strip()
        columns = ", ".join(identifier(name) for name in header.split(","))
        connection.run(
            f"COPY {identifier(table)} ({columns}) FROM STDIN (FORMAT csv)", stream=stream
        )


def move_to(connection: Connection, snapshot: Path) -> None:
    """Insert what is new, update what differs, touch nothing else."""
    for table in ORDER:
        new = f"new_{table}"
        connection.run(f"CREATE TEMP TABLE {identifier(new)} (LIKE {identifier(table)})")
        copy(connection, new, snapshot / f"{table}.csv")
        key = identifier(SOURCE[table].key)
        names = [identifier(column.name) for column in SOURCE[table].columns]
        connection.run(
            f"INSERT INTO {identifier(table)} SELECT n.* FROM {new} n WHERE NOT EXISTS"
            f" (SELECT FROM {identifier(table)} o WHERE o.{key} = n.{key})"
        )
        connection.run(
            f"UPDATE {identifier(table)} o SET ({', '.join(names)}) ="
            f" ROW({', '.join(f'n.{name}' for name in names)}) FROM {new} n"
            f" WHERE n.{key} = o.{key} AND (n.*) IS DISTINCT FROM (o.*)"
        )


def counts(pipeline: Pipeline, *tables: str) -> list[int]:
    return [int(pipeline.rows(f"SELECT count(*) FROM {table}")[0][0]) for table in tables]


FACTS = ("fact_sales_order", "fact_purchase_order", "fact_payment")


@pytest.mark.skipif(not SNAPSHOTS.is_dir(), reason=f"no exports of ToteSys in {SNAPSHOTS}")
def test_the_real_exports(make_pipeline: Callable[[str], Pipeline], empty_source: str) -> None:
    """Known answers; a pipeline that trusts last_updated gets 11187 / 4649 / 15868."""
    pipeline = make_pipeline(empty_source)
    for table in ORDER:
        copy(pipeline.source, table, SNAPSHOTS / "2024-08-22" / f"{table}.csv")
    pipeline.run()
    assert counts(pipeline, *FACTS, "dim_design") == [9845, 4114, 13959, 424]
    sales, payments = (
        "SELECT sum(units_sold * unit_price) FROM etl.current_sales_order",
        "SELECT sum(payment_amount), count(*) FILTER (WHERE paid) FROM etl.current_payment",
    )
    assert pipeline.rows(sales) == [[Decimal("1480129212.87")]]
    assert pipeline.rows(payments) == [[Decimal("2527422104.93"), 8481]]
    old_designs = dict(pipeline.rows("SELECT design_id, file_location FROM dim_design"))

    move_to(pipeline.source, SNAPSHOTS / "2024-11-15")
    pipeline.run()
    assert counts(pipeline, *FACTS, "dim_design") == [11211, 4672, 15868, 473]
    assert pipeline.rows(sales) == [[Decimal("1687031429.75")]]
    assert pipeline.rows(payments) == [[Decimal("2866262649.80"), 9648]]
    designs = dict(pipeline.rows("SELECT design_id, file_location FROM dim_design"))
    changed = {key for key, location in old_designs.items() if designs[key] != location}
    assert len(changed) == 28
    in_source = dict(pipeline.source.run("SELECT design_id, file_location FROM design"))
    assert designs == in_source

    before = pipeline.objects()
    pipeline.run()
    assert pipeline.objects() == before
    assert counts(pipeline, *FACTS, "etl.batch") == [11211, 4672, 15868, 2]


def test_an_empty_source(make_pipeline: Callable[[str], Pipeline], empty_source: str) -> None:
    """The first batch says that there is nothing; the tables are there and the next run works."""
    pipeline = make_pipeline(empty_source)
    pipeline.run()
    assert counts(pipeline, *FACTS, "dim_date", "etl.batch") == [0, 0, 0, 0, 1]
    assert [event["event"] for event in pipeline.extract()] == [
        "started",
        "nothing_to_do",
        "finished",
    ]
    pipeline.source.run("INSERT INTO design VALUES (1, now(), 'd', '/', 'f', now())")
    pipeline.run()
    assert counts(pipeline, "dim_design", "etl.batch") == [1, 2]


def test_a_third_of_the_tables_empty(pipeline: Pipeline) -> None:
    pipeline.source.run("DELETE FROM payment; DELETE FROM transaction; DELETE FROM purchase_order")
    pipeline.source.run("DELETE FROM payment_type")
    pipeline.run()
    assert counts(pipeline, *FACTS, "dim_transaction", "dim_design") == [2, 0, 0, 0, 2]
    pipeline.source.run("UPDATE design SET file_name = 'f'")
    pipeline.run()
    assert counts(pipeline, *FACTS, "dim_design") == [2, 0, 0, 2]


def sent(pipeline: Pipeline) -> dict[tuple[str, str], float]:
    """Metric and table of what CloudWatch got last from a pipeline's jobs, with its value."""
    return {
        (
            datum.name,
            next((d.value for d in datum.dimensions if d.name == "Table"), ""),
        ): datum.value
        for datum in cloudwatch_backends[DEFAULT_ACCOUNT_ID][REGION].metric_data
        if datum.namespace == "Totelake" and pipeline.name in {d.value for d in datum.dimensions}
    }


def test_what_a_run_measures_and_registers(pipeline: Pipeline) -> None:
    """Guards against alarms without data and batches that Athena does not see."""
    glue = boto3.client("glue")
    names = {zone: f"{pipeline.name}_{zone}" for zone in ("raw", "processed")}
    for name in names.values():
        glue.create_database(DatabaseInput={"Name": name})
        glue.create_crawler(Name=name, Role="role", Targets={"S3Targets": [{"Path": "s3://lake"}]})
    in_catalogue = {
        zone: (f"--{zone}_database", name, f"--{zone}_crawler", name)
        for zone, name in names.items()
    }

    def run() -> list[Event]:
        return [
            *pipeline.extract(*in_catalogue["raw"]),
            *pipeline.transform(*in_catalogue["processed"]),
            *pipeline.load(),
        ]

    events = run()
    # No crawler has made a table yet: both are started, and no job minds.
    assert [event["started"] for event in events if event["event"] == "crawl"] == [True, True]
    first = sent(pipeline)
    (landed,) = pipeline.batches()
    rows = {("RowsLanded", table): entry.rows for table, entry in landed.tables.items()}
    assert rows.items() <= first.items()
    assert first["RowsRejected", ""] == 0
    assert first["RowsLoaded", "fact_sales_order"] == 2
    assert first["RegistrationFailures", ""] == 0
    assert 0 < first["BatchSeconds", ""] < 600
    assert 0 < first["FreshnessSeconds", ""] < 600

    for name, table in ((names["raw"], "design"), (names["processed"], "dim_design")):
        column = {"Name": "design_id", "Type": "int"}
        glue.create_table(
            DatabaseName=name,
            TableInput={
                "Name": table,
                "PartitionKeys": [{"Name": "batch", "Type": "string"}],
                "StorageDescriptor": {"Columns": [column], "Location": "s3://lake/"},
            },
        )
    before = pipeline.objects()
    assert "not_registered" not in {event["event"] for event in run()}
    # Nothing has changed: the run registers what the first could not, and is as fresh as any.
    assert pipeline.objects() == before
    assert sent(pipeline)["FreshnessSeconds", ""] != first["FreshnessSeconds", ""]
    for zone, table in ((pipeline.raw, "design"), (pipeline.processed, "dim_design")):
        name = names[zone.uri.rsplit("/", 1)[-1]]
        (partition,) = glue.get_partitions(DatabaseName=name, TableName=table)["Partitions"]
        assert partition["Values"] == [landed.batch]
        location = f"{zone.batch_uri(table, landed.batch)}/"
        assert partition["StorageDescriptor"]["Location"] == location
