"""Rows side by side: whose they are, who could be taken for another, what derives from what."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from harness.consent.columns import microseconds, to_arrow
from harness.consent.frame import ARMS, Frame
from harness.consent.labels import is_confusable, label_key
from harness.consent.modality import BIT, ORDER, origins
from harness.consent.records import (
    AgeBand,
    ContentRow,
    Declared,
    MeetingRow,
    ParticipantRow,
    Relation,
    Role,
    SplitRow,
)
from harness.meetings.model import Modality

QUICK = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
START = datetime(2026, 3, 2, 9, tzinfo=UTC)
IDS = [f"m{n}" for n in range(5)]
LABELS = ["Ada", "ADA", "Bo", "ada ", "Ąda", "\u0410da", "Bo | x", "bo|X"]
KEYS = [None, "a" * 32, "b" * 32, "ab" * 16]
PLACES = [f"P{n}" for n in range(150)]
"""More than two words of 62 bits hold."""
KINDS = [Modality.AUDIO, Modality.TRANSCRIPT, Modality.CAPTION, Modality.CHAT_PUBLIC,
         Modality.SUMMARY_AI, Modality.TELEMETRY]  # fmt: skip

MEETING = MeetingRow("m", "s0", "a", "zoom", START, START, "UTC", (), Declared.NO)
PERSON = ParticipantRow("m", None, "", Role.PARTICIPANT, AgeBand.ADULT, Relation.OTHER, (), "none",
                        False)  # fmt: skip
FILE = ContentRow("m", Modality.AUDIO, "test", "p", "c" * 64, 1, 1, (), "none", "L1")


@st.composite
def frames(draw: st.DrawFn) -> dict[str, list[Any]]:
    """Rows of the four tables, in any order, of meetings that stand in any order."""
    ids = draw(st.permutations(IDS))[: draw(st.integers(1, len(IDS)))]
    ids_, person = st.sampled_from(ids), st.tuples(
        st.sampled_from(ids), st.sampled_from(LABELS), st.sampled_from(KEYS),
        st.lists(st.sampled_from(PLACES), max_size=3, unique=True),
    )  # fmt: skip
    people = draw(st.lists(person, max_size=12))
    if draw(st.booleans()):
        people.sort(key=lambda row: ids.index(row[0]))
    files = draw(st.dictionaries(
        st.tuples(ids_, st.sampled_from(KINDS)),
        st.lists(st.sampled_from(KINDS), max_size=2, unique=True), max_size=9,
    ))  # fmt: skip
    zones = st.sampled_from(["UTC", "Europe/Berlin", "Mars/Base"])
    return {
        "meetings": [
            replace(MEETING, meeting_id=name, series_id=f"s{n % 2}", tz=draw(zones),
                    start=START + timedelta(hours=n), end=START + timedelta(hours=2 * n + 1))
            for n, name in enumerate(ids)
        ],
        "participants": [
            replace(PERSON, meeting_id=m, label=label, subject_key=key, jurisdictions=tuple(places))
            for m, label, key, places in people
        ],
        "content": [
            replace(FILE, meeting_id=m, modality=kind, derived_from=tuple(made))
            for (m, kind), made in files.items()
        ],
        "split": [
            SplitRow(m, "s0", draw(st.sampled_from(ARMS)))
            for m in draw(st.lists(ids_ | st.just("m99"), unique=True, max_size=3))
        ],
    }  # fmt: skip


def frame_of(rows: dict[str, list[Any]]) -> Frame:
    return Frame(
        to_arrow(MeetingRow, rows["meetings"]), to_arrow(ParticipantRow, rows["participants"]),
        to_arrow(ContentRow, rows["content"]), to_arrow(SplitRow, rows["split"]),
    )  # fmt: skip


def in_order(rows: dict[str, list[Any]]) -> list[ParticipantRow]:
    """The people, those of a meeting together, in the order of meetings."""
    ids = [row.meeting_id for row in rows["meetings"]]
    return sorted(rows["participants"], key=lambda row: ids.index(row.meeting_id))


@QUICK
@given(frames())
def test_rows_are_joined_to_their_meetings(rows: dict[str, list[Any]]) -> None:
    frame, ids = frame_of(rows), [row.meeting_id for row in rows["meetings"]]
    people = in_order(rows)
    assert frame.roster.array("label").to_pylist() == [row.label for row in people]
    assert frame.meeting.tolist() == [ids.index(row.meeting_id) for row in people]
    assert frame.content_meeting.tolist() == [ids.index(r.meeting_id) for r in rows["content"]]
    assert frame.arm_meeting.tolist() == [
        ids.index(r.meeting_id) if r.meeting_id in ids else -1 for r in rows["split"]
    ]
    arms = {row.meeting_id: ARMS.index(row.arm) for row in rows["split"]}
    assert frame.arm.tolist() == [arms.get(name, len(ARMS)) for name in ids]
    assert frame.start.tolist() == [microseconds(row.start) for row in rows["meetings"]]
    assert frame.end.tolist() == [microseconds(row.end) for row in rows["meetings"]]
    assert frame.timezone_exists.tolist() == [row.tz != "Mars/Base" for row in rows["meetings"]]
    asked = [*ids[::-1], "m99"]
    assert frame.find_meetings(pa.array(asked)).tolist() == [
        ids.index(name) if name in ids else -1 for name in asked
    ]
    assert frame.find_meetings(pa.array([], pa.string())).tolist() == []
    series = frame.find_series(pa.array([*(r.series_id for r in rows["meetings"]), "s9"])).tolist()
    assert series == [*frame.series.tolist(), -1]
    names = frame.series_names.to_pylist()
    assert [names[n] for n in frame.series] == [row.series_id for row in rows["meetings"]]


@QUICK
@given(frames())
@example({"meetings": [MEETING], "participants": [replace(PERSON, meeting_id="m", label="Ada"),
          replace(PERSON, meeting_id="m", label="ada", subject_key="a" * 32)],
          "content": [], "split": []})  # fmt: skip
def test_a_label_is_ambiguous_that_two_people_of_a_meeting_bear(
    rows: dict[str, list[Any]],
) -> None:
    frame, people = frame_of(rows), in_order(rows)
    bearers = [
        [o.subject_key for o in people
         if o.meeting_id == p.meeting_id and label_key(o.label) == label_key(p.label)]
        for p in people
    ]  # fmt: skip
    assert frame.sharing.tolist() == [len(keys) > 1 for keys in bearers]
    assert frame.ambiguous.tolist() == [len({*keys}) > 1 for keys in bearers]
    assert frame.confusable.tolist() == [is_confusable(row.label) for row in people]
    assert frame.keys_of_labels.to_pylist() == [label_key(row.label) for row in people]


@QUICK
@given(frames())
def test_content_derives_from_what_its_rows_and_its_nature_say(
    rows: dict[str, list[Any]],
) -> None:
    frame = frame_of(rows)
    for kind in ORDER:
        found = frame.content_rows(kind).tolist()
        bits = frame.origins(kind).tolist()
        for number, meeting in enumerate(rows["meetings"]):
            mine = {r.modality: n for n, r in enumerate(rows["content"])
                    if r.meeting_id == meeting.meeting_id}  # fmt: skip
            assert found[number] == mine.get(kind, -1)
            stated = {m: rows["content"][n].derived_from for m, n in mine.items()}
            assert bits[number] == sum(BIT[m] for m in origins(kind, stated))


@QUICK
@given(frames(), st.booleans())
def test_places_are_those_of_each_row_and_of_all_rows_of_a_meeting(
    rows: dict[str, list[Any]], all_at_once: bool
) -> None:
    if all_at_once and rows["participants"]:  # one row with every place there is
        rows["participants"][0] = replace(rows["participants"][0], jurisdictions=tuple(PLACES))
    frame, people = frame_of(rows), in_order(rows)
    of_row, sets, of_meeting, meeting_sets = frame.place_sets
    assert [sets[n] for n in of_row] == [frozenset(row.jurisdictions) for row in people]
    assert [meeting_sets[n] for n in of_meeting] == [
        frozenset(p for r in people if r.meeting_id == m.meeting_id for p in r.jurisdictions)
        for m in rows["meetings"]
    ]
    assert len({*sets}) == len(sets) or not people
    assert frame_of(rows | {"participants": []}).place_sets[1] == [frozenset()]


def test_a_bare_frame_has_meetings_alone() -> None:
    frame = Frame.bare(to_arrow(MeetingRow, [MEETING]))
    assert (frame.roster.size, frame.content.size) == (0, 0)
    assert frame.arm.tolist() == [len(ARMS)]
    assert {*frame.roster.table.column_names} >= {"subject_key", "label", "jurisdictions"}
    assert {*frame.content.table.column_names} >= {"modality", "sha256"}


def test_rows_that_stand_in_the_opposite_order_are_put_in_order() -> None:
    meetings = [replace(MEETING, meeting_id=name) for name in ("m1", "m2", "m3")]
    people = [replace(PERSON, meeting_id=name, label=name) for name in ("m3", "m2", "m1")]
    frame = frame_of({"meetings": meetings, "participants": people, "content": [], "split": []})
    assert frame.meeting.tolist() == [0, 1, 2]
    assert frame.roster.array("label").to_pylist() == ["m1", "m2", "m3"]
