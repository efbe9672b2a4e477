"""The processed zone as its readers see it: what committed manifests name, through DuckDB."""

import json
from pathlib import Path
from typing import Any

import duckdb

from local.fingerprints import DUCKDB, Fingerprint, fingerprint_query, quoted, row_digest
from totelake.tables import QUARANTINE, ROW_DELETED, STAR, StarTable


class ProcessedZone:
    """The star tables of a processed zone, open for questions until closed."""

    def __init__(self, folder: Path) -> None:
        manifests = [
            json.loads(path.read_text(encoding="utf-8"))
            for path in sorted((folder / "_batches").glob("*.json"))
        ]
        self.batches: list[str] = [manifest["batch"] for manifest in manifests]
        self._connection = duckdb.connect()
        for name in (*STAR, QUARANTINE):
            self._create_view(name, _files(folder, manifests, name))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def current(self, table: StarTable, set_aside: list[str]) -> Fingerprint:
        """The latest version of each key, the deleted ones left out."""
        key = quoted(table.key)
        relation = (
            f"SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY {key} ORDER BY batch DESC)"
            f" AS age FROM {quoted(table.name)}) WHERE age = 1 AND NOT {ROW_DELETED}"
        )
        return self._fingerprint(table, relation, set_aside)

    def versions(self, table: StarTable, set_aside: list[str]) -> Fingerprint:
        """All versions, equal neighbours counted once."""
        key = quoted(table.key)
        digest = row_digest(DUCKDB, table.columns)
        before = f"OVER (PARTITION BY {key} ORDER BY batch)"
        relation = (
            f"SELECT * FROM (SELECT *, {digest} AS digest,"
            f" lag(digest) {before} AS digest_before, lag({ROW_DELETED}) {before} AS deleted_before"
            f" FROM {quoted(table.name)}) WHERE NOT {ROW_DELETED}"
            " AND (digest, FALSE) IS DISTINCT FROM (digest_before, deleted_before)"
        )
        return self._fingerprint(table, relation, set_aside)

    def rejected(self, table: StarTable) -> list[str]:
        """Keys of the source rows whose newest version was rejected."""
        key = quoted(table.key)
        rows = self._connection.execute(
            f"SELECT source_key FROM {QUARANTINE} AS q WHERE star_table = $table"
            " GROUP BY source_key HAVING max(batch) > coalesce((SELECT max(batch)"
            f" FROM {quoted(table.name)} AS t WHERE CAST(t.{key} AS varchar) = q.source_key), '')",
            {"table": table.name},
        ).fetchall()
        return [key for (key,) in rows]

    def _fingerprint(self, table: StarTable, relation: str, set_aside: list[str]) -> Fingerprint:
        query = fingerprint_query(DUCKDB, relation, table.columns, table.key)
        row = self._connection.execute(query, {"set_aside": set_aside}).fetchone()
        assert row is not None  # nosec B101: an aggregate always gives one row
        return Fingerprint(*map(int, row))

    def _create_view(self, name: str, files: list[str]) -> None:
        if files:
            listed = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
            rows = (
                f"SELECT * FROM read_parquet([{listed}], union_by_name = true,"
                " hive_partitioning = true, hive_types = {'batch': varchar})"
            )
        else:
            columns = STAR[name].column_names if name in STAR else ["star_table", "source_key"]
            nulls = ", ".join(f"CAST(NULL AS varchar) AS {quoted(column)}" for column in columns)
            rows = f"SELECT {nulls}, FALSE AS {ROW_DELETED}, '' AS batch WHERE FALSE"
        self._connection.execute(f"CREATE VIEW {quoted(name)} AS {rows}")


def _files(folder: Path, manifests: list[dict[str, Any]], table: str) -> list[str]:
    return [
        str(folder / table / f"batch={manifest['batch']}" / file["name"])
        for manifest in manifests
        for file in manifest["tables"][table]["files"]
    ]
