"""What must hold of any file that a reader is given: it is refused, or nothing of it is lost.

Files that hold turns are accounted for by ``accounting.py``, others here, by second and simpler
looks at them. A reader of some of the file at a time must read the same however it is cut.
"""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any
from unittest import mock
from xml.parsers import expat

import pyarrow.parquet as pq

from harness.errors import Refused
from harness.meetings.formats import READERS
from harness.meetings.model import Turn
from harness.meetings.readers import (
    nxt,
    teams_attendance,
    zoom_participants,
    zoom_recordings,
    zoom_saved_chat,
    zoom_timeline,
)
from meetings.accounting import ACCOUNTED, is_whole

KNOWN = ("Ada", "Bo")
"""Labels that a saved chat's reader is told."""


def _channel(data: bytes) -> tuple[bytes, bytes]:
    words, _, segments = data.partition(b"\0")
    return words, segments


OTHERS: dict[str, Callable[[bytes], Any]] = {
    "zoom-saved-chat": lambda data: [
        turn for _, turn in zoom_saved_chat.read(io.BytesIO(data), KNOWN)
    ],
    "zoom-participants": zoom_participants.read,
    "zoom-recordings": zoom_recordings.read,
    "zoom-timeline": zoom_timeline.read,
    "teams-attendance": teams_attendance.read,
    "nxt": lambda data: nxt.read(*_channel(data)),
}
"""Readers of what has no turns, or of several kinds; NXT's two files have a zero between them."""
REFUSED = object()
"""What came of a file that was refused: its first fault, which may be another with another cut."""
ALL: dict[str, Callable[[bytes], Any]] = {**READERS, **OTHERS}
"""Every reader by name."""


def examine(name: str, data: bytes) -> None:
    """Read one file.

    Args:
        name: of a reader in :data:`ALL`.
        data: of the file.

    Raises:
        AssertionError: where something is lost, or where it is cut matters.
    """
    read = _outcome(name, data)
    size = 1 + len(data) % 61
    with mock.patch("harness.meetings.strict.CHUNK", size):
        assert _outcome(name, data) == read, "it matters where the file is cut"
    if read is not REFUSED:
        assert _is_whole(name, data, read), "something is lost"


def _outcome(name: str, data: bytes) -> Any:
    try:
        return ALL[name](data)
    except Refused:
        return REFUSED


def _is_whole(name: str, data: bytes, read: Any) -> bool:
    return is_whole(name, data, read) if name in ACCOUNTED else _WHOLE[name](data, read)


def _saved_chat(data: bytes, turns: list[Turn]) -> bool:
    """The messages between heads that name somebody else at most as the one who is written to."""
    text = data.decode("utf-8-sig").replace("\r\n", "\n")
    messages = (
        rf"\d\d:\d\d:\d\d\t? From\s+{_words(turn.speaker)}\s*(?:to [^\n]*)?\s*:\s*"
        rf"{_words(turn.text)}\s*"
        for turn in turns
    )
    return re.fullmatch("".join(messages), text) is not None


def _words(text: str) -> str:
    return r"\s*".join(map(re.escape, text.split()))


def _participants(data: bytes, report: zoom_participants.Report) -> bool:
    rows = [row for row in csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")) if row]
    head = next(n for n, row in enumerate(rows) if "join time" in [c.strip().lower() for c in row])
    names = [cell.strip().lower() for cell in rows[head]]
    place, email = names.index("name (original name)"), names.index("user email")
    return [(row[place], row[email].lower()) for row in rows[head + 1 :]] == [
        (stay.label, stay.email) for stay in report.stays
    ]


def _recordings(data: bytes, read: tuple[Any, list[zoom_recordings.RecordingFile]]) -> bool:
    document = json.loads(data.decode("utf-8-sig"))
    files = document.get("payload", {"object": document})["object"]["recording_files"]
    return [file["file_type"] for file in files] == [file.file_type for file in read[1]]


def _timeline(data: bytes, moments: list[zoom_timeline.Moment]) -> bool:
    lists = json.loads(data.decode("utf-8-sig")).values()
    named = Counter(user["username"] for rows in lists for row in rows for user in row["users"])
    return named == Counter(name for moment in moments for name in moment.names)


def _attendance(data: bytes, people: list[teams_attendance.Attendee]) -> bool:
    """Each row with a time is about somebody who was found; a summary before them has others."""
    text = data[2:].decode("utf-16-le") if data[:2] == b"\xff\xfe" else data.decode("utf-8-sig")
    labels = {person.label for person in people}
    rows = [*csv.reader(io.StringIO(text, newline=""), delimiter="\t")]
    known = {(person.label, person.email) for person in people if person.email}
    said = (({(row[0], cell.lower()) for cell in row[1:]} if row else set()) for row in rows)
    first = next((n for n, pairs in enumerate(said) if pairs & known), 0)
    time = re.compile(r"\d{1,4}[./-]\d\d?[./-]\d{2,4},? \d\d?:\d\d(?::\d\d)?(?: [AP]M)?", re.ASCII)
    timed = [row[0] for row in rows[first:] if any(map(time.fullmatch, row[1:]))]
    return {*timed} <= labels


def _nxt(data: bytes, segments: list[nxt.Segment]) -> bool:
    """The characters of all words are those of all segments."""
    said: list[str] = []
    parser = expat.ParserCreate()
    parser.CharacterDataHandler = said.append  # sounds have no characters, or the file is refused
    parser.Parse(_channel(data)[0], True)
    return _characters(said) == _characters(segment.text for segment in segments)


def _characters(texts: Any) -> Counter[str]:
    return Counter("".join("".join(texts).split()))


def _parquet(data: bytes, turns: list[Turn]) -> bool:
    """Read row by row: a damaged page may ask for all memory there is, where it is read at once."""
    batches = pq.ParquetFile(io.BytesIO(data)).iter_batches(1)
    rows = [row for batch in batches for row in batch.to_pylist()]
    said = [(turn.speaker, turn.text) for turn in turns]
    return said == [(row["speaker"], row["text"]) for row in rows]


_WHOLE: dict[str, Callable[[bytes, Any], bool]] = {
    "zoom-saved-chat": _saved_chat, "zoom-participants": _participants,
    "zoom-recordings": _recordings, "zoom-timeline": _timeline, "teams-attendance": _attendance,
    "nxt": _nxt, "turns-parquet": _parquet,
}  # fmt: skip
