"""What `make run` was asked to do: read from the environment, because URLs hold passwords."""

import ipaddress
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from local.errors import CommandError
from totelake.runtime import SSL_MODES, Credentials

STATE = Path(".state")
URL_FORM = "postgresql://user:password@host:port/database[?sslmode=require|disable]"
_DEFAULT_PORT = 5432


class SettingsError(CommandError):
    """What was asked for cannot be done."""


@dataclass(frozen=True)
class Settings:
    """What to run.

    Attributes:
        source: The source that is there already; None for the simulated one.
        warehouse: The warehouse that is there already; None for the embedded one.
        seed: Of the simulation; None for the one it was made with, or the default.
        size: Of the simulation, as a multiple of the real company's; None likewise.
        quick: Whether all jobs run in this one process, on one Spark session.
    """

    source: Credentials | None = None
    warehouse: Credentials | None = None
    seed: int | None = None
    size: float | None = None
    quick: bool = False

    @property
    def state(self) -> Path:
        """The folder of all that this source's runs keep."""
        if self.source is None:
            return STATE / "simulated"
        name = f"{self.source.host}-{self.source.port}-{self.source.dbname}"
        return STATE / re.sub(r"[^A-Za-z0-9._-]", "_", name)


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read SOURCE_URL, WAREHOUSE_URL, SEED, SIZE and QUICK; an empty one counts as absent.

    Raises:
        SettingsError: If one has a form it cannot have, or would be ignored.
    """
    given = {
        name: environment[name].strip()
        for name in ("SOURCE_URL", "WAREHOUSE_URL", "SEED", "SIZE", "QUICK")
        if environment.get(name, "").strip()
    }
    simulation = [name for name in ("SEED", "SIZE") if name in given]
    if "SOURCE_URL" in given and simulation:
        raise SettingsError(
            f"{simulation[0]} is for the simulated source, and SOURCE_URL names another: "
            "give one of them"
        )
    if "WAREHOUSE_URL" in given and "SOURCE_URL" not in given:
        raise SettingsError("WAREHOUSE_URL goes with SOURCE_URL, which is missing: give both")
    if given.get("QUICK", "1") != "1":
        raise SettingsError(f"QUICK: expected 1 or nothing, found {given['QUICK']!r}")
    return Settings(
        source=parse_url("SOURCE_URL", given["SOURCE_URL"]) if "SOURCE_URL" in given else None,
        warehouse=(
            parse_url("WAREHOUSE_URL", given["WAREHOUSE_URL"]) if "WAREHOUSE_URL" in given else None
        ),
        seed=_whole_number("SEED", given["SEED"]) if "SEED" in given else None,
        size=_multiple("SIZE", given["SIZE"]) if "SIZE" in given else None,
        quick="QUICK" in given,
    )


def parse_url(name: str, url: str) -> Credentials:
    """Read a database's URL; user, password and database may be percent-encoded.

    Without ``sslmode`` the connection is encrypted unless the host is this machine.

    Raises:
        SettingsError: Saying what is missing, without showing the password.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or _DEFAULT_PORT
    except ValueError:
        # Not chained, and nothing of the URL is shown: the password may be in any part of it.
        raise _unreadable(name, "something else") from None
    path = unquote(parts.path.removeprefix("/"))
    if parts.scheme not in ("postgresql", "postgres"):
        raise _unreadable(name, "another scheme")
    if not (host and parts.username and parts.password and path) or "/" in path:
        raise _unreadable(name, "one without user, password, host or database")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    mode = options.pop("sslmode", "disable" if _is_loopback(host) else "require")
    if options:
        raise SettingsError(f"{name}: expected no option but sslmode, found others: remove them")
    if mode not in SSL_MODES:
        raise SettingsError(f"{name}: expected sslmode={' or '.join(SSL_MODES)}, found another")
    return Credentials(host, port, path, unquote(parts.username), unquote(parts.password), mode)


def secret(credentials: Credentials) -> dict[str, Any]:
    """Credentials as the JSON secret that the jobs read."""
    return {"engine": "postgres", **vars(credentials)}


def _unreadable(name: str, found: str) -> SettingsError:
    return SettingsError(
        f"{name}: expected {URL_FORM}, found {found}; special characters of the password are "
        "percent-encoded (@ is %40, / is %2F, $ is %24)"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _whole_number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise SettingsError(f"{name}: expected a whole number, found {text!r}")
    return int(text)


def _multiple(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise SettingsError(f"{name}: expected a number above 0, found {text!r}")
    return number
