"""Queries here give what Athena gives, or are refused by name."""

import base64
import io
import json
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from itertools import count
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from local.athena import LocalAthena
from local.athena_types import SqlError, can_read
from local.aws import Aws
from local.crawler import crawl
from local.crawler_definition import Definition
from local.glue_tables import OPEN_CSV_SERDE, tables_of
from totelake.lake import Zone

_DATABASES = count(1)
DAY, MOMENT = date(2026, 1, 31), datetime(2026, 1, 31, 23, 59, 59, 999600)
ORDERS = pa.table(
    {
        "id": pa.array([1, 2, 3], pa.int32()),
        "units": pa.array([5, -5, None], pa.int32()),
        "price": pa.array([Decimal("2.01"), Decimal("1.00"), None], pa.decimal128(10, 2)),
        "day": pa.array([DAY, date(2026, 2, 1), None], pa.date32()),
        "moment": pa.array([MOMENT, None, None], pa.timestamp("us")),
        "name": ["\tAnn ", "Bob", None],
        "paid": [True, False, None],
        "weight": [2.5, 0.5, None],
    }
)


class Catalogued:
    """A zone with its catalogue, and Athena on it."""

    def __init__(self, zone: Zone, glue: Any) -> None:
        self.zone, self.glue = zone, glue
        self.database = f"queried_{next(_DATABASES)}"
        glue.create_database(DatabaseInput={"Name": self.database})

    def put(self, path: str, content: pa.Table | bytes, **options: Any) -> None:
        if isinstance(content, pa.Table):
            sink = io.BytesIO()
            pq.write_table(content, sink, **options)
            content = sink.getvalue()
        self.zone.filesystem.makedirs(self.zone.path(*path.split("/")[:-1]), exist_ok=True)
        self.zone.filesystem.pipe_file(self.zone.path(path), content)

    def crawl(self) -> None:
        tables = [f"{self.zone.uri}/{name}/" for name in self.zone.names()]
        crawl(self.glue, Definition("zone", self.database, tuple(tables), merge_new_columns=True))

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        athena = LocalAthena(self.glue, self.database)
        try:
            return [tuple(row.values()) for row in athena.query(sql).to_pylist()]
        finally:
            athena.close()

    def change(self, table: str, **descriptor: Any) -> None:
        found = tables_of(self.glue, self.database)[table]
        keys = ("Name", "TableType", "Parameters", "PartitionKeys")
        whole = {**found["StorageDescriptor"], **descriptor}
        changed = {**{key: found[key] for key in keys}, "StorageDescriptor": whole}
        self.glue.update_table(DatabaseName=self.database, TableInput=changed)


@pytest.fixture(scope="module")
def glue(aws: Aws) -> Any:
    return boto3.client("glue")


@pytest.fixture
def own(tmp_path: Any, glue: Any) -> Catalogued:
    return Catalogued(Zone(f"file://{tmp_path}"), glue)


@pytest.fixture(scope="module")
def athena(tmp_path_factory: pytest.TempPathFactory, glue: Any) -> Iterator[LocalAthena]:
    lake = Catalogued(Zone(f"file://{tmp_path_factory.mktemp('lake')}"), glue)
    lake.put("orders/batch=20260131T000000Z/part-00000.parquet", ORDERS)
    lake.crawl()
    engine = LocalAthena(glue, lake.database)
    yield engine
    engine.close()


def answer(athena: LocalAthena, sql: str) -> Any:
    return athena.query(sql).to_pylist()


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("5 / 2", 2),
        ("-5 / 2", -2),
        ("-5 % 3", -2),
        ("mod(7, 4)", 3),
        ("5 / 2.0", Decimal("2.5")),
        ("2.01 / 2", Decimal("1.01")),
        ("-2.01 / 2", Decimal("-1.01")),
        ("1.00 / 3.000", Decimal("0.333")),
        ("5 / 2e0", 2.5),
        ("1e0 / 0", float("inf")),
        ("try(1 / 0)", None),
        ("try(1.5 / 0)", None),
        ("try(5 % 0)", None),
        ("try(6 / 4)", 1),
        ("try(cast('x' as integer))", None),
        ("try_cast('1.5' as integer)", None),
        ("cast('17' as bigint)", 17),
        ("cast(2.5e0 as integer)", 3),
        ("cast(-2.5 as integer)", -3),
        ("cast('2026-01-31' as date)", DAY),
        ("date('2026-01-31')", DAY),
        ("try_cast('2026-1-31' as date)", None),
        ("cast('abc' as varchar(2))", "ab"),
        ("cast(1.50 as varchar)", "1.50"),
        ("cast(timestamp '2026-01-31 10:00:00' as varchar)", "2026-01-31 10:00:00.000"),
        ("cast('1.5' as decimal(3, 1)) * 2", Decimal("3.0")),
        ("date '2026-01-31' + interval '1' month", date(2026, 2, 28)),
        ("date_add('month', 1, date '2026-01-31')", date(2026, 2, 28)),
        ("date_trunc('month', date '2026-02-03')", date(2026, 2, 1)),
        ("date_trunc('hour', timestamp '2026-02-03 10:30:00')", datetime(2026, 2, 3, 10)),
        ("date_diff('month', date '2026-01-31', date '2026-02-01')", 0),
        ("date_diff('day', timestamp '2026-01-01 23:00:00', timestamp '2026-01-02 01:00:00')", 0),
        ("date_diff('day', date '2026-01-31', date '2026-02-02')", 2),
        ("day_of_week(date '2026-11-22')", 7),
        ("week(date '2027-01-01')", 53),
        ("extract(year from date '2026-01-31')", 2026),
        ("date_format(date '2026-01-31', '%Y-%m %H:%i')", "2026-01 00:00"),
        ("'a' || null", None),
        ("concat('a', 'b')", "ab"),
        ("trim(chr_tab)", "a"),
        ("substr('abc', -2)", "bc"),
        ("greatest(1, null)", None),
        ("regexp_like('abc', 'b.')", True),
        ("replace('abab', 'b')", "aa"),
        ("strpos('abc', 'c')", 3),
        ("coalesce(null, 3)", 3),
        ("round(2.345, 1)", Decimal("2.3")),
        ("if(1 = 2, 'a', 'b')", "b"),
        ("cardinality(array[1, 2])", 2),
        ("contains(array[1, 2], 2)", True),
    ],
)
def test_expression_has_the_value_it_has_in_athena(
    athena: LocalAthena, expression: str, value: object
) -> None:
    sql = f"select {expression} as value from (select '\ta\n ' as chr_tab)"
    ((found,),) = [tuple(row.values()) for row in answer(athena, sql)]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("select sum(units) / count(*) from orders", 0),
        ("select sum(price) / count(*) from orders", Decimal("1.00")),
        ("select avg(price) from orders", Decimal("1.51")),
        ("select avg(distinct price) from orders", Decimal("1.51")),
        ("select avg(price) filter (where id = 1) from orders", Decimal("2.01")),
        ("select avg(price) from orders where id > 3", None),
        ("select avg(units) from orders", 0.0),
        ("select max(a) from (select avg(price) over (partition by id / 2) a from orders)",
         Decimal("2.01")),
        ("select sum(x) from (select sum(units / 2) over () x from orders)", 0),
        ("with t as (select price / 3 as third from orders) select sum(third) from t",
         Decimal("1.00")),
        ("select max(day + interval '1' month) from orders", date(2026, 3, 1)),
        ("select min(moment) from orders", datetime(2026, 2, 1)),
        ("select id from orders order by units limit 1", 2),
        ("select id from orders order by units desc limit 1 offset 2", 3),
        ("select sum(units * price) from orders where day >= date '2026-01-31'", Decimal("5.05")),
        ("select count(*) from orders o where units / 2 = (select max(p.units / 2) from orders p"
         " where p.id = o.id)", 2),
        ("select units / 2 as half from orders group by 1 having sum(price) / 2 > 1", 2),
        ("select max(a) from (values (1), (2)) as t (a)", 2),
        ("select batch from orders where batch like '2026%' limit 1", "20260131T000000Z"),
        ("select sum(x) from orders cross join unnest(array[1, 2]) as u (x)", 9),
        ("select count(*) from orders where paid and name in ('Bob', '\tAnn ')", 1),
        ("select 7 from awsdatacatalog.{database}.orders where orders.id = 1", 7),
        ("select id from ORDERS where ID = 1", 1),
        ("(select 1) union all (select 2 / 2) limit 1", 1),
    ],
)  # fmt: skip
def test_query_has_the_answer_it_has_in_athena(
    athena: LocalAthena, sql: str, value: object
) -> None:
    rows = answer(athena, sql.format(database=athena.database))
    assert [tuple(row.values()) for row in rows] == [(value,)]
    assert type(next(iter(rows[0].values()))) is type(value)


def test_column_without_a_name_is_named_by_its_place(athena: LocalAthena) -> None:
    sql = "select id, count(*), 1 as one from orders where id = 1 group by id"
    assert athena.query(sql).column_names == ["id", "_col1", "one"]


def test_all_columns_are_the_tables_and_then_its_keys(athena: LocalAthena) -> None:
    names = athena.query("select * from orders").column_names
    assert names == [*ORDERS.column_names, "batch"]


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("select 1 / 0", "DIVISION_BY_ZERO"),
        ("select units % 0 from orders", "DIVISION_BY_ZERO"),
        ("select price / 0 from orders", "DIVISION_BY_ZERO"),
        ("select cast('1.5' as integer)", "Cannot cast '1.5' to a whole number"),
        ("select cast('2026/1/1' as date)", "cannot be cast to date: 2026/1/1"),
        ("select 1 from orders where day = '2026-01-31'", "Cannot apply operator: date = varchar"),
        ("select 1 from orders where batch > 20260131", "TYPE_MISMATCH"),
        ("select 1 from orders where day in (date '2026-01-31', 'x')", "TYPE_MISMATCH"),
        ("select 1 from orders where id between '1' and '2'", "TYPE_MISMATCH"),
        ("select 'a' || 1", "TYPE_MISMATCH"),
        ("select name + 1 from orders", "TYPE_MISMATCH"),
        ("select day - date '2026-01-01' from orders", "use date_diff"),
        ("select cast(weight as varchar) from orders", "in its own way"),
        ("select cast(name as json) from orders", "a cast to JSON"),
        ("select decimal '1.5'", "decimal without a precision"),
        ("select approx_percentile(id, 0.5) from orders", "function approx_quantile"),
        ("select split_part(name, 'a', 1) from orders", "function split_part"),
        ("select to_base64(name) from orders", "function to_base64"),
        ("select read_text('/etc/passwd')", "function read_text"),
        ("select * from read_csv('/etc/passwd')", "is not run here"),
        ('select * from "/etc/passwd"', "TABLE_NOT_FOUND"),
        ("select extract(dow from day) from orders", "use the function of that name"),
        ("select substr(name, 0) from orders", "from 0, is not run here"),
        ("select date_format(day, '%V') from orders", "date_format with '%V'"),
        ("select * from orders for timestamp as of timestamp '2026-01-01 00:00:00'", "AS OF"),
        ("select * from orders tablesample bernoulli (10)", "TABLESAMPLE"),
        ("select id from orders qualify row_number() over () = 1", "SYNTAX_ERROR|QUALIFY"),
        ("select * from orders where name ilike 'a'", "ILIKE: Athena has no such"),
        ("select transform(array[1], x -> x + 1)", "->|Lambda|function"),
        ("with recursive t as (select 1) select * from t", "RECURSIVE"),
        ("select moment at time zone 'UTC' from orders", "AT TIME ZONE"),
        ("create table x as select 1", "CREATE is not run here"),
        ("drop table orders", "DROP is not run here"),
        ("msck repair table orders", "MSCK is not run here"),
        ("unload (select 1) to 's3://a'", "UNLOAD is not run here"),
        ("insert into orders select 1", "INSERT is not run here"),
        ("select 1; select 2", "expected one statement, found 2"),
        ("", "expected one statement, found 0"),
        ("SELEKT 1", "SYNTAX_ERROR"),
        ("select nothing from orders", "nothing"),
        (
            "select * from nowhere",
            "TABLE_NOT_FOUND: Table .*nowhere does not exist; there are: ord",
        ),
        ("select * from nowhere.orders", "SCHEMA_NOT_FOUND"),
        ("select * from other.{database}.orders", "CATALOG_NOT_FOUND"),
        ('select * from "orders$partitions"', "TABLE_NOT_FOUND"),
    ],
)
def test_what_athena_refuses_or_is_not_run_here_is_refused(
    athena: LocalAthena, sql: str, words: str
) -> None:
    with pytest.raises(SqlError, match=words):
        athena.query(sql.replace("{database}", athena.database))


def test_tables_on_s3_are_read(bucket: str, glue: Any) -> None:
    lake = Catalogued(Zone(bucket), glue)
    lake.put("orders/batch=1/part-00000.parquet", ORDERS)
    lake.put("orders/batch=2/part-00000.parquet", ORDERS)
    lake.crawl()
    assert lake.ask("select batch, count(*) from orders group by batch order by 1") == [
        ("1", 3),
        ("2", 3),
    ]


def test_only_registered_partitions_are_read(own: Catalogued) -> None:
    own.put("orders/batch=1/part-00000.parquet", ORDERS)
    own.crawl()
    own.put("orders/batch=2/part-00000.parquet", ORDERS)
    assert own.ask("select distinct batch from orders") == [("1",)]


def test_foreign_file_in_a_partition_fails_the_table(own: Catalogued) -> None:
    own.put("orders/batch=1/part-00000.parquet", ORDERS)
    own.put("orders/batch=1/sub/_hidden/a", b"not read")
    own.put("orders/batch=1/_SUCCESS", b"not read")
    own.crawl()
    assert own.ask("select count(*) from orders") == [(3,)]
    own.put("orders/batch=1/sub/manifest.json", b"{}")
    with pytest.raises(SqlError, match=r"HIVE_BAD_DATA: .*sub/manifest.json"):
        own.ask("select count(*) from orders")


def test_partition_without_files_is_harmless(own: Catalogued) -> None:
    own.put("orders/batch=1/part-00000.parquet", ORDERS)
    own.crawl()
    own.zone.remove("orders", "batch=1")
    assert own.ask("select id, batch from orders") == []


def test_missing_and_reordered_columns_are_read_by_name(own: Catalogued) -> None:
    own.put("orders/batch=1/part-00000.parquet", pa.table({"id": [1], "name": ["a"]}))
    own.put("orders/batch=2/part-00000.parquet", pa.table({"note": ["n"], "ID": [2]}))
    own.crawl()
    rows = own.ask("select id, name, note, batch from orders order by id")
    assert rows == [(1, "a", None, "1"), (2, None, "n", "2")]


def test_column_that_athena_cannot_read_fails_only_where_it_is_used(own: Catalogued) -> None:
    own.put("orders/batch=1/part-00000.parquet", pa.table({"id": [1], "day": [DAY]}))
    own.crawl()
    own.put("orders/batch=1/part-00001.parquet", pa.table({"id": [2], "day": ["2026-01-31"]}))
    assert own.ask("select sum(id) from orders") == [(3,)]
    with pytest.raises(SqlError, match=r"HIVE_BAD_DATA: Column day of type date is string in .*1"):
        own.ask("select max(day) from orders")


def test_all_encodings_of_a_moment_are_one_wall_clock(own: Catalogued) -> None:
    for number, type_ in enumerate([pa.timestamp("us"), pa.timestamp("ms", "UTC")]):
        moments = pa.table({"at": pa.array([1_000_000], pa.int64()).cast(type_)})
        own.put(f"a/batch={number}/p.parquet", moments)
    moments = pa.table({"at": pa.array([1_000_000], pa.timestamp("us"))})
    own.put("a/batch=9/p.parquet", moments, use_deprecated_int96_timestamps=True)
    own.crawl()
    rows = own.ask("select distinct cast(at as varchar) from a order by 1")
    assert rows == [("1970-01-01 00:00:01.000",), ("1970-01-01 00:16:40.000",)]


@pytest.mark.parametrize(
    ("found", "declared", "readable"),
    [
        ("int", "bigint", True),
        ("bigint", "int", False),
        ("float", "double", True),
        ("int", "string", True),
        ("decimal(10,2)", "string", True),
        ("decimal(9,2)", "decimal(12,2)", True),
        ("decimal(10,4)", "decimal(10,2)", True),
        ("timestamp", "string", False),
        ("date", "string", False),
        ("boolean", "string", False),
        ("double", "decimal(10,2)", False),
        ("bigint", "decimal(10,2)", False),
    ],
)
def test_drift_of_types_that_athena_survives(found: str, declared: str, readable: bool) -> None:
    assert can_read(found, declared) == readable


def test_csv_is_read_as_its_serde_reads_it(own: Catalogued) -> None:
    own.put("a/batch=1/p.csv", b'id,name,price\n1,"x",2.5\n2,,\n')
    own.crawl()
    # LazySimpleSerDe knows no quotes, and what is no number is null.
    assert own.ask("select id, name, price from a order by id") == [(1, '"x"', 2.5), (2, "", None)]
    own.put("a/batch=1/p.csv", b"id,name,price\nbad,\\N,1\n4\n")
    assert own.ask("select * from a order by price") == [
        (None, None, 1.0, "1"),
        (4, None, None, "1"),
    ]


def test_open_csv_knows_text_only(own: Catalogued) -> None:
    own.put("a/batch=1/p.csv", b'id,name\n1,"x,y"\n2,\n')
    own.crawl()
    columns = [{"Name": name, "Type": "string"} for name in ("id", "name")]
    serde = {"SerializationLibrary": OPEN_CSV_SERDE, "Parameters": {"separatorChar": ","}}
    own.change("a", Columns=columns, SerdeInfo=serde)
    assert own.ask("select * from a order by id") == [("1", "x,y", "1"), ("2", "", "1")]
    own.put("a/batch=1/p.csv", b'id,name\n1,"x\ny"\n')
    with pytest.raises(SqlError, match="line break"):
        own.ask("select * from a")


def view(database: str, sql: str, *columns: tuple[str, str], comment: str = "Presto View") -> Any:
    content = {
        "originalSql": sql,
        "schema": database,
        "columns": [{"name": name, "type": type_} for name, type_ in columns],
    }
    encoded = base64.b64encode(json.dumps(content).encode()).decode()
    return {
        "Name": "v",
        "TableType": "VIRTUAL_VIEW",
        "ViewOriginalText": f"/* Presto View: {encoded} */",
        "Parameters": {"comment": comment},
    }


@pytest.mark.parametrize(
    ("columns", "comment", "words"),
    [
        ([("n", "bigint"), ("total", "decimal(38,2)")], "Presto View", ""),
        ([("n", "integer"), ("total", "decimal(38,2)")], "Presto View", "VIEW_IS_STALE"),
        ([("n", "bigint")], "Presto View", "VIEW_IS_STALE"),
        ([("n", "bigint"), ("total", "decimal(38,2)")], "mine", "is no view of Athena's"),
    ],
)
def test_view_is_run_unless_it_is_stale(
    own: Catalogued, columns: list[tuple[str, str]], comment: str, words: str
) -> None:
    own.put("orders/batch=1/part-00000.parquet", ORDERS)
    own.crawl()
    sql = "select count(*) as n, sum(price) as total from orders"
    table = view(own.database, sql, *columns, comment=comment)
    own.glue.create_table(DatabaseName=own.database, TableInput=table)
    if words:
        with pytest.raises(SqlError, match=words):
            own.ask("select * from v")
    else:
        assert own.ask("select * from v") == [(3, Decimal("3.01"))]
