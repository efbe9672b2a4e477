"""What `make run` was asked to do, and that a password shows nowhere."""

from pathlib import Path

import pytest

from local.settings import Settings, SettingsError, parse_url, read_settings, secret

PASSWORD = "s3cr/et@:#"
ENCODED = "s3cr%2Fet%40%3A%23"
URL = f"postgresql://reader:{ENCODED}@db.example.com:5433/tote%20sys"


def test_nothing_asked_is_the_simulation() -> None:
    settings = read_settings({"SOURCE_URL": "", "SEED": " "})

    assert settings == Settings(quick=False)
    assert settings.state == Path(".state/simulated")


def test_seed_and_size() -> None:
    settings = read_settings({"SEED": "7", "SIZE": "0.5", "QUICK": "1"})

    assert (settings.seed, settings.size, settings.quick) == (7, 0.5, True)


def test_a_url_becomes_credentials() -> None:
    credentials = parse_url("SOURCE_URL", URL)

    assert secret(credentials) == {
        "engine": "postgres",
        "host": "db.example.com",
        "port": 5433,
        "dbname": "tote sys",
        "username": "reader",
        "password": PASSWORD,
        "sslmode": "require",
    }


@pytest.mark.parametrize(
    ("host", "sslmode"),
    [
        ("localhost", "disable"),
        ("127.0.0.1", "disable"),
        ("127.1.2.3:5432", "disable"),
        ("[::1]", "disable"),
        ("10.0.0.1", "require"),
        ("localhost.example.com", "require"),
    ],
)
def test_only_this_machine_is_trusted_without_encryption(host: str, sslmode: str) -> None:
    assert parse_url("SOURCE_URL", f"postgres://u:p@{host}/d").sslmode == sslmode
    for mode in ("require", "disable"):
        url = f"postgres://u:p@{host}/d?sslmode={mode}"
        assert parse_url("SOURCE_URL", url).sslmode == mode


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:s3cret@h/d",
        "postgresql://h/d",
        "postgresql://u@h/d",
        "postgresql://u:s3cret@h",
        "postgresql://u:s3cret@/d",
        "postgresql://u:s3cret@h/d/e",
        "postgresql://u:s3cret/x@h:5/d",
        "postgresql://u:s3cret#x@h/d",
        "postgresql://u:[s3cret@h/d",
        "postgresql://u:p@h:s3cret/d",
        "postgresql://u:p@h/d?sslmode=s3cret",
        "postgresql://u:p@h/d?s3cret=1",
        "s3cret",
    ],
)
def test_a_malformed_url_is_explained_without_being_shown(url: str) -> None:
    with pytest.raises(SettingsError, match="SOURCE_URL: expected") as raised:
        read_settings({"SOURCE_URL": url})

    assert "s3cret" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"SEED": "-1"}, "SEED: expected a whole number, found '-1'"),
        ({"SEED": "1.5"}, "SEED: expected a whole number"),
        ({"SIZE": "0"}, "SIZE: expected a number above 0, found '0'"),
        ({"SIZE": "nan"}, "SIZE: expected a number above 0"),
        ({"SIZE": "inf"}, "SIZE: expected a number above 0"),
        ({"SIZE": "big"}, "SIZE: expected a number above 0"),
        ({"QUICK": "0"}, "QUICK: expected 1 or nothing, found '0'"),
        ({"SOURCE_URL": URL, "SIZE": "2"}, "SIZE is for the simulated source"),
        ({"WAREHOUSE_URL": URL}, "WAREHOUSE_URL goes with SOURCE_URL"),
    ],
)
def test_what_cannot_be_or_would_be_ignored(environment: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        read_settings(environment)


def test_each_source_has_a_state_of_its_own_without_its_password() -> None:
    settings = read_settings({"SOURCE_URL": URL, "WAREHOUSE_URL": "postgresql://u:p@h/w"})

    assert settings.state == Path(".state/db.example.com-5433-tote_sys")
    assert settings.warehouse is not None
    assert PASSWORD not in repr(settings)
