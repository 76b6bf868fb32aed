"""What detectors find, and how what they find is masked: by class and place, never by value."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol


class Span(NamedTuple):
    """A sensitive piece of a text.

    Attributes:
        start, end: its characters, the end exclusive.
        kind: class, for example ``email``.
    """

    start: int
    end: int
    kind: str


class Detector(Protocol):
    """Finds sensitive spans."""

    @property
    def name(self) -> str:
        """What it is, with its version: evidence of what a text was searched by."""

    def find(self, text: str) -> Iterable[Span]:
        """Spans of a text, in any order; they may overlap."""


def search(detectors: Iterable[Detector], text: str) -> list[Span]:
    """What several detectors find, in order; what overlaps is one span, of the longer's class."""
    found = sorted(
        (span for detector in detectors for span in detector.find(text)),
        key=lambda span: (span.start, -span.end, span.kind),
    )
    return _apart(found)


def _apart(found: Sequence[Span]) -> list[Span]:
    kept: list[Span] = []
    longest = 0
    for span in found:
        length, last = span.end - span.start, kept[-1] if kept else None
        if last is None or span.start >= last.end:
            kept.append(span)
            longest = length
        else:
            kind = span.kind if length > longest else last.kind
            kept[-1] = Span(last.start, max(last.end, span.end), kind)
            longest = max(longest, length)
    return kept


def masked(text: str, spans: Sequence[Span]) -> str:
    """The text with each span, in order and apart, put as its class in brackets."""
    pieces, place = [], 0
    for span in spans:
        pieces += [text[place : span.start], f"[{span.kind}]"]
        place = span.end
    return "".join([*pieces, text[place:]])
