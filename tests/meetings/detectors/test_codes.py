"""The detector of numeric secrets on text where it must and must not fire."""

from itertools import pairwise

import pytest

from harness.meetings.detectors.codes import Codes


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("code 482913.", [("passcode", "482913")]),
        ("call 415-555-0137, or $48,250!", [("phone", "415-555-0137"), ("amount", "$48,250")]),
        ("$1,250,000", [("amount", "$1,250,000")]),
        ("4829134 48291 415-555-01377 1415-555-0137 $500 $1,2345 $482913", []),
        ("٤٨٢٩١٣", []),
    ],
)
def test_find(text: str, found: list[tuple[str, str]]) -> None:
    assert [(f.kind, text[f.start : f.end]) for f in Codes().find(text)] == found


@pytest.mark.parametrize("piece", ["$123,456", "123-", "7", "$1,", "123-456-7890-"])
def test_a_long_text_of_near_misses_is_searched_to_its_end(piece: str) -> None:
    found = [*Codes().find(f"{piece * 80_000} 482913")]
    assert found[-1].kind == "passcode"
    assert all(a.end <= b.start for a, b in pairwise(found))
