"""The rival: the shortest Spark program for the same tables, as tutorials show it.

``extract`` reads each table by one connection and writes it as Parquet; given a moment, it asks
for rows with a later ``last_updated``. ``load`` reads a batch of the star and appends it to tables
without keys or constraints, table by table, committed piece by piece.
"""

import argparse

from pyspark.sql import SparkSession

from totelake.batch import processed_ids, read_processed
from totelake.lake import Zone
from totelake.runtime import Credentials, credentials, spark_session
from totelake.tables import SOURCE, STAR


def main() -> None:
    """Run one of the two stages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=["extract", "load"])
    parser.add_argument("--secret", required=True)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--since", default="")
    arguments = parser.parse_args()
    spark = spark_session("naive")
    database = credentials(arguments.secret)
    if arguments.stage == "extract":
        extract(spark, database, arguments.folder, arguments.since)
    else:
        load(spark, database, arguments.folder)


def extract(spark: SparkSession, source: Credentials, folder: str, since: str) -> None:
    """Each table, or its rows with a later ``last_updated``, to one folder of Parquet."""
    for table in SOURCE:
        rows = spark.read.jdbc(
            source.jdbc_url, f'"{table}"', properties=source.jdbc_properties(fetchsize="10000")
        )
        if since:
            rows = rows.where(f"last_updated > '{since}'")
        rows.write.parquet(f"{folder}/{table}")


def load(spark: SparkSession, warehouse: Credentials, zone: str) -> None:
    """The newest batch of each table of a star to a table of the same name in schema ``naive``."""
    newest = processed_ids(Zone(zone))[-1]
    for name, entry in read_processed(Zone(zone), newest).tables.items():
        if name not in STAR or not entry.rows:
            continue
        rows = spark.read.parquet(Zone(zone).batch_uri(name, newest))
        rows.write.jdbc(warehouse.jdbc_url, f"naive.{name}", "append", warehouse.jdbc_properties())


if __name__ == "__main__":
    main()
