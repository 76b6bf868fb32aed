"""Zoom cloud exports: VTT transcript, chat, participants CSV and recordings JSON.

Readers are strict: every byte is consumed or the file is refused with a line number, so that no
word is lost and none is credited to another speaker. The writers make what the readers read.
Layouts: cloud exports as seen in public repositories (notes/consent.md section 4).
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from harness.digest import strict_json
from harness.errors import Refused
from harness.meetings.model import Modality, Turn
from harness.meetings.strict import decode, lines, refusal

_VIDEO = (
    "active_speaker", "gallery_view", "speaker_view", "host_video", "sign_interpretation",
    "production_studio", "shared_screen_with_speaker_view", "shared_screen_with_gallery_view",
    "shared_screen_with_active_speaker",
)  # fmt: skip
_CAPTIONED = tuple(f"{kind}(CC)" for kind in _VIDEO if kind.startswith("shared_screen"))

MODALITY_OF_RECORDING_TYPE: dict[str, Modality] = {
    **dict.fromkeys(("audio_only", "audio_interpretation"), Modality.AUDIO),
    **dict.fromkeys((*_VIDEO, *_CAPTIONED), Modality.VIDEO),
    "shared_screen": Modality.SCREEN_SHARE,
    "audio_transcript": Modality.TRANSCRIPT,
    "closed_caption": Modality.CAPTION,
    "chat_file": Modality.CHAT_PUBLIC,
    "poll": Modality.POLL,
    "timeline": Modality.TIMELINE,
    **dict.fromkeys(
        ("summary", "summary_next_steps", "summary_smart_chapters"), Modality.SUMMARY_AI
    ),
}
"""Zoom's ``recording_type`` to our modality (notes/consent.md section 3.4)."""

# Zoom leaves ``recording_type`` out of these items.
_TYPE_OF_UNTYPED_FILE = {"TIMELINE": "timeline", "CC": "closed_caption"}

_CLOCK = r"(\d{2,}):([0-5]\d):([0-5]\d)\.(\d{3})"
_TIMING = re.compile(f"{_CLOCK} --> {_CLOCK}", re.ASCII)
_CUE_ID = re.compile(r"[0-9]+")
_CHAT_HEAD = re.compile(r"(\d{2,}):([0-5]\d):([0-5]\d)\t([^\n]*?):\t", re.ASCII)
_UTC = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z", re.ASCII)
_LOCAL_TIME = "%m/%d/%Y %I:%M:%S %p"  # month first, local to the meeting's time zone
_PARTICIPANTS = (
    "Name (Original Name)", "User Email", "Join Time", "Leave Time", "Duration (Minutes)",
    "Guest", "Recording Consent",
)  # fmt: skip
_SUMMARY = ("Meeting ID", "Topic", "Start Time", "End Time", "User Email", "Duration (Minutes)",
            "Participants")  # fmt: skip
_GUEST = {"Yes": True, "No": False}


@dataclass(frozen=True, slots=True)
class ParticipantLine:
    """One stay of one person, as the participants report has it; rejoining makes a second line.

    Attributes:
        label: "Name (Original Name)" unchanged; the bracket may hold a pronoun just as well.
        email: empty when the person was not signed in.
        join: local time without zone; the zone stands in the recordings JSON.
        leave: like ``join``.
        minutes: duration as exported.
        guest: whether Zoom calls the person a guest of the account.
        recording_consent: answer to the *recording* disclaimer; it never means training.
    """

    label: str
    email: str
    join: datetime
    leave: datetime
    minutes: int
    guest: bool
    recording_consent: str


@dataclass(frozen=True, slots=True)
class RecordedMeeting:
    """The meeting that recordings belong to; ``start`` is UTC, ``timezone`` an IANA name."""

    uuid: str
    host_id: str
    topic: str
    start: datetime
    timezone: str


@dataclass(frozen=True, slots=True)
class RecordingFile:
    """One file of a recording.

    Attributes:
        meeting: what it was recorded of.
        id: Zoom's id; empty for items that have none (timeline, captions).
        file_type: MP4, M4A, TRANSCRIPT, CHAT, ...
        recording_type: key of :data:`MODALITY_OF_RECORDING_TYPE`.
        modality: what consent it needs.
        status: ``completed`` when the file is whole.
    """

    meeting: RecordedMeeting
    id: str
    file_type: str
    recording_type: str
    modality: Modality
    status: str


def read_transcript(data: bytes) -> list[Turn]:
    """Read a cloud VTT: ``WEBVTT``, then cues of integer id, times and one line ``Name: text``.

    The speaker is what precedes the first ``": "``; a line without it has speaker ``""``. Names
    that hold ``": "`` and unlabelled speech that does thus get a label that nobody bears, which
    the gate denies.

    Raises:
        Refused: ``PARSE_REFUSED`` with a line number.
    """
    rows = lines(decode(data))
    if rows[0] != "WEBVTT":
        raise refusal("the first line is not WEBVTT alone", 1, "use Zoom's cloud transcript")
    return [_cue(index, line, block) for index, (line, block) in enumerate(_blocks(rows))]


def read_chat(data: bytes) -> list[Turn]:
    """Read a cloud chat: ``HH:MM:SS<TAB>Name:<TAB>text`` ended by CR LF.

    Messages may hold bare line feeds. The name may hold colons, the text tabs.

    Raises:
        Refused: ``PARSE_REFUSED`` with a line number, also where a message holds what looks like
            the head of another (a file with Unix line ends would credit it to the wrong person).
    """
    turns: list[Turn] = []
    line = 1
    *messages, rest = decode(data).split("\r\n")
    for message in [*messages, rest] if rest else messages:
        turns.append(_message(len(turns), line, message))
        line += message.count("\n") + 1
    return turns


def read_participants(data: bytes) -> list[ParticipantLine]:
    """Read a participants report: a summary of two rows, a blank row, then one row a stay.

    Raises:
        Refused: ``PARSE_REFUSED`` with a line number.
    """
    rows = list(_csv_rows(decode(data)))
    heads = [tuple(row) for _, row in rows[:4]]
    if len(heads) < 4 or heads[0] != _SUMMARY or len(heads[1]) != len(_SUMMARY) or heads[2]:
        raise refusal("no summary block before the participants", 1, "export with meeting data")
    if tuple(name.casefold() for name in heads[3]) != tuple(n.casefold() for n in _PARTICIPANTS):
        raise refusal("unknown columns", rows[3][0], "use Zoom's participants report")
    return [_participant(line, row) for line, row in rows[4:]]


def read_recordings(data: bytes) -> list[RecordingFile]:
    """Read the JSON of ``GET /meetings/{id}/recordings``; fields not named here are metadata.

    Raises:
        Refused: ``PARSE_REFUSED``, or ``MODALITY_UNMAPPED`` for a recording type not in
            :data:`MODALITY_OF_RECORDING_TYPE`.
    """
    try:
        document = strict_json(data, "recordings JSON")
    except Refused as error:
        raise Refused("PARSE_REFUSED", error.what, "recordings JSON", error.remedy) from None
    meeting = _recorded_meeting(document)
    files = document.get("recording_files")
    if not isinstance(files, list):
        raise _bad_json("no list of files", "recording_files")
    return [_recording_file(meeting, number, item) for number, item in enumerate(files)]


def write_transcript(turns: Iterable[Turn], end: float) -> bytes:
    """Cloud VTT of turns that have ``seconds``; the last cue lasts until ``end`` seconds."""
    said = list(turns)
    ends = [turn.seconds or 0.0 for turn in said[1:]] + [end]
    cues = "".join(
        f"\r\n{number}\r\n{_clock(turn.seconds or 0.0)} --> {_clock(until)}\r\n"
        f"{_labelled(turn)}\r\n"
        for number, (turn, until) in enumerate(zip(said, ends, strict=True), 1)
    )
    return f"WEBVTT\r\n{cues}".encode()


def write_chat(turns: Iterable[Turn]) -> bytes:
    """Cloud chat of messages that have ``seconds``."""
    return "".join(
        f"{_clock(turn.seconds or 0.0)[:-4]}\t{turn.speaker}:\t{turn.text}\r\n" for turn in turns
    ).encode()


def write_participants(number: str, topic: str, people: Iterable[ParticipantLine]) -> bytes:
    """Participants report; the summary spans the stays, and the first person is the host."""
    stays = list(people)
    start, end = min(stay.join for stay in stays), max(stay.leave for stay in stays)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    minutes = str(round((end - start).total_seconds() / 60))
    writer.writerow(_SUMMARY)
    writer.writerow([number, topic, _local(start), _local(end), stays[0].email, minutes,
                     str(len(stays))])  # fmt: skip
    writer.writerow([])
    writer.writerow(_PARTICIPANTS)
    for stay in stays:
        guest = "Yes" if stay.guest else "No"
        writer.writerow([stay.label, stay.email, _local(stay.join), _local(stay.leave),
                         str(stay.minutes), guest, stay.recording_consent])  # fmt: skip
    return b"\xef\xbb\xbf" + buffer.getvalue().encode()  # Zoom starts this file with a BOM


def write_recordings(files: Iterable[RecordingFile]) -> bytes:
    """Recordings JSON of the files of one meeting."""
    listed = list(files)
    meeting = listed[0].meeting
    document = {
        "uuid": meeting.uuid, "host_id": meeting.host_id, "topic": meeting.topic, "type": 8,
        "start_time": f"{meeting.start.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "timezone": meeting.timezone,
        "recording_files": [
            {"id": file.id, "meeting_id": meeting.uuid, "file_type": file.file_type,
             "recording_type": file.recording_type, "status": file.status}
            for file in listed
        ],
    }  # fmt: skip
    return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"


def _blocks(rows: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Blocks of lines between blank lines, each with the number of its first line."""
    block: list[str] = []
    if len(rows) > 1 and rows[1]:
        raise refusal("text right after WEBVTT", 2, "use Zoom's cloud transcript")
    for number, row in enumerate([*rows[1:], ""], 2):
        if row:
            block.append(row)
        elif block:
            yield number - len(block), block
            block = []


def _cue(index: int, line: int, block: list[str]) -> Turn:
    if not _CUE_ID.fullmatch(block[0]):
        raise refusal("a block that does not start with a number", line)
    timing = _TIMING.fullmatch(block[1]) if len(block) > 1 else None
    if timing is None:
        raise refusal("no line HH:MM:SS.mmm --> HH:MM:SS.mmm after the cue's number", line + 1)
    start, end = _seconds(timing.groups()[:4]), _seconds(timing.groups()[4:])
    if end < start:
        raise refusal("a cue that ends before it starts", line + 1)
    if len(block) != 3 or block[2].startswith("<v"):
        raise refusal("not exactly one line of plain speech in a cue", line + 2)
    speaker, separator, text = block[2].partition(": ")
    speaker, text = (speaker, text) if separator else ("", block[2])
    if not text.strip():
        raise refusal("a cue without words", line + 2)
    return Turn(index, speaker, text, start)


def _message(index: int, line: int, message: str) -> Turn:
    head = _CHAT_HEAD.match(message)
    if head is None or not head[4] or "\r" in message:
        raise refusal("not HH:MM:SS, tab, name, colon, tab, text", line, "use Zoom's cloud chat")
    text = message[head.end() :]
    if not text.strip():
        raise refusal("a message without words", line)
    for number, part in enumerate(text.split("\n")):
        if number and _CHAT_HEAD.match(part):
            raise refusal("a message inside a message", line + number, "keep the CR LF line ends")
    return Turn(index, head[4], text, _seconds((*head.groups()[:3], "000")))


def _csv_rows(text: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error:
            raise refusal("broken CSV quoting", max(line, reader.line_num)) from None
        yield line, row
        line = reader.line_num + 1


def _participant(line: int, row: list[str]) -> ParticipantLine:
    if len(row) != len(_PARTICIPANTS):
        raise refusal(f"{len(row)} fields, not {len(_PARTICIPANTS)}", line)
    label, email, joined, left, minutes, guest, consent = row
    try:
        join, leave = (datetime.strptime(time, _LOCAL_TIME) for time in (joined, left))
        stay = ParticipantLine(label, email, join, leave, int(minutes), _GUEST[guest], consent)
    except (ValueError, KeyError):
        raise refusal("a time, duration or guest flag that cannot be read", line) from None
    if not label.strip() or leave < join or stay.minutes < 0:
        raise refusal("no name, or a stay that ends before it starts", line)
    return stay


def _recorded_meeting(document: object) -> RecordedMeeting:
    if not isinstance(document, dict):
        raise _bad_json("not one JSON object", "recordings JSON")
    uuid, host, topic, start, zone = (
        _text(document, key, key) for key in ("uuid", "host_id", "topic", "start_time", "timezone")
    )
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):
        raise _bad_json("no IANA time zone", "timezone") from None
    try:
        moment = datetime.fromisoformat(start) if _UTC.fullmatch(start) else None
    except ValueError:
        moment = None
    if moment is None:
        raise _bad_json("no UTC time that ends in Z", "start_time")
    return RecordedMeeting(uuid, host, topic, moment, zone)


def _recording_file(meeting: RecordedMeeting, number: int, item: object) -> RecordingFile:
    where = f"recording_files[{number}]"
    if not isinstance(item, dict):
        raise _bad_json("not a JSON object", where)
    file_type, status = _text(item, "file_type", where), _text(item, "status", where)
    untyped = _TYPE_OF_UNTYPED_FILE.get(file_type)
    kind = untyped if untyped and "recording_type" not in item else _text(
        item, "recording_type", where
    )  # fmt: skip
    name = "" if untyped and "id" not in item else _text(item, "id", where)
    if kind not in MODALITY_OF_RECORDING_TYPE:
        raise Refused("MODALITY_UNMAPPED", "a recording type that is not mapped to a modality",
                      where, "map it in MODALITY_OF_RECORDING_TYPE")  # fmt: skip
    return RecordingFile(meeting, name, file_type, kind, MODALITY_OF_RECORDING_TYPE[kind], status)


def _text(document: dict[str, Any], key: str, where: str) -> str:
    value = document.get(key)
    if not isinstance(value, str) or not value:
        raise _bad_json(f"no text under {key!r}", where)
    return value


def _bad_json(what: str, where: str) -> Refused:
    return Refused("PARSE_REFUSED", what, where, "fetch the recordings JSON again")


def _seconds(clock: tuple[str, ...]) -> float:
    hours, minutes, seconds, milliseconds = (int(part) for part in clock)
    return ((hours * 60 + minutes) * 60_000 + seconds * 1000 + milliseconds) / 1000


def _clock(seconds: float) -> str:
    minutes, milliseconds = divmod(round(seconds * 1000), 60_000)
    rest = f"{milliseconds // 1000:02d}.{milliseconds % 1000:03d}"
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest}"


def _labelled(turn: Turn) -> str:
    return f"{turn.speaker}: {turn.text}" if turn.speaker else turn.text


def _local(time: datetime) -> str:
    return time.strftime(_LOCAL_TIME)
