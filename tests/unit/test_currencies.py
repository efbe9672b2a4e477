"""The names of currencies."""

import re

from totelake.currencies import ISO_4217


def test_the_currencies_of_the_source_have_their_official_names() -> None:
    assert [ISO_4217[code] for code in ("GBP", "USD", "EUR")] == [
        "Pound Sterling",
        "US Dollar",
        "Euro",
    ]


def test_every_entry_is_a_code_and_a_clean_name() -> None:
    """Guards against stray blanks, empty names and a list that was cut."""
    assert 170 <= len(ISO_4217) <= 190
    for code, name in ISO_4217.items():
        assert re.fullmatch("[A-Z]{3}", code), code
        assert name
        assert name == " ".join(name.split()), code


def test_withdrawn_codes_are_not_in_list_one() -> None:
    assert not {"DEM", "FRF", "HRK", "SLL", "CUC", "ZWL", "ANG", "VEF", "BGN"} & set(ISO_4217)


def test_the_order_is_the_alphabets() -> None:
    """Guards against a pair that was inserted twice under a mistyped code."""
    assert list(ISO_4217) == sorted(ISO_4217)
