"""Zoom's saved chat (``meeting_saved_chat.txt``, ``chat.txt``): the file of one who was there.

Four dialects were seen, which may follow each other in one file: ``From  A : text`` and ``From  A
to  B : text`` with the text behind and lines below that go on, ``From A to B:`` with the text
below, each line after a tab; and of both a form with ``(Privately)`` or ``(Direct Message)`` behind
B, for a message that only B saw. The words that set the parts of a head apart may stand in a name
or a text as well. Where a head can be cut in several ways, the names that are known decide, or the
file is refused: nothing in it says who spoke.
"""

import re
from collections.abc import Collection, Iterator
from typing import BinaryIO, NamedTuple

from harness.meetings.model import Modality, Turn
from harness.meetings.strict import Reason, Tiles

_REMEDY = "use Zoom's cloud chat, or leave the file out"
_END, _TIME = r"(?:\r?\n|\Z)", r"\d\d:[0-5]\d:[0-5]\d"
_HEAD = re.compile(rf"{_TIME}\t? From ", re.ASCII)
_LIKE_HEAD = r"[^\S\r\n]*\d{1,2}:\d\d(?::\d\d)?.{0,4}\bFrom\b"
_MORE = rf"(?:(?!{_LIKE_HEAD})[^\r\n]*\r?\n)*(?:(?!{_LIKE_HEAD})[^\r\n]+\Z)?"
_BEHIND = rf"({_TIME})\t From  ([^\r\n]+){_END}({_MORE})"
_BELOW = rf"({_TIME}) From ([^\r\n]+):\r?\n((?:\t[^\r\n]*{_END})+)"
_MESSAGE = re.compile(rf"{_BEHIND}|{_BELOW}", re.ASCII)
_PRIVATE = re.compile(r" ?\((?:Privately|Direct Message)\)\Z")
_EVERYONE = "Everyone"


def looks(head: str) -> bool:
    """Whether a file that begins so is one of these."""
    return _HEAD.match(head) is not None


def read(stream: BinaryIO, known: Collection[str] = ()) -> Iterator[tuple[Modality, Turn]]:
    """Read a chat; messages to one person are ``chat_private``, and each kind has its own numbers.

    Args:
        stream: the file.
        known: labels of the people in the meeting.

    Raises:
        Refused: ``PARSE_REFUSED`` with a line number, also where it is open who spoke.
    """
    tiles = Tiles(stream, _MESSAGE, _why, _REMEDY)
    count = {Modality.CHAT_PUBLIC: 0, Modality.CHAT_PRIVATE: 0}
    for match in tiles:
        cuts = [*_cuts_behind(match)] if match[1] else [*_cuts_below(match)]
        if len(cuts) > 1:
            cuts = [cut for cut in cuts if cut.name in known and cut.is_to(known)]
        if len(cuts) != 1:
            raise tiles.refuse("a head that does not say who spoke to whom", match.start())
        (cut,) = cuts
        if not cut.text.strip():
            raise tiles.refuse("a message without words", match.start())
        kind = Modality.CHAT_PRIVATE if cut.private else Modality.CHAT_PUBLIC
        yield kind, Turn(count[kind], cut.name, cut.text, _seconds(match[1] or match[4]))
        count[kind] += 1


class _Cut(NamedTuple):
    """One way to understand a message."""

    name: str
    to: str
    private: bool
    text: str

    def is_to(self, known: Collection[str]) -> bool:
        return self.to in ("", _EVERYONE) or self.to in known


def _cuts_behind(match: re.Match[str]) -> Iterator[_Cut]:
    """Each cut of ``A : text`` and ``A  to  B : text``."""
    parts = match[2].split(" : ")
    more = match[3].replace("\r\n", "\n").rstrip("\n")
    for place in range(1, len(parts)):
        text = " : ".join(parts[place:])
        text = f"{text}\n{more}" if more else text
        yield from _addressed(" : ".join(parts[:place]), "  to  ", text, True)


def _cuts_below(match: re.Match[str]) -> Iterator[_Cut]:
    """Each cut of ``A to B``."""
    rows = match[6].replace("\r\n", "\n").rstrip("\n").split("\n")
    yield from _addressed(match[5], " to ", "\n".join(row[1:] for row in rows), False)


def _addressed(head: str, separator: str, text: str, may_be_bare: bool) -> Iterator[_Cut]:
    """Each cut of a head into who spoke and to whom."""
    private = _PRIVATE.search(head)
    head = head[: private.start()] if private else head
    parts = head.split(separator)
    for place in range(1, len(parts)):
        name, to = separator.join(parts[:place]), separator.join(parts[place:])
        if private is not None or to == _EVERYONE:
            yield _Cut(name.strip(), to.strip(), private is not None, text)
    if may_be_bare and private is None and "  " not in head:
        yield _Cut(head.strip(), "", False, text)


def _seconds(clock: str) -> float:
    """The time of day: no file says when the meeting began."""
    hours, minutes, seconds = map(int, clock.split(":"))
    return float((hours * 60 + minutes) * 60 + seconds)


def _why(text: str) -> Reason:
    head = _HEAD.match(text)
    if head is None:
        return "not a time, From and a name", 0
    return "a head with no message, or a carriage return inside a line", 0
