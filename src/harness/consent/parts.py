"""Large tables in parts: which file holds which rows, and that names in them resolve.

``meetings``, ``participants``, ``content`` and ``split`` are parted by meeting: meeting ids rise
within a part of ``meetings`` and from part to part, and the same part of the other three holds the
rows of these meetings. ``consent`` is parted by person: of ``n`` parts, part ``k`` holds the events
of the subjects with ``k = key * n >> 32`` for the first four bytes of their keys.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from harness.consent.columns import Columns, Numbers
from harness.consent.events import KEY
from harness.consent.frame import Frame
from harness.consent.head import TABLES, Counts, FileEntry, Tables
from harness.consent.names import repeated
from harness.consent.parquet import BYTES_LIMIT, ROWS_LIMIT, read_column, read_part, to_rows
from harness.consent.reading import read_bound
from harness.consent.records import ConsentEvent
from harness.errors import Refused

BY_MEETING = ("meetings", "participants", "content", "split")
LARGE = (*BY_MEETING, "consent")


@dataclass(frozen=True)
class Parts:
    """The parts of the large tables of one manifest.

    Attributes:
        folder: the manifest directory.
        files: table name to its signed files, in the order of parts.
    """

    folder: Path
    files: Mapping[str, tuple[FileEntry, ...]]

    def count(self, table: str) -> int:
        """How many parts a table has."""
        return len(self.files[table])

    def offsets(self, table: str) -> Numbers:
        """The number of the first row of each part, and of all rows last."""
        rows = [entry.rows for entry in self.files[table]]
        return np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)

    def read(self, table: str, part: int) -> Columns:
        """One part: read once, held against its digest, checked row by row.

        Raises:
            Refused: ``MANIFEST_*``, ``SCHEMA_INVALID``.
        """
        entry, data = self._bytes(table, part)
        rows = read_part(TABLES[table][0], data, entry.path)
        if rows.size != entry.rows:
            raise Refused("MANIFEST_COUNT_MISMATCH", f"{rows.size} rows, another number was "
                          "signed", entry.path, "sign again")  # fmt: skip
        return rows

    def column(self, table: str, column: str) -> Iterator[pa.Array]:
        """A column, part by part.

        Raises:
            Refused: as :meth:`read`, but for what a row holds.
        """
        for part in range(self.count(table)):
            entry, data = self._bytes(table, part)
            yield read_column(TABLES[table][0], data, column, entry.path)

    def having(self, column: str, words: set[str]) -> set[str]:
        """Which of some words a column of ``meetings`` has; without words nothing is read.

        Raises:
            Refused: as :meth:`column`.
        """
        found: set[str] = set()
        wanted = pa.array(sorted(words), pa.string())
        for here in self.column("meetings", column) if words else ():
            words_here = here.cast(pa.string())
            found.update(wanted.filter(pc.is_in(wanted, words_here)).to_pylist())
        return found

    def rows_of(self, meeting: str) -> dict[str, tuple[Any, ...]]:
        """The rows of the tables by meeting that are about one meeting; none if it is unknown.

        Raises:
            Refused: as :meth:`read`.
        """
        for part, ids in enumerate(self.column("meetings", "meeting_id")):
            if pc.index(ids, meeting).as_py() >= 0:
                return {name: self._where(name, part, "meeting_id", [meeting])
                        for name in BY_MEETING}  # fmt: skip
        return dict.fromkeys(BY_MEETING, ())

    def events_of(self, keys: Collection[str]) -> tuple[ConsentEvent, ...]:
        """The events of some people.

        Args:
            keys: of subjects.

        Raises:
            Refused: as :meth:`read`.
        """
        wanted = pa.array([bytes.fromhex(key) for key in keys], KEY)
        parts = np.unique(part_of(wanted, self.count("consent")))
        found = (self._where("consent", part, "subject_key", wanted) for part in parts.tolist())
        return tuple(event for events in found for event in events)

    def _where(self, table: str, part: int, column: str, values: Any) -> tuple[Any, ...]:
        rows = self.read(table, part).table
        chosen = pc.is_in(rows.column(column), pa.array(values))
        return tuple(to_rows(TABLES[table][0], rows.filter(chosen)))

    def _bytes(self, table: str, part: int) -> tuple[FileEntry, bytes]:
        entry = self.files[table][part]
        return entry, read_bound(self.folder, entry.path, entry.bytes, entry.sha256)

    def read_frame(self, part: int) -> Frame:
        """The meetings of one part with their rosters, content and arms.

        Raises:
            Refused: as :meth:`read`; ``DUPLICATE_ID``, ``UNKNOWN_REFERENCE``.
        """
        tables = {name: self.read(name, part) for name in BY_MEETING}
        frame = Frame(*(tables[name] for name in BY_MEETING))
        if not _is_sound(frame, tables["split"]):
            files = {name: self.files[name][part].path for name in BY_MEETING}
            check_meetings({name: columns.table for name, columns in tables.items()}, files)
        return frame

    def read_events(self, part: int) -> Columns:
        """The events of one part.

        Raises:
            Refused: as :meth:`read`; ``SCHEMA_INVALID`` for an event of another part's subject.
        """
        events, file = self.read("consent", part), self.files["consent"][part].path
        keys = events.array("subject_key")
        wrong = np.flatnonzero(part_of(keys, self.count("consent")) != part)
        if len(wrong):
            raise Refused("SCHEMA_INVALID", "a subject whose events belong into another part",
                          f"{file} row {wrong[0] + 1} key subject_key",
                          "write it with harness manifest")  # fmt: skip
        return events


class PartRows(Sequence[Any]):
    """The rows of one table as records, read part by part each time; for a few, not for millions.

    Args:
        parts: of the manifest.
        table: name.
    """

    def __init__(self, parts: Parts, table: str) -> None:
        self.parts, self.table = parts, table

    def __len__(self) -> int:
        return int(self.parts.offsets(self.table)[-1])

    def __iter__(self) -> Iterator[Any]:
        for rows in self.batches():
            yield from to_rows(TABLES[self.table][0], rows)

    def batches(self) -> Iterator[pa.Table]:
        """The rows as columns, part by part."""
        for part in range(self.parts.count(self.table)):
            yield self.parts.read(self.table, part).table

    def __getitem__(self, place: Any) -> Any:
        return [*self][place]


def parts_of(tables: Tables) -> Parts | None:
    """The parts that the large tables are, if they are all those of one manifest or draft."""
    large = [getattr(tables, name) for name in LARGE]
    found = {id(rows.parts): rows.parts for rows in large if isinstance(rows, PartRows)}
    whole = len(found) == 1 and all(isinstance(rows, PartRows) for rows in large)
    return next(iter(found.values())) if whole else None


def check_layout(parts: Parts, counts: Counts) -> None:
    """Refuse parts that are not whole: a table without parts, or parts that leave one out.

    Raises:
        Refused: ``MANIFEST_FILE_MISSING``, ``MANIFEST_COUNT_MISMATCH``, ``MANIFEST_TOO_LARGE``.
    """
    for table in LARGE:
        files = parts.files.get(table, ())
        wanted = [part_name(table, n) for n in range(max(1, len(files)))]
        if [entry.path for entry in files] != wanted or (
            table in BY_MEETING and len(files) != parts.count("meetings")
        ):
            raise Refused("MANIFEST_FILE_MISSING", "a part of a table is missing", table,
                          "write all five large tables in parts, numbered from 0")  # fmt: skip
        if sum(entry.rows for entry in files) != getattr(counts, table):
            raise Refused("MANIFEST_COUNT_MISMATCH", "its parts have other rows than were signed",
                          table, "sign again")  # fmt: skip
        if any(entry.bytes > BYTES_LIMIT or entry.rows > ROWS_LIMIT for entry in files):
            raise Refused("MANIFEST_TOO_LARGE", f"a part of more than {ROWS_LIMIT} rows or "
                          f"{BYTES_LIMIT} bytes", table, "write more parts")  # fmt: skip


def part_name(table: str, part: int) -> str:
    """File name of a part."""
    return f"{table}-{part:05d}.parquet"


def tables_of_parts(names: Iterable[str]) -> dict[str, list[str]]:
    """File names of parts by table, in order."""
    found: dict[str, list[str]] = {}
    for name in sorted(names):
        match = re.fullmatch(r"([a-z_]+)-\d{5}\.parquet", name)
        if match and match[1] in LARGE:
            found.setdefault(match[1], []).append(name)
    return found


def part_of(keys: pa.Array, parts: int) -> Numbers:
    """The part of the consent log that the events of each subject are in.

    Args:
        keys: of subjects, none null.
        parts: how many there are.
    """
    data = np.frombuffer(keys.cast(KEY).buffers()[1] or b"", ">u4")
    first = data[4 * keys.offset : 4 * (keys.offset + len(keys)) : 4].astype(np.int64)
    return np.asarray(first * parts >> 32)


def check_meetings(tables: Mapping[str, pa.Table], files: Mapping[str, str]) -> None:
    """Refuse rows of one part that are out of order, stand twice, or name another meeting.

    Args:
        tables: of :data:`BY_MEETING`.
        files: their names, for the refusal.

    Raises:
        Refused: ``DUPLICATE_ID``, ``UNKNOWN_REFERENCE``.
    """
    ids = _column(tables["meetings"], "meeting_id")
    rises = pc.less(ids[:-1], ids[1:]).to_numpy(zero_copy_only=False)
    _refuse_unless(rises, "DUPLICATE_ID", "ids of meetings do not rise, or one stands twice",
                   f"{files['meetings']} key meeting_id", 2)  # fmt: skip
    series = _column(tables["meetings"], "series_id")
    for name, key in (("participants", "label"), ("content", "modality"), ("split", "meeting_id")):
        rows = tables[name]
        place = pc.index_in(_column(rows, "meeting_id"), ids).fill_null(-1).to_numpy()
        _refuse_unless(place >= 0, "UNKNOWN_REFERENCE", "a name that the manifest does not define",
                       f"{files[name]} key meeting_id", 1)  # fmt: skip
        twice = repeated(place.astype(np.int64), _words(rows, key))
        _refuse_unless(~twice, "DUPLICATE_ID", "two rows carry the same id",
                       f"{files[name]} key {key}", 1)  # fmt: skip
        if name == "split":
            same = pc.equal(_column(rows, "series_id").cast(pa.string()),
                            series.cast(pa.string()).take(pa.array(place)))  # fmt: skip
            _refuse_unless(same.to_numpy(zero_copy_only=False), "UNKNOWN_REFERENCE",
                           "a name that the manifest does not define",
                           f"{files[name]} key series_id", 1)  # fmt: skip


def _is_sound(frame: Frame, split: Columns) -> bool:
    """Whether nothing is wrong with a frame that :func:`check_meetings` may have to name."""
    ids = frame.meetings.array("meeting_id")
    series = split.array("series_id").cast(pa.string())
    modality, kinds = frame.content.coded("modality")
    return (
        bool(pc.all(pc.less(ids[:-1], ids[1:]), min_count=0).as_py())
        and all((of >= 0).all() for of in (frame.meeting, frame.content_meeting, frame.arm_meeting))
        and not frame.sharing.any()
        and _differ(frame.content_meeting * (len(kinds) + 1) + modality)
        and _differ(frame.arm_meeting)
        and series.equals(
            frame.meetings.array("series_id").cast(pa.string()).take(pa.array(frame.arm_meeting))
        )
    )


def _differ(numbers: Numbers) -> bool:
    ordered = np.sort(numbers)
    return bool((ordered[1:] != ordered[:-1]).all())


def check_purposes(events: Columns, known: Iterable[str], file: str) -> None:
    """Refuse events with a purpose that neither scope nor policy names.

    Raises:
        Refused: ``UNKNOWN_REFERENCE``.
    """
    numbers, words = events.items("purposes")
    names = {*known}
    fine = np.array([word in names for word in words] or [True])
    if not fine.all():
        row = events.owners("purposes")[~fine[numbers]].min()
        unknown_name(f"{file} row {row + 1} key purposes")


def unknown_name(where: str) -> NoReturn:
    """Refuse a name that resolves to nothing: a mistyped withdrawal would withdraw nothing."""
    raise Refused("UNKNOWN_REFERENCE", "a name that the manifest does not define", where,
                  "correct the name")  # fmt: skip


def _refuse_unless(
    fine: "np.typing.NDArray[np.bool_]", code: str, what: str, where: str, first: int
) -> None:
    if not fine.all():
        file, _, key = where.partition(" ")
        row = int(np.flatnonzero(~fine)[0]) + first
        raise Refused(code, what, f"{file} row {row} {key}", "correct it and sign again")


def _words(table: pa.Table, name: str) -> pa.Array:
    column = _column(table, name)
    return column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column


def _column(table: pa.Table, name: str) -> pa.Array:
    return table.column(name).combine_chunks()
