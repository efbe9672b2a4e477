"""What a batch lands of the rows that the source gave: pure functions of frames.

The rows that ``source`` gives are a superset of what changed. Here the versions that are in the
lake already are told from the new ones, by transaction id or by content.
"""

from collections.abc import Mapping
from functools import reduce

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from totelake.tables import JOINS, LOOKUP, ROW_CHANGE, ROW_XMIN, SOURCE, TOMBSTONE

_XID_CIRCLE = 2**32
_LANDED = "landed"
JOINED = {table for join in JOINS for table in (join.child, join.parent)}


def in_window(start: int, end: int) -> Column:
    """Whether ``row_xmin`` (32 bits) lies in ``start <= xid < end`` (64 bits)."""
    since_start = F.pmod(F.col(ROW_XMIN) - F.lit(start % _XID_CIRCLE), F.lit(_XID_CIRCLE))
    return since_start < F.lit(end - start)


def without_landed(rows: DataFrame, landed: DataFrame, table: str) -> DataFrame:
    """Leave out the versions that an overlapping batch landed before.

    A version is a key and the transaction that wrote it. In a table that is joined with another
    such a row stays, as a lookup: its counterpart may need it.

    Args:
        rows: Rows of a raw table: its columns, ``row_xmin``, ``row_change``.
        landed: Rows of the same raw table that other batches hold, each version once.
        table: The source table's name.

    Returns:
        ``rows`` in the same columns.
    """
    version = [SOURCE[table].key, ROW_XMIN]
    if table not in JOINED:
        return rows.join(landed.select(version), on=version, how="left_anti").select(rows.columns)
    known = landed.select(*version, F.lit(True).alias(_LANDED))
    change = F.when(F.col(_LANDED), F.lit(LOOKUP)).otherwise(F.col(ROW_CHANGE))
    return (
        rows.join(known, on=version, how="left").withColumn(ROW_CHANGE, change).select(rows.columns)
    )


def latest(rows: DataFrame, key: str) -> DataFrame:
    """The current state of a raw table: each key's row of its newest batch, if not deleted.

    Args:
        rows: Rows of all batches, with the column ``batch``.
        key: The table's key.
    """
    newest_first = Window.partitionBy(key).orderBy(F.col("batch").desc())
    return (
        rows.withColumn("position", F.row_number().over(newest_first))
        .where((F.col("position") == 1) & (F.col(ROW_CHANGE) != TOMBSTONE))
        .drop("position", "batch")
    )


def differing(rows: DataFrame, state: DataFrame, table: str) -> DataFrame:
    """The rows whose content is not what the lake has as their current state.

    Args:
        rows: All rows of a source table.
        state: The raw table's current state; columns that it lacks count as different.
        table: The source table's name.

    Returns:
        ``rows`` in the same columns.
    """
    key = SOURCE[table].key
    content = [name for name in rows.columns if name not in (ROW_XMIN, ROW_CHANGE)]
    known = [name for name in content if name in state.columns]
    if known != content:
        return rows
    same = reduce(
        lambda all_, name: all_ & F.col(f"r.{name}").eqNullSafe(F.col(f"s.{name}")),
        content,
        F.col(f"r.{key}") == F.col(f"s.{key}"),
    )
    return rows.alias("r").join(state.alias("s"), on=same, how="left_anti").select(rows.columns)


def tombstones(rows: DataFrame, alive: DataFrame, table: str) -> DataFrame:
    """The keys that the lake has and the source has no more.

    Args:
        rows: All rows of a source table.
        alive: The raw table's current state; its key is enough.
        table: The source table's name.

    Returns:
        Rows in the columns of ``rows``, null but for the key: what a deleted row was, its last
        version says.
    """
    key = SOURCE[table].key
    gone = alive.select(key).join(rows.select(key), on=key, how="left_anti")
    types = dict(rows.dtypes)
    values = {key: F.col(key), ROW_CHANGE: F.lit(TOMBSTONE)}
    return gone.select(
        [
            values.get(name, F.lit(None)).cast(types[name]).alias(name)
            for name in (field.name for field in rows.schema)
        ]
    )


def with_lookups(
    changed: Mapping[str, DataFrame], everything: Mapping[str, DataFrame]
) -> dict[str, DataFrame]:
    """Add to changed rows their counterparts in the tables that they are joined with.

    Args:
        changed: Per source table, the rows that changed.
        everything: Per source table, all rows.

    Returns:
        Per source table of ``changed``, its rows and the lookups that accompany a change.
    """
    result = dict(changed)
    for join in JOINS:
        child, parent = SOURCE[join.child], SOURCE[join.parent]
        parents = changed[parent.name].select(F.col(parent.key).alias(join.column))
        of_parents = _lookups(everything[child.name], parents, changed[child.name], child.key)
        children = result[child.name].unionByName(of_parents)
        references = children.select(F.col(join.column).alias(parent.key)).dropDuplicates()
        of_children = _lookups(
            everything[parent.name], references, changed[parent.name], parent.key
        )
        result[child.name] = children
        result[parent.name] = result[parent.name].unionByName(of_children)
    return result


def _lookups(rows: DataFrame, wanted: DataFrame, already: DataFrame, key: str) -> DataFrame:
    (column,) = wanted.columns
    return (
        rows.join(wanted, on=column, how="left_semi")
        .join(already.select(key), on=key, how="left_anti")
        .withColumn(ROW_CHANGE, F.lit(LOOKUP))
        .select(rows.columns)
    )
