"""Webex's transcripts: WebVTT cues whose name line is ``1 "Name" (id)``.

Layout as known from memory; no public file was at hand. A file of another layout is refused.
"""

import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from harness.meetings import vtt
from harness.meetings.model import Turn
from harness.meetings.readers.zoom_transcript import clock

_REMEDY = "use Webex's transcript as it was downloaded (.vtt)"
_NAMED = re.compile(r'\d+ "([^\r\n]*)" \(\d*\)', re.ASCII)


def looks(head: str) -> bool:
    """Whether a file that begins so is one of these."""
    cue = vtt.first_cue(head)
    return cue is not None and _NAMED.fullmatch(cue.name) is not None


def read(stream: BinaryIO) -> Iterator[Turn]:
    """Read a transcript.

    Raises:
        Refused: ``PARSE_REFUSED`` with a line number.
    """
    return vtt.turns(stream, _said, _REMEDY)


def write(turns: Iterable[Turn]) -> bytes:
    """A transcript of turns that have ``seconds``, each of which lasts a second."""
    cues = (
        f'\n{number} "{turn.speaker}" ({number})\n'
        f"{clock(turn.seconds or 0.0)} --> {clock((turn.seconds or 0.0) + 1)}\n{turn.text}\n"
        for number, turn in enumerate(turns, 1)
    )
    return f"WEBVTT\n{''.join(cues)}".encode()


def _said(cue: vtt.Cue) -> tuple[vtt.Said]:
    name = _NAMED.fullmatch(cue.name)
    if name is None:
        raise vtt.Fault('a cue whose first line is not: number "Name" (id)', -1)
    if "<v" in cue.text:
        raise vtt.Fault("a voice tag, which Webex does not write")
    return ((name[1], cue.text.replace("\r\n", "\n")),)
