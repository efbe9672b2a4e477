"""What all tests share: one each of a Spark session, a PostgreSQL, an AWS, and a lake to ask."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from xdist.scheduler import LoadScopeScheduling

from local.athena import LocalAthena
from local.aws import Aws, running_aws
from local.data_catalog import PROCESSED, catalogue_of
from local.java import find_java, jdbc_driver
from local.postgres import PostgresServer, remove
from tests import small_lake
from totelake import runtime

ROOT = Path(__file__).resolve().parent.parent
TOTESYS = ROOT.parent / "shared" / "totesys"


def pytest_configure() -> None:
    """Have Ctrl-C work in tests and what they start: a shell's background jobs ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


class OfAFile(LoadScopeScheduling):
    """Where processes share the work, one of them does all of a file, or of the deployment."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "deployment" if file.startswith("tests/aws/") else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OfAFile:
    """A mark for it (loadgroup) has no effect with this pytest and this xdist."""
    return OfAFile(config, log)


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """The one session: small, in UTC, with the JDBC driver and the jobs' own settings."""
    os.environ["JAVA_HOME"] = str(find_java())
    os.environ["PYSPARK_PYTHON"] = sys.executable
    # What --extra-py-files is on Glue: Spark's Python workers import the library too.
    os.environ["PYTHONPATH"] = str(ROOT / "glue_jobs")
    builder = SparkSession.builder.master("local[2]").appName("tests")
    settings = {
        "spark.jars": str(jdbc_driver(ROOT / ".cache")),
        "spark.driver.memory": "1g",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        # Tests run each plan once, over a few rows: compiling it costs more than it saves.
        "spark.driver.extraJavaOptions": "-Duser.timezone=UTC -XX:TieredStopAtLevel=1",
        "spark.sql.codegen.wholeStage": "false",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.warehouse.dir": str(tmp_path_factory.mktemp("spark-warehouse")),
        **runtime.SPARK_SETTINGS,
    }
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """The one server; tests make databases of their own in it."""
    folder = tmp_path_factory.mktemp("postgres")
    with PostgresServer(folder, durable=False) as server:
        yield server
    remove(folder)


@pytest.fixture(scope="session")
def aws() -> Iterator[Aws]:
    """Secrets Manager on the loopback interface, and this process's clients pointed at it."""
    with running_aws() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment().items():
            patch.setenv(name, value)
        yield server


@pytest.fixture(scope="session")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the small lake, which tests ask and do not change."""
    folder = tmp_path_factory.mktemp("lake")
    small_lake.write(folder)
    return folder


@pytest.fixture(scope="session")
def glue(lake: Path) -> Iterator[Any]:
    """A client of the Glue that has the small lake's catalogue."""
    with catalogue_of(f"file://{lake}") as (client, problems):
        assert problems == []
        yield client


@pytest.fixture(scope="session")
def athena(glue: Any) -> Iterator[LocalAthena]:
    """Athena on the small lake."""
    engine = LocalAthena(glue, PROCESSED)
    yield engine
    engine.close()
