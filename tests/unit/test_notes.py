"""The two notes of a zone."""

from datetime import UTC, datetime

import pytest

from totelake import notes
from totelake.errors import LakeError
from totelake.lake import Zone

MOMENT = datetime(2026, 11, 20, 10, 15, 0, 123456, tzinfo=UTC)


def test_the_last_look_is_the_newest_one(zone: Zone) -> None:
    assert notes.looked_at(zone) is None
    notes.note_look(zone, datetime(2026, 11, 19, tzinfo=UTC))
    notes.note_look(zone, MOMENT)
    assert notes.looked_at(zone) == MOMENT


def test_what_is_registered_is_so_in_one_database(zone: Zone) -> None:
    """Guards against a new database that lacks what an older one had."""
    assert notes.registered(zone, "lake") == ""
    notes.note_registered(zone, "lake", "20261120T101500Z")
    assert notes.registered(zone, "lake") == "20261120T101500Z"
    assert notes.registered(zone, "other") == ""


def test_notes_are_hidden_from_readers_of_tables() -> None:
    assert all(name.startswith("_") for name in notes.NOTES)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"looked": 1}', b"\xff"])
def test_an_unreadable_note_is_named(zone: Zone, content: bytes) -> None:
    zone.write(content, notes.LOOKED_AT)
    with pytest.raises(LakeError, match=r"_looked_at\.json: expected a note .* remove the object"):
        notes.looked_at(zone)
