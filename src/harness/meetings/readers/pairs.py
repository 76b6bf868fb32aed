"""Our own format of pairs about a meeting: one JSON object a line, ``{"query", "answer"}``."""

import json
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from harness.meetings.model import Turn
from harness.meetings.readers import jsonl

_KEYS = {"query", "answer"}


def looks(head: str) -> bool:
    """No file is taken for pairs by its content: it would be imported as what somebody said."""
    return False


def read(stream: BinaryIO) -> Iterator[Turn]:
    """Read pairs as turns without speaker, numbered by line.

    Raises:
        Refused: ``PARSE_REFUSED`` with the line number.
    """
    return jsonl.records(stream, _pair)


def write(pairs: Iterable[Turn]) -> bytes:
    """Write pairs in order; :func:`read` numbers them from 0."""
    rows = ({"query": pair.query, "answer": pair.text} for pair in pairs)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def pair_of(index: int, query: object, answer: object) -> Turn:
    """A pair as a turn.

    Raises:
        ValueError: what is wrong with it, without quoting it.
    """
    texts = [text for text in (query, answer) if isinstance(text, str) and text.strip()]
    if len(texts) != len(_KEYS):
        raise ValueError("a query or an answer that is not text, or no words")
    return Turn(index, "", texts[1], None, texts[0])


def _pair(index: int, fields: object) -> Turn:
    if not isinstance(fields, dict) or set(fields) != _KEYS:
        raise ValueError("not an object of query and answer")
    return pair_of(index, fields["query"], fields["answer"])
