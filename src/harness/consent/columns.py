"""Tables as columns: rows of a manifest in Arrow, and what rules ask of a column, in numpy.

A record's fields keep their names; a field inside a field is called ``scope.meetings``. Keys are
their bytes, times are microseconds since 1970 in UTC.
"""

import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from harness.consent.bits import Mask
from harness.consent.records import Key, Sha256, hints

TIME = pa.timestamp("us", tz="UTC")
DAY = 86_400 * 10**6  # microseconds
Numbers = npt.NDArray[np.int64]
_BITS = 62


def schema_of(kind: type[Any]) -> pa.Schema:
    """The Arrow schema of a record."""
    return pa.schema([_field(name, hint) for name, hint in leaves(kind)])


def to_arrow(kind: type[Any], rows: Iterable[Any]) -> pa.Table:
    """Rows of a record as an Arrow table of :func:`schema_of`."""
    listed = list(rows)
    schema = schema_of(kind)
    columns = [
        pa.array([_plain(hint, _reach(row, name)) for row in listed], field.type)
        for (name, hint), field in zip(leaves(kind), schema, strict=True)
    ]
    return pa.Table.from_arrays(columns, schema=schema)


class Columns:
    """The columns of a table, asked in the terms of rules; answers are numpy arrays of its rows.

    Args:
        table: of :func:`schema_of` some record.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table.combine_chunks()
        self.size = self.table.num_rows
        self._codes: dict[str, tuple[Numbers, pa.Array]] = {}
        self._words: dict[str, list[str | None]] = {}
        self._offsets: dict[str, Numbers] = {}

    @classmethod
    def of(cls, table: "pa.Table | Columns") -> "Columns":
        """The columns of a table, with what was worked out about them already."""
        return table if isinstance(table, Columns) else cls(table)

    def take(self, order: npt.NDArray[np.intp]) -> "Columns":
        """The rows in another order."""
        return Columns(self.table.take(pa.array(order)))

    def times(self, name: str) -> Numbers:
        """A column of times, in microseconds."""
        values: Numbers = self.array(name).cast(pa.int64()).to_numpy(zero_copy_only=False)
        return values

    def flags(self, name: str) -> Mask:
        """A column of booleans."""
        values: Mask = self.array(name).to_numpy(zero_copy_only=False)
        return values.astype(bool)

    def null(self, name: str) -> Mask:
        """Where a column has no value."""
        values: Mask = self.array(name).is_null().to_numpy(zero_copy_only=False)
        return values

    def array(self, name: str) -> pa.Array:
        """A column as it is."""
        column = self.table.column(name)
        return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()

    def coded(self, name: str) -> tuple[Numbers, list[str | None]]:
        """A column of words as numbers, and the word of each number; a null has a number too."""
        return self._listed(name, self.array)

    def mapped(self, name: str, numbers: Mapping[Any, Any], missing: Any, kind: Any) -> Any:
        """A column of words, each replaced by the number that it stands for."""
        codes, words = self.coded(name)
        table = [numbers.get(word, missing) for word in words] or [missing]
        return np.array(table, kind)[codes]

    def equal(self, name: str, word: str | None) -> Mask:
        """Where a column of words has this one."""
        return np.asarray(self.mapped(name, {word: True}, False, bool))

    def lengths(self, name: str) -> Numbers:
        """Length of each list."""
        return np.diff(self.offsets(name))

    def has(self, name: str, word: str) -> Mask:
        """Where a list has a word."""
        codes, words = self.item_words(name)
        found = np.zeros(self.size, bool)
        is_word = pc.equal(words, word).to_numpy(zero_copy_only=False)
        if is_word.any():
            found[self.owners(name)[is_word[codes]]] = True
        return found

    def bits(self, name: str, bit: Mapping[Any, int]) -> Numbers:
        """Each list of words as the sum of the words' bits; a list has a word once at most."""
        codes, words = self.items(name)
        values = np.array([bit.get(word, 0) for word in words] or [0], np.int64)[codes]
        sums = np.zeros(len(values) + 1, np.int64)
        np.cumsum(values, out=sums[1:])
        return np.diff(sums[self.offsets(name)])

    def items(self, name: str) -> tuple[Numbers, list[str | None]]:
        """The items of all lists, one after another, as numbers and their words."""
        return self._listed(f"{name}[]", self._flat)

    def item_words(self, name: str) -> tuple[Numbers, pa.Array]:
        """As :meth:`items`, with the words as a column."""
        return self._numbered(f"{name}[]", self._flat)

    def offsets(self, name: str) -> Numbers:
        """Where the items of each list begin among those of all; one more than there are rows."""
        if name not in self._offsets:
            raw = self.array(name).offsets.to_numpy().astype(np.int64)
            self._offsets[name] = raw - raw[0]
        return self._offsets[name]

    def _listed(
        self, key: str, array: Callable[[str], pa.Array]
    ) -> tuple[Numbers, list[str | None]]:
        codes, words = self._numbered(key, array)
        if key not in self._words:
            self._words[key] = words.to_pylist()
        return codes, self._words[key]

    def _numbered(self, key: str, array: Callable[[str], pa.Array]) -> tuple[Numbers, pa.Array]:
        if key not in self._codes:
            self._codes[key] = numbered(array(key.removesuffix("[]")))
        return self._codes[key]

    def _flat(self, name: str) -> pa.Array:
        return self.array(name).flatten()

    def owners(self, name: str) -> Numbers:
        """The row that each item of a column of lists belongs to."""
        return np.repeat(np.arange(self.size), self.lengths(name))


def microseconds(time: datetime) -> int:
    """A time as columns hold it."""
    return int(pa.scalar(time, TIME).value)


def ranges(starts: Numbers, lengths: Numbers) -> Numbers:
    """The numbers of several ranges, one range after another."""
    total = int(lengths.sum())
    begins = np.cumsum(lengths) - lengths
    return np.arange(total) - np.repeat(begins - starts, lengths)


def blocks(sizes: Numbers, most: int) -> Iterator[tuple[int, int]]:
    """Cut rows into runs of about equal size.

    Args:
        sizes: of each row.
        most: what the sizes of a run may sum to, unless it is of one row.

    Returns:
        The first row of each run, and the row after its last.
    """
    ends, start = np.cumsum(sizes), 0
    while start < len(sizes):
        before = int(ends[start - 1]) if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + most, "right")))
        yield start, end
        start = end


def word_sets(
    owners: Numbers, codes: Numbers, words: Sequence[str | None], size: int
) -> tuple[Numbers, list[frozenset[str]]]:
    """The set of words of each owner, as the number of a set among the different sets.

    Args:
        owners: of each item of some lists, whose it is.
        codes: of each item, its word's place in ``words``.
        words: the different words.
        size: how many owners there are.
    """
    of, kinds = np.zeros(size, np.int64), [frozenset[str]()]
    for start in range(0, len(words), _BITS):  # sets are merged word by word of so many bits
        here = (codes >= start) & (codes < start + _BITS)
        bits = np.zeros(size, np.int64)
        np.bitwise_or.at(bits, owners[here], np.int64(1) << (codes[here] - start))
        which, masks = numbered(bits)
        of, pairs = numbered(coupled(of, which, len(masks)))
        named = [_named(mask, words[start : start + _BITS]) for mask in masks.to_pylist()]
        both = zip(*uncoupled(pairs.to_numpy(), len(masks)), strict=True)
        kinds = [kinds[before] | named[here] for before, here in both]
    return of, kinds


def _named(mask: int, words: Sequence[str | None]) -> frozenset[str]:
    return frozenset(str(word) for place, word in enumerate(words) if mask >> place & 1)


def numbered(values: pa.Array | npt.NDArray[Any]) -> tuple[Numbers, pa.Array]:
    """Values as the numbers of the different ones, and these in the order of first appearance."""
    array = values if isinstance(values, pa.Array) else pa.array(values)
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode(null_encoding="encode")
    indices, words = array.indices, array.dictionary
    if indices.null_count:
        indices = indices.fill_null(len(words))
        words = pa.concat_arrays([words, pa.nulls(1, words.type)])
    return indices.to_numpy(zero_copy_only=False).astype(np.int64), words


def coupled(left: Numbers, right: Numbers, size: int) -> Numbers:
    """A number for each pair of numbers, which equal pairs share and no others.

    Args:
        left: from 0.
        right: from 0 to below ``size``.
        size: how many values ``right`` may have.
    """
    return left * size + right


def uncoupled(pairs: Numbers, size: int) -> tuple[Numbers, Numbers]:
    """The two numbers that each number of :func:`coupled` stands for."""
    return np.divmod(pairs, max(size, 1))


def fixed_numbers(values: pa.Array, width: int) -> Numbers:
    """The bytes of values of one size as rows of numbers, which equal values share.

    Args:
        values: a column of fixed binary values, none of them null.
        width: how many numbers of eight bytes a value has.
    """
    raw = np.frombuffer(values.buffers()[1] or b"", np.int64)
    return raw[width * values.offset :][: width * len(values)].reshape(len(values), width)


def letters(words: pa.Array) -> tuple[npt.NDArray[np.uint8], Numbers]:
    """The bytes of all words, one after another, and where each word ends, from a zero on."""
    ends = np.frombuffer(words.buffers()[1], np.int32)[words.offset :][: len(words) + 1]
    text = np.frombuffer(words.buffers()[2] or b"", np.uint8)[ends[0] : ends[-1]]
    return text, (ends - ends[0]).astype(np.int64)


def rows_with(found: Mask, ends: Numbers) -> Mask:
    """Which words have a byte that was found; see :func:`letters`."""
    rows = np.zeros(len(ends) - 1, bool)
    rows[np.searchsorted(ends, np.flatnonzero(found), "right") - 1] = True
    return rows


def leaves(kind: Any, prefix: str = "") -> Sequence[tuple[str, Any]]:
    """Names of a record's columns, each with its type."""
    found: list[tuple[str, Any]] = []
    for key, (_, hint) in hints(kind).items():
        name = f"{prefix}{key}"
        found += leaves(hint, f"{name}.") if is_dataclass(hint) else [(name, hint)]
    return found


def _field(name: str, hint: Any) -> pa.Field:
    options = typing.get_args(hint) if _is_union(hint) else ()
    return pa.field(name, _type(without_null(hint)), nullable=type(None) in options)


def _type(hint: Any) -> pa.DataType:
    if typing.get_origin(hint) is tuple:
        return pa.list_(pa.field("item", _type(typing.get_args(hint)[0]), nullable=False))
    if hint in (Key, Sha256):
        return pa.binary(16 if hint == Key else 32)
    if hint is datetime:
        return TIME
    return {bool: pa.bool_(), int: pa.int64()}.get(hint, pa.string())


def _plain(hint: Any, value: Any) -> Any:
    hint = without_null(hint)
    if value is None:
        return None
    if hint in (Key, Sha256):
        return bytes.fromhex(value)
    if typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)[0]
        return [_plain(inner, item) for item in value]
    return str(value) if isinstance(value, StrEnum) else value


def _reach(row: Any, name: str) -> Any:
    for key in name.split("."):
        kind: Any = type(row)
        row = getattr(row, hints(kind)[key][0])
    return row


def without_null(hint: Any) -> Any:
    """A type without what else it may be: null, or the word for all."""
    if not _is_union(hint):
        return hint
    options = [option for option in typing.get_args(hint) if option is not type(None)]
    words = [option for option in options if typing.get_origin(option) is not Literal]
    return words[0]


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)
