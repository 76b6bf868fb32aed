"""Google Meet's transcript entries, as ``conferenceRecords/*/transcripts/*/entries`` answers.

Pages of entries may follow one another in one list under ``transcriptEntries``. Entries name their
participant by resource name; ``participants`` beside them, if the file has it as
``conferenceRecords/*/participants`` answers, says who that is: a user who had signed in, one who
had not, or a telephone. Without it, and for the last two, the label is the resource name: nobody.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO

from harness.errors import Refused
from harness.meetings.model import Turn
from harness.meetings.strict import json_document

_NAME = "Meet entries JSON"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", re.ASCII)
_KEYS = {"transcriptEntries", "participants", "nextPageToken"}
_ENTRY = {"name", "participant", "text", "languageCode", "startTime", "endTime"}


def looks(head: str) -> bool:
    """Whether a file that begins so is one of these."""
    return head.lstrip().startswith("{") and (
        '"transcriptEntries"' in head or '"conferenceRecords/' in head
    )


def read(stream: BinaryIO) -> Iterator[Turn]:
    """Read the entries of one meeting; seconds count from the start of the first.

    Raises:
        Refused: ``PARSE_REFUSED``, with the entry at fault; also where a page is missing.
    """
    document = json_document(stream.read(), _NAME)
    if not isinstance(document, dict) or not {*document} <= _KEYS:
        raise _bad("not an object of transcriptEntries and participants", _NAME)
    if document.get("nextPageToken"):
        raise _bad("there are more pages", "nextPageToken")
    labels = _labels(document.get("participants", []))
    entries = document.get("transcriptEntries")
    if not isinstance(entries, list):
        raise _bad("no list of entries", "transcriptEntries")
    begin: datetime | None = None
    for index, entry in enumerate(entries):
        where = f"transcriptEntries[{index}]"
        if not isinstance(entry, dict) or not {*entry} <= _ENTRY:
            raise _bad("not an entry", where)
        participant, text = entry.get("participant"), entry.get("text")
        start, end = (_moment(entry.get(key), where) for key in ("startTime", "endTime"))
        begin = begin or start
        if not isinstance(participant, str) or not isinstance(text, str) or not text.strip():
            raise _bad("no participant or no words", where)
        if end < start or start < begin:
            raise _bad("it ends before it starts, or starts before the first", where)
        seconds = (start - begin) / timedelta(seconds=1)
        yield Turn(index, labels.get(participant, participant), text, seconds)


def write(turns: Iterable[Turn]) -> bytes:
    """Entries of turns that have ``seconds``, the first 0; labels are those of signed-in users."""
    begin, said = datetime(2026, 1, 1, tzinfo=UTC), list(turns)
    names = {label: f"conferenceRecords/c/participants/{n}"
             for n, label in enumerate(dict.fromkeys(turn.speaker for turn in said))}  # fmt: skip
    return json.dumps(
        {
            "participants": [
                {"name": name, "signedinUser": {"user": f"users/{label}", "displayName": label}}
                for label, name in names.items()
            ],
            "transcriptEntries": [
                {"name": f"conferenceRecords/c/transcripts/t/entries/{turn.index}",
                 "participant": names[turn.speaker], "text": turn.text, "languageCode": "en-US",
                 "startTime": _stamp(begin, turn), "endTime": _stamp(begin, turn)}
                for turn in said
            ],
        },
        ensure_ascii=False,
    ).encode()  # fmt: skip


def _stamp(begin: datetime, turn: Turn) -> str:
    time = begin + timedelta(microseconds=round((turn.seconds or 0.0) * 1e6))
    return f"{time:%Y-%m-%dT%H:%M:%S.%f}Z"


def _labels(participants: Any) -> dict[str, str]:
    """Display names of signed-in users by resource name."""
    if not isinstance(participants, list):
        raise _bad("no list", "participants")
    found: dict[str, str] = {}
    for index, row in enumerate(participants):
        fields = row if isinstance(row, dict) else {}
        name, user = fields.get("name"), fields.get("signedinUser")
        label = user.get("displayName") if isinstance(user, dict) else None
        if not isinstance(name, str) or name in found:
            raise _bad("no name, or one that stands twice", f"participants[{index}]")
        found[name] = label if isinstance(label, str) else name
    shared = Counter(found.values())  # who share a name stay apart by their resource names
    return {name: label if shared[label] == 1 else name for name, label in found.items()}


def _moment(value: Any, where: str) -> datetime:
    if isinstance(value, str) and _TIME.fullmatch(value):
        whole, _, part = value[:-1].partition(".")
        try:
            time = datetime.fromisoformat(whole).replace(tzinfo=UTC)
        except ValueError:
            pass
        else:
            return time + timedelta(microseconds=int(part[:6].ljust(6, "0") or 0))
    raise _bad("no UTC time that ends in Z", where)


def _bad(what: str, where: str) -> Refused:
    return Refused("PARSE_REFUSED", what, where, "fetch the entries again, all pages of them")
