"""Databases for the tests of this folder."""

from collections.abc import Callable, Iterator

import pytest
from pg8000.native import Connection, identifier

from local.postgres import PostgresServer, connect


@pytest.fixture(scope="session")
def open_database(postgres: PostgresServer) -> Iterator[Callable[[str, str], Connection]]:
    """Make a database as a copy of another one that nobody is connected to."""
    connections = []

    def make(name: str, copy_of: str = "template0") -> Connection:
        owner = connect(postgres.url("postgres"))
        owner.run(f"CREATE DATABASE {identifier(name)} TEMPLATE {identifier(copy_of)}")
        owner.close()
        connections.append(connect(postgres.url(name)))
        return connections[-1]

    yield make
    for connection in connections:
        connection.close()
