"""Zoom's cloud chat: round trips, and what would credit words to the wrong person."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import Refused
from harness.meetings.model import Turn
from harness.meetings.readers import zoom_chat
from meetings.readers.files import fixture, turns_of

_NAME = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20)
_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=30)
_SAID = st.tuples(_NAME, _TEXT.filter(lambda text: bool(text.strip())))


@given(st.lists(_SAID, max_size=6))
def test_what_is_written_is_read(said: list[tuple[str, str]]) -> None:
    turns = [Turn(n, name, text, float(n)) for n, (name, text) in enumerate(said)]
    assert turns_of(zoom_chat, zoom_chat.write(turns)) == turns


def test_chat_fixture_keeps_bare_line_feeds_tabs_and_colons() -> None:
    turns = turns_of(zoom_chat, fixture("zoom_cloud_chat.txt"))
    assert [t.speaker for t in turns] == [
        "Ada Example",
        "Bo Sample | Org",
        "Cy Guest",
        "Dee: Colon",
    ]
    assert turns[2].text.endswith('"\n\nthey always are')
    assert turns[3].text == "tab\there"
    assert turns[0].seconds == 6 * 60 + 15


def test_saved_chat_is_not_a_cloud_chat() -> None:
    with pytest.raises(Refused, match="line 1"):
        turns_of(zoom_chat, fixture("zoom_saved_chat_types.txt"))


def test_a_chat_with_unix_line_ends_is_refused_where_it_would_misattribute() -> None:
    with pytest.raises(Refused, match="line 2"):
        turns_of(zoom_chat, b"00:00:01\tAda:\thello\n00:00:02\tBo:\tsecret\n")
