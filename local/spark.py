"""Spark's settings on the laptop: the part that Glue decides on AWS."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

_DRIVER_MEMORY = "2g"
# Jobs this short end before the second compiler and a concurrent collector have paid off.
_JAVA_OPTIONS = "-Duser.timezone=UTC -XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


def write_settings(
    folder: Path, jars: Sequence[Path], more: Mapping[str, str] | None = None
) -> Path:
    """Write spark-defaults.conf.

    Args:
        folder: Gets the file, and all that Spark keeps on disk.
        jars: Jars for driver and executors.
        more: Further settings.

    Returns:
        The folder for SPARK_CONF_DIR.
    """
    settings: Mapping[str, str] = {
        "spark.master": "local[*]",
        "spark.driver.memory": _DRIVER_MEMORY,
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.extraJavaOptions": _JAVA_OPTIONS,
        "spark.jars": ",".join(jar.resolve().as_uri() for jar in jars),
        "spark.local.dir": str(folder.resolve() / "scratch"),
        "spark.sql.warehouse.dir": (folder.resolve() / "warehouse").as_uri(),
        "spark.sql.shuffle.partitions": str(os.cpu_count() or 1),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        **(more or {}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{name} {value}\n" for name, value in settings.items())
    (folder / "spark-defaults.conf").write_text(lines, encoding="utf-8")
    return folder


def s3a_settings(endpoint: str) -> dict[str, str]:
    """Settings with which ``s3://`` is read and written through S3A, as on Glue, at an endpoint.

    The region is not among them: the deployed ``--conf`` says it.
    """
    return {
        "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
        "spark.hadoop.fs.s3a.endpoint": endpoint,
        "spark.hadoop.fs.s3a.path.style.access": "true",
        "spark.hadoop.fs.s3a.connection.ssl.enabled": "false",
    }
