"""Zoom's transcripts: round trips, refusals with line numbers, and the shared fixtures."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import Refused
from harness.meetings.model import Turn
from harness.meetings.readers import zoom_transcript
from meetings.readers.files import fixture, turns_of

_TEXT = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20)
_NAME = _TEXT.filter(lambda name: ":" not in name and not name.startswith("<v"))
_TURNS = st.lists(st.tuples(_NAME, _TEXT), min_size=1, max_size=6).map(
    lambda said: [Turn(i, name, text, float(i)) for i, (name, text) in enumerate(said)]
)


@given(_TURNS)
def test_what_is_written_is_read(turns: list[Turn]) -> None:
    assert turns_of(zoom_transcript, zoom_transcript.write(turns, 99.0)) == turns


@given(_TURNS)
def test_unix_line_ends_change_nothing_in_a_transcript(turns: list[Turn]) -> None:
    data = zoom_transcript.write(turns, 99.0)
    assert turns_of(zoom_transcript, data.replace(b"\r\n", b"\n")) == turns


@given(_TURNS, st.data())
def test_no_cut_transcript_yields_other_words(turns: list[Turn], data: st.DataObject) -> None:
    whole = zoom_transcript.write(turns, 99.0)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with contextlib.suppress(Refused):
        read = turns_of(zoom_transcript, cut)
        assert read[:-1] == turns[: max(0, len(read) - 1)]


@pytest.mark.parametrize(
    ("name", "speakers"),
    [
        ("zoom_basic.vtt", ["Ada Example", "Bo Sample | Org", ""]),
        ("arrow.vtt", ["Ada", ""]),
        ("overlap.vtt", ["Ada", "Bo"]),
        ("colon_name.vtt", ["Dr. A", "10:30 Meeting"]),
    ],
)
def test_fixtures_that_are_read(name: str, speakers: list[str]) -> None:
    assert [turn.speaker for turn in turns_of(zoom_transcript, fixture(name))] == speakers


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("bad_time.vtt", 4), ("blank_in_cue.vtt", 7), ("bom_crlf_note.vtt", 5),
        ("cp1252.vtt", 5), ("gt_voice.vtt", 3), ("reuse_id.vtt", 3),
        ("teams_unattributed.vtt", 3), ("teams_voice.vtt", 3), ("otter.txt", 1),
    ],
)  # fmt: skip
def test_fixtures_that_are_refused(name: str, line: int) -> None:
    with pytest.raises(Refused) as refused:
        turns_of(zoom_transcript, fixture(name))
    assert (refused.value.code, refused.value.where) == ("PARSE_REFUSED", f"line {line}")


@pytest.mark.parametrize(
    ("cue", "line"),
    [
        ("x\n00:00:01.000 --> 00:00:02.000\nA: b", 3),
        ("1\n00:00:01,000 --> 00:00:02,000\nA: b", 4),
        ("1\n00:00:03.000 --> 00:00:02.000\nA: b", 4),
        ("1\n00:00:01.000 --> 00:00:02.000\nA: b\nC: d", 6),
        ("1\n00:00:01.000 --> 00:00:02.000\nA: ", 5),
        ("1\n00:00:01.000 --> 00:00:02.000\n<v A>b</v>", 5),
        ("1\n00:00:01.000 --> 00:00:02.000", 4),
    ],
)
def test_broken_cues_are_refused_at_their_line_without_quoting(cue: str, line: int) -> None:
    with pytest.raises(Refused) as refused:
        turns_of(zoom_transcript, f"WEBVTT\n\n{cue}\n".encode())
    assert refused.value.where == f"line {line}"
    assert "C: d" not in str(refused.value)
