"""The catalogue held against manifests and merges: right is right, and each fault is named."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import boto3
import pytest

from local.aws import Aws
from totelake import merged
from totelake.batch import Manifest, TableEntry
from totelake.catalog import create_partitions, partition
from totelake.catalogued import compare
from totelake.errors import CatalogError
from totelake.lake import DataFile, Zone
from totelake.merged import Folder, Merge, Run, latest_name, older_name
from totelake.swap import swap

_NUMBERS = count(1)
IDS = [f"20261120T10{minute:02}00Z" for minute in range(5)]
FILES = [DataFile("part-00000.parquet", 1, 10)]
RUN = IDS[1:4]
LATEST, OLDER = latest_name(RUN), older_name(RUN)


def manifest(number: int, *tables: str) -> Manifest:
    """A batch with rows of some of its tables."""
    entries = {
        name: TableEntry(1, FILES if name in tables else [], {"id": "int"})
        for name in ("design", "staff", "quarantine")
    }
    return Manifest(
        number=number, batch=IDS[number], stage="extract", mode="changes", snapshot={},
        tables=entries, started_at="",
    )  # fmt: skip


KNOWN = [manifest(0, "design", "staff"), *(manifest(number, "design") for number in (1, 2, 3, 4))]


@dataclass
class Place:
    """A zone, its database, and a client of Glue."""

    zone: Zone
    glue: Any
    database: str

    def make_table(self, name: str) -> None:
        """A table as a crawler makes it."""
        descriptor = {"Columns": [{"Name": "id", "Type": "int"}], "Location": "", "SerdeInfo": {}}
        table = {
            "Name": name,
            "PartitionKeys": [{"Name": "batch", "Type": "string"}],
            "StorageDescriptor": descriptor,
        }
        self.glue.create_table(DatabaseName=self.database, TableInput=table)

    def register(self, *values: str, table: str = "design", folder: str = "") -> None:
        """Create partitions as the jobs do."""
        found = self.glue.get_table(DatabaseName=self.database, Name=table)["Table"]
        parts = [partition(found, it, folder or self.zone.batch_uri(table, it)) for it in values]
        assert create_partitions(self.glue, self.database, table, parts) == len(values)

    def forget(self, *values: str, table: str = "design") -> None:
        for value in values:
            self.glue.delete_partition(
                DatabaseName=self.database, TableName=table, PartitionValues=[value]
            )

    def swap(self) -> None:
        """Merge the batches of the run, and have the catalogue point there."""
        folders = [Folder(name, 1, FILES) for name in (LATEST, OLDER)]
        merge = Merge(1, IDS[3], {"design": [Run(RUN, {"id": "int"}, folders)]}, "")
        for name in (LATEST, OLDER):
            self.zone.write(b"rows", merged.MERGED, "design", f"batch={name}", FILES[0].name)
        merged.commit(self.zone, merge)
        swap(self.glue, self.database, self.zone, ["design"], [merge])

    def differences(self, *since: Manifest, known: list[Manifest] = KNOWN) -> list[str]:
        newest_first = reversed([*known, *since])
        reports = compare(self.glue, self.database, self.zone, known, newest_first)
        return [difference for report in reports for difference in report.differences]


@pytest.fixture
def place(aws: Aws, tmp_path: Path) -> Place:
    """A catalogue that is right: all batches registered, none merged."""
    made = Place(Zone(tmp_path.as_uri()), boto3.client("glue"), f"catalogued_{next(_NUMBERS)}")
    made.glue.create_database(DatabaseInput={"Name": made.database})
    made.make_table("design")
    made.register(*IDS)
    return made


def test_a_right_catalogue_agrees_before_and_after_a_merge(place: Place) -> None:
    """A table that no crawler has made is told of, and one without rows is not."""
    for _ in ("before", "after"):
        reports = compare(place.glue, place.database, place.zone, KNOWN, reversed(KNOWN))
        found = [(it.table, it.batches, it.partitions, it.differences) for it in reports]
        partitions = len(IDS) if not place.zone.names(merged.MERGES) else 4
        assert found == [("design", 5, partitions, ()), ("staff", 1, None, ())]
        if partitions == len(IDS):
            place.swap()


def test_a_merge_that_is_not_swapped_in_yet_is_right(place: Place) -> None:
    place.swap()
    place.forget(LATEST, OLDER)
    place.register(*RUN)
    assert place.differences() == []


def test_what_was_committed_meanwhile_may_be_registered_or_not(place: Place) -> None:
    assert place.differences(KNOWN[4], known=KNOWN[:4]) == []
    place.forget(IDS[4])
    assert place.differences(KNOWN[4], known=KNOWN[:4]) == []


def elsewhere(place: Place) -> None:
    place.forget(IDS[4])
    place.register(IDS[4], folder="s3://another/design/batch=" + IDS[4])


def rubbish(place: Place) -> None:
    place.make_table("quarantine")
    place.register("20261120T230000Z", table="quarantine")


STRAY = "20261120T095959Z"
MANY = [f"20261120T11{number:02}00Z" for number in range(12)]


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        (lambda it: it.forget(IDS[4], IDS[0]), f"2 partitions not registered ({IDS[0]}, {IDS[4]})"),
        (lambda it: it.forget(OLDER), f"1 partitions not registered ({OLDER})"),
        (
            lambda it: it.register(IDS[2]),
            f"1 partitions registered beside the merged folders that have the same rows ({IDS[2]})",
        ),
        (
            lambda it: it.register(STRAY),
            f"1 partitions registered, but no manifest names them ({STRAY})",
        ),
        (
            lambda it: it.register(*MANY),
            "12 partitions registered, but no manifest names them"
            f" ({', '.join(MANY[:10])}, …)",
        ),
        (
            rubbish,
            "1 partitions registered, but no manifest names them (20261120T230000Z)",
        ),
        (elsewhere, f"1 partitions registered with the folder of something else ({IDS[4]})"),
        (
            lambda it: it.zone.remove(merged.MERGED, "design", f"batch={LATEST}"),
            f"1 partitions registered, but their merged folder is gone ({LATEST})",
        ),
    ],
)  # fmt: skip
def test_each_fault_is_named(place: Place, fault: Callable[[Place], None], named: str) -> None:
    place.swap()
    fault(place)
    assert place.differences() == [named]


def test_half_a_swap_is_named_whole(place: Place) -> None:
    place.swap()
    place.forget(OLDER)
    place.register(*RUN)
    missing, twice = place.differences()
    assert missing == f"1 partitions not registered ({OLDER})"
    assert twice.startswith("3 partitions registered beside the merged folders")


def test_a_database_that_is_not_there_is_an_error(place: Place) -> None:
    place.database = "nowhere"
    with pytest.raises(CatalogError, match=r"database nowhere: .*EntityNotFound.*glue:GetTables"):
        place.differences()
