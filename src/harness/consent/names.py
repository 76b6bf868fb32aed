"""Numbers of ids among millions: by a hash, and then by the id itself, so that none is mistaken."""

import secrets

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from harness.consent.bits import Mask
from harness.consent.columns import Numbers, letters, numbered

Hashes = npt.NDArray[np.uint64]
_MIX = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)
_WORD = 8


def draw_seed() -> int:
    """A seed that nobody can choose ids against."""
    return secrets.randbits(64)


def hashes(words: pa.Array, seed: int) -> Hashes:
    """A 64-bit hash of each word; equal words have equal hashes under the same seed.

    Args:
        words: strings without nulls.
        seed: see :func:`draw_seed`.
    """
    text, ends = letters(words)
    lengths = np.diff(ends)
    found = np.empty(len(words), np.uint64)
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        if len(rows) == len(words):
            alike = text.reshape(len(words), length)
        else:
            alike = text[ends[:-1][rows, None] + np.arange(length)]
        found[rows] = _mixed(alike, seed)
    return found


def repeated(groups: Numbers, words: pa.Array) -> Mask:
    """Rows whose word another row of the same group has.

    Args:
        groups: of each row, a number.
        words: of each row.
    """
    found = np.zeros(len(words), bool)
    together = hashes(words, draw_seed()) ^ (groups.astype(np.uint64) * _MIX)
    ordered = np.sort(together)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(twice):
        rows = np.flatnonzero(np.isin(together, twice))
        numbers, different = numbered(words.take(pa.array(rows)))
        _, which, counts = np.unique(
            groups[rows] * len(different) + numbers, return_inverse=True, return_counts=True
        )
        found[rows] = counts[which] > 1
    return found


def _mixed(alike: npt.NDArray[np.uint8], seed: int) -> Hashes:
    rows, length = alike.shape
    padded = np.zeros((rows, -(-length // _WORD) * _WORD), np.uint8)
    padded[:, :length] = alike
    found = np.full(rows, np.uint64(seed) ^ np.uint64(length))
    for word in padded.view(np.uint64).T:
        found ^= word
        found *= _MIX
        found ^= found >> _SHIFT
    return found


class Index:
    """The numbers of different ids.

    Args:
        ids: in the order of their numbers.
        order: numbers in the order of their hashes.
        ordered: hashes in that order.
        seed: of the hashes.
    """

    def __init__(self, ids: pa.ChunkedArray, order: Numbers, ordered: Hashes, seed: int) -> None:
        self._ids, self._order, self._ordered, self._seed = ids, order, ordered, seed

    def find(self, words: pa.Array) -> Numbers:
        """The number of each word; -1 where it is none of the ids."""
        if not len(words) or not len(self._ordered):
            return np.full(len(words), -1, np.int64)
        wanted = hashes(words, self._seed)
        turn = np.argsort(wanted)  # neighbours are then near each other in memory
        place = np.empty(len(words), np.int64)
        place[turn] = np.searchsorted(self._ordered, wanted[turn])
        place = np.minimum(place, len(self._ordered) - 1)
        number = np.asarray(self._order[place], np.int64)
        same = pc.equal(self._ids.take(pa.array(number)).combine_chunks(), words)
        missing = np.flatnonzero(~same.to_numpy(zero_copy_only=False))
        number[missing] = [self._search(words[int(n)].as_py(), wanted[n]) for n in missing]
        return number

    def _search(self, word: str, wanted: np.uint64) -> int:
        """Go through all ids of one hash, of which there is hardly ever more than one."""
        first = int(np.searchsorted(self._ordered, wanted, "left"))
        last = int(np.searchsorted(self._ordered, wanted, "right"))
        numbers = (int(self._order[place]) for place in range(first, last))
        return next((n for n in numbers if self._ids[n].as_py() == word), -1)
