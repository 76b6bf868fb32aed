"""Google Meet's transcript document, saved as text: paragraphs ``Name: words`` below a heading.

The document opens with its title and the attendees, up to a line ``Transcript`` and, where there is
one, a warning that a computer wrote it. Stamps ``HH:MM:SS`` stand alone on lines and are the time
of what follows; ``Meeting ended after HH:MM:SS`` closes it. Layout as known from memory; no public
file was at hand. A file of another layout is refused.
"""

import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from harness.meetings.model import Turn
from harness.meetings.readers.zoom_transcript import clock
from harness.meetings.strict import Reason, Tiles

_REMEDY = "save Meet's transcript document as plain text"
_END, _STAMP = r"(?:\r?\n|\Z)", r"(\d\d):([0-5]\d):([0-5]\d)"
_HEADING = r"Transcript[ \t]*\r?\n"
_WARNING = r"This editable transcript was computer generated[^\r\n]*"
_BEFORE = rf"(?!{_HEADING}|\d\d:\d\d:\d\d[ \t]*\r?\n)[^\r\n]*\r?\n"
_OPENING = re.compile(rf"(?:{_BEFORE}){{0,40}}{_HEADING}(?:\r?\n)*(?:{_WARNING}{_END}(?:\r?\n)*)?")
_ENDED = "Meeting ended after "
_LINE = re.compile(
    rf"(?:{_STAMP}|{_ENDED}{_STAMP}[^\w\r\n]*|((?!{_ENDED})[^\r\n]+)){_END}(?:\r?\n)*", re.ASCII
)


def looks(head: str) -> bool:
    """Whether a file that begins so is one of these."""
    return re.search(rf"^{_HEADING}", head, re.MULTILINE) is not None and not (
        head.startswith("WEBVTT")
    )


def read(stream: BinaryIO) -> Iterator[Turn]:
    """Read a transcript; seconds are those of the last stamp before a paragraph.

    Raises:
        Refused: ``PARSE_REFUSED`` with a line number, also for a paragraph with no name.
    """
    tiles = Tiles(stream, _LINE, _why, _REMEDY, _OPENING)
    seconds, index = 0.0, 0
    for match in tiles:
        hours, minutes, rest, *_, words = match.groups()
        if rest is not None:
            seconds = float((int(hours) * 60 + int(minutes)) * 60 + int(rest))
        elif words is not None:
            speaker, separator, text = words.partition(": ")
            if not separator or not text.strip():
                raise tiles.refuse("a paragraph that is not Name: words", match.start())
            yield Turn(index, speaker, text, seconds)
            index += 1


def write(turns: Iterable[Turn]) -> bytes:
    """A document of turns that have ``seconds``, which are whole; each has a stamp."""
    said = "".join(
        f"{clock(turn.seconds or 0.0)[:-4]}\n\n{turn.speaker}: {turn.text}\n\n" for turn in turns
    )
    return f"Weekly - Transcript\nAttendees\nAda, Bo\nTranscript\n\n{said}".encode()


def _why(text: str) -> Reason:
    return "no line that says Transcript, or a carriage return inside a line", 0
