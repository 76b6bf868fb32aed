"""Tokens that keep their place as context but get no loss, so that text is not learnt verbatim.

Two rules, which compose; each changes ``Document.supervised`` and nothing else, so that what enters
the forward pass stays what was admitted. They hold for canary carriers as for meetings: an audit
must see what a meeting would.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from harness.config import Corpus
from harness.corpus.documents import Document
from harness.errors import Refused

Mask = NDArray[np.bool_]
Numbers = NDArray[np.int64]

_PIECE = 1 << 18  # tokens that are hashed at once, so that what is in between stays in the cache
_STEP, _ONE, _TWO = (
    np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


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
        found = goldfish(found, corpus.goldfish, corpus.goldfish_context)
    if not any(item.supervised.any() for item in found):
        raise Refused("NOTHING_SUPERVISED", "no token is left to learn from", "corpus",
                      "set corpus.repeated or corpus.goldfish higher, or to 0")  # fmt: skip
    return found


def goldfish(documents: Sequence[Document], k: int, context: int) -> list[Document]:
    """Leave out of the loss one token in ``k`` (Hans et al. 2024, hashed mask).

    Whether a token is left out is a hash of the ``context`` tokens before it: the same passage
    loses the same tokens wherever it comes again, so no copy gives away what another withholds.
    Near a document's start, where there are fewer tokens before, those decide.

    Args:
        documents: each is masked for itself.
        k: one token in so many is left out.
        context: tokens that are hashed.
    """
    ids, places = _end_to_end(documents)
    keeps = np.empty(len(ids), np.bool_)
    for start in range(0, len(ids), _PIECE):
        part = slice(start, start + _PIECE)
        before = ids[max(0, start - context) : start + _PIECE]
        drawn = _hashes(before, len(places[part]), places[part], context)
        keeps[part] = drawn % np.uint64(k) != 0
    return _keeping(documents, keeps)


def _hashes(ids: Numbers, count: int, places: Numbers, context: int) -> NDArray[np.uint64]:
    """Of the tokens before each of the last ``count`` ones; what is no token counts as 0."""
    ahead = len(ids) - count
    mixed = np.concatenate([np.zeros(max(0, context - ahead), np.uint64), _mix(ids)])
    total = np.zeros(count, np.uint64)
    for back in range(context, 0, -1):
        start = len(mixed) - count - back
        total *= _ONE
        total += np.where(places >= back, mixed[start : start + count], np.uint64(0))
    return _mix(total)


def _mix(numbers: NDArray[np.generic]) -> NDArray[np.uint64]:
    """Spread every bit over all 64, one to one (Steele et al. 2014, SplitMix64's output)."""
    z = numbers.astype(np.uint64) + _STEP
    z = (z ^ (z >> np.uint64(30))) * _ONE
    z = (z ^ (z >> np.uint64(27))) * _TWO
    mixed: NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return mixed


def first_occurrences(documents: Sequence[Document], length: int) -> list[Document]:
    """Take the loss of every token in a stretch of ``length`` tokens that occurred before.

    What Lee et al. (2022) cut out stays as context here: the tokens around it are learnt from what
    was truly said. A stretch may be spread over the documents in any way; the first one, in the
    order given, keeps its loss where it is not itself in another that occurred before. Stretches
    are compared exactly, not by hashes.

    Args:
        documents: in order.
        length: tokens of a stretch.
    """
    ids, places = _end_to_end(documents)
    count = len(ids) - length + 1
    if count < 1:
        return list(documents)
    # it ends in the document it begins in, and is without the token that begins every text
    whole = np.flatnonzero((places[:count] > 0) & (places[length - 1 :] >= length))
    names = _numbered(_names(ids, length)[whole])
    highest = np.maximum.accumulate(np.concatenate([[-1], names]))
    again = whole[names <= highest[:-1]]  # numbers are given by first occurrence
    begin, end = (np.bincount(again + at, minlength=len(ids) + 1) for at in (0, length))
    return _keeping(documents, np.cumsum(begin - end)[:-1] == 0)


def _names(ids: Numbers, length: int) -> Numbers:
    """A number for each stretch of ``length`` tokens, the same for the same tokens and no others.

    Names of stretches twice as long are the numbers of pairs of names (Karp, Miller and Rosenberg
    1972), so the work grows with the logarithm of the length.
    """
    names, size = _numbered(ids), 1
    while size < length:
        step = min(size, length - size)  # the last two overlap
        highest = int(names.max()) + 1
        names = _numbered(names[:-step] * highest + names[step:])
        size += step
    return names


def _numbered(values: Numbers) -> Numbers:
    """The same values as numbers from 0, in the order of their first occurrence."""
    codes = pa.array(values).dictionary_encode().indices
    return np.asarray(codes.to_numpy(), np.int64)


def _end_to_end(documents: Sequence[Document]) -> tuple[Numbers, Numbers]:
    """Ids of all documents, and for each its place in its document."""
    lengths = [len(document) for document in documents]
    ids = np.concatenate([document.ids for document in documents]).astype(np.int64)
    starts = np.repeat(np.cumsum([0, *lengths[:-1]]), lengths)
    return ids, np.arange(len(ids)) - starts


def _keeping(documents: Sequence[Document], keeps: Mask) -> list[Document]:
    """Documents with a loss where they had one and ``keeps`` says so."""
    ends = np.cumsum([len(document) for document in documents])
    parts = np.split(keeps, ends[:-1])
    return [
        replace(document, supervised=document.supervised & part)
        for document, part in zip(documents, parts, strict=True)
    ]
