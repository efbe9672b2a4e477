"""What `make replay` refuses before anything starts."""

import pytest

from local.replay import Wish
from local.settings import SettingsError


@pytest.mark.parametrize("to", ["", "A", "1st", "a-b", "x; DROP"])
def test_a_name_that_is_none(to: str) -> None:
    with pytest.raises(SettingsError, match="TO: expected a name like january"):
        Wish.of({"TO": to})


def test_what_is_asked_for() -> None:
    assert Wish.of({"TO": "anew"}) == Wish("anew")
    assert Wish.of({"TO": "anew", "FROM": "20240101T000000Z", "SWITCH": "1"}) == Wish(
        "anew", "20240101T000000Z", switch=True
    )
