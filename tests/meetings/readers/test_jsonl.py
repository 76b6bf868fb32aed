"""Our own format: round trip and refusals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import Refused
from harness.meetings.formats import READERS
from harness.meetings.model import Turn
from harness.meetings.readers import jsonl
from meetings.readers.files import turns_of

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_TURN = st.tuples(
    _TEXT,
    _TEXT.filter(lambda text: bool(text.strip())),
    st.none() | st.floats(0, 1e6),
)


@given(st.lists(_TURN, max_size=6))
def test_what_is_written_is_read(said: list[tuple[str, str, float | None]]) -> None:
    turns = [Turn(index, *fields) for index, fields in enumerate(said)]
    assert READERS["turns-jsonl"](jsonl.write(turns)) == turns


@pytest.mark.parametrize(
    "row",
    ['{"speaker": "A"}', '{"speaker": "A", "text": " "}', "[]", "", '{"speaker": 1, "text": "a"}',
     '{"speaker": "A", "text": "a", "extra": 1}', '{"speaker": "A", "text": "a", "seconds": null}',
     '{"speaker": "A", "text": "a", "seconds": -1}', '{"speaker": "A", "text": "a", "text": "b"}',
     '{"speaker": "A", "text": "a", "seconds": NaN}'],
)  # fmt: skip
def test_broken_rows_are_refused_at_their_line(row: str) -> None:
    good = '{"speaker": "A", "text": "a"}\n'
    with pytest.raises(Refused) as refused:
        turns_of(jsonl, (good + row + "\n").encode())
    assert (refused.value.code, refused.value.where) == ("PARSE_REFUSED", "line 2")
