"""The view of the quarantine; DuckDB stands in for Athena's engine."""

import duckdb

from local.athena_views import quarantine_view
from totelake.quality import QUARANTINE_COLUMNS
from totelake.tables import QUARANTINE, ROW_BATCH, STAR

FIRST, SECOND = "20261120T101500Z", "20261120T103500Z"


def test_the_quarantine_shows_what_is_not_settled() -> None:
    """Guards against a rejected row that is shown for ever, and one that another's hides."""
    lake = duckdb.connect()
    for table in STAR.values():
        lake.execute(
            f'CREATE TABLE {table.name} ("{table.key}" varchar, batch varchar, {ROW_BATCH} varchar)'
        )
    columns = (*QUARANTINE_COLUMNS, "batch", ROW_BATCH)
    names = ", ".join(f"{name} varchar" for name in columns)
    lake.execute(f"CREATE TABLE {QUARANTINE} ({names})")

    def accept(batch: str, table: str, key: str) -> None:
        """A version or a deletion: both are rows of the star's table."""
        lake.execute(f"INSERT INTO {table} VALUES (?, ?, NULL)", [key, batch])

    def reject(batch: str, table: str, key: str | None) -> None:
        values = [table, "x", key, "rule", f"reason of {batch}", "{}", batch]
        lake.execute(f"INSERT INTO {QUARANTINE} VALUES (?, ?, ?, ?, ?, ?, ?, NULL)", values)

    accept(FIRST, "fact_payment", "1")  # rejected after it was accepted: open
    reject(SECOND, "fact_payment", "1")
    reject(FIRST, "fact_payment", "2")  # mended, or deleted
    accept(SECOND, "fact_payment", "2")
    reject(FIRST, "fact_payment", "4")  # rejected again: shown once
    reject(SECOND, "fact_payment", "4")
    reject(FIRST, "dim_staff", "2")  # another table's key 2 settles nothing
    reject(FIRST, "dim_design", None)  # nothing can settle it
    found = lake.execute(quarantine_view()["sql"])
    declared = [column["name"] for column in quarantine_view()["columns"]]
    assert [column[0] for column in found.description or []] == declared
    assert {(row[0], row[2], row[-1]) for row in found.fetchall()} == {
        ("fact_payment", "1", SECOND),
        ("fact_payment", "4", SECOND),
        ("dim_staff", "2", FIRST),
        ("dim_design", None, FIRST),
    }
    lake.close()
