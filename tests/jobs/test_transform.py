"""Transform from landed batches: the star, quarantine, and writing the same thing twice."""

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from totelake import batch, processed
from totelake.errors import ConflictError, QualityError
from totelake.tables import QUARANTINE, STAR

from .conftest import Pipeline


def rows(pipeline: Pipeline, table: str) -> dict[Any, tuple[Any, ...]]:
    """A star table's rows of the newest batch by key, without what the zone adds."""
    return {row[0]: tuple(row)[1:-2] for row in pipeline.star(table).collect()}


def test_the_star_of_the_first_batch(pipeline: Pipeline) -> None:
    pipeline.extract()
    pipeline.transform()
    for table in STAR.values():
        names = [name for name, _ in pipeline.star(table.name).dtypes]
        assert names == [*table.column_names, "row_deleted", "row_batch"]
    assert rows(pipeline, "fact_sales_order") == {
        1: (
            *(date(2022, 11, 3), "14:20:52.186") * 2,
            *(1, 1, 84754, Decimal("2.43"), 1, 9, date(2022, 11, 3), date(2022, 11, 10), 1),
        ),
        2: (
            *(date(2022, 11, 3), "23:59:59.999") * 2,
            *(2, 2, 42972, Decimal("3.94"), 2, 8, date(2022, 11, 8), date(2022, 11, 7), 2),
        ),
    }
    assert rows(pipeline, "fact_purchase_order")[1] == (
        *(date(2022, 11, 3), "14:20:52.187") * 2,
        *(3, 2, "12E3456", 371, Decimal("361.39"), 2, date(2022, 11, 9), date(2022, 11, 7), 3),
    )
    assert rows(pipeline, "fact_payment")[5] == (
        *(date(2022, 11, 3), "23:59:59.999") * 2,
        *(3, 2, Decimal("169309.68"), 2, 1, True, date(2022, 11, 8)),
    )
    assert rows(pipeline, "dim_staff")[1] == (
        "Jeremie",
        "O'Keeffe",
        "Sales",
        "Manchester",
        "jeremie.o'keeffe@terrifictotes.com",
    )
    assert rows(pipeline, "dim_counterparty")[1] == (
        "Fahey and Sons",
        "148 Sincere Fort",
        None,
        "Bedfordshire",
        "Lake Charles",
        "08010",
        "Samoa",
        "0730 783349",
    )
    assert rows(pipeline, "dim_currency")[1] == ("GBP", "Pound Sterling")
    assert rows(pipeline, "dim_transaction")[1] == ("PURCHASE", None, 1)
    days = rows(pipeline, "dim_date")
    assert {day.year for day in days} == {2022, 2024, 2025}
    assert len(days) == 365 + 366 + 365
    assert days[date(2024, 2, 29)] == (2024, 2, 29, 4, "Thursday", "February", 1)


def test_a_changed_department_reaches_its_staff(pipeline: Pipeline) -> None:
    pipeline.extract()
    pipeline.source.run("UPDATE department SET location = 'Leeds' WHERE department_id = 1")
    pipeline.extract()
    pipeline.transform()
    assert {key: row[3] for key, row in rows(pipeline, "dim_staff").items()} == {
        1: "Leeds",
        2: "Leeds",
    }


def test_a_lookup_makes_no_version(pipeline: Pipeline) -> None:
    """The address of a changed counterparty is in the batch, but did not change."""
    pipeline.extract()
    pipeline.source.run("UPDATE counterparty SET counterparty_legal_name = 'New' WHERE true")
    pipeline.extract()
    pipeline.transform()
    assert len(rows(pipeline, "dim_counterparty")) == 2
    assert rows(pipeline, "dim_location") == {}


def test_bad_rows_go_to_quarantine_whole_and_with_every_reason(pipeline: Pipeline) -> None:
    pipeline.source.run(
        "UPDATE sales_order SET agreed_delivery_date = '2024-02-30', agreed_payment_date = ''"
        " WHERE sales_order_id = 1;"
        "UPDATE department SET location = NULL WHERE department_id = 2;"
        "UPDATE currency SET currency_code = 'ZZZ' WHERE currency_id = 2"
    )
    pipeline.extract()
    pipeline.transform()
    quarantine = {
        row["source_key"] + row["star_table"]: row for row in pipeline.star(QUARANTINE).collect()
    }
    assert set(quarantine) == {"1fact_sales_order", "3dim_staff", "2dim_currency"}
    order = quarantine["1fact_sales_order"]
    assert order["source_table"] == "sales_order"
    assert order["reason"] == (
        "agreed_payment_date '' is no date (yyyy-mm-dd); "
        "agreed_delivery_date '2024-02-30' is no date (yyyy-mm-dd)"
    )
    assert order["rule"] == "agreed_payment_date_required; agreed_delivery_date_required"
    whole = json.loads(order["source_row"])
    assert whole["agreed_delivery_date"] == "2024-02-30"
    assert whole["unit_price"] == 2.43
    assert quarantine["3dim_staff"]["reason"] == "location is null"
    assert quarantine["2dim_currency"]["reason"] == "currency_code 'ZZZ' is not in ISO 4217"
    assert set(rows(pipeline, "fact_sales_order")) == {2}
    entries = batch.read_processed(
        pipeline.processed, batch.processed_ids(pipeline.processed)[0]
    ).tables
    for table in STAR:
        entry = entries[table]
        assert entry.rows_in == entry.rows + entry.rejected, table
    assert (entries["fact_sales_order"].rows_in, entries["fact_sales_order"].rejected) == (2, 1)


def test_several_batches_are_transformed_in_order(pipeline: Pipeline) -> None:
    pipeline.extract()
    pipeline.source.run("UPDATE design SET file_location = '/a' WHERE design_id = 8")
    pipeline.extract()
    events = pipeline.transform()
    ids = [manifest.batch for manifest in pipeline.batches()]
    assert [event["batch"] for event in events if event["event"] == "committed"] == ids
    assert batch.processed_ids(pipeline.processed) == ids
    assert pipeline.star("dim_design", ids[0]).count() == 2
    assert pipeline.star("dim_design", ids[1]).count() == 1
    assert [event["event"] for event in pipeline.transform()] == [
        "started",
        "nothing_to_do",
        "finished",
    ]


def data_files(pipeline: Pipeline) -> dict[str, bytes]:
    return {
        path: content
        for path, content in pipeline.objects().items()
        if path.startswith("processed/") and "/_" not in path
    }


def test_a_killed_transform_is_repeated_file_for_file(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.extract()

    def killed(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(batch, "commit_processed", killed)
    with pytest.raises(KeyboardInterrupt):
        pipeline.transform()
    monkeypatch.undo()
    left = data_files(pipeline)
    assert batch.processed_ids(pipeline.processed) == []
    root = Path(pipeline.processed.uri.removeprefix("file://"))
    folder = next((root / "dim_design").iterdir())
    (folder / "part-00007.parquet").write_bytes(b"of another release")
    events = pipeline.transform()
    assert data_files(pipeline) == left
    assert [e["file"] for e in events if e["event"] == "swept"] == [
        f"dim_design/{folder.name}/part-00007.parquet"
    ]


def test_of_two_transforms_at_once_one_wins(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.extract()
    commit_processed = batch.commit_processed

    def commit_after_another(*args: Any) -> Any:
        monkeypatch.setattr(batch, "commit_processed", commit_processed)
        pipeline.transform()
        before.update(data_files(pipeline))
        return commit_processed(*args)

    before: dict[str, bytes] = {}
    monkeypatch.setattr(batch, "commit_processed", commit_after_another)
    with pytest.raises(ConflictError, match=r"nothing is lost or doubled"):
        pipeline.transform()
    assert data_files(pipeline) == before
    assert len(batch.processed_ids(pipeline.processed)) == 1


def test_a_batch_that_does_not_add_up_is_not_committed(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a join drops or multiplies rows."""
    accepted = processed.accepted

    def without_a_payment(candidates: Any) -> Any:
        frames = accepted(candidates)
        return {**frames, "fact_payment": frames["fact_payment"].where("payment_id <> 2")}

    pipeline.extract()
    monkeypatch.setattr(processed, "accepted", without_a_payment)
    with pytest.raises(
        QualityError, match=r"fact_payment: expected 4 rows .* 3 accepted and 0 rej"
    ):
        pipeline.transform()
    assert batch.processed_ids(pipeline.processed) == []
