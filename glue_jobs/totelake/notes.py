"""Two notes at the top of a zone: the only objects of the lake that are ever rewritten.

Neither is needed to find out what is committed or pending. Without the one, freshness is unknown
until the next run; without the other, the next run registers everything again.
"""

import json
from datetime import datetime
from typing import Any

from totelake.errors import LakeError
from totelake.lake import Zone, to_json

LOOKED_AT, REGISTERED = "_looked_at.json", "_registered.json"
NOTES = (LOOKED_AT, REGISTERED)


def note_look(zone: Zone, moment: datetime) -> None:
    """Note that all that the source had committed by a moment is in the zone."""
    zone.write(to_json({"looked_at": moment.isoformat()}), LOOKED_AT)


def looked_at(zone: Zone) -> datetime | None:
    """The moment by which all that the source had committed is in the zone, if it was noted.

    Extract notes it whether or not anything has changed, and transform hands it on. To be read
    before asking what is pending: what is committed later then only counts as older than it is.
    """
    note = _read(zone, LOOKED_AT)
    return datetime.fromisoformat(note["looked_at"]) if note else None


def note_registered(zone: Zone, database: str, batch: str) -> None:
    """Note that a batch and all before it are in a database of the catalogue."""
    zone.write(to_json({"database": database, "batch": batch}), REGISTERED)


def registered(zone: Zone, database: str) -> str:
    """The newest batch up to which all are in a database of the catalogue; empty for none."""
    note = _read(zone, REGISTERED)
    return note["batch"] if note and note["database"] == database else ""


def _read(zone: Zone, name: str) -> dict[str, Any] | None:
    try:
        content = json.loads(zone.read(name))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise _unreadable(zone, name, str(error)) from error
    expected = {LOOKED_AT: {"looked_at"}, REGISTERED: {"database", "batch"}}[name]
    if not isinstance(content, dict) or content.keys() != expected:
        raise _unreadable(zone, name, repr(content))
    return content


def _unreadable(zone: Zone, name: str, found: str) -> LakeError:
    return LakeError(
        f"{zone.uri}/{name}: expected a note of these jobs, found something else ({found}); "
        "remove the object, the next run writes it anew"
    )
