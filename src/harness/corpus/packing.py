"""Best-fit-decreasing packing of documents into rows; no document is split."""

from bisect import bisect_left, insort
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from harness.errors import Refused


def pack(lengths: Sequence[int], row: int) -> list[list[int]]:
    """Assign documents to rows of ``row`` tokens.

    Longest first, each goes into the fullest row that still has room (best-fit decreasing;
    Johnson 1973), so that a result depends on lengths and order alone.

    Args:
        lengths: tokens of each document.
        row: tokens of a row.

    Returns:
        For each row the document numbers in it.

    Raises:
        Refused: ``DOCUMENT_TOO_LONG`` for a document longer than a row.
    """
    if max(lengths, default=0) > row:
        raise Refused("DOCUMENT_TOO_LONG", f"a document has {max(lengths)} tokens",
                      "corpus.row_tokens", f"raise it to {max(lengths)}")  # fmt: skip
    rows: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (tokens left, row number), sorted
    for document in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        place = bisect_left(room, (lengths[document], -1))
        left, number = room.pop(place) if place < len(room) else (row, len(rows))
        if number == len(rows):
            rows.append([])
        rows[number].append(document)
        insort(room, (left - lengths[document], number))
    return rows


@lru_cache(maxsize=2)  # every step of an epoch asks for it
def epoch_order(rows: int, seed: int, epoch: int) -> tuple[int, ...]:
    """The order of rows in an epoch: a pure function of seed and epoch."""
    order = np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(rows)
    return tuple(order.tolist())
