"""Zoom's participants report in its variants."""

import pytest

from harness.errors import Refused
from harness.meetings.readers import zoom_participants
from meetings.readers.files import fixture


def test_participants_fixture() -> None:
    stays = zoom_participants.read(fixture("zoom_participants.csv")).stays
    assert [stay.label for stay in stays] == [
        "Ada Example", "Ada Example", "bo (Bo Sample)", "Guest iPhone", "14155550100",
    ]  # fmt: skip
    assert [stay.guest for stay in stays] == [False, False, True, True, True]
    assert (stays[0].join.hour, stays[0].minutes, stays[2].recording_consent) == (18, 29, "")


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (b",Guest,Rec", b",Geust,Rec", 4),
        (b"10/06/2026 06:01:12 PM", b"06.10.2026 18:01", 5),
        (b",29,No,", b",29,Perhaps,", 5),
        (b",26,No,Y", b",26,No", 6),
        (b"Meeting ID,", b"Meeting,", 1),
    ],
)
def test_broken_participants_are_refused(old: bytes, new: bytes, line: int) -> None:
    with pytest.raises(Refused) as refused:
        zoom_participants.read(fixture("zoom_participants.csv").replace(old, new, 1))
    assert (refused.value.code, refused.value.where) == ("PARSE_REFUSED", f"line {line}")
