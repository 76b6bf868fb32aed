"""QMSum files: all of them read; markers go, positions stay."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import Refused
from harness.meetings.model import Turn
from harness.meetings.readers import qmsum
from meetings.readers.files import turns_of

FOLDER = Path(__file__).parents[3].parent / "shared" / "data" / "qmsum"


def _file(*contents: str) -> bytes:
    turns = [{"speaker": "PM", "content": content} for content in contents]
    return json.dumps({"meeting_transcripts": turns}).encode()


def test_markers_go_and_turns_without_words_are_not_counted() -> None:
    data = _file("{vocalsound} Okay {disfmarker} so", "", "{gap}", "bye")
    assert turns_of(qmsum, data) == [Turn(0, "PM", "Okay so"), Turn(1, "PM", "bye")]


def test_every_file_at_hand_is_read() -> None:
    if not FOLDER.is_dir():
        pytest.skip(f"no {FOLDER}")
    files = sorted(FOLDER.glob("*.json"))
    assert len(files) == 138
    for path in files:
        turns = turns_of(qmsum, path.read_bytes())
        raw = json.loads(path.read_bytes())["meeting_transcripts"]
        assert turns
        assert all("{" not in turn.text and turn.text.strip() for turn in turns)
        spoken = [e for e in raw if re.sub(r"\{[a-z]+\}", " ", e["content"]).split()]
        assert [turn.index for turn in turns] == list(range(len(spoken)))
        assert [turn.speaker for turn in turns] == [entry["speaker"] for entry in spoken]


@pytest.mark.parametrize(
    ("meeting", "series"),
    [("ES2002a", "ES2002"), ("IS1000a", "IS1000"), ("TS3003b", "TS3003"), ("Bmr003", "Bmr"),
     ("Bdb001", "Bdb"), ("covid_1", "covid"), ("education12", "education"),
     ("odd name", "odd name")],
)  # fmt: skip
def test_series(meeting: str, series: str) -> None:
    assert qmsum.series_of(meeting) == series


@pytest.mark.parametrize(
    "data",
    [b"[]", b"{}", b"{", b'{"meeting_transcripts":[{"speaker":"A"}]}', b'{"x":1}', b"\xff",
     b'{"meeting_transcripts":[{"speaker":"A","content":1}]}'],
)  # fmt: skip
def test_other_json_is_refused(data: bytes) -> None:
    with pytest.raises(Refused, match="PARSE_REFUSED"):
        turns_of(qmsum, data)


SAID = st.lists(st.tuples(st.text(min_size=1, max_size=8), st.lists(
    st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="{}"), min_size=1,
            max_size=8), min_size=1, max_size=4)), max_size=6)  # fmt: skip


@given(SAID, st.sampled_from(["", "{vocalsound}", "{disfmarker}"]))
def test_what_is_rendered_is_read_whatever_markers_stand_in_it(
    said: list[tuple[str, list[str]]], marker: str
) -> None:
    turns = [{"speaker": who, "content": f" {marker} ".join(words)} for who, words in said]
    data = json.dumps({"topic_list": [], "meeting_transcripts": turns}).encode()
    assert turns_of(qmsum, data) == [
        Turn(n, who, " ".join(words)) for n, (who, words) in enumerate(said)
    ]
