"""Zoom's transcripts and closed captions: WebVTT cues with a number and one line ``Name: text``.

Layout: 62,215 cues of 164 cloud recordings in public repositories had no other. Times count from
the start of the recording, not of the meeting.
"""

from collections.abc import Iterable, Iterator
from typing import BinaryIO

from harness.meetings import vtt
from harness.meetings.model import Turn

_REMEDY = "use Zoom's cloud transcript as it was downloaded"


def looks(head: str) -> bool:
    """Whether a file that begins so is one of these."""
    cue = vtt.first_cue(head)
    return (
        cue is not None
        and cue.name.isdecimal()
        and not cue.text.startswith("<v")
        and (cue.text != "")
    )


def read(stream: BinaryIO) -> Iterator[Turn]:
    """Read a transcript.

    The speaker is what precedes the first ``": "``; a line without it has speaker ``""``. Names
    that hold ``": "`` and unlabelled speech that does thus get a label that nobody bears, which the
    gate denies.

    Raises:
        Refused: ``PARSE_REFUSED`` with a line number.
    """
    return vtt.turns(stream, _said, _REMEDY, may_comment=False)


def write(turns: Iterable[Turn], end: float) -> bytes:
    """A transcript of turns that have ``seconds``; the last cue lasts until ``end`` seconds."""
    said = list(turns)
    ends = [turn.seconds or 0.0 for turn in said[1:]] + [end]
    cues = "".join(
        f"\r\n{number}\r\n{clock(turn.seconds or 0.0)} --> {clock(until)}\r\n{_labelled(turn)}\r\n"
        for number, (turn, until) in enumerate(zip(said, ends, strict=True), 1)
    )
    return f"WEBVTT\r\n{cues}".encode()


def _said(cue: vtt.Cue) -> tuple[vtt.Said]:
    if not cue.name.isdecimal() or cue.settings:
        raise vtt.Fault("a cue with no number before its times, or settings behind them", -1)
    return (vtt.labelled(cue),)


def clock(seconds: float) -> str:
    """Seconds as ``HH:MM:SS.mmm``."""
    minutes, milliseconds = divmod(round(seconds * 1000), 60_000)
    rest = f"{milliseconds // 1000:02d}.{milliseconds % 1000:03d}"
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest}"


def _labelled(turn: Turn) -> str:
    return f"{turn.speaker}: {turn.text}" if turn.speaker else turn.text
