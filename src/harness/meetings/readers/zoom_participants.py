"""Zoom's participants report, a CSV file: who came when, by which name, from which account.

Variants seen: with and without the summary block before the participants, the columns in other
cases, ``Recording disclaimer response`` (``OK``) for ``Recording Consent`` (``Y``), and an added
``In Waiting Room``. Times are local to the meeting, month first; the zone stands elsewhere.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from harness.meetings.address import address
from harness.meetings.strict import decode, refusal, table_rows

_LOCAL_TIME = "%m/%d/%Y %I:%M:%S %p"
_NAME, _JOIN = "Name (Original Name)", "Join Time"
_COLUMNS = (
    _NAME, "User Email", _JOIN, "Leave Time", "Duration (Minutes)", "Guest", "Recording Consent",
)  # fmt: skip
_CONSENT = {"recording consent", "recording disclaimer response"}
_OPTIONAL = _CONSENT | {"in waiting room"}
_SUMMARY = ("Meeting ID", "Topic", "Start Time", "End Time", "User Email", "Duration (Minutes)",
            "Participants")  # fmt: skip
_FLAGS = {"yes": True, "no": False}


@dataclass(frozen=True, slots=True)
class Stay:
    """One stay of one person; rejoining makes a second.

    Attributes:
        label: "Name (Original Name)" unchanged; the bracket may hold a pronoun just as well.
        email: in lower case; empty when the person was not signed in.
        join: local time without zone; the zone stands in the recordings JSON.
        leave: like ``join``.
        minutes: duration as exported.
        guest: whether Zoom calls the person a guest of the account.
        recording_consent: answer to the *recording* disclaimer; it never means training.
        waited: whether the stay was in the waiting room, outside the meeting.
    """

    label: str
    email: str
    join: datetime
    leave: datetime
    minutes: int
    guest: bool
    recording_consent: str
    waited: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """A participants report.

    Attributes:
        number: numeric id of the meeting, as digits; empty where there is no summary.
        host: address of the host; empty likewise.
        stays: in the order of the file.
    """

    number: str
    host: str
    stays: tuple[Stay, ...]


def looks(head: str) -> bool:
    """Whether a file that begins so is one of these."""
    first = head.split("\n", 1)[0].casefold()
    return first.startswith(("meeting id,topic,", _NAME.casefold()))


def read(data: bytes) -> Report:
    """Read a participants report.

    Raises:
        Refused: ``PARSE_REFUSED`` with a line number.
    """
    rows = [*table_rows(decode(data))]
    number, host, rest = _summary(rows)
    if not rest:
        raise refusal("no participants", 1)
    (line, head), *people = rest
    names = [name.strip().casefold() for name in head]
    required = {name.casefold() for name in _COLUMNS} - _CONSENT
    if not required <= {*names} <= required | _OPTIONAL or len({*names}) < len(names):
        raise refusal("unknown columns", line, "use Zoom's participants report")
    return Report(number, host, tuple(_stay(at, names, row) for at, row in people))


def write(number: str, topic: str, people: Iterable[Stay]) -> bytes:
    """A report; the summary spans the stays, and the first person is the host."""
    stays = list(people)
    start, end = min(stay.join for stay in stays), max(stay.leave for stay in stays)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    minutes = str(round((end - start).total_seconds() / 60))
    writer.writerow(_SUMMARY)
    writer.writerow([number, topic, _local(start), _local(end), stays[0].email, minutes,
                     str(len(stays))])  # fmt: skip
    writer.writerow([])
    writer.writerow(_COLUMNS)
    for stay in stays:
        guest = "Yes" if stay.guest else "No"
        writer.writerow([stay.label, stay.email, _local(stay.join), _local(stay.leave),
                         str(stay.minutes), guest, stay.recording_consent])  # fmt: skip
    return b"\xef\xbb\xbf" + buffer.getvalue().encode()  # Zoom starts this file with a BOM


_Rows = Sequence[tuple[int, list[str]]]


def _summary(rows: _Rows) -> tuple[str, str, _Rows]:
    """The meeting's number, its host, and the rows after the summary block, if there is one."""
    if not rows or tuple(rows[0][1]) != _SUMMARY:
        return "", "", rows
    if len(rows) < 4 or len(rows[1][1]) != len(_SUMMARY) or rows[2][1]:
        raise refusal("no summary of one row before a blank one", 2, "export with meeting data")
    number = rows[1][1][0].replace(" ", "").replace("-", "")
    if not (number.isascii() and number.isdigit()):
        raise refusal("a meeting id that is no number", 2)
    return number, rows[1][1][4], rows[3:]


def _stay(line: int, names: Sequence[str], row: Sequence[str]) -> Stay:
    if len(row) != len(names):
        raise refusal(f"{len(row)} fields, not {len(names)}", line)
    field = dict(zip(names, row, strict=True))
    consent = next((field[name] for name in _CONSENT if name in field), "")
    try:
        join, leave = (
            datetime.strptime(field[name], _LOCAL_TIME) for name in ("join time", "leave time")
        )
        guest = _FLAGS[field["guest"].casefold()]
        waited = _FLAGS[field.get("in waiting room", "no").casefold()]
        minutes = int(field["duration (minutes)"])
        email = address(field["user email"]) if field["user email"] else ""
    except (ValueError, KeyError):
        raise refusal("a time, duration, flag or address that cannot be read", line) from None
    label = field[_NAME.casefold()]
    if not label.strip() or leave < join or minutes < 0 or not 2000 <= join.year < 2100:
        raise refusal("no name, or a stay that ends before it starts", line)
    return Stay(label, email, join, leave, minutes, guest, consent, waited)


def _local(time: datetime) -> str:
    return time.strftime(_LOCAL_TIME)
