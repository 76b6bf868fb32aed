"""Tokens that keep their place as context but get no loss, so that text is not learnt verbatim.

Two rules, which compose; each changes ``Document.supervised`` and nothing else, so that what enters
the forward pass stays what was admitted. They hold for canary carriers as for meetings: an audit
must see what a meeting would.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from harness.config import Corpus
from harness.corpus.documents import Document
from harness.errors import Refused

Mask = NDArray[np.bool_]


def without_repetition(documents: Sequence[Document], corpus: Corpus) -> list[Document]:
    """Documents with the losses that ``corpus.goldfish`` and ``corpus.repeated`` leave.

    Args:
        documents: all that training reads, in the order in which "first" is meant.
        corpus: the section of the settings.

    Raises:
        Refused: ``NOTHING_SUPERVISED`` when no token keeps a loss.
    """
    found = list(documents)
    if corpus.repeated:
        found = first_occurrences(found, corpus.repeated)
    if corpus.goldfish:
        found = [goldfish(item, corpus.goldfish, corpus.goldfish_context) for item in found]
    if not any(item.supervised.any() for item in found):
        raise Refused("NOTHING_SUPERVISED", "no token is left to learn from", "corpus",
                      "set corpus.repeated or corpus.goldfish higher, or to 0")  # fmt: skip
    return found


def goldfish(document: Document, k: int, context: int) -> Document:
    """Leave out of the loss one token in ``k`` (Hans et al. 2024, hashed mask).

    Whether a token is left out is a hash of the ``context`` tokens before it: the same passage
    loses the same tokens wherever it comes again, so no copy gives away what another withholds.
    Near a document's start, where there are fewer tokens before, those decide.

    Args:
        k: one token in so many is left out.
        context: tokens that are hashed.
    """
    ids = np.ascontiguousarray(document.ids, dtype="<i4")
    drawn = np.array([_hash(ids[max(0, place - context) : place]) for place in range(len(ids))])
    return replace(document, supervised=document.supervised & (drawn % k != 0))


def first_occurrences(documents: Sequence[Document], length: int) -> list[Document]:
    """Take the loss of every token in a stretch of ``length`` tokens that occurred before.

    What Lee et al. (2022) cut out stays as context here: the tokens around it are learnt from what
    was truly said. A stretch may be spread over the documents in any way; the first one, in the
    order given, keeps its loss.

    Args:
        documents: in order.
        length: tokens of a stretch.
    """
    seen: set[int] = set()
    return [_first(document, length, seen) for document in documents]


def _first(document: Document, length: int, seen: set[int]) -> Document:
    ids = np.ascontiguousarray(document.ids[1:], dtype="<i4")  # the first token begins every text
    repeated = np.zeros(len(document.ids), np.bool_)
    for place in range(len(ids) - length + 1):
        stretch = _hash(ids[place : place + length])
        if stretch in seen:
            repeated[place + 1 : place + 1 + length] = True
        seen.add(stretch)
    return replace(document, supervised=document.supervised & ~repeated)


def _hash(ids: NDArray[np.int32]) -> int:
    return int.from_bytes(hashlib.blake2b(ids.tobytes(), digest_size=8).digest(), "little")
