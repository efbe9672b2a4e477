"""A warehouse that is slow, locked or goes away: an error that says so, or waiting; then all."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from pg8000.native import identifier

from local.postgres import connect
from totelake.errors import WarehouseError
from totelake.warehouse import Warehouse

from .conftest import Pipeline


def loaded(pipeline: Pipeline) -> list[object]:
    return [
        pipeline.rows(f"SELECT count(*) FROM {table}")[0][0]
        for table in ("etl.batch", "dim_design", "fact_payment")
    ]


def test_timeouts_a_lock_and_a_lost_connection(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.run()
    pipeline.source.run("UPDATE design SET file_name = 'x'; UPDATE payment SET paid = NOT paid")
    pipeline.extract()
    pipeline.transform()
    warehouse = identifier(f"{pipeline.name}_warehouse")
    other = connect(pipeline.server.url(f"{pipeline.name}_warehouse"))
    other.run("BEGIN; LOCK TABLE dim_design IN ACCESS EXCLUSIVE MODE")
    for limit in ("lock_timeout", "statement_timeout"):
        pipeline.source.run(f"ALTER DATABASE {warehouse} SET {limit} = '200ms'")
        words = limit.replace("_", " ")
        with pytest.raises(WarehouseError, match=f"due to {words}; the batch at work was not pub"):
            pipeline.load()
        pipeline.source.run(f"ALTER DATABASE {warehouse} RESET {limit}")

    publish_fact = Warehouse._publish_fact

    def lose_connection(self: Warehouse, *args: object) -> object:
        pid = self.connection.run("SELECT pg_backend_pid()")[0][0]
        pipeline.source.run("SELECT pg_terminate_backend(:pid)", pid=pid)
        return publish_fact(self, *args)  # type: ignore[arg-type]

    other.run("ROLLBACK")
    with monkeypatch.context() as patch:
        patch.setattr(Warehouse, "_publish_fact", lose_connection)
        with pytest.raises(WarehouseError, match="the batch at work was not published, run the lo"):
            pipeline.load()
    assert loaded(pipeline) == [1, 2, 4]
    # Without a limit a load waits for the lock, which is right: it ends when the lock does.
    other.run("BEGIN; LOCK TABLE dim_design IN ACCESS EXCLUSIVE MODE")
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(pipeline.load)
        while not pipeline.source.run(
            "SELECT FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database"
            " WHERE NOT granted AND datname = :name",
            name=f"{pipeline.name}_warehouse",
        ):
            assert not load.done()
        other.run("ROLLBACK")
        load.result()
    other.close()
    assert loaded(pipeline) == [2, 2, 8]
