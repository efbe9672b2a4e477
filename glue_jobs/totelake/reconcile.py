"""Do source, raw zone, processed zone and warehouse hold the same? Every row of each counts.

Each place gives a key and a fingerprint of every row; Spark brings the four together by key, so
that memory does not grow with the tables. The places are read from the last to the first: what
an earlier place has more than a later one is on its way. That, and what the jobs set aside, is
told apart from what is wrong:

- in flight: changed in the source since the newest batch, or in a batch not transformed yet;
- deleted: gone from the source, and waits for the sweep of a table with a watermark;
- rejected: the newest version is in quarantine;
- not loaded: in a batch that the warehouse lacks; it is compared with the batches it has;
- held: waits in the warehouse for a member of a dimension.

A row that is gone has no version to tell when it went. So extract's own look at the source is
asked what the next batch would do: where it would sweep the key's table, the deletion is in
flight, for a sweep finds every key that is gone; where it would not, no batch will ever bring
it, and it is wrong. Only a table with a watermark is swept later, when its counters say so and
its time has come.
"""

from dataclasses import dataclass
from functools import reduce
from typing import Any

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from totelake.places import DAYS, Places, comparison_name, pairs, rows
from totelake.tables import STAR, SourceTable, StarTable
from totelake.window import Window as SourceWindow

_KEYS_NAMED = 10
# Each place and the one before it: their names, and the columns that have to be equal.
_LINKS = {
    "raw": ("source", "raw zone", "in_source", "in_raw"),
    "lake": ("source", "processed zone", "star_in_source", "in_lake"),
    "warehouse": ("processed zone", "warehouse", "in_lake_loaded", "in_warehouse"),
    "versions": ("processed zone", "warehouse", "lake_versions", "warehouse_versions"),
}
AGREE, WRONG = "agree", "wrong"
IN_FLIGHT, DELETED, REJECTED, HELD = "in_flight", "deleted", "rejected", "held"
_PLACES = ("source", "raw", "lake", "warehouse")
_OUTCOMES = (IN_FLIGHT, DELETED, REJECTED, HELD, "not_loaded")
_WRONG = tuple(f"link_{link}" for link in _LINKS)


@dataclass(frozen=True)
class Report:
    """One table in all places, in keys.

    Attributes:
        table: The star's table; for a source table that has none, the source's.
        source: Rows in the source's snapshot; for dim_date, the days of the years that its facts'
            dates lie in.
        raw: Keys alive in the raw zone; None for dim_date, which it does not have.
        lake: Keys alive in the processed zone; None for a source table without a star table.
        warehouse: Keys alive in the warehouse; None likewise.
        versions: All rows of a fact in the warehouse; None for others.
        in_flight: Keys that differ because they are on their way into raw or processed zone.
        not_loaded: Keys that batches change which the warehouse lacks.
        deleted: Keys gone from the source that wait for a sweep which is not due.
        rejected: Keys that differ because their newest version is in quarantine.
        held: Keys that differ because a version waits in the warehouse.
        differences: What is wrong; empty when all agrees.
    """

    table: str
    source: int
    raw: int | None
    lake: int | None
    warehouse: int | None
    versions: int | None
    in_flight: int = 0
    not_loaded: int = 0
    deleted: int = 0
    rejected: int = 0
    held: int = 0
    differences: tuple[str, ...] = ()

    @property
    def set_aside(self) -> int:
        """Keys that differ and may."""
        return self.in_flight + self.not_loaded + self.deleted + self.rejected + self.held


def reports(places: Places) -> list[Report]:
    """Compare every table in all places; one report per star table, then those without one."""
    keys = _links(_by_key(rows(places)), places.next_batch)
    counted = {row["table"]: row.asDict() for row in _count(keys).collect()}
    nothing = dict.fromkeys([*_PLACES, *_OUTCOMES, "star_in_source", "versions", *_WRONG], 0)
    is_wrong = any(row[column] for row in counted.values() for column in _WRONG)
    named = _differences(keys) if is_wrong else {}
    return [
        _report(counted.get(comparison_name(table, star), nothing), named, table, star)
        for table, star in pairs()
    ]


def _by_key(rows: DataFrame) -> DataFrame:
    """Per key, what each place holds: a fingerprint, or null where the key is not alive."""

    def flag(name: str) -> Column:
        return F.coalesce(F.max(name), F.lit(False)).alias(name)

    def newest(digest: str, batch: str) -> Column:
        return F.max_by(digest, batch)

    flags = ("changed", "changed_star", "pending", "held")
    versions = ("lake_version", "warehouse_version")
    rejected = F.max("rejected_batch") > F.coalesce(F.max("lake_batch"), F.lit(0))
    return rows.groupBy("table", "key").agg(
        F.sum("source").alias("in_source"),
        F.sum("source_star").alias("star_in_source"),
        *map(flag, flags),
        F.coalesce(rejected, F.lit(False)).alias("rejected"),
        newest("raw", "raw_batch").alias("in_raw"),
        newest("lake", "lake_batch").alias("in_lake"),
        newest("lake", "loaded_batch").alias("in_lake_loaded"),
        newest("warehouse", "warehouse_batch").alias("in_warehouse"),
        *[F.struct(F.count(name).alias("n"), F.sum(name)).alias(f"{name}s") for name in versions],
    )


def _links(keys: DataFrame, next_batch: SourceWindow) -> DataFrame:
    """Per key, how each place stands to the one before it."""

    def link(name: str, *excuses: tuple[Column, str]) -> Column:
        _, _, one, other = _LINKS[name]
        result = F.when(F.col(one).eqNullSafe(F.col(other)), AGREE)
        for condition, excuse in excuses:
            result = result.when(condition, excuse)
        return result.otherwise(WRONG).alias(f"link_{name}")

    gone = F.col("in_source").isNull() & F.col("in_raw").isNotNull()
    sources = [(table, comparison_name(table, star)) for table, star in pairs() if table]
    swept = [name for table, name in sources if table.name in next_batch.swept]
    later = [name for table, name in sources if table.watermark and name not in swept]
    of_next_sweep = (gone & F.col("table").isin(swept), IN_FLIGHT)
    of_later_sweep = (gone & F.col("table").isin(later), DELETED)
    has_star = F.col("table").isin([*STAR])
    # A year stays when no date is in it any more, and one comes with the row that touches it.
    in_both = F.col("star_in_source").isNotNull() & F.col("in_lake").isNotNull()
    of_one_place = (F.col("table") == DAYS) & ~in_both
    on_its_way = F.col("changed_star") | F.col("pending")
    held = (F.col("held"), HELD)
    return keys.select(
        "*",
        link(
            "raw",
            (F.col("changed"), IN_FLIGHT),
            of_next_sweep,
            of_later_sweep,
        ),
        link(
            "lake",
            (~has_star | of_one_place, AGREE),
            (on_its_way, IN_FLIGHT),
            of_next_sweep,
            of_later_sweep,
            (F.col("rejected"), REJECTED),
        ),
        link("warehouse", held),
        link("versions", held),
    )


def _count(keys: DataFrame) -> DataFrame:
    """Per table, how many keys each place has and how many stand in which way to another."""

    def any_is(outcome: str) -> Column:
        links = [F.col(f"link_{link}") == outcome for link in _LINKS]
        return F.count_if(reduce(lambda one, other: one | other, links)).alias(outcome)

    moved = ~F.col("in_lake").eqNullSafe(F.col("in_lake_loaded"))
    return keys.groupBy("table").agg(
        *[F.count(f"in_{place}").alias(place) for place in _PLACES],
        F.count("star_in_source").alias("star_in_source"),
        F.sum("warehouse_versions.n").alias("versions"),
        *map(any_is, (IN_FLIGHT, DELETED, REJECTED, HELD)),
        F.count_if(moved).alias("not_loaded"),
        *[F.count_if(F.col(f"link_{link}") == WRONG).alias(f"link_{link}") for link in _LINKS],
    )


def _differences(keys: DataFrame) -> dict[tuple[str, str], list[str]]:
    """Per table and link, the first keys of what is wrong, each with what is wrong about it."""
    wrong = []
    for link, (first, second, one, other) in _LINKS.items():
        what = (
            F.when(F.lit(link == "versions"), "versions")
            .when(F.col(one).isNull(), f"not in the {first}")
            .when(F.col(other).isNull(), f"not in the {second}")
            .otherwise("content")
        )
        is_wrong = F.col(f"link_{link}") == WRONG
        wrong.append(F.when(is_wrong, F.struct(F.lit(link).alias("link"), what.alias("what"))))
    exploded = keys.select("table", "key", F.explode(F.array_compact(F.array(*wrong))).alias("is"))
    first_keys = Window.partitionBy("table", "is.link").orderBy(F.length("key"), "key")
    rows = exploded.withColumn("place", F.row_number().over(first_keys))
    named: dict[tuple[str, str], list[str]] = {}
    for row in rows.where(F.col("place") <= _KEYS_NAMED).orderBy("place").collect():
        words = f"{row['key']} {row['is']['what']}"
        named.setdefault((row["table"], row["is"]["link"]), []).append(words)
    return named


def _report(
    counted: dict[str, Any],
    named: dict[tuple[str, str], list[str]],
    table: SourceTable | None,
    star: StarTable | None,
) -> Report:
    name = comparison_name(table, star)
    differences = []
    for link, (first, second, *_) in _LINKS.items():
        if count := counted[f"link_{link}"]:
            keys = named[name, link]
            words = ", ".join([*keys, *["…"] * (count > len(keys))])
            differences.append(f"{first} and {second}: {count:,} keys differ ({words})")
    return Report(
        table=name,
        source=counted["source"] if table else counted["star_in_source"],
        raw=counted["raw"] if table else None,
        lake=counted["lake"] if star else None,
        warehouse=counted["warehouse"] if star else None,
        versions=counted["versions"] if star and star.is_fact else None,
        **{outcome: counted[outcome] for outcome in _OUTCOMES},
        differences=tuple(differences),
    )
