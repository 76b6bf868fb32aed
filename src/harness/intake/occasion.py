"""When a meeting was and what it is called: by Zoom's recordings JSON, or by a ``meeting.json``.

Nothing is guessed from names of files. A platform that exports no such file gets one from the
operator: ``{"meeting_id", "series_id", "account_id", "start", "end", "tz"}``.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from harness.consent.records import Id, parse, record
from harness.errors import Refused
from harness.meetings.readers.zoom_recordings import RecordedMeeting
from harness.meetings.strict import json_document

_SAFE = str.maketrans({"/": "_", "+": "-", "=": None})


@record
class Occasion:
    """A meeting, as the draft will name it; the fields are those of ``MeetingRow``."""

    meeting_id: Id
    series_id: Id
    account_id: Id
    start: datetime
    end: datetime
    tz: Id

    def __post_init__(self) -> None:
        if self.end < self.start:
            raise ValueError("end lies before start")
        if "/" in self.meeting_id or self.meeting_id.startswith("."):
            raise ValueError("a meeting_id that is no name of a folder")


@dataclass(frozen=True)
class Told:
    """An occasion and what told it, for the report."""

    occasion: Occasion
    source: str


def of_recording(meeting: RecordedMeeting) -> Told:
    """By Zoom's JSON: the occurrence's uuid is the meeting, the numeric id its series.

    The uuid is base64; ``/`` and ``+``, which paths do not take, become ``_`` and ``-``.

    Raises:
        Refused: ``IMPORT_OCCASION`` without a duration.
    """
    if meeting.minutes is None:
        raise Refused("IMPORT_OCCASION", "no duration", "duration", "fetch the recordings again")
    name = meeting.uuid.translate(_SAFE)
    fields = {
        "meeting_id": name, "series_id": meeting.number or name,
        "account_id": meeting.account_id or "none", "start": _time(meeting.start),
        "end": _time(meeting.start + timedelta(minutes=meeting.minutes)), "tz": meeting.timezone,
    }  # fmt: skip
    return Told(parse(Occasion, fields, "recordings JSON"), "recordings JSON")


def of_file(data: bytes) -> Told:
    """By a ``meeting.json``.

    Raises:
        Refused: ``PARSE_REFUSED``, ``IMPORT_OCCASION``.
    """
    fields = json_document(data, "meeting.json")
    try:
        occasion = parse(Occasion, fields, "meeting.json")
    except Refused as error:
        raise Refused("PARSE_REFUSED", error.what, error.where,
                      "correct the file; times are in UTC with Z") from None  # fmt: skip
    try:
        ZoneInfo(occasion.tz)
    except (ValueError, OSError, KeyError):
        raise Refused("IMPORT_OCCASION", "no IANA time zone", "key tz", "name one") from None
    return Told(occasion, "meeting.json")


def _time(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat() + "Z"
