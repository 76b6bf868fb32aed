"""Large tables as Parquet: strict reading of a part into columns, and writing.

A part holds exactly the columns of its record. It is checked by columns to what
:func:`harness.consent.records.parse` asks of a row; tests hold the two against each other.
"""

import re
import typing
import unicodedata
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, NoReturn, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harness.consent.bits import Mask
from harness.consent.columns import (
    TIME,
    Columns,
    Numbers,
    leaves,
    letters,
    microseconds,
    rows_with,
    schema_of,
    without_null,
)
from harness.consent.records import ORDERED, Id, format_time, is_plain_text, parse
from harness.errors import Refused

ROWS_LIMIT = 1 << 21
BYTES_LIMIT = 1 << 30  # of a part when unpacked
T = TypeVar("T")
_FIRST = microseconds(datetime(1, 1, 1, tzinfo=UTC))
_LAST = microseconds(datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC))


def write_part(kind: type[Any], table: pa.Table) -> bytes:
    """Rows of a record as the bytes of a Parquet file, in encodings that are read quickly.

    Args:
        kind: the record.
        table: of :func:`schema_of` the record.
    """
    schema = schema_of(kind)
    numbers = [f.name for f in schema if pa.types.is_integer(f.type) or f.type == TIME]
    coded = [f.name for f in schema if _is_coded(f)]
    sink = pa.BufferOutputStream()
    pq.write_table(
        table.cast(schema), sink, row_group_size=ROWS_LIMIT, store_schema=True,
        compression={f.name: "none" if f.name in numbers else "zstd" for f in schema},
        use_dictionary=[_path(schema.field(name)) for name in coded],
        column_encoding=dict.fromkeys(numbers, "DELTA_BINARY_PACKED"),
        write_statistics=False,
    )  # fmt: skip
    return bytes(sink.getvalue().to_pybytes())


def read_part(kind: type[Any], data: bytes, file: str) -> Columns:
    """Read and check a part; columns of words that repeat stay coded by a dictionary.

    Args:
        kind: the record.
        data: the file, after its digest was found to be the one that was signed.
        file: its name, for the refusal.

    Raises:
        Refused: ``SCHEMA_INVALID`` for other columns, types, units or rows than the record's;
            ``MANIFEST_TOO_LARGE``.
    """
    columns = Columns(_unpack(kind, data, file))
    check_rows(kind, columns, file)
    return columns


def read_column(kind: type[Any], data: bytes, column: str, file: str) -> pa.Array:
    """One column of a part, whose rows are not checked.

    Args:
        kind: the record.
        data: the file, after its digest was found to be the one that was signed.
        column: name.
        file: its name, for the refusal.

    Raises:
        Refused: as :func:`read_part`, for the file as a whole.
    """
    return Columns(_unpack(kind, data, file, [column])).array(column)


def check_rows(kind: type[Any], table: pa.Table | Columns, file: str) -> None:
    """Refuse a row that :func:`harness.consent.records.parse` would refuse.

    Args:
        kind: the record.
        table: of :func:`schema_of` the record, words coded or not.
        file: its name, for the refusal.

    Raises:
        Refused: ``SCHEMA_INVALID`` naming file, row and key.
    """
    columns = Columns.of(table)
    for name, hint in leaves(kind):
        _check_column(columns, name, without_null(hint), file)
    for first, second, problem in ORDERED.get(kind, ()):
        wrong = columns.times(second) < columns.times(first)
        if wrong.any():
            _invalid(problem, file, np.flatnonzero(wrong))


def to_rows(kind: type[T], table: pa.Table) -> Iterator[T]:
    """The rows of a checked part as records."""
    for row in table.to_pylist():
        value: dict[str, Any] = {}
        for name, cell in row.items():
            *outer, last = name.split(".")
            inner = value
            for key in outer:
                inner = inner.setdefault(key, {})
            inner[last] = _to_json(cell)
        yield parse(kind, value, kind.__name__)


def concat(kind: type[Any], tables: Iterable[pa.Table]) -> pa.Table:
    """Tables of a record one after another, as words that are not coded."""
    schema = schema_of(kind)
    return pa.concat_tables([schema.empty_table(), *(table.cast(schema) for table in tables)])


def _unpack(kind: type[Any], data: bytes, file: str, only: list[str] | None = None) -> pa.Table:
    try:
        if not pq.read_schema(pa.BufferReader(data)).equals(schema_of(kind)):
            raise Refused("SCHEMA_INVALID", "other columns, types, time units or nulls than its "
                          "record has", file, "write it with harness manifest")  # fmt: skip
        coded = [_path(field) for field in schema_of(kind) if _is_coded(field)]
        part = pq.ParquetFile(pa.BufferReader(data), read_dictionary=coded)
        _check_footer(part.metadata, file)
        groups = [
            part.read_row_group(n, only, use_threads=False) for n in range(part.num_row_groups)
        ]
        table = pa.concat_tables(groups) if groups else part.read(only, use_threads=False)
        table = table.unify_dictionaries().combine_chunks()
        for column in table.columns:
            _check_words_are_text(column.combine_chunks())
        return table
    except (pa.ArrowException, OSError, KeyError, UnicodeDecodeError):
        raise Refused("SCHEMA_INVALID", "not a readable Parquet file", file,
                      "restore it or have it signed again") from None  # fmt: skip


def _check_words_are_text(array: pa.Array) -> None:
    """Refuse words that are not UTF-8, and numbers of words beyond their dictionary."""
    if pa.types.is_list(array.type):
        array = array.flatten()
    if pa.types.is_dictionary(array.type):
        array.dictionary.validate(full=True)
        numbers = array.indices.drop_null().to_numpy()
        if len(numbers) and not 0 <= numbers.min() <= numbers.max() < len(array.dictionary):
            raise pa.ArrowInvalid("a number of a word beyond the dictionary")
    elif pa.types.is_string(array.type) and (letters(array)[0] > 0x7E).any():
        array.validate(full=True)


def _check_footer(footer: Any, file: str) -> None:
    groups = [footer.row_group(n) for n in range(footer.num_row_groups)]
    unpacked = sum(group.total_byte_size for group in groups)
    if footer.num_rows > ROWS_LIMIT or unpacked > BYTES_LIMIT:
        raise Refused("MANIFEST_TOO_LARGE", f"more than {ROWS_LIMIT} rows, or {BYTES_LIMIT} bytes "
                      "when unpacked", file, "write more parts")  # fmt: skip


def _check_column(columns: Columns, name: str, hint: Any, file: str) -> None:
    array, where = columns.array(name), f"{file} key {name}"
    if array.null_count and not columns.table.schema.field(name).nullable:
        _invalid("null is not allowed", where, np.flatnonzero(columns.null(name)))
    if typing.get_origin(hint) is tuple:
        wrong = _wrong_words(array.flatten(), typing.get_args(hint)[0])
        if len(wrong):
            _invalid(_WRONG_WORD, where, columns.owners(name)[wrong])
        _check_different(columns, name, where)
    elif hint is datetime:
        times = columns.times(name)
        _invalid_where((times < _FIRST) | (times > _LAST), "no RFC 3339 time in UTC", where)
    elif hint is int:
        values = array.to_numpy()
        _invalid_where((values < 0) | (values >= 2**53), "not a valid int", where)
    elif pa.types.is_string(array.type) or pa.types.is_dictionary(array.type):
        wrong = _wrong_words(array, hint)
        if len(wrong):
            _invalid(_WRONG_WORD, where, wrong)


_WRONG_WORD = "an unknown word, or not text of the required form"


def _wrong_words(array: pa.Array, hint: Any) -> Numbers:
    """Places of words that a hint does not allow, and of nulls."""
    if array.null_count:
        return np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False))
    if pa.types.is_dictionary(array.type):
        wrong = _wrong_words(array.dictionary, hint)
        return np.flatnonzero(np.isin(array.indices.to_numpy(), wrong)) if len(wrong) else wrong
    if not pa.types.is_string(array.type):
        return np.zeros(0, np.int64)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        known = pa.array([str(member) for member in hint], pa.string())
        return np.flatnonzero(~pc.is_in(array, known).to_numpy(zero_copy_only=False))
    odd = np.flatnonzero(_is_odd_text(array, hint))
    return np.array([n for n in odd if not _allows(hint, array[int(n)].as_py())], np.int64)


def _check_different(columns: Columns, name: str, where: str) -> None:
    """Refuse a list that names something twice."""
    lengths = columns.lengths(name)
    if lengths.max(initial=0) < 2:
        return
    numbers, words = columns.items(name)
    pairs = columns.offsets(name)[:-1][lengths == 2]
    alike = np.zeros(columns.size, bool)
    alike[lengths == 2] = numbers[pairs] == numbers[pairs + 1]
    long = lengths > 2
    if long.any():
        items = np.repeat(long, lengths)
        pairs = np.sort(columns.owners(name)[items] * len(words) + numbers[items])
        alike[pairs[1:][pairs[1:] == pairs[:-1]] // len(words)] = True
    _invalid_where(alike, "a list names something twice", where)


def _is_odd_text(array: pa.Array, hint: Any) -> Mask:
    """Where a word has other bytes than visible ASCII (and spaces, in text), or its length is off.

    What is not odd is allowed by every hint of words.
    """
    text, ends = letters(array)
    low = 0x21 if hint == Id else 0x20
    length = np.diff(ends)
    strange = rows_with((text < low) | (text > 0x7E), ends)
    return np.asarray(strange | (length < 1) | (length > 128))


def _allows(hint: Any, word: str) -> bool:
    if typing.get_origin(hint) is Annotated:
        return re.fullmatch(typing.get_args(hint)[1], word) is not None
    return is_plain_text(word) and unicodedata.is_normalized("NFC", word)


def _is_coded(field: pa.Field) -> bool:
    """Whether a column's words repeat, so that a dictionary of them is short."""
    if pa.types.is_list(field.type):
        return bool(pa.types.is_string(field.type.value_type))
    return bool(pa.types.is_string(field.type)) and field.name not in _DIFFERENT


_DIFFERENT = frozenset({"meeting_id", "event_id", "label", "path"})
"""Columns of words most of which differ from row to row."""


def _path(field: pa.Field) -> str:
    return f"{field.name}.list.element" if pa.types.is_list(field.type) else str(field.name)


def _to_json(cell: Any) -> Any:
    if isinstance(cell, bytes):
        return cell.hex()
    if isinstance(cell, datetime):
        return format_time(cell)
    return [_to_json(item) for item in cell] if isinstance(cell, list) else cell


def _invalid_where(wrong: Mask, what: str, where: str) -> None:
    if wrong.any():
        _invalid(what, where, np.flatnonzero(wrong))


def _invalid(what: str, where: str, rows: Numbers) -> NoReturn:
    file, _, key = where.partition(" ")
    place = f"{file} row {int(rows.min()) + 1} {key}".rstrip()
    raise Refused("SCHEMA_INVALID", what, place, "correct the row and sign again")
