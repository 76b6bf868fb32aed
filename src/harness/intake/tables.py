"""The operator's tables: CSV files with fixed columns, told by their header."""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path

from harness.consent.reading import read_once
from harness.errors import Refused
from harness.meetings.strict import decode, table_rows

_LIMIT = 64 * 1024 * 1024


def read_table(path: Path, columns: Sequence[str], family: str) -> Iterator[tuple[int, list[str]]]:
    """The rows below the header of a file, each with its line.

    Args:
        path: of the file.
        columns: that the header has to name, in this order.
        family: first word of the refusal's code.

    Raises:
        Refused: ``*_INVALID`` for another header, and as :func:`read_once`.
    """
    rows = [*table_rows(decode(read_once(path.parent, path.name, _LIMIT, family)))]
    if not rows or rows[0][1] != [*columns]:
        raise invalid(path, 1, f"the columns are not {','.join(columns)}", family)
    yield from rows[1:]


def one_of(kind: type[StrEnum]) -> str:
    """The words of a column, for people."""
    return "|".join(kind)


def invalid(path: Path, line: int, what: str, family: str) -> Refused:
    """The refusal of a file at a line."""
    return Refused(f"{family}_INVALID", what, f"{path.name} line {line}", "correct it")
