"""What lies in a folder of exports: which files belong to one meeting, and what each of them is.

The files of one folder are of one meeting. Where names begin with the start of a recording, as Zoom
writes them (``GMT20261006-160005_…``), files of one start are of one meeting, as such files often
lie together.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from pathlib import Path

from harness.errors import Refused
from harness.intake import attendees
from harness.meetings.formats import HEAD, format_of
from harness.meetings.readers import (
    nxt,
    teams_attendance,
    zoom_participants,
    zoom_recordings,
    zoom_saved_chat,
    zoom_timeline,
)

_START = re.compile(r"GMT\d{8}-\d{6}", re.ASCII)
_MEDIA = {".mp4", ".m4a", ".mp3", ".wav", ".webm", ".mov", ".mkv", ".png", ".jpg", ".jpeg", ".gif"}


class Kind(StrEnum):
    """What a file is, beside turns."""

    TURNS = "turns"
    SAVED_CHAT = "zoom-saved-chat"
    PARTICIPANTS = "zoom-participants"
    RECORDINGS = "zoom-recordings"
    TIMELINE = "zoom-timeline"
    ATTENDANCE = "teams-attendance"
    OCCASION = "meeting-json"
    ATTENDEES = "attendees-csv"
    NXT = "nxt-xml"


_LOOKS: dict[Kind, Callable[[str], bool]] = {
    Kind.SAVED_CHAT: zoom_saved_chat.looks,
    Kind.PARTICIPANTS: zoom_participants.looks,
    Kind.RECORDINGS: zoom_recordings.looks,
    Kind.TIMELINE: zoom_timeline.looks,
    Kind.ATTENDEES: attendees.looks,
    Kind.NXT: nxt.looks,
    Kind.OCCASION: lambda head: re.match(r'\s*\{\s*"meeting_id"\s*:', head) is not None,
}


@dataclass(frozen=True)
class Export:
    """The files of one meeting.

    Attributes:
        name: path of the folder below the exports, with the start of the recording where names
            begin with it.
        files: paths below the exports, in order.
    """

    name: str
    files: tuple[str, ...]


def exports_in(root: Path) -> Iterator[Export]:
    """The meetings below a folder, in the order of their names; hidden files are left out.

    Raises:
        Refused: ``IMPORT_LINK`` for a link, which could lead anywhere, ``IMPORT_FILE_NAME``.
    """
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in [*folders, *names]:
            if os.path.islink(Path(folder, name)):
                raise Refused("IMPORT_LINK", "a link, which could lead anywhere", name,
                              "put the file itself there")  # fmt: skip
            if not name.isprintable():
                shown = name.encode("ascii", "backslashreplace").decode()
                raise Refused("IMPORT_FILE_NAME", "a file name that is no printable UTF-8", shown,
                              "rename it")  # fmt: skip
        below = Path(folder).relative_to(root)
        files = sorted(name for name in names if not name.startswith("."))
        for start, group in groupby(sorted(files, key=_start), key=_start):
            yield Export(
                f"{below}//{start}" if start else f"{below}",
                tuple(str(below / name) for name in group),
            )


def kind_of(path: Path) -> tuple[Kind, str]:
    """What a file is by its content, and the format of its turns, if it has any.

    Raises:
        Refused: ``IMPORT_MEDIA`` for sound and pictures, ``IMPORT_NOT_REGULAR``,
            ``CONTENT_FORMAT_UNKNOWN``.
    """
    if path.suffix.lower() in _MEDIA:
        raise Refused("IMPORT_MEDIA", "sound and pictures are not read", "", "leave it out")
    if not path.is_file():
        raise Refused("IMPORT_NOT_REGULAR", "no regular file", "", "leave it out")
    with path.open("rb") as file:
        head = file.read(HEAD)
    if teams_attendance.looks(head):
        return Kind.ATTENDANCE, ""
    text = head.decode("utf-8-sig", "replace")
    found = [kind for kind, looks in _LOOKS.items() if looks(text)]
    return (found[0], "") if found else (Kind.TURNS, format_of(head))


def _start(name: str) -> str:
    match = _START.match(name)
    return match[0] if match else ""
