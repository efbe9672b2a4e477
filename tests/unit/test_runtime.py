"""Arguments, secrets, log lines and threads."""

import json
import logging
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from py4j.protocol import Py4JError, Py4JNetworkError
from pyspark.sql import SparkSession

from local.aws import Aws
from totelake import runtime
from totelake.errors import ArgumentError, CredentialError, LakeError, SparkError
from totelake.runtime import Credentials

SCRIPT = ["extract.py", "--JOB_NAME", "extract"]
GIVEN = [*SCRIPT, "--raw_zone", "s3://lake/raw"]
PASSWORD = "s3cr3t'\"\\pass"
SECRET = {
    "engine": "postgres",
    "host": "db.example",
    "port": 5432,
    "dbname": "totesys",
    "username": "reader",
    "password": PASSWORD,
}


@pytest.fixture
def start_log() -> Iterator[Callable[[], runtime.Log]]:
    """Starts a job's log, to be called once the test has its own standard output."""
    logger = logging.getLogger("totelake")
    before = logger.handlers, logger.level, logger.propagate
    yield lambda: runtime.start_logging("extract")
    logger.handlers, logger.level, logger.propagate = before


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def parsed(argv: list[str]) -> dict[str, str]:
    return runtime.arguments(argv, ["raw_zone"], {"raw_format": "parquet"})


def test_what_is_absent_and_optional_has_its_default() -> None:
    assert parsed(GIVEN) == {
        "JOB_NAME": "extract",
        "raw_zone": "s3://lake/raw",
        "raw_format": "parquet",
        "WORKFLOW_NAME": "",
        "WORKFLOW_RUN_ID": "",
    }


def test_what_is_given_counts_in_both_forms() -> None:
    """Guards against --name=value, which a check by whole words takes for unknown or absent."""
    workflow = ["--WORKFLOW_NAME", "totesys", "--WORKFLOW_RUN_ID=wr_1"]
    found = parsed([*SCRIPT, "--raw_zone=s3://lake/a=b", "--raw_format=csv", *workflow])
    assert found["raw_zone"] == "s3://lake/a=b"
    assert found["raw_format"] == "csv"
    assert (found["WORKFLOW_NAME"], found["WORKFLOW_RUN_ID"]) == ("totesys", "wr_1")


def test_glues_own_arguments_are_let_through() -> None:
    """Guards against a job that fails on Glue only, by what Glue adds to each run."""
    glues = [
        ["--job-bookmark-option", "job-bookmark-disable"],
        ["--TempDir", "s3://lake/tmp"],
        ["--enable-metrics", "true"],
        ["--enable-observability-metrics", "true"],
        ["--extra-py-files", "s3://code/totelake.zip"],
        ["--additional-python-modules", "s3://code/w.gluewheels.zip"],
        ["--python-modules-installer-option", "--no-index"],
        ["--conf", "spark.a=b --conf spark.c=d"],
        ["--job-language", "python"],
        ["--JOB_ID", "j_1"],
        ["--JOB_RUN_ID", "jr_1"],
        ["--class", "GlueApp"],
        ["--scriptLocation", "s3://code/extract.py"],
    ]
    assert parsed([*GIVEN, *(word for pair in glues for word in pair)]) == parsed(GIVEN)


@pytest.mark.parametrize("extra", [["--raw_zonee", "x"], ["--raw_z", "x"], ["--full_load=1"]])
def test_an_unknown_argument_is_refused(extra: list[str]) -> None:
    """Guards against an argument that would be ignored: a misspelt one is silently the default."""
    name = extra[0].split("=")[0]
    with pytest.raises(ArgumentError, match=f"unknown argument {name}; this job takes --JOB_NAME"):
        parsed([*GIVEN, *extra])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (SCRIPT, "missing argument --raw_zone"),
        (["extract.py", "--raw_zone", "x"], "missing argument --JOB_NAME"),
        ([*SCRIPT, "--raw_zone"], "--raw_zone: expected one argument"),
        ([*SCRIPT, "--raw_zone", "--raw_format", "csv"], "--raw_zone: expected one argument"),
        ([*SCRIPT, "--raw_zone", ""], "argument --raw_zone is empty"),
        ([*SCRIPT, "--raw_zone", "  "], "argument --raw_zone is empty"),
        ([*SCRIPT, "--raw_zone="], "argument --raw_zone is empty"),
    ],
)
def test_a_missing_value_is_refused(argv: list[str], message: str) -> None:
    with pytest.raises(ArgumentError, match=message) as error:
        parsed(argv)
    assert "--raw_format" in str(error.value)  # what the job takes


@pytest.mark.parametrize(
    ("environment", "setting", "region"),
    [
        ({"AWS_DEFAULT_REGION": "eu-west-1", "AWS_REGION": "eu-west-3"}, None, "eu-west-1"),
        ({"AWS_REGION": "eu-west-3"}, "eu-central-1", "eu-west-3"),
        ({}, "eu-central-1", "eu-central-1"),
    ],
)
def test_a_clients_region_is_the_jobs(
    spark: SparkSession,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    setting: str | None,
    region: str,
) -> None:
    """Guards against a job on Glue that has no region but the one that S3A is told."""
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "none")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if setting:
        spark.conf.set("spark.hadoop.fs.s3a.endpoint.region", setting)
    try:
        assert runtime.client("glue").meta.region_name == region
    finally:
        spark.conf.unset("spark.hadoop.fs.s3a.endpoint.region")


def test_a_client_gives_up_soon(aws: Aws) -> None:
    """Guards against minutes of waiting, at every call, where a network has no way to AWS."""
    config = runtime.client("cloudwatch").meta.config
    attempts = config.retries["total_max_attempts"]
    assert attempts * config.connect_timeout <= 60
    assert attempts > 1


def secret(aws: Aws, request: pytest.FixtureRequest, text: str) -> str:
    name = f"totesys/{request.node.name}"
    boto3.client("secretsmanager").create_secret(Name=name, SecretString=text)
    return name


def everything_said(error: BaseException) -> str:
    """All that a log or a collector of errors could show: texts, causes, traceback."""
    chain: list[str] = ["".join(traceback.format_exception(error))]
    cause: BaseException | None = error
    while cause:
        chain += [str(cause), repr(cause), repr(vars(cause))]  # a JSON error keeps its text
        cause = cause.__cause__
    return "\n".join(chain)


def test_credentials_come_from_the_secret(aws: Aws, request: pytest.FixtureRequest) -> None:
    name = secret(aws, request, json.dumps(SECRET))
    found = runtime.credentials(name)
    assert found == Credentials("db.example", 5432, "totesys", "reader", PASSWORD, "require")
    assert found.place == "db.example:5432/totesys"
    assert found.jdbc_url == "jdbc:postgresql://db.example:5432/totesys?sslmode=require"
    assert found.jdbc_properties(fetchsize="7") == {
        "driver": "org.postgresql.Driver",
        "user": "reader",
        "password": PASSWORD,
        "fetchsize": "7",
    }


def test_a_port_may_be_text_and_encryption_may_be_off(
    aws: Aws, request: pytest.FixtureRequest
) -> None:
    content = {**SECRET, "port": "15432", "sslmode": "disable"}
    found = runtime.credentials(secret(aws, request, json.dumps(content)))
    assert (found.port, found.sslmode) == (15432, "disable")


def test_no_representation_of_credentials_holds_the_password() -> None:
    found = Credentials("h", 1, "d", "u", PASSWORD)
    for text in (repr(found), str(found), f"{found}", found.place, found.jdbc_url):
        assert PASSWORD not in text
        assert "s3cr3t" not in text


def test_a_missing_secret_says_what_to_do(aws: Aws) -> None:
    with pytest.raises(CredentialError, match=r"'totesys/absent' cannot be read.*grant"):
        runtime.credentials("totesys/absent")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PASSWORD, "expected a JSON object"),
        ('{"password": "s3cr3t", }', "expected a JSON object"),
        ('"s3cr3t"', "missing"),
        ('["s3cr3t"]', "missing"),
        ("null", "missing"),
        *(
            (json.dumps({k: v for k, v in SECRET.items() if k != name}), f"{name} missing")
            for name in ("host", "port", "dbname", "username", "password")
        ),
        (json.dumps({**SECRET, "host": ""}), "host missing"),
        (json.dumps({**SECRET, "port": "54x2"}), "expected a port number, found '54x2'"),
        (json.dumps({**SECRET, "port": -1}), "expected a port number"),
        (json.dumps({**SECRET, "port": 5432.5}), "expected a port number"),
        (json.dumps({**SECRET, "sslmode": "prefer"}), "expected sslmode require or disable"),
        (json.dumps({**SECRET, "sslmode": None}), "expected sslmode require or disable"),
    ],
    ids=range(16),
)
def test_a_secret_that_is_no_use_is_refused_without_showing_it(
    aws: Aws, request: pytest.FixtureRequest, text: str, message: str
) -> None:
    """Guards against a password in a log: in the message, in a cause, in the traceback."""
    name = secret(aws, request, text)
    with pytest.raises(CredentialError, match=message) as error:
        runtime.credentials(name)
    assert "s3cr3t" not in everything_said(error.value)
    assert name in str(error.value)


def test_a_binary_secret_is_refused(aws: Aws) -> None:
    client = boto3.client("secretsmanager")
    client.create_secret(Name="totesys/binary", SecretBinary=b"s3cr3t")
    with pytest.raises(CredentialError, match="expected a JSON object") as error:
        runtime.credentials("totesys/binary")
    assert "s3cr3t" not in everything_said(error.value)


def test_a_job_logs_its_facts_as_json(
    start_log: Callable[[], runtime.Log], capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards against argument values in the log, and lines that a metric filter cannot read."""
    log = start_log()
    given = {"source_secret": "totesys/source", "raw_zone": "s3://lake", "WORKFLOW_NAME": ""}
    with log.job(given) as batches:
        with log.timed("table", batch="b1", table="staff") as facts:
            facts.update(rows=3)
        log.event("swept", batch="b0\nü")
        batches.append("b1")
    started, table, swept, finished = lines(capsys)
    assert started["arguments"] == ["raw_zone", "source_secret"]
    assert (started["event"], started["level"], started["job"]) == ("started", "INFO", "extract")
    assert (table["table"], table["batch"], table["rows"]) == ("staff", "b1", 3)
    assert table["seconds"] >= 0
    assert swept["batch"] == "b0\nü"
    assert (finished["event"], finished["batches"]) == ("finished", ["b1"])
    for line in (started, finished):
        assert len(line["time"]) == len("2026-11-20T10:15:00.123Z")
        assert line["time"].endswith("Z")


def test_a_failure_is_logged_without_the_java_stack_and_goes_on(
    start_log: Callable[[], runtime.Log], capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards against an error that is logged while the run is green, and against its stack."""
    stack = "no space\n\tat org.apache.spark.X.run(X.scala:1)\n\tat java.Y\nCaused by: full"
    with pytest.raises(LakeError), start_log().job({"raw_zone": "s3://lake"}):
        raise LakeError(stack)
    _, failed = lines(capsys)
    assert (failed["level"], failed["event"], failed["error"]) == ("ERROR", "failed", "LakeError")
    assert failed["message"] == "no space\nCaused by: full"


def test_a_failure_of_a_python_worker_is_logged_without_its_stack(
    start_log: Callable[[], runtime.Log], capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards against a file's name that comes after two thousand characters of stack."""
    stack = "\n".join(f'  File "/a/b.py", line {n}, in c\n    d()\n    ^^^' for n in range(99))
    told = f"\n  An exception.\nTraceback (most recent call last):\n{stack}\nOSError: full: '/e'\n"
    with pytest.raises(LakeError), start_log().job({}):
        raise LakeError(told)
    assert lines(capsys)[-1]["message"] == "OSError: full: '/e'"


def test_a_long_message_is_cut(
    start_log: Callable[[], runtime.Log], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(LakeError), start_log().job({}):
        raise LakeError("x" * 100_000)
    assert len(lines(capsys)[-1]["message"]) == 2_000


def test_starting_the_log_again_doubles_no_line(
    start_log: Callable[[], runtime.Log], capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards against a line for each job that one process has run."""
    start_log()
    runtime.start_logging("load").event("swept", batch="b")
    (line,) = lines(capsys)
    assert line["job"] == "load"


def test_a_block_that_fails_is_not_logged_as_done(
    start_log: Callable[[], runtime.Log], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(LakeError), start_log().timed("table", table="staff"):
        raise LakeError("x")
    assert lines(capsys) == []


def test_results_stand_in_the_order_of_the_items(spark: SparkSession) -> None:
    """Guards against results in the order in which threads end: the second ends first here."""
    second_is_done = threading.Event()

    def work(item: int) -> int:
        if item == 1:
            assert second_is_done.wait(10)
        elif item == 2:
            second_is_done.set()
        return item * 10

    assert runtime.in_parallel(work, [1, 2, 3]) == [10, 20, 30]


def test_the_first_failure_is_raised_and_the_rest_is_not_begun(spark: SparkSession) -> None:
    """Guards against a failed table that others hide, and eleven tables read for nothing."""
    begun: list[int] = []

    def work(item: int) -> None:
        begun.append(item)
        if item == 0:
            raise LakeError("table 0")
        threading.Event().wait(0.2)  # long enough for the failure to be seen

    with pytest.raises(LakeError, match="table 0"):
        runtime.in_parallel(work, range(50))
    assert len(begun) < 20


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (Py4JError("An error occurred while calling o58.collectToPython"), SparkError),
        (Py4JNetworkError("Answer from Java side is empty"), SparkError),
        (ConnectionRefusedError(111, "Connection refused"), SparkError),
        (Py4JError("An error occurred while calling o58.x. Trace:\npy4j.Py4JException"), Py4JError),
        (ConnectionResetError(104, "Connection reset by peer"), ConnectionResetError),
    ],
)
def test_a_java_that_is_gone_is_told_from_one_that_fails(
    spark: SparkSession, raised: Exception, expected: type[Exception]
) -> None:
    """Guards against `An error occurred while calling o58.x` where Java had no memory left."""

    def work(_: int) -> None:
        raise raised

    with pytest.raises(expected) as caught:
        runtime.in_parallel(work, [1])
    assert (caught.type is SparkError) == ("too little memory" in str(caught.value))


def test_the_session_has_the_settings_that_results_depend_on(spark: SparkSession) -> None:
    """Guards against Glue versions with other defaults: local time, silent overflow."""
    session = runtime.spark_session("test")
    assert session.conf.get("spark.sql.session.timeZone") == "UTC"
    assert session.conf.get("spark.sql.ansi.enabled") == "true"
    assert session.conf.get("spark.sql.legacy.timeParserPolicy") == "CORRECTED"


def test_require_encrypts_without_verifying() -> None:
    context = runtime._encryption()
    assert not context.check_hostname
    assert context.verify_mode.name == "CERT_NONE"


@pytest.mark.parametrize(("text", "number"), [("0", 0.0), ("0.5", 0.5), ("1", 1.0)])
def test_a_ratio(text: str, number: float) -> None:
    assert runtime.ratio("most", text) == number


@pytest.mark.parametrize("text", ["50", "-0.1", "half", "", "nan", "inf"])
def test_what_is_no_ratio_is_refused(text: str) -> None:
    """Guards against 50 for 50 %, which would never stop anything."""
    with pytest.raises(ArgumentError, match=r"--most: expected a number from 0 to 1, found"):
        runtime.ratio("most", text)


def test_the_last_cause_of_a_java_error() -> None:
    """Guards against a message that names Spark's stage instead of what was the matter."""
    text = "Job aborted\n\tat x\nCaused by: a.B: stage\n\tat y\nCaused by: c.D: no disk\n\tat z"
    assert runtime.root_cause(ValueError(text)) == "c.D: no disk"
    assert runtime.root_cause(ValueError("one line")) == "one line"
