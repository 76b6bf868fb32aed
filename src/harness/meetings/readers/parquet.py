"""Our own table format: Parquet with columns ``speaker``, ``text`` and, if known, ``seconds``."""

import io
import math
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from harness.errors import Refused
from harness.meetings.model import Turn

_REQUIRED = {"speaker", "text"}
_TEXT = (pa.string(), pa.large_string())
_LONGEST = 1e9
_ROWS = 1000
_MOST = 1 << 26
"""Bytes of one part of a table: a small file may say that it holds a text many times."""


def looks(head: str) -> bool:
    """Whether a file that begins so is one of these."""
    return head.startswith("PAR1")


def read(stream: BinaryIO) -> Iterator[Turn]:
    """Read turns in the order of rows.

    Raises:
        Refused: ``PARSE_REFUSED`` with the row, counted from 0.
    """
    try:
        file = pq.ParquetFile(io.BytesIO(stream.read()))
        _check(file.schema_arrow)
        index = 0
        for batch in file.iter_batches(_ROWS):
            if batch.nbytes > _MOST:
                raise _bad("more text than a meeting has", f"row {index}")
            batch.validate(full=True)
            for row in batch.to_pylist():
                yield _turn(index, row)
                index += 1
        if index != file.metadata.num_rows:
            raise _bad("fewer rows than the file says", "the file")
    except (pa.ArrowException, OSError, ValueError):
        raise _bad("no whole Parquet file", "the file") from None


def write(turns: Iterable[Turn]) -> bytes:
    """Write turns in order."""
    said = list(turns)
    columns = {
        "speaker": pa.array([turn.speaker for turn in said], pa.string()),
        "text": pa.array([turn.text for turn in said], pa.string()),
        "seconds": pa.array([turn.seconds for turn in said], pa.float64()),
    }
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def _check(schema: pa.Schema) -> None:
    names = schema.names
    if not _REQUIRED <= {*names} <= _REQUIRED | {"seconds"} or len({*names}) < len(names):
        raise _bad("columns that are not speaker, text and, if known, seconds", "the columns")
    if any(schema.field(name).type not in _TEXT for name in _REQUIRED):
        raise _bad("a speaker or a text that is not text", "the columns")
    if "seconds" in names and not pa.types.is_floating(schema.field("seconds").type):
        raise _bad("seconds that are no floating-point numbers", "the columns")


def _turn(index: int, row: dict[str, str | float | None]) -> Turn:
    speaker, text, seconds = row["speaker"], row["text"], row.get("seconds")
    if not isinstance(speaker, str) or not isinstance(text, str) or not text.strip():
        raise _bad("no speaker or no words", f"row {index}")
    if seconds is None:
        return Turn(index, speaker, text)
    if not isinstance(seconds, float) or math.isnan(seconds) or not 0 <= seconds < _LONGEST:
        raise _bad("seconds that are not a number from 0", f"row {index}")
    return Turn(index, speaker, text, seconds)


def _bad(what: str, where: str) -> Refused:
    return Refused("PARSE_REFUSED", what, where, "write the table again")
