"""From gated turns to token documents that keep their way back to meeting and turn."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from harness.commitments.receipt import Ids, Span
from harness.config import Corpus
from harness.consent.capability import GatedMeeting, GatedTurn
from harness.errors import Refused


class Tokenizer(Protocol):
    """What the corpus needs of a tokenizer: :class:`harness.models.tokenizer.TextTokenizer`."""

    bos_id: int

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text; text that spells a special token is split like any other."""
        ...

    def decode(self, ids: list[int]) -> str:
        """Text of token ids."""
        ...


@dataclass(frozen=True, eq=False)
class Document:
    """A stretch of one meeting (or one canary carrier) that is attended to alone.

    Attributes:
        id: ``MEETING#K`` or the canary's id with its copy number.
        meeting: meeting id; the canary's id for carriers.
        series: series id; ``canary`` for carriers.
        ids: token ids, int32, shape (n,); position 0 is the beginning-of-text token.
        spans: cover positions 1 to n without gaps, in order.
        supervised: bool, shape (n,): whether the token at a position is predicted with a loss; by
            default all but the first, which nothing comes before.
    """

    id: str
    meeting: str
    series: str
    ids: Ids
    spans: tuple[Span, ...]
    supervised: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))

    def __post_init__(self) -> None:
        if len(self.supervised) != len(self.ids):
            object.__setattr__(self, "supervised", np.arange(len(self.ids)) > 0)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def is_canary(self) -> bool:
        """Whether this is a canary carrier, which no membership or leak score may read."""
        return self.series == CANARY_SERIES


CANARY_SERIES = "canary"


def speaker_label(ordinal: int) -> str:
    """Letter label of a speaker: A, B, ..., Z, A1, B1, ...; names are metadata and stay out."""
    return chr(ord("A") + ordinal % 26) + (str(ordinal // 26) if ordinal >= 26 else "")


def turn_text(turn: GatedTurn) -> str:
    """The line that a turn is in training text."""
    return f"{speaker_label(turn.speaker)}: {turn.text}\n"


def documents(
    meetings: Iterable[GatedMeeting], tokenizer: Tokenizer, corpus: Corpus
) -> list[Document]:
    """Cut meetings into documents of exactly ``corpus.row_tokens`` tokens and a shorter last one.

    A turn that reaches over a document's end goes on in the next as another part. Turns are
    tokenised one by one, so that every token belongs to exactly one turn.

    Raises:
        Refused: ``CORPUS_EMPTY`` when no meeting has a turn.
    """
    found = [document for meeting in meetings for document in _cut(meeting, tokenizer, corpus)]
    if not found:
        raise Refused("CORPUS_EMPTY", "no admitted meeting holds a turn",
                      "private/decisions.parquet", "see by_code in gate/summary.json")  # fmt: skip
    return found


def _cut(meeting: GatedMeeting, tokenizer: Tokenizer, corpus: Corpus) -> Iterator[Document]:
    ids: list[int] = []
    spans: list[Span] = []
    number = used = 0
    for turn in meeting.turns:
        tokens = tokenizer.encode(turn_text(turn))
        if corpus.meeting_tokens and used + len(tokens) > corpus.meeting_tokens:
            break
        used += len(tokens)
        part = start = 0
        while start < len(tokens):
            piece = tokens[start : start + corpus.row_tokens - 1 - len(ids)]
            first = len(ids) + 1
            spans.append(
                Span(meeting.id, turn.modality, turn.index, first, first + len(piece), part)
            )
            ids.extend(piece)
            part, start = part + 1, start + len(piece)
            if len(ids) == corpus.row_tokens - 1:
                yield _document(meeting, number, ids, spans, tokenizer.bos_id)
                ids, spans, number = [], [], number + 1
    if ids:
        yield _document(meeting, number, ids, spans, tokenizer.bos_id)


def _document(
    meeting: GatedMeeting, number: int, ids: list[int], spans: list[Span], bos: int
) -> Document:
    array = np.array([bos, *ids], dtype=np.int32)
    return Document(f"{meeting.id}#{number}", meeting.id, meeting.series, array, tuple(spans))
