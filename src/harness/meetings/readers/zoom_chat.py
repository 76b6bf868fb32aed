"""Zoom's cloud chat: ``HH:MM:SS<TAB>Name:<TAB>text`` ended by CR LF; texts hold bare line feeds.

Layout: 162 files in public repositories, 130 of which have line feeds inside messages; none has
private messages. Replies and reactions are messages that quote what they answer, cut short.
"""

import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from harness.meetings.model import Turn
from harness.meetings.readers.zoom_transcript import clock
from harness.meetings.strict import Reason, Tiles

_REMEDY = "use Zoom's cloud chat as it was downloaded, with its CR LF line ends"
_HEAD = r"(\d{2,4}):([0-5]\d):([0-5]\d)\t([^\r\n]+?):\t"
_MESSAGE = re.compile(rf"{_HEAD}([^\r]*)(?:\r\n|\Z)", re.ASCII)
_BEGIN, _INSIDE = re.compile(_HEAD, re.ASCII), re.compile(rf"\n{_HEAD}", re.ASCII)


def looks(head: str) -> bool:
    """Whether a file that begins so is one of these."""
    return _BEGIN.match(head) is not None


def read(stream: BinaryIO) -> Iterator[Turn]:
    """Read a chat. The name may hold colons, the text tabs and line feeds.

    Raises:
        Refused: ``PARSE_REFUSED`` with a line number, also where a message holds what looks like
            the head of another: a file with Unix line ends would credit it to the wrong person.
    """
    tiles = Tiles(stream, _MESSAGE, _why, _REMEDY)
    for index, match in enumerate(tiles):
        hours, minutes, seconds, name, text = match.groups()
        inside = _INSIDE.search(text) if "\n" in text else None
        if inside:
            raise tiles.refuse("a message inside a message", match.start(5) + inside.start() + 1)
        if not text.strip():
            raise tiles.refuse("a message without words", match.start())
        yield Turn(index, name, text, float((int(hours) * 60 + int(minutes)) * 60 + int(seconds)))


def write(turns: Iterable[Turn]) -> bytes:
    """A chat of messages that have ``seconds``."""
    return "".join(
        f"{clock(turn.seconds or 0.0)[:-4]}\t{turn.speaker}:\t{turn.text}\r\n" for turn in turns
    ).encode()


def _why(text: str) -> Reason:
    head = _BEGIN.match(text)
    if head is None:
        return "not HH:MM:SS, tab, name, colon, tab, text", 0
    place = text.find("\r", head.end())
    if place < 0:
        return "a message without end: the file has lost its CR LF line ends", 0
    return "a carriage return inside a message", place
