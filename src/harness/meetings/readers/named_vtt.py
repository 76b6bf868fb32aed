"""WebVTT of any source whose cues are one line ``Name: words``, as standard players show them.

Cues may have any settings, and any name of one word. Comments (``NOTE``) are no speech. Files that
a platform's own layout tells are of that platform.
"""

import re
from collections.abc import Iterator
from typing import BinaryIO

from harness.meetings import vtt
from harness.meetings.model import Turn
from harness.meetings.readers import teams_transcript, webex_transcript, zoom_transcript

_SPACE = re.compile(r"\s")
_REMEDY = "write one line Name: words in each cue"
_OTHERS = (
    zoom_transcript.looks, webex_transcript.looks, teams_transcript.looks,
    teams_transcript.looks_unattributed,
)  # fmt: skip


def looks(head: str) -> bool:
    """Whether a file that begins so is one of these."""
    return vtt.first_cue(head) is not None and not any(looks(head) for looks in _OTHERS)


def read(stream: BinaryIO) -> Iterator[Turn]:
    """Read a transcript; labels are as in :func:`harness.meetings.readers.zoom_transcript.read`.

    Raises:
        Refused: ``PARSE_REFUSED`` with a line number.
    """
    return vtt.turns(stream, _said, _REMEDY)


def _said(cue: vtt.Cue) -> tuple[vtt.Said]:
    if _SPACE.search(cue.name):
        raise vtt.Fault("a cue's name with spaces, which could be speech", -1)
    return (vtt.labelled(cue),)
