"""What the owner of a series of meetings declares of it: special categories of data, and tags."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.consent.reading import read_once
from harness.consent.records import ALL, Declared
from harness.errors import Refused
from harness.meetings.strict import decode, table_rows

_LIMIT = 64 * 1024 * 1024
_COLUMNS = ["series_id", "special_category", "tags"]


@dataclass(frozen=True)
class About:
    """What is declared of a series; nothing, where nobody said anything.

    Attributes:
        special_category, tags: as in a row of meetings.
    """

    special_category: Declared = Declared.UNKNOWN
    tags: tuple[str, ...] = ()


Declarations = Mapping[str, About]
"""By series; ``*`` is every other series."""


def about(declared: Declarations, series_id: str) -> About:
    """What is declared of one series."""
    return declared.get(series_id, declared.get(ALL, About()))


def read_series(path: Path) -> dict[str, About]:
    """Read a CSV file with the columns ``series_id,special_category,tags``.

    Args:
        path: of the file; several tags have spaces between them.

    Raises:
        Refused: ``SERIES_INVALID`` with the line.
    """
    rows = [*table_rows(decode(read_once(path.parent, path.name, _LIMIT, "SERIES")))]
    if not rows or rows[0][1] != _COLUMNS:
        raise _bad(path, 1, f"the columns are not {','.join(_COLUMNS)}")
    found: dict[str, About] = {}
    for line, row in rows[1:]:
        try:
            series_id, special, tags = row
            declared = About(Declared(special), tuple(tags.split()))
        except ValueError:
            raise _bad(path, line, "not a series, a declaration and tags") from None
        if series_id in found:
            raise _bad(path, line, "a series that stands twice")
        found[series_id] = declared
    return found


def _bad(path: Path, line: int, what: str) -> Refused:
    return Refused("SERIES_INVALID", what, f"{path.name} line {line}", "correct it")
