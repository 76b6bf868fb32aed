"""Zoom exports: round trips, refusals with line numbers, and the shared fixtures."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import Refused
from harness.meetings import zoom
from harness.meetings.model import Modality, Turn

FIXTURES = Path(__file__).parents[2].parent / "shared" / "data" / "transcript_fixtures"

_TEXT = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20)
_NAME = _TEXT.filter(lambda name: ":" not in name and not name.startswith("<v"))
_TURNS = st.lists(st.tuples(_NAME, _TEXT), min_size=1, max_size=6).map(
    lambda said: [Turn(i, name, text, float(i)) for i, (name, text) in enumerate(said)]
)


def fixture(name: str) -> bytes:
    if not FIXTURES.is_dir():
        pytest.skip(f"no {FIXTURES}")
    return (FIXTURES / name).read_bytes()


@given(_TURNS)
def test_what_is_written_is_read(turns: list[Turn]) -> None:
    assert zoom.read_transcript(zoom.write_transcript(turns, 99.0)) == turns
    assert zoom.read_chat(zoom.write_chat(turns)) == turns


@given(_TURNS)
def test_unix_line_ends_change_nothing_in_a_transcript(turns: list[Turn]) -> None:
    data = zoom.write_transcript(turns, 99.0)
    assert zoom.read_transcript(data.replace(b"\r\n", b"\n")) == turns


@given(_TURNS, st.data())
def test_no_cut_transcript_yields_other_words(turns: list[Turn], data: st.DataObject) -> None:
    whole = zoom.write_transcript(turns, 99.0)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with contextlib.suppress(Refused):
        read = zoom.read_transcript(cut)
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
    assert [turn.speaker for turn in zoom.read_transcript(fixture(name))] == speakers


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("bad_time.vtt", 4), ("blank_in_cue.vtt", 7), ("bom_crlf_note.vtt", 1),
        ("cp1252.vtt", 5), ("gt_voice.vtt", 3), ("reuse_id.vtt", 3),
        ("teams_unattributed.vtt", 3), ("teams_voice.vtt", 3), ("otter.txt", 1),
    ],
)  # fmt: skip
def test_fixtures_that_are_refused(name: str, line: int) -> None:
    with pytest.raises(Refused) as refused:
        zoom.read_transcript(fixture(name))
    assert (refused.value.code, refused.value.where) == ("PARSE_REFUSED", f"line {line}")


def test_chat_fixture_keeps_bare_line_feeds_tabs_and_colons() -> None:
    turns = zoom.read_chat(fixture("zoom_cloud_chat.txt"))
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
        zoom.read_chat(fixture("zoom_saved_chat_types.txt"))


def test_a_chat_with_unix_line_ends_is_refused_where_it_would_misattribute() -> None:
    with pytest.raises(Refused, match="line 2"):
        zoom.read_chat(b"00:00:01\tAda:\thello\n00:00:02\tBo:\tsecret\n")


@pytest.mark.parametrize(
    ("cue", "line"),
    [
        ("x\n00:00:01.000 --> 00:00:02.000\nA: b", 3),
        ("1\n00:00:01,000 --> 00:00:02,000\nA: b", 4),
        ("1\n00:00:03.000 --> 00:00:02.000\nA: b", 4),
        ("1\n00:00:01.000 --> 00:00:02.000\nA: b\nC: d", 5),
        ("1\n00:00:01.000 --> 00:00:02.000\nA: ", 5),
        ("1\n00:00:01.000 --> 00:00:02.000\n<v A>b</v>", 5),
        ("1\n00:00:01.000 --> 00:00:02.000", 5),
    ],
)
def test_broken_cues_are_refused_at_their_line_without_quoting(cue: str, line: int) -> None:
    with pytest.raises(Refused) as refused:
        zoom.read_transcript(f"WEBVTT\n\n{cue}\n".encode())
    assert refused.value.where == f"line {line}"
    assert "C: d" not in str(refused.value)


def test_participants_fixture() -> None:
    stays = zoom.read_participants(fixture("zoom_participants.csv"))
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
        zoom.read_participants(fixture("zoom_participants.csv").replace(old, new, 1))
    assert (refused.value.code, refused.value.where) == ("PARSE_REFUSED", f"line {line}")


def test_recordings_fixture_maps_every_file() -> None:
    files = zoom.read_recordings(fixture("zoom_recordings_api.json"))
    assert [file.modality for file in files] == [
        Modality.VIDEO, Modality.AUDIO, Modality.TRANSCRIPT, Modality.CAPTION,
        Modality.CHAT_PUBLIC, Modality.TIMELINE, Modality.POLL, Modality.SUMMARY_AI,
    ]  # fmt: skip
    assert files[0].meeting.uuid == "/ajXp112Q//mdEbc4wQ=="
    assert files[0].meeting.timezone == "Europe/Berlin"


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (b'"audio_only"', b'"hologram"', "MODALITY_UNMAPPED"),
        (b"16:00:00Z", b"16:00:00", "PARSE_REFUSED"),
        (b"Europe/Berlin", b"Europe/Atlantis", "PARSE_REFUSED"),
        (b'"recording_files"', b'"files"', "PARSE_REFUSED"),
        (b'"recording_type": "audio_only",', b"", "PARSE_REFUSED"),
    ],
)
def test_broken_recordings_are_refused(old: bytes, new: bytes, code: str) -> None:
    with pytest.raises(Refused) as refused:
        zoom.read_recordings(fixture("zoom_recordings_api.json").replace(old, new, 1))
    assert refused.value.code == code
