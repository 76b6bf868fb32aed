"""Pairs of query and answer in their prompts: loss on the answer alone (``docs/sft.md``)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from harness.commitments.receipt import TEMPLATE, Span
from harness.config import Corpus
from harness.consent.capability import GatedMeeting, GatedTurn
from harness.corpus.template import Frame
from harness.errors import Refused
from harness.meetings.model import Modality

QUERY_PART, ANSWER_PART = 0, 1
"""Which part of its pair's turn a span is."""

Encoded = tuple[GatedTurn, list[int]]
"""A turn, and the token ids of its text."""


@dataclass
class Laid:
    """A document in the making; the beginning-of-text token stands already.

    Attributes:
        ids: token ids.
        supervised: for each of them whether it is a target with loss.
        spans: what each stretch is, in order.
    """

    ids: list[int]
    supervised: list[bool] = field(default_factory=lambda: [False])
    spans: list[Span] = field(default_factory=list)

    def add(self, span: Span, tokens: Sequence[int], targets: int = 0) -> None:
        """Append a stretch, of which the first ``targets`` tokens have loss; an empty one is none.

        Args:
            span: what it is; its start and end are set here.
            tokens: of the stretch.
            targets: how many of them are targets.
        """
        if not tokens:
            return
        start, end = len(self.ids), len(self.ids) + len(tokens)
        self.spans.append(Span(span.meeting, span.modality, span.turn, start, end, span.part))
        self.ids += tokens
        self.supervised += [place < targets for place in range(len(tokens))]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """``supervised`` as an array."""
        return np.array(self.supervised, dtype=np.bool_)


@dataclass(frozen=True)
class Prompter:
    """Lays out the pairs of one meeting.

    Attributes:
        meeting: whose pairs they are.
        place: of the meeting among those that are laid out, from 0, to name it by.
        lines: its transcript, whole turns in order.
        frame: template around them.
        bos_id: beginning-of-text token.
        corpus: bounds.
    """

    meeting: GatedMeeting
    place: int
    lines: Sequence[Encoded]
    frame: Frame
    bos_id: int
    corpus: Corpus

    def lay(self, pair: GatedTurn, query: Sequence[int], answer: Sequence[int]) -> Laid:
        """One pair in its prompt.

        Args:
            pair: the turn that it is.
            query: its token ids.
            answer: its token ids.

        Raises:
            Refused: ``NOTHING_SUPERVISED`` for an answer of no tokens; ``PAIR_TOO_LONG`` where
                query and answer leave no room in a row: an answer that is cut would teach to stop
                in the middle, and one that is left out unseen would be missed.
        """
        if not answer:
            raise Refused("NOTHING_SUPERVISED", "an answer has no tokens", self._where(pair),
                          "take the pair out and sign again")  # fmt: skip
        turns = self._turns(pair, 1 + len(self.frame) + len(query) + len(answer))
        laid, (before, middle, after, last) = Laid([self.bos_id]), self.frame.parts
        laid.add(_scaffold(0), before)
        for turn, tokens in turns:
            laid.add(self._span(turn, 0), tokens)
        laid.add(_scaffold(1), middle)
        laid.add(self._span(pair, QUERY_PART), query)
        laid.add(_scaffold(2), after)
        laid.add(self._span(pair, ANSWER_PART), answer, len(answer))
        laid.add(_scaffold(3), last, self.frame.end)
        return laid

    def _turns(self, pair: GatedTurn, others: int) -> list[Encoded]:
        """The first turns of the transcript, as many as a row holds beside ``others`` tokens.

        Whole ones, save for a first turn that does not fit alone: of that one, the beginning.
        """
        room = self.corpus.row_tokens - others
        if room < 1:
            raise Refused("PAIR_TOO_LONG", f"{self._where(pair)} leaves no room for its transcript",
                          "corpus.row_tokens", f"raise it above {others}")  # fmt: skip
        if self.corpus.meeting_tokens:
            room = min(room, self.corpus.meeting_tokens)
        ends = np.cumsum([len(tokens) for _, tokens in self.lines])
        count = int(np.searchsorted(ends, room, side="right"))
        first, tokens = self.lines[0]
        return list(self.lines[:count]) or [(first, tokens[:room])]

    def _span(self, turn: GatedTurn, part: int) -> Span:
        return Span(self.meeting.id, turn.modality, turn.index, 0, 0, part)

    def _where(self, pair: GatedTurn) -> str:
        return f"pair {pair.index} of admitted meeting {self.place}"


def pairs_of(meeting: GatedMeeting) -> Iterator[GatedTurn]:
    """Its pairs of query and answer."""
    return (turn for turn in meeting.turns if turn.query is not None)


def stretches(spans: Sequence[Span]) -> dict[str, tuple[int, int]] | None:
    """Where transcript, query and answer stand in a pair's document.

    Returns:
        First token and the one after the last, by name; None for a document without a template,
        all of which was said.
    """
    if not any(span.modality == TEMPLATE and not span.meeting for span in spans):
        return None
    found: dict[str, tuple[int, int]] = {}
    for span in spans:
        if span.meeting:
            name = _NAMES.get((span.modality, span.part), "transcript")
            found[name] = (found.get(name, (span.start,))[0], span.end)
    return found


_NAMES = {
    (str(Modality.SUMMARY_AI), QUERY_PART): "query",
    (str(Modality.SUMMARY_AI), ANSWER_PART): "answer",
}


def _scaffold(part: int) -> Span:
    return Span("", TEMPLATE, part, 0, 0)
