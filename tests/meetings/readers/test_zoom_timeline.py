"""Zoom's timeline: who spoke when."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


MOMENTS = st.lists(
    st.tuples(st.integers(0, 359_999_999), st.lists(st.text(max_size=8), max_size=3)), max_size=5
)


@given(MOMENTS, MOMENTS)
def test_what_is_rendered_is_read_the_mended_list_last(first: Any, mended: Any) -> None:
    def clock(ms: int) -> str:
        rest, thousandths = divmod(ms, 1000)
        minutes, seconds = divmod(rest, 60)
        return f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}.{thousandths:03d}"

    def listed(moments: Any) -> list[dict[str, Any]]:
        return [
            {"ts": clock(ms), "users": [{"username": n, "zoom_userid": "x"} for n in names]}
            for ms, names in moments
        ]

    data = json.dumps({"timeline_refine": listed(mended), "timeline": listed(first)}).encode()
    assert zoom_timeline.read(data) == [
        Moment(ms / 1000, tuple(names)) for ms, names in [*mended, *first]
    ]
