"""Names and domains that a meeting's roster tells: exact, better than any guess at names."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from harness.meetings.detectors.span import Span

_SHORT = 2
"""Letters of a name that is looked for in its own case: "Al" is a name, "al" is none."""
_LEAST_OF_PIECES = 3
"""Letters of what stands beside an apostrophe in a name, to be a name by itself: O'Neil, Xi'an."""
_PRONOUNS = re.compile(
    r"[(\[]?\b(?:she|her|he|him|they|them|it|its|any|all|ze|xe)(?:\s*/\s*[a-z]+)+[)\]]?", re.I
)
_NO_NAMES = frozenset({
    "and", "android", "call", "caller", "conference", "desktop", "ext", "external", "galaxy",
    "guest", "host", "huddle", "ipad", "iphone", "kiosk", "laptop", "macbook", "meeting", "phone",
    "pixel", "pro", "room", "samsung", "speaker", "tablet", "the", "und", "unknown", "unverified",
    "user", "zoom",
})  # fmt: skip
"""Words of labels that are devices, rooms and roles."""
_PARTICLES = frozenset({
    "bin", "came", "da", "das", "de", "del", "della", "den", "der", "di", "do", "dos", "du", "e",
    "el", "et", "for", "from", "ibn", "in", "la", "le", "list", "no", "of", "or", "to", "van",
    "von", "who", "with", "y", "zu",
})  # fmt: skip
"""Common words in labels and names; no names where a label has them in lower case."""
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
"""Thai, Lao, Burmese, Japanese, Chinese, Korean: what follows a name need not be set apart."""
_HANGUL = re.compile("[\uac00-\ud7a3]{3}")
_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_JAMO = range(0x1160, 0x1200)
_APOSTROPHES = str.maketrans("\u2019\u02bc\u2010\u2011", "''--")
_LETTER = r"[^\W\d_]"


class _Folded(NamedTuple):
    """A text as names are compared, and where each of its characters is from.

    Attributes:
        text: NFKC, case folded, without what is not seen.
        starts, ends: of the piece of the text as it stands that gave a character; None if equal.
    """

    text: str
    starts: list[int] | None = None
    ends: list[int] | None = None


class Roster:
    """The detector of who is on a roster.

    Args:
        labels: display names; each part of a name is looked for.
        domains: of the people's organisations.
        any_case: whether the shortest names, too, are looked for in any case.
    """

    name = "roster/2"

    def __init__(
        self, labels: Iterable[str], domains: Iterable[str] = (), any_case: bool = False
    ) -> None:
        parts = {part for label in labels for part in _parts(label)}
        names = {_fold(form).text for part in parts for form in (part, _without_marks(part))}
        self._domains = {domain.casefold() for domain in domains if "." in domain} - names
        self._own_case = {part for part in parts if len(part) <= _SHORT and not any_case}
        self._pattern = _pattern(sorted(names | self._domains, key=len, reverse=True))

    def find(self, text: str) -> Iterator[Span]:
        """Spans of a text; see :class:`harness.meetings.detectors.span.Detector`."""
        if self._pattern is None:
            return
        folded = _fold(text)
        for match in self._pattern.finditer(folded.text):
            start, end = match.span()
            if _is_mark(folded.text[end : end + 1]):
                continue  # another word, whose letter carries it
            if folded.starts is not None and folded.ends is not None:
                start, end = folded.starts[start], folded.ends[end - 1]
            if len(match[0]) <= _SHORT and not self._is_in_case(text[start:end], match[0]):
                continue
            yield Span(start, end, "domain" if match[0] in self._domains else "name")

    def _is_in_case(self, found: str, folded: str) -> bool:
        """Whether a short name stands in the case that a label has it in."""
        cases = {part for part in self._own_case if part.casefold() == folded}
        return not cases or unicodedata.normalize("NFKC", found) in cases


def _parts(label: str) -> Iterator[str]:
    """Parts of a label that are names; those with hyphens and apostrophes also as a whole."""
    words = _words(_PRONOUNS.sub(" ", unicodedata.normalize("NFKC", label)).translate(_APOSTROPHES))
    for word in words:
        if "'" in word:
            pieces = [p for p in re.split("['-]", word) if len(p) >= _LEAST_OF_PIECES]
        else:
            pieces = word.split("-")
        for part in {word.strip("'-"), *pieces}:
            is_name = part.casefold() not in _NO_NAMES and part not in _PARTICLES
            if is_name and len(part) >= _SHORT:
                yield part
        if _HANGUL.fullmatch(word):  # a family name of one syllable, and the name people say
            yield word[1:]
    unspaced = [word for word in words if _UNSPACED.match(word)]
    if len(unspaced) > 1:  # family and given name, which are written together as well
        yield "".join(unspaced)
        yield " ".join(unspaced)


def _without_marks(part: str) -> str:
    """A name as it is typed without accents."""
    apart = unicodedata.normalize("NFD", part)
    plain = "".join(sign for sign in apart if not _is_mark(sign))
    return plain if plain.isascii() else part


def _words(label: str) -> list[str]:
    """Runs of letters with the marks on them, and with hyphens and apostrophes inside."""
    kept = (
        sign if sign.isalpha() or _is_mark(sign) or sign in "'-" else " "
        for sign in label
        if not _is_unseen(sign)
    )
    return [word for word in "".join(kept).split() if word.strip("'-")]


def _pattern(words: list[str]) -> re.Pattern[str] | None:
    """A pattern for any of some words as a whole, those before it first."""
    if not words:
        return None
    # scripts without spaces have no ends of words
    unspaced = [re.escape(word) for word in words if _UNSPACED.match(word)]
    spaced = [re.escape(word) for word in words if not _UNSPACED.match(word)]
    ways = [rf"(?<!{_LETTER})(?:{'|'.join(spaced)})(?!{_LETTER}|'t\b)"] if spaced else []
    return re.compile("|".join([*ways, *unspaced]))


def _fold(text: str) -> _Folded:
    if text.isascii():
        return _Folded(text.lower())
    pieces: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for start, end in _clusters(text):
        seen = "".join(sign for sign in text[start:end] if not _is_unseen(sign))
        piece = unicodedata.normalize("NFKC", seen).casefold().translate(_APOSTROPHES)
        pieces.append(piece)
        starts += [start] * len(piece)
        ends += [end] * len(piece)
    return _Folded("".join(pieces), starts, ends)


def _clusters(text: str) -> Iterator[tuple[int, int]]:
    """Stretches that are composed by themselves: a character, marks on it, what is not seen."""
    start = 0
    for place, sign in enumerate(text):
        if place and not (_is_mark(sign) or ord(sign) in _JAMO or _is_unseen(sign)):
            yield start, place
            start = place
    if text:
        yield start, len(text)


def _is_unseen(sign: str) -> bool:
    """Whether a character only says how others are shown."""
    return unicodedata.category(sign) == "Cf" or _SELECTORS.match(sign) is not None


def _is_mark(sign: str) -> bool:
    return sign != "" and not sign.isascii() and unicodedata.category(sign).startswith("M")
