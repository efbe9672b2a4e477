"""Athena on this machine: queries on a Glue catalogue, run by DuckDB."""

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

import duckdb
import fsspec
import pyarrow as pa
from sqlglot import exp

from local.athena_files import quoted, select_files
from local.athena_macros import MACROS
from local.athena_sql import parse, tables_of, to_duckdb
from local.athena_types import SqlError, athena_type
from local.glue_tables import partitions_of
from local.glue_tables import tables_of as catalogued

_VIEW = re.compile(r"/\* Presto View: (\S+) \*/")
_CATALOG = "awsdatacatalog"


class LocalAthena:
    """A connection to the databases of a Glue catalogue.

    Args:
        glue: A boto3 client of Glue.
        database: The one that a table without a database is of.
    """

    def __init__(self, glue: Any, database: str) -> None:
        self._glue = glue
        self.database = database
        self._made: set[tuple[str, str]] = set()
        self._databases: dict[str, dict[str, Mapping[str, Any]]] = {}
        self._connection = duckdb.connect()
        for setting in ("TimeZone = 'UTC'", "ieee_floating_point_ops = true",
                        "autoinstall_known_extensions = false"):  # fmt: skip
            self._connection.execute(f"SET {setting}")
        for macro in MACROS:
            self._connection.execute(macro)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def query(self, sql: str) -> pa.Table:
        """Run one query in Athena's SQL.

        Raises:
            SqlError: If Athena would refuse it, or it cannot be run here as there.
        """
        return self._run(self._translated(sql, self.database)).to_arrow_table()

    def tables(self, database: str | None = None) -> dict[str, Mapping[str, Any]]:
        """Tables and views of a database, by name."""
        name = database or self.database
        if name not in self._databases:
            try:
                self._databases[name] = catalogued(self._glue, name)
            except self._glue.exceptions.EntityNotFoundException:
                raise SqlError(f"SCHEMA_NOT_FOUND: Schema {name} does not exist") from None
        return self._databases[name]

    def _translated(self, sql: str, database: str) -> str:
        query = parse(sql)
        for table in tables_of(query):
            if table.catalog.lower() not in ("", _CATALOG):
                raise SqlError(f"CATALOG_NOT_FOUND: Catalog {table.catalog} does not exist")
            schema, name = (table.db or database).lower(), table.name.lower()
            self._make(schema, name)
            table.set("catalog", None)
            table.set("db", exp.to_identifier(schema, quoted=True))
            table.set("this", exp.to_identifier(name, quoted=True))
            if not table.alias:
                table.set("alias", exp.TableAlias(this=exp.to_identifier(name, quoted=True)))
        return to_duckdb(query, self._describe)

    def _describe(self, sql: str) -> list[tuple[str, str]]:
        return [(row[0], row[1]) for row in self._run(f"DESCRIBE {sql}").fetchall()]

    def _run(self, sql: str) -> duckdb.DuckDBPyConnection:
        try:
            return self._connection.execute(sql)
        except duckdb.Error as error:
            words = str(error).split("\n\n")[0]
            raise SqlError(words.removeprefix("Invalid Input Error: ")) from error

    def _make(self, database: str, name: str) -> None:
        """Have DuckDB know a table or view of the catalogue."""
        if (database, name) in self._made:
            return
        table = self.tables(database).get(name)
        if table is None:
            near = ", ".join(sorted(self.tables(database))) or "none"
            raise SqlError(
                f"TABLE_NOT_FOUND: Table {database}.{name} does not exist; there are: {near} "
                "(a table without any file is in no catalogue)"
            )
        view = _VIEW.fullmatch(str(table.get("ViewOriginalText", "")))
        if table.get("TableType") == "VIRTUAL_VIEW":
            if view is None or table.get("Parameters", {}).get("comment") != "Presto View":
                raise SqlError(f"TABLE_NOT_FOUND: {database}.{name} is no view of Athena's")
            select = self._view(f"{database}.{name}", json.loads(base64.b64decode(view[1])))
        else:
            if str(table["StorageDescriptor"]["Location"]).startswith("s3:"):
                self._read_s3()
            keyed = table.get("PartitionKeys")
            select = select_files(table, partitions_of(self._glue, database, name) if keyed else [])
        self._run(f"CREATE SCHEMA IF NOT EXISTS {quoted(database)}")
        self._run(f"CREATE VIEW {quoted(database)}.{quoted(name)} AS {select}")
        self._made.add((database, name))

    def _view(self, name: str, view: Mapping[str, Any]) -> str:
        select = self._translated(view["originalSql"], view["schema"])
        given = [(column, athena_type(type_)) for column, type_ in self._describe(select)]
        declared = [(column["name"], column["type"]) for column in view["columns"]]
        if given != declared:
            raise SqlError(
                f"VIEW_IS_STALE: View {name} is stale: declared {declared}, its query gives {given}"
            )
        return select

    def _read_s3(self) -> None:
        if "s3" not in self._connection.list_filesystems():
            filesystem = fsspec.filesystem("s3", use_listings_cache=False)
            self._connection.register_filesystem(filesystem)
