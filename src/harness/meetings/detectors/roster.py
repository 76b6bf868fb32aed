"""Names and addresses that a meeting's roster tells: exact, better than any guess at names."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from harness.meetings.detectors.span import Span

_PART = re.compile(r"[^\W\d_]{2,}(?:[-\u2010][^\W\d_]{2,})*")
_PRONOUNS = re.compile(r"\b(?:she|he|they|ze|xe)(?:\s*/\s*[a-z]+)+", re.IGNORECASE)
_NO_NAMES = frozenset({
    "android", "conference", "desktop", "ext", "external", "galaxy", "guest", "host", "huddle",
    "ipad", "iphone", "kiosk", "laptop", "macbook", "meeting", "phone", "pixel", "pro", "room",
    "samsung", "speaker", "tablet", "the", "unknown", "unverified", "user", "zoom",
})  # fmt: skip
"""Words of labels that are devices, rooms and roles."""
_PARTICLES = frozenset({
    "bin", "da", "das", "de", "del", "della", "den", "der", "di", "do", "dos", "du", "el", "ibn",
    "la", "le", "van", "von", "y", "zu",
})  # fmt: skip
"""Parts of names that are also common words; no names where a label has them in lower case."""
_SHORT = 2
"""Letters of a name that is looked for in its own case: "Al" is a name, "al" is none."""
_UNSPACED = re.compile("[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
"""Thai, Lao, Japanese, Chinese and Korean letters: what follows a name need not be set apart."""
_HANGUL = re.compile("[\uac00-\ud7a3]{3}")
_JAMO = range(0x1160, 0x1200)


class Roster:
    """The detector of who is on a roster.

    Args:
        labels: display names; each part of a name is looked for.
        emails: addresses; the local part and the organisation's domain are looked for as well.
        any_case: whether the shortest names, too, are looked for in any case.
    """

    name = "roster/2"

    def __init__(
        self, labels: Iterable[str], emails: Iterable[str] = (), any_case: bool = False
    ) -> None:
        kinds: dict[str, str] = {}
        for email in emails:
            local, _, domain = email.partition("@")
            for word, kind in ((email, "email"), (local, "name"), (domain, "domain")):
                kinds.setdefault(_nfc(word).casefold(), kind)
        short = 0 if any_case else _SHORT
        parts = {part for label in labels for part in _parts(_nfc(label))}
        self._kinds = {word: kind for word, kind in kinds.items() if word}
        words = {*self._kinds, *(form for part in parts for form in _forms(part, short))}
        self._pattern = _pattern(sorted(words, key=len, reverse=True), short)

    def find(self, text: str) -> Iterator[Span]:
        """Spans of a text; see :class:`harness.meetings.detectors.span.Detector`."""
        if self._pattern is None:
            return
        composed, places = _composed(text)
        for match in self._pattern.finditer(composed):
            kind = self._kinds.get(match[0].casefold(), "name")
            start, end = match.span()
            yield Span(places[start], places[end], kind)


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _parts(label: str) -> Iterator[str]:
    """Parts of a label that are names, those with a hyphen whole as well."""
    for word in _PART.findall(_PRONOUNS.sub(" ", label)):
        pieces = re.split("[-\u2010]", word)
        for part in {word, *pieces}:
            if part.casefold() not in _NO_NAMES and part not in _PARTICLES:
                yield part
        if _HANGUL.fullmatch(word):  # a family name of one syllable, and the name people say
            yield word[1:]


def _forms(part: str, short: int) -> set[str]:
    """A name in the cases that are not told apart by one letter for one (Weiß, WEISS)."""
    return {part} if len(part) <= short else {part, part.casefold(), part.upper()}


def _pattern(words: Sequence[str], short: int) -> re.Pattern[str] | None:
    """A pattern for any of some words as a whole, those before it first."""

    def any_of(chosen: Iterable[str]) -> str:
        return "|".join(
            f"(?-i:{re.escape(word)})" if len(word) <= short else re.escape(word) for word in chosen
        )

    if not words:
        return None
    # scripts without spaces have no ends of words
    unspaced = [word for word in words if _UNSPACED.match(word)]
    spaced = any_of(word for word in words if word not in unspaced)
    ways = [rf"(?<!\w)(?:{spaced})(?!\w|['\u2019]t\b)"] if spaced else []
    return re.compile("|".join([*ways, any_of(unspaced)] if unspaced else ways), re.IGNORECASE)


def _composed(text: str) -> tuple[str, Sequence[int]]:
    """A text in form NFC, and where each of its characters begins in the text as it stands."""
    if unicodedata.is_normalized("NFC", text):
        return text, range(len(text) + 1)
    pieces: list[str] = []
    places: list[int] = []
    for start, end in _clusters(text):
        pieces.append(_nfc(text[start:end]))
        places += [start] * len(pieces[-1])
    return "".join(pieces), [*places, len(text)]


def _clusters(text: str) -> Iterator[tuple[int, int]]:
    """Stretches that are composed by themselves: a character and the marks on it."""
    start = 0
    for place, sign in enumerate(text):
        is_mark = unicodedata.category(sign).startswith("M") or ord(sign) in _JAMO
        if place and not is_mark:
            yield start, place
            start = place
    if text:
        yield start, len(text)
