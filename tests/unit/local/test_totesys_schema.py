"""The stand-in's schema is the real one's, whatever words it is written in."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pg8000.native import Connection

REPOSITORY = Path(__file__).resolve().parents[3]
OURS = REPOSITORY / "local" / "totesys" / "schema.sql"
THEIRS = REPOSITORY.parent / "shared" / "totesys" / "source_schema.sql"

CATALOGUE = {
    "columns": """
        SELECT c.relname, attnum, attname, format_type(atttypid, atttypmod), attnotnull,
            pg_get_expr(adbin, adrelid)
        FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = attrelid
        LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0
        ORDER BY 1, 2""",
    "keys": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2""",
    "enums": """
        SELECT typname, enumsortorder, enumlabel FROM pg_enum JOIN pg_type AS t ON t.oid = enumtypid
        ORDER BY 1, 2""",
    "indexes": """
        SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1""",
}


@pytest.fixture(scope="module")
def both(open_database: Callable[[str], Connection]) -> tuple[Connection, Connection]:
    if not THEIRS.exists():
        pytest.skip(f"the real schema is not at hand: expected {THEIRS}")
    ours, theirs = open_database("our schema"), open_database("their schema")
    ours.run(OURS.read_text())
    theirs.run(THEIRS.read_text())
    # The migration tool's table is known to be there, but its columns are not part of the dump.
    ours.run('DROP TABLE "_prisma_migrations"')
    return ours, theirs


@pytest.mark.parametrize("part", CATALOGUE)
def test_same_catalogue(both: tuple[Connection, Connection], part: str) -> None:
    ours, theirs = (connection.run(CATALOGUE[part]) for connection in both)
    assert theirs
    assert ours == theirs
