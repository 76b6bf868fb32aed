"""The frame around a transcript, a query and an answer: a chat template, cut at what it holds.

The template is rendered around three marks and cut there, so that its text is tokenised apart from
what people said and wrote: a special token comes from the template alone, whatever speech spells.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from harness.errors import Refused

TRANSCRIPT, QUERY, ANSWER = "\ue001", "\ue002", "\ue003"
"""Marks (private use, so no template has them): where the three are to stand."""
USER = f"Transcript of a meeting:\n{TRANSCRIPT}\n{QUERY}"
"""What the user says; each turn is a line of its own."""
PLAIN = f"{USER}\nAnswer:\n"
"""The frame for models without a chat template, ended by their end-of-text token."""


Part = tuple[int, ...]
"""Token ids of a stretch of the template."""


class Chat(Protocol):
    """What a frame needs of a tokenizer: :class:`harness.models.tokenizer.TextTokenizer`."""

    bos_id: int
    end_id: int | None
    special_ids: frozenset[int]

    def chat(self, user: str, answer: str | None) -> str | None:
        """The chat template's text of one exchange, None without a template."""
        ...

    def encode_frame(self, text: str) -> list[int]:
        """Token ids of a template's own text; its special tokens count as such."""
        ...


@dataclass(frozen=True)
class Frame:
    """Token ids of a template, cut at what it holds.

    Attributes:
        parts: before the transcript, before the query, before the answer, and after it; without
            the beginning-of-text token, which every document has at position 0.
        end: tokens of the last part up to the end-of-turn token, it included.
    """

    parts: tuple[Part, Part, Part, Part]
    end: int

    def __len__(self) -> int:
        return sum(map(len, self.parts))


def frame_of(tokenizer: Chat) -> Frame:
    """The frame of a model.

    Where it has a chat template, what stands before the answer is what that gives for generation,
    so that a user who asks in the same words asks as in training.

    Raises:
        Refused: ``TEMPLATE_UNSUITABLE`` where the template changes what it is given, or ends an
            answer with no special token.
    """
    asked, answered = tokenizer.chat(USER, None), tokenizer.chat(USER, ANSWER)
    if asked is None or answered is None:
        head, last = _encoded(tokenizer, PLAIN), _end(tokenizer)
    else:
        head = _encoded(tokenizer, asked)
        last = tuple(tokenizer.encode_frame(_cut(answered, ANSWER)[1]))
    ends = [place for place, token in enumerate(last, 1) if token in tokenizer.special_ids]
    if not ends:
        raise _unsuitable("it ends no answer with a special token, so none would ever end")
    return Frame((*head, last), ends[0])


def _encoded(tokenizer: Chat, prompt: str) -> tuple[Part, Part, Part]:
    first, middle, last = (tuple(tokenizer.encode_frame(text)) for text in _pieces(prompt))
    if first[:1] == (tokenizer.bos_id,):  # it stands at position 0 of every document anyway
        first = first[1:]
    return first, middle, last


def _pieces(prompt: str) -> Iterator[str]:
    first, rest = _cut(prompt, TRANSCRIPT)
    yield first
    yield from _cut(rest, QUERY)


def _cut(text: str, mark: str) -> tuple[str, str]:
    before, *after = text.split(mark)
    if len(after) != 1:
        raise _unsuitable("it leaves out, repeats or changes what it is given")
    return before, after[0]


def _end(tokenizer: Chat) -> Part:
    return () if tokenizer.end_id is None else (tokenizer.end_id,)


def _unsuitable(what: str) -> Refused:
    return Refused("TEMPLATE_UNSUITABLE", f"the chat template: {what}", "model.name",
                   "choose another model, or corpus.task=lm")  # fmt: skip
