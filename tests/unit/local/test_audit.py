"""What the audit of packages says."""

from typing import Any

from local import audit

FINE: dict[str, Any] = {"name": "fine", "version": "1.0", "vulns": []}
BAD: dict[str, Any] = {
    "name": "bad",
    "version": "2.0",
    "vulns": [
        {"id": "PYSEC-1", "fix_versions": ["2.1", "3.0"]},
        {"id": "PYSEC-2", "fix_versions": []},
    ],
}


def unknown(number: int) -> dict[str, Any]:
    return {"name": f"unknown{number}", "skip_reason": "not found"}


def test_vulnerabilities_are_named_with_what_mends_them() -> None:
    assert audit.report([FINE, BAD]) == [
        "bad 2.0: PYSEC-1, mended in 2.1, 3.0",
        "bad 2.0: PYSEC-2, mended in no version yet",
        "2 of 2 packages checked, 2 vulnerabilities",
    ]


def test_what_was_not_checked_is_never_taken_for_clean() -> None:
    """Guards against "no known vulnerabilities" from an index that knows none."""
    lines = audit.report([FINE, *(unknown(number) for number in range(7))])
    assert lines == [
        "1 of 8 packages checked, 0 vulnerabilities",
        "not checked, the index tells nothing of unknown0, unknown1, unknown2, unknown3, "
        "unknown4 and 2 more",
    ]
