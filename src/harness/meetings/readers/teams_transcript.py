"""Microsoft Teams' transcripts: WebVTT cues whose text is voice spans, ``<v Name>words</v>``.

A span may go on over lines and may lack its end where it is the only one; two spans of one cue are
two turns. Names and words hold entities. What was said without a span was said by nobody known.
Teams writes another layout where speakers are not to be told: times, a blank line, and words.
"""

import html
import html.entities
import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from harness.meetings import vtt
from harness.meetings.model import Turn
from harness.meetings.readers.zoom_transcript import clock

_REMEDY = "use Teams' transcript as it was downloaded (.vtt)"
_VOICE = r"<v(?:\.[^\s<>.]+)*[ \t]([^<>\r\n]*)>([^<]*)"
_ALONE = re.compile(rf"{_VOICE}(?:</v>[ \t\r\n]*)?")
_SPAN = re.compile(rf"[ \t\r\n]*{_VOICE}</v>[ \t\r\n]*")
_ENTITY = re.compile(r"&(?:#[0-9]+|#[xX][0-9a-fA-F]+|[A-Za-z][A-Za-z0-9]*);")
_GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/\d+-\d+", re.ASCII)


def looks(head: str) -> bool:
    """Whether a file that begins so is one of these."""
    cue = vtt.first_cue(head)
    return (
        cue is not None
        and cue.text != ""
        and not cue.name.isdecimal()
        and (cue.text.startswith("<v") or _GUID.fullmatch(cue.name) is not None)
    )


def looks_unattributed(head: str) -> bool:
    """Whether a file that begins so has a blank line between times and words."""
    cue = vtt.first_cue(head)
    return cue is not None and cue.text == ""


def read(stream: BinaryIO) -> Iterator[Turn]:
    """Read a transcript.

    Raises:
        Refused: ``PARSE_REFUSED`` with a line number, also for tags that are not of voices.
    """
    return vtt.turns(stream, _said, _REMEDY)


def read_unattributed(stream: BinaryIO) -> Iterator[Turn]:
    """Read a transcript without speakers; all its turns are of speaker ``""``.

    Raises:
        Refused: ``PARSE_REFUSED`` with a line number.
    """
    return vtt.turns(stream, _said_by_nobody, _REMEDY, set_apart=True)


def write(turns: Iterable[Turn]) -> bytes:
    """A transcript of turns that have ``seconds``, each of which lasts a second."""
    cues = (
        f"\n{clock(turn.seconds or 0.0)} --> {clock((turn.seconds or 0.0) + 1)}\n"
        f"<v {html.escape(turn.speaker)}>{html.escape(turn.text)}</v>\n"
        for turn in turns
    )
    return f"WEBVTT\n{''.join(cues)}".encode()


def _said(cue: vtt.Cue) -> list[vtt.Said]:
    text = cue.text
    if cue.name and not (cue.name.isdecimal() or _GUID.fullmatch(cue.name)):
        raise vtt.Fault("a cue's name that is no number or GUID, which could be speech", -1)
    if "<" not in text:
        return [("", _plain(text))]
    alone = _ALONE.fullmatch(text)
    if alone:
        return [_voice(alone)]
    found, place = [], 0
    for match in _SPAN.finditer(text):
        if match.start() != place:
            break
        found.append(_voice(match))
        place = match.end()
    if place < len(text):
        raise vtt.Fault("a tag that is no voice, a voice that is not closed, or words beside one",
                        text.count("\n", 0, place))  # fmt: skip
    return found


def _said_by_nobody(cue: vtt.Cue) -> list[vtt.Said]:
    if "<v" in cue.text:
        raise vtt.Fault("a voice in a transcript without speakers")
    return [("", _plain(cue.text))]


def _voice(match: re.Match[str]) -> vtt.Said:
    return _plain(match[1]), _plain(match[2]).replace("\r\n", "\n")


def _plain(text: str) -> str:
    """The text with its entities, those that end in a semicolon, put as characters."""
    return _ENTITY.sub(_character, text) if "&" in text else text


def _character(entity: re.Match[str]) -> str:
    """The character of an entity that there is, else the entity as it stands."""
    known = entity[0][1] == "#" or entity[0][1:] in html.entities.html5
    character = html.unescape(entity[0]) if known else ""
    return character if character.isprintable() and character else entity[0]
