"""Names and addresses that a meeting's roster tells: exact, better than any guess at names."""

import re
import unicodedata
from collections.abc import Iterable, Iterator

from harness.meetings.detectors.span import Span

_PART = re.compile(r"[^\W\d_]{2,}")
_SHORT = 2
"""Letters of a name that is found in its own case alone: "Al" is a name, "al" is none."""


class Roster:
    """The detector of who is on a roster.

    Args:
        labels: display names; each part of a name is looked for, the shortest in their own case.
        emails: addresses; the local part and the organisation's domain are looked for as well.
    """

    name = "roster/1"

    def __init__(self, labels: Iterable[str], emails: Iterable[str] = ()) -> None:
        kinds: dict[str, str] = {}
        for email in emails:
            local, _, domain = email.partition("@")
            for word, kind in ((email, "email"), (local, "name"), (domain, "domain")):
                kinds.setdefault(word.casefold(), kind)
        for label in labels:
            for part in _PART.findall(unicodedata.normalize("NFC", label)):
                kinds.setdefault(part if len(part) <= _SHORT else part.casefold(), "name")
        self._kinds = {word: kind for word, kind in kinds.items() if word}
        words = sorted(self._kinds, key=len, reverse=True)
        pattern = "|".join(map(_spelled, words))
        self._pattern = re.compile(rf"(?<!\w)(?:{pattern})(?!\w)", re.IGNORECASE) if words else None

    def find(self, text: str) -> Iterator[Span]:
        """Spans of a text; see :class:`harness.meetings.detectors.span.Detector`."""
        for match in self._pattern.finditer(text) if self._pattern else ():
            kind = self._kinds.get(match[0].casefold(), "name")
            yield Span(match.start(), match.end(), kind)


def _spelled(word: str) -> str:
    return f"(?-i:{re.escape(word)})" if len(word) <= _SHORT else re.escape(word)
