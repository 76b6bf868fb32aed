"""Drafts whose large tables are Parquet: laid out in parts, checked and compared part by part."""

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
        Refused: ``SCHEMA_INVALID`` where a table is given as lines of JSON too.
    """
    found = {}
    for table in LARGE:
        files = [*folder.glob(f"{table}.parquet"), *sorted(folder.glob(f"{table}-*.parquet"))]
        if files:
            found[table] = files
        if files and (folder / f"{table}.jsonl").exists():
            raise Refused("SCHEMA_INVALID", "a table is given as Parquet and as lines of JSON",
                          f"{table}.jsonl", "remove one of them")  # fmt: skip
    return found


def batches(table: str, files: Sequence[Path]) -> Iterator[pa.Table]:
    """The rows of a large table from Parquet files, some at a time, each checked.

    Args:
        table: name.
        files: with the columns of its record, in any order and of any type that casts to its own.

    Raises:
        Refused: ``SCHEMA_INVALID`` naming file, row and key.
    """
    kind = TABLES[table][0]
    schema = schema_of(kind)
    for path in files:
        first = 0
        try:
            file = pq.ParquetFile(path)
            if sorted(file.schema_arrow.names) != sorted(schema.names):
                raise _unlike(path)
            for batch in file.iter_batches(_ROWS_AT_ONCE):
                rows = pa.Table.from_batches([batch]).select(schema.names).cast(schema)
                _check_rows(kind, rows, path.name, first)
                first += rows.num_rows
                yield rows
        except (pa.ArrowException, OSError, ValueError):
            raise _unlike(path) from None


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
