"""Teams' attendance lists in both layouts and in any language."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import Refused
from harness.meetings.readers import teams_attendance
from harness.meetings.readers.teams_attendance import Attendee
from meetings.readers.files import fixture

REPORT = """1. Zusammenfassung
Titel\tWeekly

2. Teilnehmer
Name\tErster Beitritt\tLetztes Verlassen\tDauer\tE-Mail\tTeilnehmer-ID (UPN)\tRolle
Ada\t14.3.2024, 09:00:01\t14.3.2024, 10:00:00\t1h\tada@x.example\tada@x.example\tOrganisator
Bo\t2.3.2024, 09:00:01\t2.3.2024, 10:00:00\t1h\t\t\tReferent

3. Aktivitäten
Name\tBeitritt
"""


def utf16(text: str) -> bytes:
    return b"\xff\xfe" + text.encode("utf-16-le")


def test_the_fixture_is_a_list_with_the_day_first() -> None:
    data = fixture("teams_attendance_utf16.csv")
    assert teams_attendance.looks(data)
    jane, sam = teams_attendance.read(data)
    assert jane == Attendee("Doe, Jane", "", (datetime(2022, 9, 13, 17, 30, 21),))
    assert (sam.label, len(sam.times)) == ("Sam Roe (Guest)", 2)


def test_a_list_in_another_language_or_without_header_is_told_by_its_columns() -> None:
    row = "李\t参加しました\t3/14/2024, 12:05:00 AM\n"
    with_header = teams_attendance.read(utf16("フルネーム\t操作\tタイムスタンプ\n" + row))
    assert with_header == teams_attendance.read(utf16(row))
    assert with_header == [Attendee("李", "", (datetime(2024, 3, 14, 0, 5),))]


def test_no_time_is_given_where_day_and_month_are_in_doubt() -> None:
    (ada,) = teams_attendance.read(utf16("Ada\tJoined\t3/4/2024, 9:05:00 AM\n"))
    assert ada == Attendee("Ada", "", ())


def test_a_report_has_addresses() -> None:
    ada, bo = teams_attendance.read(utf16(REPORT))
    assert (ada.label, ada.email, ada.times[1]) == (
        "Ada", "ada@x.example", datetime(2024, 3, 14, 10),
    )  # fmt: skip
    assert (bo.label, bo.email, bo.times[0]) == ("Bo", "", datetime(2024, 3, 2, 9, 0, 1))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Ada\tJoined\t13/09/2022, 5:30 PM\nBo\tJoined\n", 2),
        ("Ada\tJoined\t13/09/2022, 5:30 PM\nBo\tJoined\tnoon\n", 2),
        ("Ada\tJoined\t31/02/2022, 5:30 PM\n", 1),
        (" \tJoined\t13/09/2022, 5:30 PM\n", 1),
        ("a\tb\tc\td\n", 1),
        (REPORT.replace("Bo\t2.3.2024", "Bo"), 7),
        (REPORT.replace("Referent", "Referent\td@e.f").replace("ada@x.example", "-"), 7),
        (REPORT + "Ada\t14.3.2024, 09:00:01\t\nCy\t14.3.2024, 09:00:01\t\n", 12),
        (REPORT + "Cy\tc@x.example\t-\n", 11),
        ("Name\tJoin\tRole\nEve\t14.3.2024, 09:00:01\tX\n\nTitle\n" + REPORT, 2),
    ],
)
def test_broken_lists_are_refused_at_their_line(text: str, line: int) -> None:
    with pytest.raises(Refused) as refused:
        teams_attendance.read(utf16(text))
    assert (refused.value.code, refused.value.where) == ("PARSE_REFUSED", f"line {line}")


def test_half_a_character_is_refused() -> None:
    with pytest.raises(Refused, match="UTF-16"):
        teams_attendance.read(utf16("Ada\tJoined\t1/2/2022, 5:30 PM\n")[:-1])


NAME = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters='"'), min_size=1,
               max_size=12)  # fmt: skip
TIMES = st.datetimes(datetime(2020, 1, 13), datetime(2030, 1, 1)).map(
    lambda time: time.replace(microsecond=0, day=max(time.day, 13))
)
ORDERS = {"month first": "%m/%d/%Y, %I:%M:%S %p", "day first": "%d.%m.%Y, %H:%M:%S",
          "year first": "%Y-%m-%d %H:%M:%S"}  # fmt: skip
HEADS = ["", "Full Name\tUser Action\tTimestamp\n", "Vollständiger Name\tAktion\tZeitstempel\n"]


@given(st.lists(st.tuples(NAME, TIMES), min_size=1, max_size=5), st.sampled_from([*ORDERS]),
       st.sampled_from(HEADS), st.booleans())  # fmt: skip
def test_a_list_is_read_in_every_order_of_dates(
    said: list[tuple[str, datetime]], order: str, head: str, is_utf16: bool
) -> None:
    rows = [f"{name}\tJoined\t{time.strftime(ORDERS[order])}\n" for name, time in said]
    text = head + "".join(rows)
    found = teams_attendance.read(utf16(text) if is_utf16 else text.encode())
    assert [(one.label, one.email) for one in found] == [(n, "") for n in dict.fromkeys(dict(said))]
    for one in found:
        assert one.times == tuple(time for name, time in said if name == one.label)


@given(st.lists(st.tuples(NAME, TIMES, st.sampled_from(["", "a@x.example", "b@y.example"])),
                min_size=1, max_size=5))  # fmt: skip
def test_a_report_names_everybody_with_their_address(
    said: list[tuple[str, datetime, str]],
) -> None:
    said = [("Host", datetime(2024, 3, 14, 9), "h@x.example"), *said]
    people = [
        f"{name}\t{time:%m/%d/%Y, %I:%M:%S %p}\t{time:%m/%d/%Y, %I:%M:%S %p}\t1m\t{email}\tRole\n"
        for name, time, email in said
    ]
    text = ("1. Summary\nTitle\tWeekly\n\n2. Participants\n"
            "Name\tFirst Join\tLast Leave\tDuration\tEmail\tRole\n" + "".join(people))  # fmt: skip
    found = teams_attendance.read(utf16(text))
    assert {(one.label, one.email) for one in found} == {(n, email) for n, _, email in said}
    for one in found:
        mine = [t for n, t, email in said if (n, email) == (one.label, one.email)]
        assert one.times == tuple(time for time in mine for _ in range(2))
