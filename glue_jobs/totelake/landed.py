"""A table's rows over many batches, for those who need more than one batch at a time."""

from collections.abc import Iterable
from dataclasses import replace
from functools import reduce

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from totelake import lake
from totelake.batch import Manifest
from totelake.lake import Zone


def rows(
    spark: SparkSession, zone: Zone, manifests: Iterable[Manifest], table: str, schema: str
) -> DataFrame:
    """A table's rows in some batches of a zone.

    Args:
        spark: The session.
        zone: The zone.
        manifests: The batches.
        table: A table of the zone.
        schema: Spark DDL of the columns that the frame has at least.

    Returns:
        The columns of ``schema`` and whatever else a batch has, null where a batch lacks one, and
        the column ``batch``.
    """
    by_schema: dict[tuple[str, str], list[lake.DataFile]] = {}
    for manifest in manifests:
        entry = manifest.tables[table]
        for file in entry.files:
            named = replace(file, name=f"batch={manifest.batch}/{file.name}")
            by_schema.setdefault((entry.schema, file.name.rsplit(".", 1)[-1]), []).append(named)
    folder = f"{zone.uri.rstrip('/')}/{table}"
    empty = spark.createDataFrame([], f"{schema}, batch string")
    frames = [
        lake.read_frame(spark, folder, files, columns) for (columns, _), files in by_schema.items()
    ]
    if not frames:
        return empty
    found = reduce(lambda one, other: one.unionByName(other, allowMissingColumns=True), frames)
    lacking = {
        wanted.name: F.lit(None).cast(wanted.dataType)
        for wanted in empty.schema
        if wanted.name not in found.columns
    }
    return found.withColumns(lacking) if lacking else found
