"""The warehouse's SQL, built from the declarations of the star: pure functions.

Schema ``public`` holds the 11 tables of the star and nothing else of ours. Schema ``etl`` holds
what else is needed:

- ``batch``: one row per batch loaded; ``table_load``: what it did to each table, in rows;
- ``<fact>_version``: one row per key and batch, with the fact row that it is; a row without one
  is a deletion;
- ``held_<fact>``: versions that wait for a dimension member that the star does not have;
- ``deleted_member``: members of dimensions whose source row is gone;
- ``current_…``: views of each fact's latest version, without the deleted.
"""

from pg8000.native import identifier, literal

from totelake.tables import FACTS, ROW_DELETED, STAR, StarTable

PUBLIC, ETL = "public", "etl"
BATCH = "batch_id"


def relation(schema: str, table: str) -> str:
    """A table's quoted name."""
    return f"{identifier(schema)}.{identifier(table)}"


def version_table(fact: StarTable) -> str:
    """The table that says which batch each row of a fact came from."""
    return relation(ETL, f"{fact.name}_version")


def held_table(fact: StarTable) -> str:
    """The table of a fact's versions that wait for a dimension member."""
    return relation(ETL, f"held_{fact.name}")


def current_view(fact: StarTable) -> str:
    """The view of a fact's latest versions."""
    return relation(ETL, fact.name.replace("fact_", "current_"))


def star_ddl() -> list[str]:
    """Statements that create the 11 tables where they are absent, foreign keys included."""
    return [f"CREATE TABLE IF NOT EXISTS {_table_ddl(table)}" for table in STAR.values()]


def _table_ddl(table: StarTable) -> str:
    lines = [f"{identifier(table.record_id)} serial PRIMARY KEY"] if table.record_id else []
    for column in table.columns:
        line = f"{identifier(column.name)} {column.type}"
        if not table.is_fact and column.name == table.key:
            line += " PRIMARY KEY"
        elif not column.nullable:
            line += " NOT NULL"
        if column.references:
            target = STAR[column.references]
            line += f" REFERENCES {relation(PUBLIC, target.name)} ({identifier(target.key)})"
        lines.append(line)
    return f"{relation(PUBLIC, table.name)} ({', '.join(lines)})"


def etl_ddl() -> list[str]:
    """Statements that create what schema ``etl`` holds, where it is absent."""
    statements = [
        f"CREATE SCHEMA IF NOT EXISTS {ETL}",
        f"CREATE TABLE IF NOT EXISTS {ETL}.batch ({BATCH} text PRIMARY KEY,"
        " number integer NOT NULL, loaded_at timestamptz NOT NULL DEFAULT now(),"
        " seconds numeric NOT NULL)",
        f"CREATE TABLE IF NOT EXISTS {ETL}.table_load ({BATCH} text REFERENCES {ETL}.batch,"
        " table_name text, staged bigint NOT NULL, inserted bigint NOT NULL,"
        " updated bigint NOT NULL, unchanged bigint NOT NULL, held bigint NOT NULL,"
        f" PRIMARY KEY ({BATCH}, table_name))",
        f"CREATE TABLE IF NOT EXISTS {ETL}.deleted_member (table_name text, member text,"
        f" {BATCH} text NOT NULL REFERENCES {ETL}.batch, PRIMARY KEY (table_name, member))",
    ]
    for fact in FACTS:
        statements += [_version_ddl(fact), _held_ddl(fact), _current_ddl(fact)]
    return statements


def _version_ddl(fact: StarTable) -> str:
    return (
        f"CREATE TABLE IF NOT EXISTS {version_table(fact)} ({identifier(fact.key)} integer,"
        f" {BATCH} text REFERENCES {ETL}.batch, record_id integer UNIQUE"
        f" REFERENCES {relation(PUBLIC, fact.name)}, PRIMARY KEY ({identifier(fact.key)}, {BATCH}))"
    )


def _held_ddl(fact: StarTable) -> str:
    columns = ", ".join(f"{identifier(column.name)} {column.type}" for column in fact.columns)
    return (
        f"CREATE TABLE IF NOT EXISTS {held_table(fact)} ({columns}, {ROW_DELETED} boolean,"
        f" {BATCH} text NOT NULL)"
    )


def _current_ddl(fact: StarTable) -> str:
    key = identifier(fact.key)
    return (
        f"CREATE OR REPLACE VIEW {current_view(fact)} AS SELECT f.*"
        f" FROM (SELECT DISTINCT ON ({key}) record_id FROM {version_table(fact)}"
        f" ORDER BY {key}, {BATCH} DESC) AS latest"
        f" JOIN {relation(PUBLIC, fact.name)} AS f"
        f" ON f.{identifier(str(fact.record_id))} = latest.record_id"
    )


def staging_ddl(schema: str, batch: str) -> list[str]:
    """Statements that create an empty staging table for each table of the star.

    They are unlogged and without constraints: filled by many sessions at once, read once.
    """
    statements = [f"CREATE SCHEMA {identifier(schema)}"]
    for table in STAR.values():
        columns = ", ".join(f"{identifier(column.name)} {column.type}" for column in table.columns)
        statements.append(
            f"CREATE UNLOGGED TABLE {relation(schema, table.name)} ({columns},"
            f" {ROW_DELETED} boolean NOT NULL, {BATCH} text NOT NULL DEFAULT {literal(batch)})"
        )
    return statements


def upsert(schema: str, table: StarTable) -> str:
    """Staged members into a dimension; gives how many were inserted and how many changed."""
    key = identifier(table.key)
    columns = _columns(table)
    others = [identifier(name) for name in table.column_names if name != table.key]
    updates = ", ".join(f"{name} = excluded.{name}" for name in others)
    old, new = (", ".join(f"{row}.{name}" for name in others) for row in ("d", "excluded"))
    return (
        f"WITH done AS (INSERT INTO {relation(PUBLIC, table.name)} AS d ({columns})"
        f" SELECT {columns} FROM {relation(schema, table.name)} WHERE NOT {ROW_DELETED}"
        f" ON CONFLICT ({key}) DO UPDATE SET {updates} WHERE ({old}) IS DISTINCT FROM ({new})"
        # A row that was just inserted has no transaction that locked or replaced it.
        " RETURNING d.xmax = 0 AS inserted)"
        " SELECT count(*) FILTER (WHERE inserted), count(*) FILTER (WHERE NOT inserted) FROM done"
    )


def mark_deleted(schema: str, table: StarTable) -> str:
    """Record the members of a dimension that a batch deletes."""
    key = identifier(table.key)
    return (
        f"INSERT INTO {ETL}.deleted_member (table_name, member, {BATCH})"
        f" SELECT {literal(table.name)}, {key}::text, {BATCH}"
        f" FROM {relation(schema, table.name)} WHERE {ROW_DELETED}"
        f" ON CONFLICT (table_name, member) DO UPDATE SET {BATCH} = excluded.{BATCH}"
    )


def mark_alive(schema: str, table: StarTable) -> str:
    """Take back the deletion of members that are in a batch again."""
    key = identifier(table.key)
    return (
        f"DELETE FROM {ETL}.deleted_member AS d USING {relation(schema, table.name)} AS s"
        f" WHERE d.table_name = {literal(table.name)} AND d.member = s.{key}::text"
        f" AND NOT s.{ROW_DELETED}"
    )


def release_held(schema: str, fact: StarTable) -> str:
    """Move the versions that waited into staging: their dimension member may be there now."""
    columns = f"{_columns(fact)}, {ROW_DELETED}, {BATCH}"
    return (
        f"WITH released AS (DELETE FROM {held_table(fact)} RETURNING {columns})"
        f" INSERT INTO {relation(schema, fact.name)} ({columns}) SELECT {columns} FROM released"
    )


def hold(schema: str, fact: StarTable) -> str:
    """Move the staged versions whose dimension member is missing to where they wait."""
    columns = f"{_columns(fact)}, {ROW_DELETED}, {BATCH}"
    staged = relation(schema, fact.name)
    joins, missing = [], []
    for number, column in enumerate(fact.columns):
        if column.references:
            key = identifier(STAR[column.references].key)
            joins.append(
                f" LEFT JOIN {relation(PUBLIC, column.references)} AS d{number}"
                f" ON d{number}.{key} = s.{identifier(column.name)}"
            )
            missing.append(f"d{number}.{key} IS NULL")
    return (
        f"WITH held AS (DELETE FROM {staged} WHERE ctid IN (SELECT s.ctid FROM {staged} AS s"
        f"{''.join(joins)} WHERE NOT s.{ROW_DELETED} AND ({' OR '.join(missing)}))"
        f" RETURNING {columns})"
        f" INSERT INTO {held_table(fact)} ({columns}) SELECT {columns} FROM held"
    )


def may_replace_keys(fact: StarTable) -> str:
    """Whether a fact has no version yet and this user may change its tables."""
    return (
        f"SELECT bool_and(pg_has_role(relowner, 'USAGE'))"
        f" AND NOT EXISTS (SELECT FROM {version_table(fact)}) FROM pg_class"
        f" WHERE oid IN ({_oids(fact)})"
    )


def foreign_keys(fact: StarTable) -> str:
    """The foreign keys of a fact and of its versions: table, name, definition."""
    return (
        "SELECT conrelid::regclass::text, quote_ident(conname), pg_get_constraintdef(oid)"
        f" FROM pg_constraint WHERE contype = 'f' AND conrelid IN ({_oids(fact)})"
        # The versions refer to the fact: theirs go first and come back last.
        f" ORDER BY conrelid = {literal(relation(PUBLIC, fact.name))}::regclass, conname"
    )


def _oids(fact: StarTable) -> str:
    tables = (relation(PUBLIC, fact.name), version_table(fact))
    return ", ".join(f"{literal(table)}::regclass" for table in tables)


def staged_batches(schema: str, fact: StarTable) -> str:
    """Ids of the batches that a fact's staging holds, oldest first."""
    return f"SELECT DISTINCT {BATCH} FROM {relation(schema, fact.name)} ORDER BY {BATCH}"


def append_versions(schema: str, fact: StarTable) -> str:
    """Append the staged versions of batch ``:batch`` that differ from their latest one.

    A version that equals the latest is appended too when another still waits between the two:
    once that one is there, it must not be the latest.
    """
    key, record = identifier(fact.key), identifier(str(fact.record_id))
    columns = _columns(fact)
    old, new = (
        ", ".join(f"{row}.{identifier(name)}" for name in fact.column_names) for row in ("f", "s")
    )
    return (
        f"WITH added AS (INSERT INTO {relation(PUBLIC, fact.name)} ({columns})"
        f" SELECT {new} FROM {relation(schema, fact.name)} AS s"
        f" LEFT JOIN LATERAL (SELECT v.record_id, v.{BATCH} FROM {version_table(fact)} AS v"
        f" WHERE v.{key} = s.{key} AND v.{BATCH} < :batch ORDER BY v.{BATCH} DESC LIMIT 1)"
        " AS latest ON TRUE"
        f" LEFT JOIN {relation(PUBLIC, fact.name)} AS f ON f.{record} = latest.record_id"
        f" WHERE s.{BATCH} = :batch AND NOT s.{ROW_DELETED}"
        f" AND (f.{record} IS NULL OR ({old}) IS DISTINCT FROM ({new})"
        f" OR EXISTS (SELECT FROM {held_table(fact)} AS h WHERE h.{key} = s.{key}"
        f" AND h.{BATCH} > latest.{BATCH} AND h.{BATCH} < :batch))"
        f" ORDER BY s.{key} RETURNING {record}, {key})"
        f" INSERT INTO {version_table(fact)} (record_id, {key}, {BATCH})"
        f" SELECT {record}, {key}, :batch FROM added"
    )


def append_deletions(schema: str, fact: StarTable) -> str:
    """Record the staged deletions of batch ``:batch``: versions without a fact row."""
    key = identifier(fact.key)
    return (
        f"INSERT INTO {version_table(fact)} ({key}, {BATCH})"
        f" SELECT {key}, {BATCH} FROM {relation(schema, fact.name)}"
        f" WHERE {BATCH} = :batch AND {ROW_DELETED}"
    )


def _columns(table: StarTable) -> str:
    return ", ".join(identifier(name) for name in table.column_names)
