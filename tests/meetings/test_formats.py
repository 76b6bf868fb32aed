"""Every format: what is written is read, by the one reader that its content asks for."""

import contextlib
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import Refused
from harness.meetings.formats import FORMATS, HEAD, READERS, format_of
from harness.meetings.model import Turn
from meetings import seeds
from meetings.accounting import ACCOUNTED, is_whole
from meetings.examine import ALL, examine
from meetings.readers.files import FIXTURES, fixture
from meetings.seeds import read_corpus

# what a named VTT file is written by writes Zoom's, which its content then asks for
WRITERS = {name: write for name, write in seeds.WRITERS.items() if name != "named-vtt"}
MANY_LINES = {"zoom-chat", "teams-vtt", "webex-vtt", "meet-sbv", "meet-entries", "otter-text",
              "fireflies-json", "turns-jsonl", "turns-parquet"}  # fmt: skip
"""Formats whose turns may have several lines."""

QUOTING = {"teams-vtt", "fireflies-json", "turns-jsonl", "turns-parquet"}
"""Formats that can say any character."""

WORDS = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=12)
LINE = st.lists(WORDS, min_size=1, max_size=4).map(" ".join)
LABEL = st.lists(
    st.sampled_from(["Ada", "Bo", "Dr.", "Ÿ", "李", "O'Neil,", "|", "(Guest)", "R&D", "a@b.c"]),
    min_size=1, max_size=3,
).map(" ".join)  # fmt: skip
SPEECH = st.lists(LINE, min_size=1, max_size=3)
"""Lines, the first of which alone is used where a format has no more."""


def turns_for(name: str, said: list[tuple[str, list[str]]]) -> list[Turn]:
    text = "\n".join if name in MANY_LINES else (lambda lines: lines[0])
    return [Turn(n, label, text(lines), float(n * 7)) for n, (label, lines) in enumerate(said)]


def could_mislead(name: str, turn: Turn) -> bool:
    """Words that look like the layout itself, as no format can quote them."""
    lines = turn.text.split("\n")
    return (
        (
            "<" in turn.text
            and name not in ("teams-vtt", "fireflies-json", "turns-jsonl", "turns-parquet")
        )
        or (name == "otter-text" and any("  " in line for line in lines))
        or (name == "meet-sbv" and ": " in turn.speaker)
    )


@pytest.mark.parametrize("name", WRITERS)
def test_what_is_written_is_read_by_the_reader_that_its_content_asks_for(name: str) -> None:
    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.tuples(LABEL, SPEECH), min_size=1, max_size=5))
    def check(said: list[tuple[str, list[str]]]) -> None:
        turns = turns_for(name, said)
        if any(could_mislead(name, turn) for turn in turns):
            return
        data = WRITERS[name](turns)
        assert READERS[name](data) == turns
        if name != "turns-parquet":
            assert READERS[name](b"\xef\xbb\xbf" + data) == turns
        assert format_of(data[:HEAD]) == name
        assert name not in ACCOUNTED or is_whole(name, data, turns)

    check()


CORPUS = Path(__file__).parent / "corpus"
"""Files that the fuzzer found worth keeping, by format; see scripts/fuzz.py."""


@pytest.mark.parametrize("name", ALL)
def test_what_the_fuzzer_found_is_refused_or_read_whole(name: str) -> None:
    kept = read_corpus(CORPUS / f"{name}.b64")
    assert kept
    for data in kept:
        examine(name, data)


@pytest.mark.parametrize("name", WRITERS)
def test_where_the_file_is_cut_between_reads_does_not_matter(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = [("Ada", ["one two", "three"]), ("李 (Guest)", ["vier — fünf 😅"]), ("Bo", ["six"])]
    turns = turns_for(name, said * 9)
    data = WRITERS[name](turns)
    monkeypatch.setattr("harness.meetings.strict.OPENING", 64)
    for size in (1, 2, 3, 7, 64):
        monkeypatch.setattr("harness.meetings.strict.CHUNK", size)
        assert list(FORMATS[name].read(io.BytesIO(data))) == turns


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("data", [b"", b"\x00", b"hello\n", b"\xff\xfe", b"WEBVTT", b"{}", b"[]"])
def test_other_files_are_refused_or_hold_nothing(name: str, data: bytes) -> None:
    with contextlib.suppress(Refused):
        assert READERS[name](data) == []


FIXTURE_FORMATS = {
    "arrow.vtt": ("zoom-vtt", ["Ada", ""]),
    "bad_time.vtt": ("zoom-vtt", 4),
    "blank_in_cue.vtt": ("zoom-vtt", 7),
    "bom_crlf_note.vtt": ("named-vtt", ["Ada"]),
    "colon_name.vtt": ("zoom-vtt", ["Dr. A", "10:30 Meeting"]),
    "cp1252.vtt": ("zoom-vtt", 5),
    "gt_voice.vtt": ("teams-vtt", 4),
    "meet_chat.sbv": ("meet-sbv", ["Ada Example", "Bo"]),
    "otter.txt": ("otter-text", ["Ada Example", "Unknown Speaker", "Ada"]),
    "overlap.vtt": ("zoom-vtt", ["Ada", "Bo"]),
    "reuse_id.vtt": ("named-vtt", 7),
    "teams_unattributed.vtt": ("teams-vtt-unattributed", ["", ""]),
    "teams_voice.vtt": ("teams-vtt", ["John Smith", "O'Neil, Jane (Guest)", "Mary", "Bob"]),
    "zoom_basic.vtt": ("zoom-vtt", ["Ada Example", "Bo Sample | Org", ""]),
    "zoom_cloud_chat.txt": (
        "zoom-chat", ["Ada Example", "Bo Sample | Org", "Cy Guest", "Dee: Colon"],
    ),
}  # fmt: skip
"""Format of each shared fixture that has turns, and its speakers or the line it is refused at."""
NO_TURNS = {
    "NOTICE.txt", "teams_attendance_utf16.csv", "zoom_participants.csv",
    "zoom_recordings_api.json", "zoom_saved_chat_types.txt", "zoom_timeline.json",
}  # fmt: skip


@pytest.mark.parametrize("file", FIXTURE_FORMATS)
def test_a_fixture_is_read_or_refused_as_the_notes_say(file: str) -> None:
    data = fixture(file)
    name, wanted = FIXTURE_FORMATS[file]
    assert format_of(data) == name
    if isinstance(wanted, int):
        with pytest.raises(Refused) as refused:
            READERS[name](data)
        assert (refused.value.code, refused.value.where) == ("PARSE_REFUSED", f"line {wanted}")
    else:
        turns = READERS[name](data)
        assert [turn.speaker for turn in turns] == wanted
        assert is_whole(name, data, turns)


def test_every_fixture_is_spoken_of() -> None:
    if not FIXTURES.is_dir():
        pytest.skip(f"no {FIXTURES}")
    assert {path.name for path in FIXTURES.iterdir()} == {*FIXTURE_FORMATS} | NO_TURNS


@pytest.mark.parametrize("file", sorted(NO_TURNS))
def test_files_without_turns_are_of_no_format_of_turns(file: str) -> None:
    with pytest.raises(Refused, match="CONTENT_FORMAT_UNKNOWN"):
        format_of(fixture(file))


SWALLOWED = {
    "meet-sbv": [
        "0:00:01.000,0:00:04.000\nAda: hi\n\n0:00:05.000, 0:00:08.000\nBo: I quit\n",
        "0:00:01.000,0:00:04.000\nAda: hi\n\n00:05.000,00:08.000\nBo: I quit\n",
    ],
    "otter-text": [
        "Ada  0:01\nhello\n\nBo  0:05\t\nI quit\n",
        "Ada  0:01\nhello\n\nBo 0:05\nI quit\n",
        "Ada  0:01\nhello\n\nBo \u00a00:05\nI quit\n",
        "Ada  0:01\nhello\nBo  0:70\nI quit\n",
    ],
    "named-vtt": [
        "WEBVTT\n\na\n00:01.000 --> 00:02.000\nAda: hi <v Bo>I quit</v>\n",
        "WEBVTT\n\n00:01.000 --> 00:02.000\nA: hi\n\nBo: I quit\n00:03.000 --> 00:04.000\nA: x\n",
    ],
    "teams-vtt": [
        "WEBVTT\n\n00:01.000 --> 00:02.000\n<v A>x\n\nI quit\n00:03.000 --> 00:04.000\n<v A>x\n",
    ],
    "zoom-vtt": [
        "WEBVTT\n\n1\n00:00:01.000 --> 00:00:02.000\nAda: hi\n\nNOTE I quit\n",
        "WEBVTT\n\nNOTE I quit\n\n1\n00:00:01.000 --> 00:00:02.000\nAda: hi\n",
    ],
    "meet-text": [
        "00:00:00\n\nAda: I quit\nTranscript\n\nAda: bye\n",
        "Weekly\nTranscript\n\nMeeting ended after 00:06:00 Bo: I quit\n",
    ],
    "fireflies-json": ['{"sentences": [], "data": {"sentences": []}}'],
}
"""What a reader must not pass over, nor take for words of whoever spoke before."""


@pytest.mark.parametrize(
    ("name", "text"), [(n, t) for n, texts in SWALLOWED.items() for t in texts]
)
def test_what_is_off_is_refused_and_never_somebody_elses(name: str, text: str) -> None:
    with pytest.raises(Refused, match="PARSE_REFUSED") as refused:
        READERS[name](text.encode())
    assert "quit" not in str(refused.value)


LONG = {
    "zoom-vtt": ["WEBVTT\n\n1\n00:00:01.000 --> 00:00:02.000\nAda: hi\n\n" + "a" * 400_000,
                 f"WEBVTT\n\n1\n{'0' * 5000}:00:01.000 --> 00:00:02.000\nA: b\n"],
    "named-vtt": ["WEBVTT\n\nx\n00:01.000 --> 00:02.000\nAda: hi\n\n" + "a" * 400_000],
    "otter-text": ["Ada  0:01\nhi\n\nBo 0:05\n" + "a" * 400_000],
    "teams-vtt": ["WEBVTT\n\n00:01.000 --> 00:02.000\n<v A>x" + " " * 100_000 + "<b>\n"],
    "zoom-chat": ["09:00:00\tAda Example:\thi\n" * 90_000, f"{'9' * 400}:00:00\tA:\tb\r\n"],
}  # fmt: skip


@pytest.mark.parametrize(("name", "text"), [(n, t) for n, texts in LONG.items() for t in texts])
def test_long_files_are_refused_soon(name: str, text: str) -> None:
    with pytest.raises(Refused, match="PARSE_REFUSED"):
        READERS[name](text.encode())


@pytest.mark.parametrize("name", WRITERS)
def test_where_a_line_end_is_cut_does_not_matter(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name in ("turns-parquet", "meet-entries", "fireflies-json"):
        return  # read whole
    turns = turns_for(name, [("Ada", ["one two", "three"]), ("Bo", ["six"])] * 4)
    data = WRITERS[name](turns)
    if name != "zoom-chat":
        data = data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    for size in range(1, 40):
        monkeypatch.setattr("harness.meetings.strict.CHUNK", size)
        assert list(FORMATS[name].read(io.BytesIO(data))) == turns


CUT = {
    "otter-text": "Bo  0:07\nhello\nso  1:00, no\nend\nAda  0:09\nbye\n",
    "named-vtt": "WEBVTT\n\n00:01.000 --> 00:02.000\nA: b\n\n1\n00:03.000 --> 00:04.000\nC: d\n",
    "turns-jsonl": '\ufeff{"speaker":"A","text":"b"}\n{"speaker":"C","text":"d"}\n',
}
"""Files whose first half of a line, or of two lines, looks like something else than the whole."""


def test_one_byte_order_mark_is_dropped_however_the_file_is_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for size in (1, 2, 3, 4, 6, 1000):
        monkeypatch.setattr("harness.meetings.strict.CHUNK", size)
        (turn,) = READERS["meet-sbv"]("\ufeff0:00:01.000,0:00:02.000\n\ufeffA: b\n".encode())
        assert turn.speaker == "\ufeffA"
        with pytest.raises(Refused, match="PARSE_REFUSED"):
            READERS["meet-sbv"]("\ufeff\ufeff0:00:01.000,0:00:02.000\nA: b\n".encode())


@pytest.mark.parametrize("name", CUT)
def test_half_a_line_is_not_taken_for_a_whole_one(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = READERS[name](CUT[name].encode())
    assert len(turns) == 2
    for size in range(1, 60):
        monkeypatch.setattr("harness.meetings.strict.CHUNK", size)
        assert READERS[name](CUT[name].encode()) == turns


@pytest.mark.parametrize("chunk", [1 << 16, 1 << 20, 1 << 22])
@pytest.mark.parametrize("before", [0, 700_000])
def test_how_long_a_record_may_be_does_not_depend_on_where_it_stands(
    chunk: int, before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.meetings.strict.CHUNK", chunk)
    short = b'{"speaker":"A","text":"b"}\n'
    lead = short * (before // len(short))
    for size, is_read in ((900_000, True), (1_500_000, False)):
        data = lead + b'{"speaker":"A","text":"' + b"c" * size + b'"}\n' + short
        with contextlib.nullcontext() if is_read else pytest.raises(Refused, match="PARSE_REFUSED"):
            assert len(READERS["turns-jsonl"](data)) == len(lead) // len(short) + 2


def test_a_small_file_that_says_it_holds_much_is_refused() -> None:
    turns = [Turn(n, "A", "word " * 20_000) for n in range(1000)]
    data = seeds.WRITERS["turns-parquet"](turns)
    assert len(data) < 1_000_000
    with pytest.raises(Refused, match="PARSE_REFUSED"):
        READERS["turns-parquet"](data)
