"""Drafts whose large tables are Parquet: read strictly, laid out in parts and checked there."""

import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harness.consent.columns import schema_of
from harness.consent.decide import Question, Verdicts
from harness.consent.head import TABLES, Head, Tables
from harness.consent.layout import Source, lay_out
from harness.consent.parquet import check_rows
from harness.consent.parts import LARGE, Parts
from harness.consent.passes import Tick, Work, decide_parts
from harness.consent.records import Arm
from harness.consent.request import Request
from harness.errors import Refused

_ROWS_AT_ONCE = 100_000
_PARTS_A_PROCESS = 8


def large_files(folder: Path) -> dict[str, list[Path]]:
    """The Parquet files of a draft's large tables: ``TABLE.parquet``, ``TABLE-*.parquet``.

    Raises:
        Refused: ``DRAFT_NOT_REGULAR``; ``SCHEMA_INVALID`` for a Parquet file of no large table,
            whose rows would be left out, and for a table that is given as lines of JSON too.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*.parquet")):
        table = path.stem.partition("-")[0]
        if table not in LARGE:
            raise Refused("SCHEMA_INVALID", "a Parquet file of no large table", path.name,
                          f"name it after one of {', '.join(LARGE)}")  # fmt: skip
        if path.is_symlink() or not path.is_file():
            raise Refused("DRAFT_NOT_REGULAR", "not a regular file", path.name)
        if (folder / f"{table}.jsonl").exists():
            raise Refused("SCHEMA_INVALID", "a table is given as Parquet and as lines of JSON",
                          f"{table}.jsonl", "remove one of them")  # fmt: skip
        found.setdefault(table, []).append(path)
    return found


def read_batches(table: str, files: Sequence[Path]) -> Iterator[pa.Table]:
    """The rows of a large table from Parquet files, some at a time, each checked.

    Args:
        table: name.
        files: with the columns of its record, in any order; a column may have another width or
            coding than the record's, but no other kind: times have a zone, ids are words.

    Raises:
        Refused: ``SCHEMA_INVALID`` naming file, row and key.
    """
    kind = TABLES[table][0]
    schema = schema_of(kind)
    for path in files:
        first = 0
        try:
            file = pq.ParquetFile(path)
            given = file.schema_arrow
            if sorted(given.names) != sorted(schema.names) or not all(
                _is_kin(given.field(field.name).type, field.type) for field in schema
            ):
                raise _unlike(path)
            for batch in file.iter_batches(_ROWS_AT_ONCE):
                rows = pa.Table.from_batches([batch]).select(schema.names).cast(schema)
                _check_rows(kind, rows, path.name, first)
                first += rows.num_rows
                yield rows
        except (pa.ArrowException, OSError, ValueError):
            raise _unlike(path) from None


def _is_kin(given: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a type holds the same kind of values, so that a cast changes none of them."""
    types = pa.types
    if types.is_dictionary(given):
        return _is_kin(given.value_type, wanted)
    if types.is_list(wanted):
        lists = types.is_list(given) or types.is_large_list(given)
        return lists and _is_kin(given.value_type, wanted.value_type)
    if types.is_timestamp(wanted):
        return bool(types.is_timestamp(given) and given.tz is not None)
    if types.is_string(wanted):
        return bool(types.is_string(given) or types.is_large_string(given))
    if types.is_integer(wanted):
        return bool(types.is_integer(given))
    return bool(given == wanted or (types.is_fixed_size_binary(wanted) and types.is_binary(given)))


@contextmanager
def laid_out(sources: Mapping[str, Source], beside: Path | None) -> Iterator[Parts]:
    """The parts of the large tables, in a folder that is gone afterwards.

    Args:
        sources: of every large table.
        beside: where that folder is made; None for where temporary files are.
    """
    with tempfile.TemporaryDirectory(prefix=".draft-", dir=beside) as folder:
        yield Parts(Path(folder), lay_out(sources, Path(folder)))


def check_parts(head: Head, tables: Tables, parts: Parts, now: datetime, tick: Tick) -> None:
    """Refuse rows that the gate would refuse: read them as the gate does, and ask for nothing.

    Args:
        head: terms.
        tables: the small ones.
        parts: of the large ones.
        now: clock.
        tick: is told how far it is.

    Raises:
        Refused: ``DUPLICATE_ID``, ``UNKNOWN_REFERENCE``, ``EVENT_SEQUENCE_GAP``,
            ``SCHEMA_INVALID``.
    """
    nothing = Request(head.scope.controller, "", (), (), frozenset(Arm))
    meetings, cores = parts.count("meetings"), len(os.sched_getaffinity(0))
    processes = max(1, min(cores, meetings // _PARTS_A_PROCESS))
    with tempfile.TemporaryDirectory(prefix="check-") as folder:
        question = Question(head, tables, nothing, now, ())
        work = Work(parts, question, Path(folder), range(meetings))
        for _ in decide_parts(work, _nothing, processes, tick):
            pass


def _nothing(work: Work, part: int, verdicts: Verdicts) -> None:
    """What is made of decisions that nobody asked for."""


def _check_rows(kind: type[Any], rows: pa.Table, file: str, first: int) -> None:
    try:
        check_rows(kind, rows, file)
    except Refused as error:
        where = re.sub(r" row (\d+)", lambda found: f" row {int(found[1]) + first}", error.where)
        raise Refused(error.code, error.what, where, error.remedy) from None


def _unlike(path: Path) -> Refused:
    return Refused("SCHEMA_INVALID", "no readable Parquet file with the columns, types and nulls "
                   "of its record", path.name, "docs/manifest.schema.json names them")  # fmt: skip
