"""Microsoft Teams' attendance lists: UTF-16 tables set apart by tabs, in the organiser's language.

Two layouts. The list that was saved during the meeting, ``Full Name, User Action, Timestamp``: its
header may be missing, and its words are in many languages, so columns are told by what
stands in them. The report after it, in sections, of which the participants' has a column of
e-mail addresses. Times are local without zone, and day and month may stand in either order: where
no date of the file tells which, no time is given.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from harness.meetings.address import address, is_address
from harness.meetings.strict import decode, refusal, table_rows

_TIME = re.compile(
    r"(\d{1,4})[./-](\d{1,2})[./-](\d{2,4}),? (\d{1,2}):(\d\d)(?::(\d\d))?(?: ?([AaPp])\.?[Mm]\.?)?"
)
_REMEDY = "save the attendance list from Teams again"
_LIST = 3


@dataclass(frozen=True, slots=True)
class Attendee:
    """Somebody who was there.

    Attributes:
        label: display name, with ``(Guest)`` and the like as exported.
        email: empty where the list has none.
        times: local, of each row about the person; empty where day and month are in doubt.
    """

    label: str
    email: str
    times: tuple[datetime, ...]


def looks(head: bytes) -> bool:
    """Whether a file that begins so is one of these."""
    return head[:2] == b"\xff\xfe" and b"\t\x00" in head


def read(data: bytes) -> list[Attendee]:
    """Read an attendance list; rows of one name and address are one person.

    Raises:
        Refused: ``PARSE_REFUSED`` with a line number.
    """
    rows = [(line, row) for line, row in table_rows(_text(data), "\t") if any(row)]
    people = _report(rows) if any(len(row) > _LIST for _, row in rows) else _list(rows)
    found: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for line, label, email, times in people:
        if not label.strip():
            raise refusal("a person without a name", line, _REMEDY)
        key = (label, _address(email, line))
        found.setdefault(key, []).extend((line, time) for time in times)
    if not found:
        raise refusal("nobody", 1, _REMEDY)
    every = [time for times in found.values() for time in times]
    order = _day_first(every)
    return [
        Attendee(label, email, tuple(_moment(line, time, order) for line, time in times)
                 if order is not None else ())
        for (label, email), times in found.items()
    ]  # fmt: skip


_Row = tuple[int, list[str]]
_Person = tuple[int, str, str, list[str]]


def _text(data: bytes) -> str:
    if data[:2] != b"\xff\xfe":
        return decode(data)
    try:
        return data[2:].decode("utf-16-le")
    except UnicodeDecodeError:
        raise refusal("not UTF-16", 1, _REMEDY) from None


def _address(text: str, line: int) -> str:
    try:
        return address(text) if text else ""
    except ValueError:
        raise refusal("an address that is none", line, _REMEDY) from None


def _list(rows: Sequence[_Row]) -> Iterator[_Person]:
    """The list that was saved during the meeting."""
    for place, (line, row) in enumerate(rows):
        if len(row) != _LIST:
            raise refusal(f"{len(row)} fields, not {_LIST}", line, _REMEDY)
        if _TIME.fullmatch(row[2]):
            yield line, row[0], "", [row[2]]
        elif place or len(rows) == 1 or any(map(str.isdigit, row[2])):
            raise refusal("a time that cannot be read", line, _REMEDY)


def _report(rows: Sequence[_Row]) -> Iterator[_Person]:
    """The first section of a report that has a column of addresses, below its header.

    Other sections tell of the meeting, or what these people did: one that has somebody else is
    refused.
    """
    others: list[_Row] = []
    people: list[_Row] = []
    for (line, head), *section in _sections(rows):
        columns = [n for _, row in section for n, cell in enumerate(row) if is_address(cell)]
        if people or len(head) <= _LIST or not columns or any(map(_TIME.fullmatch, head)):
            least = 2 if people else _LIST  # before them stands what is told of the meeting
            others += [row for row in [(line, head), *section] if len(row[1]) >= least]
            continue
        for line, row in section:
            if len(row) != len(head):
                raise refusal(f"{len(row)} fields, not {len(head)}", line, _REMEDY)
        for line, row in section:
            yield line, row[0], row[min(columns)], [c for c in row[1:] if _TIME.fullmatch(c)]
        people = section
    if not people:
        raise refusal("no participants with addresses", 1, _REMEDY)
    names = {row[0] for _, row in people}
    for line, row in others:
        if row[0] not in names and any(map(_is_told, row[1:])):
            raise refusal("somebody who is not among the participants", line, _REMEDY)


def _is_told(cell: str) -> bool:
    """Whether a cell tells something of a person."""
    return is_address(cell) or _TIME.fullmatch(cell) is not None


def _sections(rows: Sequence[_Row]) -> Iterator[list[_Row]]:
    """The rows between titles, which stand alone in their rows."""
    found: list[_Row] = []
    for line, row in rows:
        if len(row) > 1:
            found.append((line, row))
        elif found:
            yield found
            found = []
    if found:
        yield found


def _day_first(times: Sequence[tuple[int, str]]) -> bool | None:
    """Whether the day stands before the month; None where nothing tells."""
    parts = [match.groups() for _, time in times if (match := _TIME.fullmatch(time))]
    if any(len(first) == 4 for first, *_ in parts):
        return False
    if any(int(first) > 12 for first, *_ in parts):
        return True
    return False if any(int(second) > 12 for _, second, *_ in parts) else None


def _moment(line: int, text: str, day_first: bool) -> datetime:
    match = _TIME.fullmatch(text)
    first, second, third, hour, minute, rest, half = match.groups() if match else ("",) * 7
    if len(first) == 4:
        year, month, day = first, second, third
    else:
        year, month, day = third, *((second, first) if day_first else (first, second))
    hours = int(hour) % 12 + 12 * (half in "pP") if half else int(hour)
    try:
        return datetime(int(year) + 2000 * (len(year) == 2), int(month), int(day), hours,
                        int(minute), int(rest or 0))  # fmt: skip
    except ValueError:
        raise refusal("a time that there is not", line, _REMEDY) from None
