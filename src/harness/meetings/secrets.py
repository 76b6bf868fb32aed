"""Numeric secrets in text, for probes: passcodes, phone numbers and amounts of money."""

import re
from dataclasses import dataclass

_PATTERN = re.compile(
    r"(?P<phone>(?<![\d-])\d{3}-\d{3}-\d{4}(?![\d-]))"
    r"|(?P<amount>\$\d{1,3}(?:,\d{3})+(?!\d|,\d))"
    r"|(?P<passcode>(?<![\d$])\d{6}(?!\d))",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Found:
    """A secret at characters ``start`` to ``end`` (exclusive); kind as in the demo's Secret."""

    kind: str
    start: int
    end: int


def find(text: str) -> list[Found]:
    """Secrets in ``text``, in order and without overlap, in time linear in its length.

    A passcode is a run of exactly six digits, a phone number ``NNN-NNN-NNNN``, an amount ``$`` and
    digits grouped in thousands by commas (at least one comma).
    """
    return [
        Found(match.lastgroup or "", match.start(), match.end())
        for match in _PATTERN.finditer(text)
    ]
