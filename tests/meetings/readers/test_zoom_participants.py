"""Zoom's participants report in its variants."""

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import Refused
from harness.meetings.readers import zoom_participants
from harness.meetings.readers.zoom_participants import Stay
from meetings.readers.files import fixture


def test_participants_fixture() -> None:
    stays = zoom_participants.read(fixture("zoom_participants.csv")).stays
    assert [stay.label for stay in stays] == [
        "Ada Example", "Ada Example", "bo (Bo Sample)", "Guest iPhone", "14155550100",
    ]  # fmt: skip
    assert [stay.guest for stay in stays] == [False, False, True, True, True]
    assert (stays[0].join.hour, stays[0].minutes, stays[2].recording_consent) == (18, 29, "")


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (b",Guest,Rec", b",Geust,Rec", 4),
        (b"10/06/2026 06:01:12 PM", b"06.10.2026 18:01", 5),
        (b",29,No,", b",29,Perhaps,", 5),
        (b",26,No,Y", b",26,No", 6),
        (b"Meeting ID,", b"Meeting,", 1),
    ],
)
def test_broken_participants_are_refused(old: bytes, new: bytes, line: int) -> None:
    with pytest.raises(Refused) as refused:
        zoom_participants.read(fixture("zoom_participants.csv").replace(old, new, 1))
    assert (refused.value.code, refused.value.where) == ("PARSE_REFUSED", f"line {line}")


LABEL = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=12)
STAY = st.builds(
    lambda label, email, join, minutes, guest, consent, waited: Stay(
        label, email, join, join + timedelta(minutes=minutes), minutes, guest, consent, waited
    ),
    LABEL, st.sampled_from(["", "ada@x.example", "bo.s@y.example"]),
    st.datetimes(datetime(2001, 1, 1), datetime(2098, 1, 1)).map(
        lambda time: time.replace(microsecond=0)
    ),
    st.integers(0, 600), st.booleans(), st.sampled_from(["", "Y", "N"]), st.booleans(),
)  # fmt: skip
STAYS = st.lists(STAY, min_size=1, max_size=5)


@given(STAYS)
def test_a_report_with_its_summary_is_read_as_written(stays: list[Stay]) -> None:
    stays = [replace(stay, waited=False) for stay in stays]
    report = zoom_participants.read(zoom_participants.write("812 3456 7890", 'T, "x"', stays))
    assert (report.number, report.host) == ("81234567890", stays[0].email)
    assert report.stays == tuple(stays)


@given(STAYS, st.sampled_from(["Recording Consent", "Recording Disclaimer Response"]),
       st.booleans(), st.sampled_from([str, str.upper, str.lower]))  # fmt: skip
def test_columns_are_told_by_their_names_in_any_order(
    stays: list[Stay], consent: str, is_turned: bool, case: Callable[[str], str]
) -> None:
    rows = [
        {
            "Name (Original Name)": stay.label, "User Email": stay.email.upper(),
            "Join Time": f"{stay.join:%m/%d/%Y %I:%M:%S %p}",
            "Leave Time": f"{stay.leave:%m/%d/%Y %I:%M:%S %p}",
            "Duration (Minutes)": str(stay.minutes), "Guest": "Yes" if stay.guest else "No",
            consent: stay.recording_consent, "In Waiting Room": "Yes" if stay.waited else "No",
        }
        for stay in stays
    ]  # fmt: skip
    names = [*rows[0]][:: -1 if is_turned else 1]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow(map(case, names))
    writer.writerows([row[name] for name in names] for row in rows)
    report = zoom_participants.read(file.getvalue().encode())
    assert (report.number, report.host, report.stays) == ("", "", tuple(stays))
