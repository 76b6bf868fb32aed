"""Zoom's recordings JSON: what was recorded of a meeting, as its API and its webhooks tell it.

``GET /meetings/{id}/recordings`` answers with the meeting; the webhook ``recording.completed``
holds the same under ``payload.object``. Kinds of recordings that are not in the table are refused.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from harness.errors import Refused
from harness.meetings.model import Modality
from harness.meetings.strict import json_document

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
_UTC = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z", re.ASCII)
_NAME = "recordings JSON"
_LONGEST = 100_000


@dataclass(frozen=True, slots=True)
class RecordedMeeting:
    """The meeting that recordings belong to.

    Attributes:
        uuid: of this occurrence; ``number`` comes again with each occurrence.
        host_id: the host's.
        topic: what the host called it.
        start: UTC.
        timezone: IANA name.
        account_id: empty where the export names none.
        number: digits; empty where the export has none.
        minutes: duration; None where the export has none.
    """

    uuid: str
    host_id: str
    topic: str
    start: datetime
    timezone: str
    account_id: str = ""
    number: str = ""
    minutes: int | None = None


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


def looks(head: str) -> bool:
    """Whether a file that begins so is one of these."""
    return head.lstrip().startswith("{") and '"uuid"' in head and '"host_id"' in head


def read(data: bytes) -> tuple[RecordedMeeting, list[RecordingFile]]:
    """Read the answer of the API or the message of the webhook; other fields are not read.

    Raises:
        Refused: ``PARSE_REFUSED``, or ``MODALITY_UNMAPPED`` for a recording type not in
            :data:`MODALITY_OF_RECORDING_TYPE`.
    """
    document = json_document(data, _NAME)
    if isinstance(document, dict) and "payload" in document:
        payload = document["payload"]
        document = payload.get("object") if isinstance(payload, dict) else None
    meeting = _meeting(document)
    files = document.get("recording_files")
    if not isinstance(files, list):
        raise _bad("no list of files", "recording_files")
    return meeting, [_file(meeting, number, item) for number, item in enumerate(files)]


def write(files: Iterable[RecordingFile]) -> bytes:
    """The API's answer about the files of one meeting."""
    listed = list(files)
    meeting = listed[0].meeting
    document = {
        "uuid": meeting.uuid, "host_id": meeting.host_id, "topic": meeting.topic, "type": 8,
        "start_time": f"{meeting.start.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "timezone": meeting.timezone,
        **({"id": meeting.number} if meeting.number else {}),
        **({"duration": meeting.minutes} if meeting.minutes is not None else {}),
        "recording_files": [
            {"id": file.id, "meeting_id": meeting.uuid, "file_type": file.file_type,
             "recording_type": file.recording_type, "status": file.status}
            for file in listed
        ],
    }  # fmt: skip
    return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"


def _meeting(document: Any) -> RecordedMeeting:
    if not isinstance(document, dict):
        raise _bad("not one JSON object", _NAME)
    uuid, host, topic, start, zone = (
        _text(document, key, key) for key in ("uuid", "host_id", "topic", "start_time", "timezone")
    )
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise _bad("no IANA time zone", "timezone") from None
    try:
        moment = datetime.fromisoformat(start) if _UTC.fullmatch(start) else None
    except ValueError:
        moment = None
    if moment is None:
        raise _bad("no UTC time that ends in Z", "start_time")
    account, number, minutes = (document.get(key) for key in ("account_id", "id", "duration"))
    return RecordedMeeting(
        uuid, host, topic, moment, zone, account if isinstance(account, str) else "",
        str(number) if isinstance(number, int | str) and not isinstance(number, bool) else "",
        minutes if type(minutes) is int and 0 <= minutes < _LONGEST else None,
    )  # fmt: skip


def _file(meeting: RecordedMeeting, number: int, item: object) -> RecordingFile:
    where = f"recording_files[{number}]"
    if not isinstance(item, dict):
        raise _bad("not a JSON object", where)
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
        raise _bad(f"no text under {key!r}", where)
    return value


def _bad(what: str, where: str) -> Refused:
    return Refused("PARSE_REFUSED", what, where, "fetch the recordings JSON again")
