"""From gated turns to token documents that keep their way back to meeting and turn."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from harness.commitments.receipt import Ids, Span
from harness.config import Corpus
from harness.consent.capability import GatedMeeting, GatedTurn
from harness.corpus.pairs import Laid, Prompter, pairs_of
from harness.corpus.template import Chat, frame_of
from harness.errors import Refused
from harness.meetings.model import Modality


class Tokenizer(Chat, Protocol):
    """What the corpus needs of a tokenizer: :class:`harness.models.tokenizer.TextTokenizer`."""

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
        supervised: shape (n,), True where the token is a target with loss; position 0 never is.
            Left out, all others are.
    """

    id: str
    meeting: str
    series: str
    ids: Ids
    spans: tuple[Span, ...]
    supervised: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))

    def __post_init__(self) -> None:
        if not len(self.supervised):
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
    """Documents of at most ``corpus.row_tokens`` tokens, as ``corpus.task`` says.

    For lm, each meeting is cut into documents of exactly that length and a shorter last one; a turn
    that reaches over a document's end goes on in the next as another part. For sft, each pair is a
    document with its prompt. Turns are tokenised one by one, so that every token belongs to exactly
    one turn.

    Raises:
        Refused: ``CORPUS_EMPTY`` when no meeting has a turn, or a pair; ``PAIRS_NEED_SFT`` for
            pairs where the task is lm; as :func:`harness.corpus.template.frame_of` and
            :meth:`harness.corpus.pairs.Prompter.lay`.
    """
    sft = corpus.task == "sft"
    made = _prompted(meetings, tokenizer, corpus) if sft else _said(meetings, tokenizer, corpus)
    found = list(made)
    if not found:
        what = "no admitted meeting holds a pair" if sft else "no admitted meeting holds a turn"
        raise Refused("CORPUS_EMPTY", what, "private/decisions.parquet",
                      "see by_code in gate/summary.json")  # fmt: skip
    return found


def _said(
    meetings: Iterable[GatedMeeting], tokenizer: Tokenizer, corpus: Corpus
) -> Iterator[Document]:
    """Everything that was said, in order."""
    for meeting in meetings:
        if any(pairs_of(meeting)):
            raise Refused("PAIRS_NEED_SFT", "pairs are admitted, which nobody said", "corpus.task",
                          "set it to sft, or leave summary_ai out of job.modalities")  # fmt: skip
        yield from _cut(meeting, tokenizer, corpus)


def _prompted(
    meetings: Iterable[GatedMeeting], tokenizer: Tokenizer, corpus: Corpus
) -> Iterator[Document]:
    """Each pair after the beginning of its meeting's transcript."""
    frame = frame_of(tokenizer)
    for place, meeting in enumerate(meetings):
        said = [turn for turn in meeting.turns if turn.modality == Modality.TRANSCRIPT]
        lines = [(turn, tokenizer.encode(turn_text(turn))) for turn in said]
        prompter = Prompter(meeting, place, lines, frame, tokenizer.bos_id, corpus)
        for pair in pairs_of(meeting) if lines else ():
            query, answer = tokenizer.encode(pair.query or ""), tokenizer.encode(pair.text)
            yield _of_pair(meeting, pair, prompter.lay(pair, query, answer))


def _of_pair(meeting: GatedMeeting, pair: GatedTurn, laid: Laid) -> Document:
    ids = np.array(laid.ids, dtype=np.int32)
    return Document(f"{meeting.id}#{pair.index}", meeting.id, meeting.series, ids,
                    tuple(laid.spans), laid.mask)  # fmt: skip


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
