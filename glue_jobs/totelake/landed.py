"""A table's rows over many batches, for those who need more than one batch at a time."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import reduce

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from totelake import lake
from totelake.batch import Manifest
from totelake.lake import Zone


def frames(
    spark: SparkSession, zone: Zone, manifests: Iterable[Manifest], table: str
) -> list[tuple[Mapping[str, str], DataFrame]]:
    """A table's rows in some batches of a zone, those of one schema together.

    Args:
        spark: The session.
        zone: The zone.
        manifests: The batches.
        table: A table of the zone.

    Returns:
        For each schema among the batches its columns' Spark types by name, and the rows with these
        columns and ``batch``; nothing where no batch has rows.
    """
    by_schema: dict[tuple[str, str], list[lake.DataFile]] = {}
    columns: dict[str, Mapping[str, str]] = {}
    for manifest in manifests:
        entry = manifest.tables[table]
        columns[entry.schema] = entry.columns
        for file in entry.files:
            named = replace(file, name=f"batch={manifest.batch}/{file.name}")
            by_schema.setdefault((entry.schema, file.name.rsplit(".", 1)[-1]), []).append(named)
    folder = f"{zone.uri.rstrip('/')}/{table}"
    return [
        (columns[schema], lake.read_frame(spark, folder, files, schema))
        for (schema, _), files in by_schema.items()
    ]


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
    empty = spark.createDataFrame([], f"{schema}, batch string")
    found = [rows for _, rows in frames(spark, zone, manifests, table)]
    if not found:
        return empty
    together = reduce(lambda one, other: one.unionByName(other, allowMissingColumns=True), found)
    lacking = {
        wanted.name: F.lit(None).cast(wanted.dataType)
        for wanted in empty.schema
        if wanted.name not in together.columns
    }
    return together.withColumns(lacking) if lacking else together
