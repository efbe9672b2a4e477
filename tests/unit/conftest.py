"""Small literal frames and zones for the tests of single functions."""

from collections.abc import Callable
from itertools import count
from typing import Any

import boto3
import pytest
from hypothesis import settings
from pyspark.sql import DataFrame, SparkSession

from local.aws import REGION, Aws
from totelake.lake import Zone
from totelake.tables import CHANGE, ROW_CHANGE, ROW_XMIN, SOURCE

# How long an example takes says more about what else the machine does than about the code.
settings.register_profile("totelake", deadline=None, database=None)
settings.load_profile("totelake")

_BUCKETS = count(1)

RawFrame = Callable[..., DataFrame]


@pytest.fixture
def raw(spark: SparkSession) -> RawFrame:
    """Frames of raw tables from the values that matter: all others are null."""

    def frame(table: str, *rows: dict[str, Any]) -> DataFrame:
        names = [column.name for column in SOURCE[table].columns] + [ROW_XMIN, ROW_CHANGE]
        for row in rows:
            assert row.keys() <= set(names), f"no such column: {row.keys() - set(names)}"
        values = [tuple({ROW_CHANGE: CHANGE, **row}.get(name) for name in names) for row in rows]
        return spark.createDataFrame(values, SOURCE[table].raw_schema)

    return frame


@pytest.fixture
def bucket(aws: Aws) -> str:
    """The URI of a new, empty S3 bucket."""
    name = f"unit-tests-{next(_BUCKETS)}"
    boto3.client("s3").create_bucket(
        Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    return f"s3://{name}"


@pytest.fixture(params=["file", "s3"])
def zone(request: pytest.FixtureRequest) -> Zone:
    """An empty zone: once on a disk, once in S3."""
    if request.param == "s3":
        return Zone(f"{request.getfixturevalue('bucket')}/zone")
    return Zone(f"file://{request.getfixturevalue('tmp_path')}/zone")
