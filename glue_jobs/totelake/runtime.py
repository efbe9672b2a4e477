"""What a job gets from where it runs: arguments, Spark, AWS clients, secrets, logging.

The only module that knows awsglue and boto3, and the same on Glue and on a laptop: others ask
for a ``client`` here, and meet what it raises as ``AWS_ERRORS``.
"""

import json
import logging
import os
import re
import ssl
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from threading import Thread
from typing import Any, TypeVar

import boto3
import pg8000.native
from awsglue.utils import GlueArgumentError, getResolvedOptions
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from pg8000.exceptions import DatabaseError, InterfaceError
from py4j.protocol import Py4JError, Py4JJavaError
from pyspark import inheritable_thread_target
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from totelake.errors import ArgumentError, CredentialError, SparkError

_LOGGER = logging.getLogger("totelake")
_T = TypeVar("_T")
_R = TypeVar("_R")
# Tables worked on at once. Small tables cost a round trip each, big ones are partitioned anyway.
_TABLES_AT_ONCE = 4
# Our arguments are snake_case; Glue's own are not (--JOB_NAME, --TempDir, --enable-metrics)
# but for these.
_ARGUMENT = re.compile(r"--([a-z][a-z0-9_]*)(=.*)?", re.DOTALL)
_GLUE_ARGUMENTS = {"conf", "class", "scriptLocation"}
_SECRET_FIELDS = ("host", "port", "dbname", "username", "password")
_LONGEST_MESSAGE = 2_000
_TRACEBACK = "Traceback (most recent call last):"
# What pg8000 raises: PostgreSQL's refusals, its own, and the socket's as they are.
DATABASE_ERRORS = (DatabaseError, InterfaceError, ConnectionError)
# What Spark raises: its own, where it knows what was the matter, and Java's as they are.
SPARK_ERRORS = (PySparkException, Py4JJavaError)
# What a client of AWS raises: the service's refusals, and not reaching it at all.
AWS_ERRORS = (ClientError, BotoCoreError)
# A private network without a way to a service answers nothing at all: the defaults wait for
# minutes, at every call.
_AWS_CLIENT = {
    "connect_timeout": 5,
    "read_timeout": 30,
    "retries": {"mode": "standard", "total_max_attempts": 3},
}
# What Terraform tells S3A, which has no good default, is told to every job.
_REGION_SETTING = "spark.hadoop.fs.s3a.endpoint.region"
_HIGHEST_PORT = 65_535
SSL_MODES = ("require", "disable")

# Glue 5.1 and 6.0 differ in their defaults: both behave alike with these.
SPARK_SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.legacy.timeParserPolicy": "CORRECTED",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.sources.partitionOverwriteMode": "static",
}


@dataclass(frozen=True)
class Credentials:
    """How to reach a PostgreSQL database; the password is in no representation of it."""

    host: str
    port: int
    dbname: str
    username: str
    password: str = field(repr=False)
    sslmode: str = "require"

    @property
    def place(self) -> str:
        """Host, port and database, for messages."""
        return f"{self.host}:{self.port}/{self.dbname}"

    @property
    def jdbc_url(self) -> str:
        """The JDBC URL, without user and password."""
        return f"jdbc:postgresql://{self.place}?sslmode={self.sslmode}"

    def jdbc_properties(self, **more: str) -> dict[str, str]:
        """Properties of a JDBC connection, user and password among them."""
        login = {"user": self.username, "password": self.password}
        return {"driver": "org.postgresql.Driver", **login, **more}

    def connect(self, application: str) -> pg8000.native.Connection:
        """Open a connection; pg8000's own errors pass through."""
        return pg8000.native.Connection(
            self.username,
            host=self.host,
            port=self.port,
            database=self.dbname,
            password=self.password,
            ssl_context=_encryption() if self.sslmode == "require" else None,
            timeout=None,
            application_name=application,
        )


def reason(error: Exception) -> str:
    """What a database said, without the other fields of its protocol."""
    detail = error.args[0] if error.args else ""
    return str(detail.get("M", detail)) if isinstance(detail, dict) else str(error)


def close(connection: pg8000.native.Connection) -> None:
    """Close a connection; one that is lost counts as closed."""
    with suppress(InterfaceError, ConnectionError):
        connection.close()


def arguments(
    argv: list[str], required: Iterable[str], optional: Mapping[str, str] | None = None
) -> dict[str, str]:
    """A job's arguments, by Glue's own parser.

    Args:
        argv: As in ``sys.argv``: the script, then ``--name value`` pairs.
        required: Names that must be there, besides JOB_NAME.
        optional: Names that may be absent, with what they are then. WORKFLOW_NAME and
            WORKFLOW_RUN_ID are always optional: Glue passes them inside a workflow only.

    Raises:
        ArgumentError: If one is missing, has no value, or is not among those named here.
    """
    defaults = {"WORKFLOW_NAME": "", "WORKFLOW_RUN_ID": "", **(optional or {})}
    names = ["JOB_NAME", *required]
    matches = (_ARGUMENT.fullmatch(word) for word in argv[1:])
    given = {match[1] for match in matches if match}
    known = {*names, *defaults}
    unknown = sorted(given - known - _GLUE_ARGUMENTS)
    takes = ", ".join(f"--{name}" for name in sorted(known))
    if unknown:
        raise ArgumentError(f"unknown argument --{unknown[0]}; this job takes {takes}")
    words = {word.split("=", 1)[0] for word in argv[1:]}
    missing = [name for name in names if f"--{name}" not in words]
    if missing:
        raise ArgumentError(f"missing argument --{missing[0]}; this job takes {takes}")
    present = [name for name in defaults if f"--{name}" in words]
    try:
        resolved = getResolvedOptions(argv, names + present)
    except GlueArgumentError as error:
        raise ArgumentError(f"{error}; this job takes {takes}") from error
    values = {name: str(resolved[name]) for name in names + present}
    empty = [name for name in names if not values[name].strip()]
    if empty:
        raise ArgumentError(f"argument --{empty[0]} is empty; this job takes {takes}")
    return {**defaults, **values}


def ratio(name: str, value: str) -> float:
    """An argument's value as a number from 0 to 1.

    Raises:
        ArgumentError: If it is anything else.
    """
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise ArgumentError(f"--{name}: expected a number from 0 to 1, found {value!r}")
    return number


def client(service: str) -> Any:
    """A client of an AWS service in the job's region, which gives up within a minute.

    The region is that of the environment. Where that has none, and Glue does not promise one,
    it is the one that Spark was started with.
    """
    region = boto3.session.Session().region_name or os.environ.get("AWS_REGION")
    if not region:
        region = spark_session("totelake").conf.get(_REGION_SETTING, None)
    return boto3.client(service, region_name=region, config=Config(**_AWS_CLIENT))


def error_code(error: Exception) -> str:
    """The code of a service's refusal, such as ``EntityNotFoundException``; else empty."""
    answer = getattr(error, "response", {})
    return str(answer.get("Error", {}).get("Code", ""))


def credentials(secret_id: str) -> Credentials:
    """Database credentials from Secrets Manager: an RDS-style JSON secret.

    Raises:
        CredentialError: If the secret cannot be read or lacks a field.
    """
    try:
        answer = client("secretsmanager").get_secret_value(SecretId=secret_id)
        content = json.loads(answer["SecretString"])
    except AWS_ERRORS as error:
        raise CredentialError(
            f"secret {secret_id!r} cannot be read: {error}; create it, or grant this job's role "
            "secretsmanager:GetSecretValue on it"
        ) from error
    except (KeyError, ValueError) as error:
        # Not chained: the text that could not be parsed holds the password.
        raise CredentialError(
            f"secret {secret_id!r}: expected a JSON object with {', '.join(_SECRET_FIELDS)}, "
            "found something else; store it as RDS does"
        ) from (None if isinstance(error, ValueError) else error)
    missing = [
        name for name in _SECRET_FIELDS if not isinstance(content, dict) or not content.get(name)
    ]
    if missing:
        raise CredentialError(
            f"secret {secret_id!r}: expected {', '.join(_SECRET_FIELDS)}, "
            f"{', '.join(missing)} missing"
        )
    return _credentials(secret_id, content)


def _credentials(secret_id: str, content: dict[str, Any]) -> Credentials:
    sslmode = str(content.get("sslmode", "require"))
    if sslmode not in SSL_MODES:
        raise CredentialError(
            f"secret {secret_id!r}: expected sslmode {' or '.join(SSL_MODES)}, found {sslmode!r}"
        )
    port = str(content["port"])
    if not (port.isdecimal() and 0 < int(port) <= _HIGHEST_PORT):
        raise CredentialError(f"secret {secret_id!r}: expected a port number, found {port!r}")
    host, dbname, username, password = (
        str(content[name]) for name in ("host", "dbname", "username", "password")
    )
    return Credentials(host, int(port), dbname, username, password, sslmode)


def _encryption() -> ssl.SSLContext:
    """Encrypted, server not verified: what ``sslmode=require`` means to every PostgreSQL client."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def spark_session(job: str, *, arrow: bool = False) -> SparkSession:
    """The session of this process, with the settings that results depend on.

    Args:
        job: The name that Spark shows.
        arrow: Whether frames will go to Python as Arrow. Spark then asks for pandas, which takes
            a second to import: it does so while Java starts.
    """
    if arrow:
        Thread(target=import_module, args=("pandas",), daemon=True).start()
    session = SparkSession.builder.appName(job).getOrCreate()
    for name, value in SPARK_SETTINGS.items():
        session.conf.set(name, value)
    return session


def in_parallel(work: Callable[[_T], _R], items: Iterable[_T]) -> list[_R]:
    """Do the work for each item, some at once, in threads that Spark knows as this one's.

    Returns:
        The results in the order of the items.

    Raises:
        Exception: The first failure, once what was running has ended; the rest is not begun.
        SparkError: In place of one that says only that Java does not answer.
    """
    with ThreadPoolExecutor(_TABLES_AT_ONCE) as pool:
        futures = [pool.submit(_do, inheritable_thread_target(work), item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            raise


def _do(work: Callable[[_T], _R], item: _T) -> _R:
    try:
        return work(item)
    except (Py4JError, ConnectionRefusedError) as error:
        # What Java raised has its trace. Without one, nobody is there who could say anything.
        if isinstance(error, Py4JJavaError) or "Trace:" in str(error):
            raise
        raise SparkError(
            "expected Spark's Java process to do its work, found that it has ended: most often it "
            "had too little memory, its own log then says java.lang.OutOfMemoryError. Nothing of "
            "the batch at work was committed; run again, with a bigger worker type if it recurs"
        ) from error


class Log:
    """One JSON line per fact on standard output."""

    def __init__(self, job: str) -> None:
        """Log lines of one job."""
        self._job = job

    def event(self, event: str, level: int = logging.INFO, **facts: Any) -> None:
        """Log a fact: what happened, and its figures."""
        _LOGGER.log(level, event, extra={"job": self._job, "facts": facts})

    @contextmanager
    def timed(self, event: str, **facts: Any) -> Iterator[dict[str, Any]]:
        """Log a fact with the seconds that the block took; the block may add figures."""
        start = time.monotonic()
        yield facts
        self.event(event, **facts, seconds=round(time.monotonic() - start, 3))

    @contextmanager
    def job(self, arguments: Mapping[str, str]) -> Iterator[list[str]]:
        """Log a job's start and end, or its failure, which goes on to Glue.

        Yields:
            A list to which the job adds the id of each batch that it commits.
        """
        self.event("started", arguments=sorted(name for name, value in arguments.items() if value))
        batches: list[str] = []
        start = time.monotonic()
        try:
            yield batches
        except Exception as error:
            self.event("failed", logging.ERROR, error=type(error).__name__, message=_gist(error))
            raise
        self.event("finished", batches=batches, seconds=round(time.monotonic() - start, 3))


def root_cause(error: Exception) -> str:
    """What was the matter, from an error that Spark wrapped: the last of Java's causes."""
    lines = str(error).splitlines()
    causes = [line for line in lines if line.startswith("Caused by: ")]
    return (causes or lines or [repr(error)])[-1].removeprefix("Caused by: ")[:_LONGEST_MESSAGE]


def _gist(error: Exception) -> str:
    """An error's message without the stacks of Java and Python that Spark puts into it."""
    text = str(error)
    lines = [line for line in text.splitlines() if not line.startswith("\tat ")]
    if _TRACEBACK in lines:
        lines = [line for line in lines if line != _TRACEBACK and not line.startswith("  ")]
    return "\n".join(lines).strip()[:_LONGEST_MESSAGE]


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time_ = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {
            "time": time_.replace("+00:00", "Z"),
            "level": record.levelname,
            "job": getattr(record, "job", ""),
            "event": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        return json.dumps(line, ensure_ascii=False, default=str)


def start_logging(job: str) -> Log:
    """Send this library's log lines to standard output, where Glue collects a job's own."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_JsonFormatter())
    _LOGGER.handlers = [handler]
    _LOGGER.setLevel(logging.INFO)
    _LOGGER.propagate = False
    return Log(job)
