"""Source and warehouse of a run: the ones that were named, or embedded and simulated ones."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass

from pg8000.exceptions import DatabaseError, InterfaceError
from pg8000.native import Connection

from local import simulator
from local.errors import CommandError
from local.postgres import PostgresServer
from local.settings import Settings, parse_url
from totelake.runtime import Credentials


class AccessError(CommandError):
    """A database cannot be reached, refuses a statement, or is not the one asked for."""


@dataclass(frozen=True)
class Simulation:
    """How the simulated source was made: the same figures give the same data."""

    seed: int = 1
    size: float = 1.0


@dataclass(frozen=True)
class Databases:
    """Source and warehouse; a simulated source is one in which time can pass."""

    source: Credentials
    warehouse: Credentials
    simulation: Simulation | None = None


def open_databases(settings: Settings, stack: ExitStack) -> Databases:
    """Source and warehouse: those that were named, and embedded ones for the others.

    Args:
        settings: What was asked for.
        stack: Ends the embedded server.

    Raises:
        AccessError: If one cannot be reached, or the simulated source was made otherwise.
    """
    if settings.source is not None and settings.warehouse is not None:
        databases = Databases(settings.source, settings.warehouse)
    else:
        server = stack.enter_context(PostgresServer(settings.state / "postgres"))
        server.ensure_database("warehouse")
        warehouse = parse_url("warehouse", server.url("warehouse"))
        if settings.source is not None:
            databases = Databases(settings.source, warehouse)
        else:
            server.ensure_database("totesys")
            source = parse_url("totesys", server.url("totesys"))
            databases = Databases(source, warehouse, _simulation(settings, source))
    for what, credentials in (("source", databases.source), ("warehouse", databases.warehouse)):
        with open_connection(what, credentials):
            pass  # what cannot be reached is told before anything starts
    return databases


def _simulation(settings: Settings, source: Credentials) -> Simulation:
    """Make the simulated source, or find that it is the one that was asked for."""
    file = settings.state / "simulation.json"
    with open_connection("source", source) as connection:
        if simulator.is_created(connection):
            made = Simulation(**json.loads(file.read_text()))
            if _asked(settings, made) != made:
                raise AccessError(
                    f"{settings.state} was made with SEED={made.seed} SIZE={made.size:g}: go on "
                    "without them, or start over with `make clean`"
                )
            return made
        asked = _asked(settings, Simulation())
        file.write_text(json.dumps(asdict(asked)))
        simulator.create(connection, asked.seed, simulator.Size().times(asked.size))
        return asked


def _asked(settings: Settings, otherwise: Simulation) -> Simulation:
    return Simulation(
        otherwise.seed if settings.seed is None else settings.seed,
        otherwise.size if settings.size is None else settings.size,
    )


def advance(databases: Databases, days: int, tell: Callable[[str], None]) -> simulator.Activity:
    """Let the business of a simulated source go on for some working days.

    Args:
        databases: With a simulated source.
        days: How many.
        tell: Is told of each day that is over.
    """
    if databases.simulation is None:
        raise AccessError("time passes in a simulated source only, and this one is not")
    with open_connection("source", databases.source) as connection:
        return simulator.advance(
            connection,
            databases.simulation.seed,
            days=days,
            on_day=lambda day, _: tell(day.isoformat()),
        )


@contextmanager
def open_connection(what: str, credentials: Credentials) -> Iterator[Connection]:
    """Open a connection to what the sentence calls ``what``, should PostgreSQL refuse something.

    Raises:
        AccessError: If the connection or a statement in the block is refused.
    """
    try:
        with closing(credentials.connect("totelake local")) as connection:
            yield connection
    except (DatabaseError, InterfaceError, OSError) as error:
        told = error.args[0] if error.args else error
        reason = str(told.get("M", told) if isinstance(told, dict) else told)
        if "SSL" in reason:
            reason += "; ?sslmode=disable does without, on a network that can be trusted"
        raise AccessError(
            f"The {what} at {credentials.place}, as {credentials.username!r}: {reason}"
        ) from error
