"""The source's SQL: what changed, which keys there are, the rows of a batch: pure functions.

A JDBC read of Spark's cannot bind parameters. What stands in these queries are names from
PostgreSQL's own catalogue, quoted, and numbers and timestamps that PostgreSQL gave us.
"""

from collections.abc import Iterable

from pg8000.native import identifier, literal

from totelake.drift import lands_as_text
from totelake.tables import CHANGE, JOINS, LOOKUP, ROW_CHANGE, ROW_XMIN, SOURCE, SourceTable
from totelake.window import CHANGES, Keys, Window

SCHEMA = "public"
ROW_CTID = "row_ctid"


def relation(table: str) -> str:
    """A source table's quoted name."""
    return f"{identifier(SCHEMA)}.{identifier(table)}"


def join_snapshot_statement(exported: str) -> str:
    """The statement by which a JDBC connection joins an exported snapshot."""
    return (
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; "
        f"SET TRANSACTION SNAPSHOT {literal(exported)}"
    )


def select_statement(table: SourceTable, columns: Iterable[tuple[str, str]], window: Window) -> str:
    """The query for a table's rows of a batch.

    Args:
        table: The table.
        columns: Names and types of its columns, in order.
        window: Which rows.
    """
    row = ", ".join(
        [
            *(_value(table, name, type_) for name, type_ in columns),
            f"t.xmin::text::bigint AS {ROW_XMIN}, t.ctid AS {ROW_CTID}",
        ]
    )
    from_table = f"{relation(table.name)} AS t"
    if window.mode_of(table.name) != CHANGES:
        return f"SELECT {row} FROM {from_table}"
    changed = changed_condition("t", table.name, window)
    wanted = " OR ".join([changed, *_lookup_conditions(table, window)])
    return (
        f"SELECT {row}, CASE WHEN {changed} THEN {literal(CHANGE)} ELSE {literal(LOOKUP)} END"
        f" AS {ROW_CHANGE} FROM {from_table} WHERE {wanted}"
    )


def _value(table: SourceTable, name: str, type_: str) -> str:
    column = f"t.{identifier(name)}"
    if lands_as_text(table, name, type_):
        return f"{column}::text AS {identifier(name)}"
    return column


def _lookup_conditions(table: SourceTable, window: Window) -> list[str]:
    conditions = []
    for join in JOINS:
        column, key = identifier(join.column), identifier(SOURCE[join.parent].key)
        parent, child = relation(join.parent), relation(join.child)
        if table.name == join.child:
            conditions.append(
                f"t.{column} IN (SELECT p.{key} FROM {parent} AS p"
                f" WHERE {changed_condition('p', join.parent, window)})"
            )
            if join.parent in window.swept:
                # What a deleted parent leaves behind, where no foreign key forbids it.
                conditions.append(
                    f"NOT EXISTS (SELECT FROM {parent} AS p WHERE p.{key} = t.{column})"
                )
        if table.name == join.parent:
            conditions.append(
                f"t.{key} IN (SELECT c.{column} FROM {child} AS c"
                f" WHERE {changed_condition('c', join.child, window)})"
            )
    return conditions


def changed_condition(alias: str, table: str, window: Window) -> str:
    """Whether a row's version may be newer than the previous snapshot.

    ``age()`` counts back from the newest transaction id and does the arithmetic of the circle;
    the younger the version, the smaller its age. It is negative for a row that has been frozen
    for half of the circle: such a row still shows the id that it was written with.

    With a watermark only the rows from there on are looked at, by the column's index.
    """
    start = f"age({literal(str(window.start_xid))}::xid)"
    changed = f"age({alias}.xmin) BETWEEN 0 AND {start}"
    watermark = SOURCE[table].watermark
    if watermark is not None and table in window.marks:
        column, mark = identifier(watermark.column), literal(window.marks[table])
        changed = f"{alias}.{column} >= {mark}::timestamp AND {changed}"
    came = [f"{alias}.{identifier(name)} IS NOT NULL" for name in window.new_columns.get(table, ())]
    return f"({' OR '.join([changed, *came])})"


def keys_statement(table: str, window: Window, previous: Keys | None) -> str:
    """The query that gives one table's keys, those up to the previous highest one, and a change.

    One scan, of the kind that any look at ``xmin`` needs. Where the keys up to the previous
    highest one are the same as then, none was deleted.
    """
    key = f"t.{identifier(SOURCE[table].key)}::bigint"
    count, digest = "count(*)", f"coalesce(sum(hashint8extended({key}, 0)), 0)::text"
    known = (
        f"({key} <= {previous.highest})" if previous and previous.highest is not None else "FALSE"
    )
    changed = changed_condition("t", table, window) if window.mode == CHANGES else "TRUE"
    return (
        f"SELECT {literal(table)}, {count}, {digest}, max({key}),"
        f" count(*) FILTER (WHERE {known}),"
        f" coalesce(sum(hashint8extended({key}, 0)) FILTER (WHERE {known}), 0)::text,"
        f" coalesce(bool_or({changed}), FALSE) FROM {relation(table)} AS t"
    )


def mark_statement(table: str, window: Window) -> str:
    """The query that gives a table's next mark, and whether anything changed.

    The start is not after the present moment: a timestamp in the future would hide whatever
    changes until then.
    """
    watermark = SOURCE[table].watermark
    assert watermark is not None  # nosec B101  # asked for tables with a watermark only
    column = f"t.{identifier(watermark.column)}"
    overlap = f"interval {literal(f'{watermark.overlap.total_seconds()} seconds')}"
    changed = "TRUE"
    if window.mode_of(table) == CHANGES:
        changed = changed_condition("t", table, window)
    return (
        f"SELECT (least(newest, now() AT TIME ZONE 'UTC') - {overlap})::text,"
        f" EXISTS (SELECT FROM {relation(table)} AS t WHERE {changed})"
        f" FROM (SELECT max({column}) AS newest FROM {relation(table)} AS t) AS newest"
    )


def unheld_condition(name: str, type_: str) -> str:
    """Whether a column's value is none of the lake's type; empty where all are."""
    if type_.startswith("numeric("):
        return f"{identifier(name)} = 'NaN'"
    if type_.startswith(("timestamp", "date")):
        return f"NOT isfinite({identifier(name)})"
    return ""


COUNTERS = (
    # Where a table is partitioned, its partitions count. A new file, as TRUNCATE makes one, and
    # the moments at which PostgreSQL forgets what it counted are part of it.
    "SELECT c.relname, concat_ws(' ', string_agg(concat_ws('/', p.oid, p.relfilenode,"
    "   pg_stat_get_tuples_deleted(p.oid)), ' ' ORDER BY p.oid),"
    " (SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()),"
    " pg_postmaster_start_time())"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " JOIN pg_class p ON p.oid = c.oid OR p.oid IN (SELECT relid FROM pg_partition_tree(c.oid))"
    " WHERE nspname = :schema AND c.relname = ANY(:tables) GROUP BY c.oid, c.relname"
)
