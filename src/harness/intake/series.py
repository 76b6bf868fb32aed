"""What the owner of a series of meetings declares of it: special categories of data, and tags."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.consent.records import ALL, Declared
from harness.intake.tables import invalid, one_of, read_table

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
    found: dict[str, About] = {}
    for line, row in read_table(path, _COLUMNS, "SERIES"):
        try:
            series_id, special, tags = row
            declared = About(Declared(special), tuple(tags.split()))
        except ValueError:
            raise invalid(path, line, f"not series_id, {one_of(Declared)}, and tags with spaces "
                          "between", "SERIES") from None  # fmt: skip
        if series_id in found:
            raise invalid(path, line, "a series that stands twice", "SERIES")
        found[series_id] = declared
    return found
