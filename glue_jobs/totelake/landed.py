"""A table's rows over many batches, for those who need more than one batch at a time."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from pyspark.sql import DataFrame, SparkSession

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
