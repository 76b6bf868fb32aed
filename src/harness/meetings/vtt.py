"""WebVTT (W3C, 2019) as meeting platforms write it: cues of a name, times, settings and lines.

A platform's reader says what is said in a cue of its files; this file, what every cue must be.
Stricter than the standard: what it drops, ignores or mends without a word is refused here.
"""

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

from harness.meetings.model import Turn
from harness.meetings.strict import Reason, Tiles

_EOL, _END = r"\r?\n", r"(?:\r?\n|\Z)"
_STAMP = r"((?:\d{2,4}:)?[0-5]\d:[0-5]\d\.\d{3})"
_TIMING = rf"{_STAMP}[ \t]+-->[ \t]+{_STAMP}(?:[ \t]+([^\r\n]*))?"
_LIKE_TIMING = r"[^\S\r\n]*[\d:.,]+[^\S\r\n]*-->[^\S\r\n]*\d"
_COMMENT = r"(?![^\r\n]*\d[^\S\r\n]*-->[^\S\r\n]*\d)[^\r\n]+(?:\r?\n|\Z)"
_METADATA = r"(?:Kind|Language|X-[A-Z-]+)[ \t]*[:=][^\r\n]*(?:\r?\n|\Z)"
_LINE = rf"(?!{_LIKE_TIMING})[^\r\n]+{_END}"
_GAP = rf"(?:(?:{_EOL})+|\Z)"
_NOTE = rf"NOTE(?:[ \t][^\r\n]*)?{_END}(?:{_COMMENT})*{_GAP}"
_STYLE = rf"(?:STYLE|REGION)[ \t]*{_EOL}(?:{_COMMENT})*{_GAP}"
_HEADER = rf"WEBVTT(?:[ \t][^\r\n]*)?{_END}(?:{_METADATA})*{_GAP}"
_TIMES = rf"(?:((?!{_LIKE_TIMING})[^\r\n]+){_EOL})?{_TIMING}{_EOL}"

_OPENING = re.compile(rf"{_HEADER}(?:{_NOTE}|{_STYLE})*", re.ASCII)
"""The header with its metadata, and the comments and styles before the first cue."""
_HEAD_ALONE = re.compile(_HEADER, re.ASCII)
_CUE = re.compile(rf"{_NOTE}|{_TIMES}((?:{_LINE})+){_GAP}", re.ASCII)
_SET_APART = re.compile(rf"{_NOTE}|{_TIMES}(?:{_EOL})+((?:{_LINE})+){_GAP}", re.ASCII)
_FIRST = re.compile(rf"^{_TIMES}([^\r\n]*)", re.ASCII | re.MULTILINE)
_ROW = re.compile(r"[^\n]*(?:\n|\Z)")
_TIMED, _ALIKE = re.compile(_TIMING, re.ASCII), re.compile(_LIKE_TIMING, re.ASCII)
_LOOK = 1 << 16
"""Characters that are looked at to say why a file is refused."""


class Cue(NamedTuple):
    """One cue.

    Attributes:
        name: the line before its times; empty where there is none.
        settings: what follows the times.
        text: its lines, without the end of the last.
    """

    name: str
    settings: str
    text: str


class Fault(Exception):
    """What is wrong with a cue.

    Args:
        what: never quotes the file.
        line: of the cue's text, from 0; -1 for its name.
    """

    def __init__(self, what: str, line: int = 0) -> None:
        super().__init__(what)
        self.what, self.line = what, line


Said = tuple[str, str]
"""The label of a speaker, and the words."""


def turns(
    stream: BinaryIO, said: Callable[[Cue], Sequence[Said]], remedy: str, set_apart: bool = False,
    may_comment: bool = True,
) -> Iterator[Turn]:  # fmt: skip
    """The turns of a file.

    Args:
        stream: the file.
        said: what is said in a cue; raises :class:`Fault`.
        remedy: what to do about a file that is refused.
        set_apart: whether a blank line stands between the times and the text of each cue.
        may_comment: whether comments and styles may stand beside cues.

    Raises:
        Refused: ``PARSE_REFUSED`` with a line number.
    """
    opening = _OPENING if may_comment else _HEAD_ALONE
    tiles = Tiles(stream, _SET_APART if set_apart else _CUE, _why, remedy, opening)
    index = 0
    for match in tiles:
        name, start, end, settings, text = match.groups()
        if text is None:
            if not may_comment:
                raise tiles.refuse("a comment, which could be speech", match.start())
            continue
        seconds = _seconds(start)
        if (end < start or len(end) != len(start)) and _seconds(end) < seconds:
            raise tiles.refuse("a cue that ends before it starts", match.start(2))
        try:
            parts = said(Cue(name or "", settings or "", text.rstrip("\r\n")))
        except Fault as fault:
            raise tiles.refuse(fault.what, _place(match, fault.line)) from None
        for speaker, words in parts:
            if not words.strip():
                raise tiles.refuse("a cue without words", match.start(5))
            yield Turn(index, speaker, words, seconds)
            index += 1


def labelled(cue: Cue) -> Said:
    """Label and words of a cue of one line ``Name: words``; without a name, the label is ``""``.

    A second line could be of somebody else, and a voice tag says so.

    Raises:
        Fault: for either.
    """
    text = cue.text
    if "\n" in text:
        raise Fault("a second line in a cue", 1)
    if "<v" in text:
        raise Fault("a voice tag, which this format does not have")
    speaker, separator, words = text.partition(": ")
    return (speaker, words) if separator else ("", text)


def first_cue(head: str) -> Cue | None:
    """The first cue of a file, with the first line of its text; None for other files.

    Args:
        head: some of the file's first characters.
    """
    found = _FIRST.search(head) if head.startswith("WEBVTT") else None
    return Cue(found[1] or "", found[4] or "", found[5]) if found else None


def _seconds(stamp: str) -> float:
    minutes = int(stamp[:-10] or 0) * 60 + int(stamp[-9:-7])
    return (minutes * 60_000 + int(stamp[-6:-4] + stamp[-3:])) / 1000


def _place(match: re.Match[str], line: int) -> int:
    """Where a line of a cue's text begins; for -1, where its name does."""
    place = match.start(5) if line >= 0 else match.start()
    for _ in range(line):
        place = match.string.index("\n", place) + 1
    return place


def _why(text: str) -> Reason:
    """Why a text begins with no cue, and at which character."""
    rows = [(row.start(), row[0].rstrip("\r\n")) for row in _ROW.finditer(text[:_LOOK])]
    if rows[0][1].startswith("WEBVTT"):
        return _why_no_header(rows)
    timed = next((n for n, (_, row) in enumerate(rows[:2]) if _TIMED.fullmatch(row)), None)
    if timed is None:
        of_times = len(rows) > 1 and rows[0][1].isdecimal()
        what = "times that are not HH:MM:SS.mmm --> HH:MM:SS.mmm" if of_times else "no cue"
        return what, rows[of_times][0]
    block = [*itertools.takewhile(lambda row: row[1], rows[timed + 1 :])]
    for place, row in block:
        if _ALIKE.match(row):
            return "times inside a cue, with no blank line before them", place
        if "\r" in row:
            return "a carriage return inside a line", place
    return "a cue without text", rows[timed][0]


def _why_no_header(rows: Sequence[tuple[int, str]]) -> Reason:
    for place, row in rows[1:]:
        if _ALIKE.match(row):
            return "no blank line between WEBVTT and the first cue", place
    return "not WEBVTT alone at the start of the first line", 0
