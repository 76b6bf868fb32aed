"""Google Meet's chat, an SBV file: ``H:MM:SS.mmm,H:MM:SS.mmm``, then ``Name: text``, a blank line.

Texts go on over lines. A blank line inside a text is told from the end of a message by what
follows: only times begin the next one.
"""

import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from harness.meetings.model import Turn
from harness.meetings.readers.zoom_transcript import clock
from harness.meetings.strict import Reason, Tiles

_REMEDY = "use Meet's chat as it was saved (.sbv)"
_STAMP = r"\d{1,3}:[0-5]\d:[0-5]\d\.\d{3}"
_TIMES, _END = rf"({_STAMP}),({_STAMP})", r"(?:\r?\n|\Z)"
_LIKE_TIMES = r"[^\S\r\n]*\d+:\d\d[\d:.,]*[^\S\r\n]*(?:,|-->)[^\S\r\n]*\d"
_LINE = rf"(?!{_LIKE_TIMES})[^\r\n]+{_END}"
_MESSAGE = re.compile(rf"{_TIMES}\r?\n({_LINE}(?:{_LINE}|\r?\n)*)", re.ASCII)
_BEGIN = re.compile(_TIMES, re.ASCII)


def looks(head: str) -> bool:
    """Whether a file that begins so is one of these."""
    return _BEGIN.match(head) is not None


def read(stream: BinaryIO) -> Iterator[Turn]:
    """Read a chat. The speaker is what precedes the first ``": "``; a text without has ``""``.

    Raises:
        Refused: ``PARSE_REFUSED`` with a line number.
    """
    tiles = Tiles(stream, _MESSAGE, _why, _REMEDY)
    for index, match in enumerate(tiles):
        start, end = _seconds(match[1]), _seconds(match[2])
        if end < start:
            raise tiles.refuse("a message that ends before it starts", match.start())
        text = match[3].replace("\r\n", "\n").rstrip("\n")
        speaker, separator, words = text.partition(": ")
        if "\n" in speaker or not separator:
            speaker, words = "", text
        if not words.strip():
            raise tiles.refuse("a message without words", match.start(3))
        yield Turn(index, speaker, words, start)


def write(turns: Iterable[Turn]) -> bytes:
    """A chat of messages that have ``seconds``."""
    return "\n".join(
        f"{clock(turn.seconds or 0.0)},{clock((turn.seconds or 0.0) + 3)}\n"
        f"{turn.speaker}: {turn.text}\n"
        for turn in turns
    ).encode()


def _seconds(stamp: str) -> float:
    hours, minutes, rest = stamp.split(":")
    return ((int(hours) * 60 + int(minutes)) * 60_000 + int(rest[:2] + rest[3:])) / 1000


def _why(text: str) -> Reason:
    times = _BEGIN.match(text)
    if times is None:
        return "not two times H:MM:SS.mmm with a comma between them", 0
    return "times with no message, or a carriage return inside a line", times.end()
