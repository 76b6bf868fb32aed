"""Numbers of ids among millions: by a hash, and then by the id itself, so that none is mistaken."""

import secrets

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from harness.consent.bits import Mask
from harness.consent.columns import Numbers, coupled, letters, numbered

Hashes = npt.NDArray[np.uint64]
_MIX = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)
_WORD = 8
_FREE = np.uint32(2**32 - 1)


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
    for length in np.flatnonzero(np.bincount(lengths)):
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
            coupled(groups[rows], numbers, len(different)), return_inverse=True, return_counts=True
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


def open_table(found: Hashes) -> npt.NDArray[np.uint32]:
    """A hash table of numbers, with open addressing: each stands at its hash's place or after it.

    Args:
        found: hashes of ids, in the order of their numbers.
    """
    size = 2 ** max(1, (2 * len(found)).bit_length())
    table = np.full(size, _FREE)
    left, place = np.arange(len(found), dtype=np.uint32), _places(found, size)
    while len(left):
        free = table[place] == _FREE
        table[place[free]] = left[free]
        lost = table[place] != left
        left, place = left[lost], _after(place[lost], size)
    return table


def _places(found: Hashes, size: int) -> npt.NDArray[np.uint32]:
    return (found >> np.uint64(65 - size.bit_length())).astype(np.uint32)


def _after(place: npt.NDArray[np.uint32], size: int) -> npt.NDArray[np.uint32]:
    return (place + np.uint32(1)) & np.uint32(size - 1)


class Index:
    """The numbers of different ids.

    Args:
        ids: in the order of their numbers.
        table: see :func:`open_table`.
        seed: of the hashes.
    """

    def __init__(self, ids: pa.Array, table: npt.NDArray[np.uint32], seed: int) -> None:
        self._ids, self._table, self._seed = ids, table, seed

    def find(self, words: pa.Array) -> Numbers:
        """The number of each word; -1 where it is none of the ids."""
        numbers, left = np.full(len(words), -1, np.int64), np.arange(len(words))
        place = _places(hashes(words, self._seed), len(self._table))
        while len(left):
            number = self._table[place]
            filled = number != _FREE
            left, place, number = left[filled], place[filled], number[filled]
            ids, wanted = self._ids.take(pa.array(number)), words.take(pa.array(left))
            same = pc.equal(ids, wanted).to_numpy(zero_copy_only=False)
            numbers[left[same]] = number[same]
            left, place = left[~same], _after(place[~same], len(self._table))
        return numbers
