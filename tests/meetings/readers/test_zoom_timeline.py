"""Zoom's timeline: who spoke when."""

import pytest

from harness.errors import Refused
from harness.meetings.readers import zoom_timeline
from harness.meetings.readers.zoom_timeline import Moment
from meetings.readers.files import fixture


def test_the_fixture_names_who_spoke() -> None:
    data = fixture("zoom_timeline.json")
    assert zoom_timeline.looks(data.decode())
    names = [name for moment in zoom_timeline.read(data) for name in moment.names]
    assert {*names} == {"Ada Example", "Bo Sample", "Cy Guest"}


def test_both_lists_are_read_and_who_has_no_name_counts() -> None:
    one = b'{"ts": "00:00:01.500", "users": [{"username": "A"}, {"username": ""}]}'
    two = b'{"ts": "01:00:00.000", "users": []}'
    both = b'{"timeline": [%s], "timeline_refine": [%s]}' % (one, two)
    assert zoom_timeline.read(both) == [Moment(3600.0, ()), Moment(1.5, ("A", ""))]


@pytest.mark.parametrize(
    "data",
    [b"[]", b'{"timeline": 1}', b'{"timeline": [{}]}', b'{"other": []}', b"{",
     b'{"timeline": [{"ts": "1:2", "users": []}]}',
     b'{"timeline": [{"ts": "00:00:01.000", "users": [{"username": 1}]}]}'],
)  # fmt: skip
def test_other_json_is_refused(data: bytes) -> None:
    with pytest.raises(Refused, match="PARSE_REFUSED"):
        zoom_timeline.read(data)
