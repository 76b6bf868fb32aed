"""Rows of a part are refused exactly where the same rows as JSON are; what goes in comes out."""

import itertools
import typing
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.consent import parquet
from harness.consent.columns import TIME, leaves, microseconds, schema_of, without_null
from harness.consent.parquet import check_rows, concat, read_part, to_rows, write_part
from harness.consent.records import (
    ORDERED,
    ConsentEvent,
    ContentRow,
    Id,
    Key,
    MeetingRow,
    ParticipantRow,
    Sha256,
    SplitRow,
    format_time,
    parse,
)
from harness.errors import Refused

Flat = dict[str, Any]
"""A row by columns: times are microseconds, digests and keys are bytes."""
KINDS = (MeetingRow, ParticipantRow, ContentRow, SplitRow, ConsentEvent)
LARGE = pytest.mark.parametrize("kind", KINDS)
QUICK = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
FEW = settings(QUICK, max_examples=40)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST, LAST = (
    microseconds(t) for t in (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
)
FILE = "rows-00000.parquet"

# --- rows, and cells that are on the edge of what is allowed -------------------------------------

EDGES = [
    "a", " ", "!", "~", "*", "\x00", "\n", "\x1f", "\x7f", "\x80", "\xa0", "\u061c", "\u200d",
    "\u200e", "\u200f", "\u202a", "\u202e", "\u2065", "\u2066", "\u2069", "\u206a", "e\u0301",
    "\xe9", "\u212b", "\ufb01", "\uff21", "\U0001f600",
]  # fmt: skip
IDS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=6)
LONG = ["x" * 127, "x" * 128, "x" * 129, "\xe9" * 64, "\xe9" * 65, "\xe9" * 128, "\xe9" * 129]
INTS = [-(2**63), -1, 0, 1, 2**53 - 1, 2**53, 2**63 - 1]
TIMES = [-(2**63), FIRST - 1, FIRST, -1, 0, LAST, LAST + 1, 2**63 - 1]
EDGE_TEXT = st.lists(st.sampled_from(EDGES), max_size=4).map("".join) | st.sampled_from(LONG)


def read_table(kind: type[Any], data: bytes, file: str) -> pa.Table:
    """A part that was read and checked, as a table."""
    return read_part(kind, data, file).table


def inner(hint: Any) -> Any:
    """Of the items of a list."""
    return typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else None


def is_enum(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, StrEnum)


def valid(hint: Any) -> st.SearchStrategy[Any]:
    """Values that a hint allows."""
    if without_null(hint) != hint:
        return st.none() | valid(without_null(hint))
    if inner(hint) is not None:
        return st.lists(valid(inner(hint)), unique=True, max_size=3)
    if is_enum(hint):
        return st.sampled_from([str(member) for member in hint])
    kinds = {Id: IDS, Key: st.binary(min_size=16, max_size=16), bool: st.booleans(),
             Sha256: st.binary(min_size=32, max_size=32), int: st.integers(0, 2**53 - 1),
             datetime: st.integers(FIRST, LAST),
             str: IDS | st.sampled_from(["Zo\xeb", "Bo | X", "\u5f20"])}  # fmt: skip
    return kinds[hint]


def edge(hint: Any) -> st.SearchStrategy[Any]:
    """Values just inside or outside of what a hint allows; a null is nowhere far."""
    if without_null(hint) != hint:
        return edge(without_null(hint))
    if inner(hint) is not None:
        lists = st.lists(edge(inner(hint)) | valid(inner(hint)), max_size=4)
        twice = valid(hint).filter(len).map(lambda items: [*items, items[0]])
        return st.none() | lists | twice
    words = EDGE_TEXT
    if is_enum(hint):
        words = EDGE_TEXT | st.sampled_from(
            [str(m).upper() for m in hint] + [f"{m} " for m in hint]
        )
    kinds = {int: st.sampled_from(INTS), datetime: st.sampled_from(TIMES)}
    return st.none() | kinds.get(hint, valid(hint) if hint in (Key, Sha256, bool) else words)


def edges(hint: Any) -> list[Any]:
    """The same, one after another."""
    hint = without_null(hint)
    if inner(hint) is not None:
        items = [item for item in edges(inner(hint)) if item is not None]
        return [None, [], ["a", None], *([item] for item in items), *([i, "a", i] for i in items)]
    words = [*(str(m) for m in hint), *(f"{m} " for m in hint)] if is_enum(hint) else []
    some = {int: INTS, datetime: TIMES, Key: [], Sha256: [], bool: []}
    return [None, *some.get(hint, ["", *EDGES, *(f"a{e}" for e in EDGES), *LONG, *words])]


@st.composite
def row(draw: st.DrawFn, kind: type[Any]) -> Flat:
    """A row that is allowed."""
    found = {name: draw(valid(hint)) for name, hint in leaves(kind)}
    for first, second, _ in ORDERED.get(kind, ()):
        found[first], found[second] = sorted([found[first], found[second]])
    return found


@st.composite
def one_changed(draw: st.DrawFn, kind: type[Any]) -> tuple[list[Flat], int]:
    """Rows of which one may be wrong in one cell, and which."""
    rows = draw(st.lists(row(kind), min_size=1, max_size=4))
    place = draw(st.integers(0, len(rows) - 1))
    if draw(st.integers(0, 4)) and kind in ORDERED:
        first, second, _ = draw(st.sampled_from(ORDERED[kind]))
        rows[place][draw(st.sampled_from([first, second]))] = draw(st.integers(FIRST, LAST))
        return rows, place
    name, hint = draw(st.sampled_from(leaves(kind)))
    rows[place][name] = draw(edge(hint))
    return rows, place


def to_table(kind: type[Any], rows: list[Flat], coded: bool = False) -> pa.Table:
    """Rows as they are, with whatever is wrong about them; columns of words as a dictionary."""
    arrays, fields = [], []
    for field in schema_of(kind):
        stored = pa.int64() if field.type == TIME else field.type
        array = pa.array([row[field.name] for row in rows], stored)
        array = array.view(TIME) if field.type == TIME else array
        if coded and pa.types.is_string(field.type):
            array = array.dictionary_encode()
        if coded and pa.types.is_list(field.type):
            words = array.flatten().dictionary_encode()
            array = pa.ListArray.from_arrays(array.offsets, words, mask=array.is_null())
        arrays.append(array)
        fields.append(pa.field(field.name, array.type, field.nullable))
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def to_json(flat: Flat, kind: type[Any]) -> Any:
    """The same row as JSON."""
    nested: dict[str, Any] = {}
    for name, hint in leaves(kind):
        *outer, last = name.split(".")
        place = nested
        for key in outer:
            place = place.setdefault(key, {})
        place[last] = _cell(flat[name], without_null(hint))
    return nested


def _cell(value: Any, hint: Any) -> Any:
    if hint is datetime and value is not None:
        try:
            return format_time(EPOCH + timedelta(microseconds=value))
        except OverflowError:
            return "10000-01-01T00:00:00Z"
    return value.hex() if isinstance(value, bytes) else value


def refusal(action: Callable[[], Any]) -> Refused | None:
    try:
        action()
    except Refused as refused:
        return refused
    return None


def check_alike(kind: type[Any], rows: list[Flat], place: int, table: pa.Table) -> None:
    """Both refuse or neither does, and the row is named."""
    as_json = refusal(lambda: [parse(kind, to_json(r, kind), "r") for r in rows])
    found = refusal(lambda: check_rows(kind, table, FILE))
    assert (found is None) == (as_json is None), (found, as_json)
    if found is not None:
        assert found.code == as_json.code == "SCHEMA_INVALID"
        assert f"{FILE} row {place + 1}" in f"{found.where} ", str(found)
        assert "\n" not in str(found)


@LARGE
@pytest.mark.parametrize("coded", [False, True])
@QUICK
@given(data=st.data())
def test_a_row_is_refused_where_it_would_be_as_json(
    kind: type[Any], coded: bool, data: st.DataObject
) -> None:
    rows, place = data.draw(one_changed(kind))
    check_alike(kind, rows, place, to_table(kind, rows, coded))


@LARGE
@pytest.mark.parametrize("coded", [False, True])
def test_every_edge_of_every_column_is_as_in_json(kind: type[Any], coded: bool) -> None:
    plain = many(kind, 2)
    for name, hint in leaves(kind):
        for cell in edges(hint):
            rows = [plain[0], plain[1] | {name: cell}]
            check_alike(kind, rows, 1, to_table(kind, rows, coded))


@LARGE
@pytest.mark.parametrize("coded", [False, True])
@FEW
@given(data=st.data())
def test_a_slice_of_rows_is_refused_where_it_would_be_as_json(
    kind: type[Any], coded: bool, data: st.DataObject
) -> None:
    """Words outside of the slice do not count, though they stand in its buffers."""
    rows, _ = data.draw(one_changed(kind))
    first = data.draw(st.integers(0, len(rows)))
    table = to_table(kind, rows, coded)[first:]
    found = refusal(lambda: check_rows(kind, table, FILE))
    as_json = refusal(lambda: [parse(kind, to_json(r, kind), "r") for r in rows[first:]])
    assert (found is None) == (as_json is None), (found, as_json)


@given(st.lists(st.lists(st.integers(0, 60), max_size=5), min_size=1, max_size=30))
@FEW
def test_a_word_twice_in_a_list_is_seen_among_many_words(lists: list[list[int]]) -> None:
    plain = {"meeting_id": "m", "series_id": "s", "account_id": "a", "platform": "zoom",
             "start": 0, "end": 0, "tz": "UTC", "special_category": "no"}  # fmt: skip
    rows = [plain | {"tags": [f"t{n}" for n in range(60)]}]
    rows += [plain | {"tags": [f"t{n}" for n in numbers]} for numbers in lists]
    found = refusal(lambda: check_rows(MeetingRow, to_table(MeetingRow, rows), FILE))
    wrong = [n for n, numbers in enumerate(lists) if len({*numbers}) < len(numbers)]
    assert (found is None) == (not wrong)
    if found is not None:
        assert found.where == f"{FILE} row {wrong[0] + 2} key tags"


@LARGE
def test_a_table_without_rows_is_allowed(kind: type[Any]) -> None:
    empty = schema_of(kind).empty_table()
    for table in (empty, to_table(kind, [], True), read_table(kind, write_part(kind, empty), FILE)):
        check_rows(kind, table, FILE)
        assert table.num_rows == 0


# --- there and back ------------------------------------------------------------------------------


@LARGE
@FEW
@given(data=st.data())
def test_what_is_written_is_read(kind: type[Any], data: st.DataObject) -> None:
    rows = data.draw(st.lists(row(kind), max_size=8))
    table = to_table(kind, rows)
    back = read_table(kind, write_part(kind, table), FILE)
    assert concat(kind, [back]).equals(table)
    assert [*to_rows(kind, back)] == [parse(kind, to_json(r, kind), "r") for r in rows]


@LARGE
@FEW
@given(data=st.data())
def test_concat_puts_tables_one_after_another(kind: type[Any], data: st.DataObject) -> None:
    parts = data.draw(st.lists(st.lists(row(kind), max_size=3), max_size=3))
    whole = concat(kind, [to_table(kind, rows, coded=n % 2 == 1) for n, rows in enumerate(parts)])
    assert whole.equals(to_table(kind, [row for rows in parts for row in rows]))


def many(kind: type[Any], size: int = 50) -> list[Flat]:
    """Rows that are allowed, whose words differ between the first and the last ones."""
    return [{name: some(hint, n) for name, hint in leaves(kind)} for n in range(size)]


def some(hint: Any, n: int) -> Any:
    """The n-th value that a hint allows."""
    if without_null(hint) != hint:
        return some(without_null(hint), n) if n % 3 else None
    if inner(hint) is not None:
        members = len(inner(hint)) if is_enum(inner(hint)) else 40
        return [some(inner(hint), 7 * (n + k)) for k in range(n % min(4, members))]
    if is_enum(hint):
        return str([*hint][n % len(hint)])
    kinds = {Key: n.to_bytes(16, "big"), Sha256: n.to_bytes(32, "big"), bool: n % 2 == 0, int: n,
             datetime: n * 10**15}  # fmt: skip
    return kinds.get(hint, f"w{n // 5}" if n % 7 else f"lone{n}")


WAYS = [
    {"use_dictionary": False},
    {"use_dictionary": False, "row_group_size": 7},
    {"use_dictionary": True, "dictionary_pagesize_limit": 16},
    {"store_schema": False},
    {"data_page_size": 32, "write_batch_size": 4},
    {"data_page_version": "2.0"},
    {"write_statistics": False, "write_page_checksum": True},
    *({"compression": name} for name in ("none", "snappy", "gzip", "brotli", "zstd", "lz4")),
]  # fmt: skip
GROUPS = [
    {"row_group_size": 7},
    {"row_group_size": 1, "compression": "gzip"},
]


def written(table: pa.Table, **ways: Any) -> bytes:
    """A file as other programs may write it."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **ways)
    return bytes(sink.getvalue().to_pybytes())


def check_shape(kind: type[Any], ways: dict[str, Any]) -> None:
    """The same rows are read, as one chunk a column; a wrong one is named."""
    rows = many(kind)
    back = read_table(kind, written(to_table(kind, rows), **ways), FILE)
    assert concat(kind, [back]).equals(to_table(kind, rows))
    assert all(column.num_chunks <= 1 for column in back.columns)
    name = next(n for n, hint in leaves(kind) if hint == Id)
    rows[33][name] = "two words"
    found = refusal(lambda: read_table(kind, written(to_table(kind, rows), **ways), FILE))
    assert found is not None
    assert (found.code, found.where) == ("SCHEMA_INVALID", f"{FILE} row 34 key {name}")


@LARGE
@pytest.mark.parametrize("ways", WAYS, ids=str)
def test_a_file_in_another_shape_is_read_alike(kind: type[Any], ways: dict[str, Any]) -> None:
    check_shape(kind, ways)


@LARGE
@pytest.mark.parametrize("ways", GROUPS, ids=str)
def test_several_row_groups_are_read_alike(kind: type[Any], ways: dict[str, Any]) -> None:
    check_shape(kind, ways)


# --- other tables than the record's --------------------------------------------------------------


def replaced(table: pa.Table, name: str, kind: pa.DataType, nullable: bool = False) -> pa.Table:
    """The table with a column of another type."""
    place = table.schema.get_field_index(name)
    return table.set_column(
        place, pa.field(name, kind, nullable), table.column(name).cast(kind, safe=False)
    )


def renamed(table: pa.Table, old: str, new: str) -> pa.Table:
    return table.rename_columns([new if name == old else name for name in table.column_names])


Change = Callable[[pa.Table], pa.Table]
ITEM = pa.field("item", pa.string(), nullable=False)
OTHER_TABLES: dict[str, Change] = {
    "order": lambda t: t.select([1, 0, *range(2, t.num_columns)]),
    "missing": lambda t: t.drop_columns(["tz"]),
    "missing and not coded": lambda t: t.drop_columns(["meeting_id"]),
    "extra": lambda t: t.append_column("more", pa.array([1] * t.num_rows)),
    "twice": lambda t: t.append_column(t.schema.field("tz"), t.column("tz")),
    "renamed": lambda t: renamed(t, "tz", "TZ"),
    "swapped": lambda t: renamed(renamed(renamed(t, "start", "_"), "end", "start"), "_", "end"),
    "nullable": lambda t: replaced(t, "tz", pa.string(), nullable=True),
    "milliseconds": lambda t: replaced(t, "start", pa.timestamp("ms", "UTC")),
    "nanoseconds": lambda t: replaced(t, "start", pa.timestamp("ns", "UTC")),
    "no zone": lambda t: replaced(t, "start", pa.timestamp("us")),
    "another zone": lambda t: replaced(t, "start", pa.timestamp("us", "Europe/Berlin")),
    "numbers": lambda t: replaced(t, "start", pa.int64()),
    "large_string": lambda t: replaced(t, "tz", pa.large_string()),
    "string_view": lambda t: replaced(t, "tz", pa.string_view()),
    "binary": lambda t: replaced(t, "tz", pa.binary()),
    "dictionary": lambda t: replaced(t, "tz", pa.dictionary(pa.int32(), pa.string())),
    "list of nullables": lambda t: replaced(t, "tags", pa.list_(pa.string())),
    "large_list": lambda t: replaced(t, "tags", pa.large_list(ITEM)),
    "list of large": lambda t: replaced(t, "tags", pa.list_(ITEM.with_type(pa.large_string()))),
    "no columns": lambda t: t.select([]),
}


@pytest.mark.parametrize("change", OTHER_TABLES.values(), ids=OTHER_TABLES)
@pytest.mark.parametrize("store_schema", [True, False])
def test_another_table_is_refused(change: Change, store_schema: bool) -> None:
    """What only Arrow's own note in the file tells apart does not matter without the note."""
    table = to_table(MeetingRow, many(MeetingRow, 10))
    data = written(change(table), store_schema=store_schema)
    found = refusal(lambda: read_table(MeetingRow, data, FILE))
    if found is None:
        assert not store_schema
        assert concat(MeetingRow, [read_table(MeetingRow, data, FILE)]).equals(table)
    else:
        assert (found.code, found.where) == ("SCHEMA_INVALID", FILE)
        assert "\n" not in str(found)


@pytest.mark.parametrize(
    ("kind", "name", "other"),
    [(ContentRow, "bytes", pa.int32()), (ContentRow, "turns", pa.uint64()),
     (ContentRow, "sha256", pa.binary()), (ContentRow, "turns", pa.float64()),
     (ParticipantRow, "shared_device", pa.int8()), (ConsentEvent, "seq", pa.uint32())],
)  # fmt: skip
def test_another_type_is_refused(kind: type[Any], name: str, other: pa.DataType) -> None:
    data = written(replaced(to_table(kind, many(kind, 10)), name, other))
    with pytest.raises(Refused, match=f"^SCHEMA_INVALID: other columns.*{FILE}"):
        read_table(kind, data, FILE)


@pytest.mark.parametrize(("kind", "other"), [*itertools.permutations(KINDS, 2)])
def test_the_rows_of_another_record_are_refused(kind: type[Any], other: type[Any]) -> None:
    data = write_part(other, to_table(other, many(other, 3)))
    with pytest.raises(Refused, match=f"^SCHEMA_INVALID: other columns.*{FILE}"):
        read_table(kind, data, FILE)


@pytest.mark.parametrize(
    "data", [b"", b"PAR1", b"PAR1PAR1", b"PARE" * 9, b"{}\n", b"PAR1" + b"\x00" * 40 + b"PAR1",
             b"PAR1" + b"\xff" * 40 + b"PAR1"],
)  # fmt: skip
def test_what_is_no_parquet_is_refused(data: bytes) -> None:
    with pytest.raises(Refused, match=f"^SCHEMA_INVALID: not a readable Parquet.*{FILE}"):
        read_table(SplitRow, data, FILE)


def check_damaged(kind: type[Any], data: bytes) -> bool:
    """Damage is refused in one line, or what is read is allowed row by row."""
    tables: list[pa.Table] = []
    found = refusal(lambda: tables.append(read_table(kind, data, FILE)))
    for table in tables:
        table.validate(full=True)
        assert len([*to_rows(kind, table)]) == table.num_rows
    if found is not None:
        assert found.code in ("SCHEMA_INVALID", "MANIFEST_TOO_LARGE")
        assert "\n" not in str(found)
    return found is not None


@LARGE
def test_a_truncated_file_is_refused(kind: type[Any]) -> None:
    data = write_part(kind, to_table(kind, many(kind, 9)))
    for size in {*range(0, len(data), 37), *range(len(data) - 12, len(data))}:
        assert check_damaged(kind, data[:size])


def footer(data: bytes) -> range:
    """Where the footer lies, with its length and the closing word."""
    return range(len(data) - 8 - int.from_bytes(data[-8:-4], "little"), len(data))


@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_a_flipped_byte_of_the_footer_ends_in_a_refusal_or_in_allowed_rows(mask: int) -> None:
    data = write_part(SplitRow, to_table(SplitRow, many(SplitRow, 9)))
    refused = [check_damaged(SplitRow, flipped(data, place, mask)) for place in footer(data)]
    assert all(refused[-8:])
    assert sum(refused) > len(refused) / 10


@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
@pytest.mark.parametrize("kind", [MeetingRow, ContentRow])
def test_a_flipped_byte_of_the_pages_ends_in_a_refusal_or_in_allowed_rows(
    kind: type[Any], mask: int
) -> None:
    data = write_part(kind, to_table(kind, many(kind, 9)))
    for place in range(footer(data).start):
        check_damaged(kind, flipped(data, place, mask))


def flipped(data: bytes, place: int, mask: int) -> bytes:
    return data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :]


def of_bytes(words: Iterable[bytes]) -> pa.Array:
    """Strings of bytes that need not be text."""
    return pa.array([*words], pa.binary()).view(pa.string())


@pytest.mark.parametrize("word", [b"\xff", b"a\xc3", b"\xed\xa0\x80", b"\xc0\x80"])
@pytest.mark.parametrize(
    ("kind", "name"), [(MeetingRow, "meeting_id"), (MeetingRow, "platform"),
                       (ParticipantRow, "label")],
)  # fmt: skip
def test_bytes_that_are_no_text_are_refused(kind: type[Any], name: str, word: bytes) -> None:
    table = to_table(kind, many(kind, 3))
    place = table.schema.get_field_index(name)
    words = of_bytes([b"a", word, b"b"])
    table = table.set_column(place, table.schema.field(name), words)
    with pytest.raises(Refused, match=f"^SCHEMA_INVALID.*{FILE}"):
        read_table(kind, write_part(kind, table), FILE)


# --- limits --------------------------------------------------------------------------------------


def test_more_rows_than_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_part(SplitRow, to_table(SplitRow, many(SplitRow, 8)))
    monkeypatch.setattr(parquet, "ROWS_LIMIT", 8)
    assert read_table(SplitRow, data, FILE).num_rows == 8
    monkeypatch.setattr(parquet, "ROWS_LIMIT", 7)
    with pytest.raises(Refused, match=f"^MANIFEST_TOO_LARGE: more than 7 rows.*{FILE}"):
        read_table(SplitRow, data, FILE)


def test_more_bytes_than_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all row groups together, as they are when unpacked."""
    rows = [row | {"path": "x" * 100} for row in many(ContentRow, 40)]
    data = written(to_table(ContentRow, rows), row_group_size=10, use_dictionary=False)
    unpacked = pq.read_metadata(pa.BufferReader(data))
    size = sum(unpacked.row_group(n).total_byte_size for n in range(4))
    monkeypatch.setattr(parquet, "BYTES_LIMIT", size)
    assert read_table(ContentRow, data, FILE).num_rows == 40
    monkeypatch.setattr(parquet, "BYTES_LIMIT", size - 1)
    with pytest.raises(Refused, match=f"^MANIFEST_TOO_LARGE: .*{FILE}"):
        read_table(ContentRow, data, FILE)


def test_words_that_repeat_stay_coded() -> None:
    back = read_table(SplitRow, write_part(SplitRow, to_table(SplitRow, many(SplitRow))), FILE)
    coded = [f.name for f in back.schema if pa.types.is_dictionary(f.type)]
    assert coded == ["series_id", "arm"]
    assert len(back.column("arm").chunk(0).dictionary) == len(np.unique(back.column("arm")))
