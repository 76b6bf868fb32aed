"""Zoom's timeline JSON: who spoke at which moments; words it has none.

``timeline_refine`` is Zoom's mended list; both lists are read, as either may name somebody whom the
other lacks. Several people may speak at one moment, or somebody whom Zoom has no name for.
"""

import re
from dataclasses import dataclass
from typing import Any

from harness.errors import Refused
from harness.meetings.strict import json_document

_NAME = "timeline JSON"
_CLOCK = re.compile(r"(\d{2,4}):([0-5]\d):([0-5]\d)\.(\d{3})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Moment:
    """Who spoke.

    Attributes:
        seconds: from the start of the recording.
        names: labels of the people, as on their tiles; empty for one without.
    """

    seconds: float
    names: tuple[str, ...]


def looks(head: str) -> bool:
    """Whether a file that begins so is one of these."""
    return re.match(r'\s*\{\s*"timeline(?:_refine)?"\s*:', head) is not None


def read(data: bytes) -> list[Moment]:
    """Read a timeline.

    Raises:
        Refused: ``PARSE_REFUSED``, with the entry at fault.
    """
    document = json_document(data, _NAME)
    if not isinstance(document, dict) or not {*document} <= {"timeline", "timeline_refine"}:
        raise _bad("not an object of timeline and timeline_refine", _NAME)
    lists = {key: _moments(document[key], key) for key in document}
    return [moment for key in sorted(lists, reverse=True) for moment in lists[key]]


def _moments(entries: Any, key: str) -> list[Moment]:
    if not isinstance(entries, list):
        raise _bad("no list", key)
    return [_moment(entry, f"{key}[{number}]") for number, entry in enumerate(entries)]


def _moment(entry: Any, where: str) -> Moment:
    fields = entry if isinstance(entry, dict) else {}
    clock, users = fields.get("ts"), fields.get("users")
    match = _CLOCK.fullmatch(clock) if isinstance(clock, str) else None
    if match is None or not isinstance(users, list):
        raise _bad("no time HH:MM:SS.mmm, or no list of users", where)
    names = [user.get("username") if isinstance(user, dict) else None for user in users]
    if not all(isinstance(name, str) for name in names):
        raise _bad("a user without a name", where)
    hours, minutes, seconds, thousandths = map(int, match.groups())
    return Moment(
        (((hours * 60 + minutes) * 60 + seconds) * 1000 + thousandths) / 1000,
        tuple(name for name in names if isinstance(name, str)),
    )


def _bad(what: str, where: str) -> Refused:
    return Refused("PARSE_REFUSED", what, where, "fetch the timeline again")
