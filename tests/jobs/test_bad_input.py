"""Bad input to each job: one clear error that names it, and nothing written."""

from collections.abc import Callable
from pathlib import Path

import pytest

import extract
import load
import transform
from totelake.errors import (
    ArgumentError,
    CredentialError,
    LakeError,
    SchemaError,
    SourceError,
    WarehouseError,
)
from totelake.lake import Zone

from .conftest import Pipeline

Main = Callable[[list[str]], None]
ID = "20261120T101500Z"


@pytest.mark.parametrize("main", [extract.main, transform.main, load.main])
def test_unknown_and_missing_arguments(main: Main) -> None:
    with pytest.raises(ArgumentError, match=r"unknown argument --raw_zne; this job takes --JOB"):
        main(["job.py", "--JOB_NAME", "x", "--raw_zne", "file:///nowhere"])
    with pytest.raises(ArgumentError, match=r"missing argument --.*this job takes"):
        main(["job.py", "--JOB_NAME", "x"])


def test_unknown_raw_format(pipeline: Pipeline) -> None:
    pipeline.raw_format = "xlsx"
    with pytest.raises(ArgumentError, match=r"--raw_format: expected parquet or csv, found 'xlsx'"):
        pipeline.extract()


def test_missing_secret(pipeline: Pipeline) -> None:
    with pytest.raises(CredentialError, match=r"secret 'not/there' cannot be read"):
        pipeline.extract(secret="not/there")
    assert pipeline.objects() == {}


def test_wrong_password(pipeline: Pipeline) -> None:
    wrong = pipeline.secret(f"{pipeline.name}_source", password="guess")
    with pytest.raises(SourceError, match=r"no connection as 'postgres': password auth") as error:
        pipeline.extract(secret=wrong)
    assert "guess" not in str(error.value)
    assert "guess" not in "".join(pipeline.lines)
    wrong = pipeline.secret(f"{pipeline.name}_warehouse", password="guess")
    with pytest.raises(WarehouseError, match=r"no connection as 'postgres': password auth"):
        pipeline.load(secret=wrong)


def test_database_down(pipeline: Pipeline) -> None:
    down = pipeline.secret(f"{pipeline.name}_source", port=1)
    with pytest.raises(SourceError, match=r"127.0.0.1:1/.*no connection.*check that it runs"):
        pipeline.extract(secret=down)
    with pytest.raises(WarehouseError, match=r"127.0.0.1:1/.*no connection.*check that it runs"):
        pipeline.load(secret=down)


def test_tls_is_demanded_unless_the_secret_says_otherwise(pipeline: Pipeline) -> None:
    """The test's server has no TLS: a secret without sslmode must not go over in clear."""
    secret = pipeline.secret(f"{pipeline.name}_source", sslmode="require")
    with pytest.raises(SourceError, match=r"SSL|ssl"):
        pipeline.extract(secret=secret)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("DROP TABLE payment", "table payment: expected in schema public, found none"),
        (
            "ALTER TABLE design DROP COLUMN file_name",
            "design.file_name: expected text, found none",
        ),
        (
            "ALTER TABLE sales_order ALTER COLUMN unit_price TYPE float8",
            r"sales_order.unit_price: expected numeric\(10,2\), found double precision",
        ),
        (
            "ALTER TABLE staff RENAME COLUMN first_name TO forename",
            "staff.first_name: expected text, found none",
        ),
    ],
)
def test_a_source_that_is_not_as_declared(pipeline: Pipeline, change: str, message: str) -> None:
    pipeline.extract()
    before = pipeline.objects()
    pipeline.source.run(change)
    with pytest.raises(SchemaError, match=message):
        pipeline.extract()
    assert pipeline.objects() == before


def test_a_table_that_may_not_be_read(pipeline: Pipeline) -> None:
    pipeline.source.run(
        f"CREATE USER {pipeline.name} PASSWORD 'reader';"
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {pipeline.name};"
        f"REVOKE SELECT ON staff FROM {pipeline.name}"
    )
    secret = pipeline.secret(f"{pipeline.name}_source", username=pipeline.name, password="reader")
    with pytest.raises(SourceError, match=r"may not read staff; GRANT SELECT"):
        pipeline.extract(secret=secret)
    assert pipeline.objects() == {}


def test_a_zone_without_a_batch_is_the_wrong_zone(pipeline: Pipeline) -> None:
    """A mistyped zone must not look like one in which there is nothing to do."""
    with pytest.raises(LakeError, match=r"raw: expected at least one batch, found none"):
        pipeline.transform()
    with pytest.raises(LakeError, match=r"processed: expected at least one batch, found none"):
        pipeline.load()


@pytest.mark.parametrize("content", ["", "{", '{"manifest_version": 1}', "[]"])
def test_an_unreadable_manifest(pipeline: Pipeline, content: str) -> None:
    pipeline.extract()
    manifest = Path(pipeline.raw.uri.removeprefix("file://")) / "_batches" / "00000001.json"
    manifest.write_text(content)
    before = pipeline.objects()
    pipeline.source.run("UPDATE design SET file_name = 'x'")
    for job in (pipeline.extract, pipeline.transform):
        with pytest.raises(LakeError, match=r"00000001.json: expected a manifest, found"):
            job()
    assert pipeline.objects() == before
    pipeline.processed.write(content.encode(), "_batches", f"{ID}.json")
    with pytest.raises(LakeError, match=rf"{ID}.json: expected a manifest, found"):
        pipeline.load()


def test_a_manifest_of_a_newer_release(pipeline: Pipeline) -> None:
    """Guards against an older release that goes on from what it does not understand."""
    pipeline.extract()
    text = pipeline.raw.read("_batches", "00000001.json").decode()
    newer = text.replace('"manifest_version": 1', '"manifest_version": 2').encode()
    pipeline.raw.write(newer, "_batches", "00000001.json")
    pipeline.source.run("UPDATE design SET file_name = 'x'")
    before = pipeline.objects()
    for job in (pipeline.extract, pipeline.transform):
        with pytest.raises(LakeError, match=r"00000001.json: expected manifest version 1, found 2"):
            job()
    assert pipeline.objects() == before
    pipeline.processed.write(newer, "_batches", f"{ID}.json")
    with pytest.raises(LakeError, match=rf"{ID}.json: expected manifest version 1, found 2"):
        pipeline.load()
    assert pipeline.rows("SELECT count(*) FROM etl.batch") == [[0]]


def put_strangers(zone: Zone, table: str) -> Path:
    """Put what no job wrote beside the only batch of a table; the batch's folder."""
    (folder,) = (Path(zone.uri.removeprefix("file://")) / table).iterdir()
    (folder / "notes.parquet").write_bytes(b"not ours")
    for stranger in ("_SUCCESS", "batch=20010101T000000Z/part-00000.parquet", "x/y.csv"):
        (folder.parent / stranger).parent.mkdir(exist_ok=True)
        (folder.parent / stranger).write_bytes(b"not ours")
    return folder


def test_a_data_file_that_is_gone_or_truncated(pipeline: Pipeline) -> None:
    """Foreign files beside the named ones are not read; a named one must be there and whole."""
    pipeline.extract()
    folder = put_strangers(pipeline.raw, "design")
    (file,) = folder.glob("part-*")
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(LakeError, match=rf"{file.name} of {len(content) // 2} bytes instead of"):
        pipeline.transform()
    assert pipeline.processed.names("_batches") == []
    file.write_bytes(content)
    pipeline.transform()
    file = put_strangers(pipeline.processed, "dim_design") / "part-00000.parquet"
    content = file.read_bytes()
    file.write_bytes(content[:100])
    with pytest.raises(LakeError, match=r"part-00000.parquet of 100 bytes instead of"):
        pipeline.load()
    assert pipeline.rows("SELECT count(*) FROM etl.batch") == [[0]]
    file.unlink()
    with pytest.raises(LakeError, match=r"part-00000.parquet missing; nothing was done, restore"):
        pipeline.load()
    file.write_bytes(content)
    pipeline.load()
    assert pipeline.rows("SELECT count(*) FROM dim_design") == [[2]]


@pytest.mark.whole
def test_values_and_tables_of_absurd_sizes(pipeline: Pipeline) -> None:
    """Ten megabytes in a text, as many columns as PostgreSQL has: they go through, whole."""
    more = ", ".join(f"ADD COLUMN extra_{number} int DEFAULT 1" for number in range(1596))
    pipeline.source.run(f"ALTER TABLE currency {more}")
    pipeline.source.run("UPDATE design SET file_location = repeat('abcdefghij', 1048576)")
    pipeline.run()
    assert len(pipeline.batches()[0].tables["currency"].columns) == 1602
    query = "SELECT DISTINCT length(file_location), md5(file_location) FROM dim_design"
    assert pipeline.rows(query) == pipeline.source.run(query.replace("dim_design", "design"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "UPDATE payment SET payment_amount = 'NaN' WHERE payment_id = 5",
            r"table payment: not read to its end: payment_amount of key 5 is NaN; nothing was",
        ),
        (
            "UPDATE design SET created_at = 'infinity' WHERE design_id = 8",
            r"table design: not read to its end: created_at of key 8 is infinity; nothing was",
        ),
    ],
)
def test_values_that_the_lake_has_no_type_for(
    pipeline: Pipeline, change: str, message: str
) -> None:
    pipeline.source.run(change)
    with pytest.raises(SourceError, match=message):
        pipeline.extract()
    assert pipeline.objects() == {}
