"""The NITE XML files of ICSI and AMI: words of one channel, and segments that refer to them.

A segment names its words by a range, ``FILE#id(A)..id(B)``. Every word is of one segment, else both
files are refused. What is no speech (laughter, gaps, markers) has no text and is left out. Layout:
the NXT releases of the AMI and ICSI corpora, known from memory.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, ParseError

from harness.errors import Refused
from harness.meetings.strict import refusal

_NITE = "{http://nite.sourceforge.net/}"
_RANGE = re.compile(r"[^#]*#id\(([^()]+)\)(?:\.\.id\(([^()]+)\))?")
_SILENT = {"vocalsound", "nonvocalsound", "disfmarker", "gap", "pause", "comment", "transformerror",
           "uncertain", "emphasis"}  # fmt: skip
_REMEDY = "take the words and segments of one channel from one release of the corpus"
_CLOSES = re.compile(r"[.,?!;:]+")
_NO_NUMBER = -1.0


class Segment(NamedTuple):
    """What one person said at a stretch.

    Attributes:
        start: in seconds.
        participant: code of the person; empty where the file leaves it to the channel.
        text: its words.
    """

    start: float
    participant: str
    text: str


def looks(head: str) -> bool:
    """Whether a file that begins so is one of these."""
    return "<nite:root" in head and ("<w " in head or "<segment " in head)


def read(words: bytes, segments: bytes) -> list[Segment]:
    """Read one channel of a meeting; segments without words are left out.

    Args:
        words: ``*.words.xml``.
        segments: ``*.segments.xml`` or ``*.segs.xml``.

    Raises:
        Refused: ``PARSE_REFUSED``.
    """
    said = [*_root(words, "words")]
    places = {_id(element): place for place, element in enumerate(said)}
    if len(places) < len(said):
        raise _bad("an id that stands twice, or none", "words")
    found, used = [], [False] * len(said)
    for number, segment in enumerate(_root(segments, "segments")):
        where = f"segment {number}"
        if segment.tag != "segment":
            raise _bad("something that is no segment", where)
        tokens = []
        for place in _places(segment, places, where):
            if used[place]:
                raise _bad("a word of two segments", where)
            used[place] = True
            tokens.append(_token(said[place], where))
        text = _joined([token for token in tokens if token])
        if text:
            start = _number(segment, ("transcriber_start", "starttime"), where)
            found.append(Segment(start, segment.get("participant", ""), text))
    left = [n for n, is_used in enumerate(used) if not is_used and _token(said[n], f"word {n}")]
    if left:
        raise _bad("a word of no segment", f"word {left[0]}")
    return found


def _root(data: bytes, name: str) -> Element:
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise _bad("a document type, which could name other files", name)
    try:
        root = ElementTree.fromstring(data)
    except ParseError as error:
        raise refusal(f"no well-formed XML in the {name}", error.position[0], _REMEDY) from None
    except (LookupError, ValueError):
        raise _bad("an encoding that is not known", name) from None
    between = [root.text, *(part.tail for part in root.iter() if part is not root)]
    if any(text and not text.isspace() for text in between):
        raise _bad("text between elements", name)
    return root


def _places(segment: Element, places: dict[str, int], where: str) -> Iterator[int]:
    """The words of a segment."""
    for child in segment:
        match = _RANGE.fullmatch(child.get("href", "")) if child.tag == f"{_NITE}child" else None
        first = places.get(match[1]) if match else None
        last = places.get(match[2] or match[1]) if match else None
        if first is None or last is None or last < first:
            raise _bad("a range of words that there is not", where)
        yield from range(first, last + 1)


def _token(element: Element, where: str) -> str:
    text = " ".join((element.text or "").split())
    if element.tag == "w" and not len(element):
        return text
    if element.tag in _SILENT and not text and not len(element):
        return ""
    raise _bad("something that is neither a word nor a known sound", where)


def _joined(tokens: list[str]) -> str:
    """Words with spaces between them, none before a sign that closes."""
    text = ""
    for token in tokens:
        apart = text and not _CLOSES.fullmatch(token)
        text += f" {token}" if apart else token
    return text


def _id(element: Element) -> str:
    return element.get(f"{_NITE}id", "")


def _number(element: Element, names: tuple[str, ...], where: str) -> float:
    value = next((element.get(name) for name in names if name in element.attrib), None)
    try:
        number = float(value or "")
    except ValueError:
        number = _NO_NUMBER
    if not 0 <= number < 1e9:
        raise _bad("no time in seconds from 0", where)
    return number


def _bad(what: str, where: str) -> Refused:
    return Refused("PARSE_REFUSED", what, where, _REMEDY)
