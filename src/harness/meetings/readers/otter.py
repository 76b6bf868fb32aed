"""Otter's transcripts as text: ``Name  0:49``, the words on lines below, a blank line.

Otter writes ``Unknown Speaker`` where it knows nobody; that is a label like any other, which nobody
bears. Two spaces set a name and its time apart.
"""

import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from harness.meetings.model import Turn
from harness.meetings.strict import Reason, Tiles

_REMEDY = "export from Otter as text, with speakers and times"
_HEAD = r"([^\r\n]*?\S) {2}((?:\d{1,3}:)?[0-5]?\d:[0-5]\d) *"
_END = r"(?:\r?\n|\Z)"
_TIME = r"\d+(?::\d+)+[^\S\r\n]*(?:\r?\n|\Z)"
_LIKE_HEAD = rf"[^\r\n]*(?:[^\S\r\n]{{2}}|[^\S\r\n ]){_TIME}"
_LINE = rf"(?!{_LIKE_HEAD})[^\r\n]+{_END}"
_AFTER_BLANK = rf"(?:\r?\n)+(?![^\r\n]*[^\S\r\n]{_TIME}){_LINE}"
_TURN = re.compile(rf"{_HEAD}\r?\n({_LINE}(?:{_LINE}|{_AFTER_BLANK})*)(?:\r?\n)*")
_BEGIN = re.compile(rf"{_HEAD}\r?\n")


def looks(head: str) -> bool:
    """Whether a file that begins so is one of these."""
    return _BEGIN.match(head) is not None


def read(stream: BinaryIO) -> Iterator[Turn]:
    """Read a transcript; several paragraphs below one name are one turn.

    Raises:
        Refused: ``PARSE_REFUSED`` with a line number.
    """
    for index, match in enumerate(Tiles(stream, _TURN, _why, _REMEDY)):
        speaker, clock, text = match[1], match[2], match[3]
        yield Turn(index, speaker, text.replace("\r\n", "\n").rstrip("\n"), _seconds(clock))


def write(turns: Iterable[Turn]) -> bytes:
    """A transcript of turns that have ``seconds``, which are whole."""
    return "".join(
        f"{turn.speaker}  {_clock(int(turn.seconds or 0))}\n{turn.text}\n\n" for turn in turns
    ).encode()


def _seconds(clock: str) -> float:
    total = 0
    for part in clock.split(":"):
        total = total * 60 + int(part)
    return float(total)


def _clock(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _why(text: str) -> Reason:
    head = _BEGIN.match(text)
    if head is None:
        return "not a name, two spaces and a time", 0
    return "a name with no words below it, or a carriage return inside a line", 0
