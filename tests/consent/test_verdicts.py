"""What codes of modalities, people and arms make of a meeting, beside a reading in words."""

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from harness.consent.bits import MEETING, PERSON
from harness.consent.decide import Roll, Verdict, Verdicts
from harness.consent.frame import ARMS
from harness.consent.head import Defaults, Mode, OnWithdrawal
from harness.consent.reasons import in_order
from harness.consent.records import ConsentType, Operation
from harness.consent.request import Request
from harness.meetings.model import Modality

MODALITIES = (Modality.TRANSCRIPT, Modality.CHAT_PUBLIC, Modality.POLL)
FIRST, LAST = 0, min(len(MEETING.codes), len(PERSON.codes)) - 1
BITS = st.sets(st.sampled_from([FIRST, 1, 2, LAST]), max_size=2)
MEETINGS = st.fixed_dictionaries(
    {
        "meeting": st.lists(BITS, min_size=3, max_size=3),
        "people": st.lists(BITS, min_size=3, max_size=3),
        "has": st.lists(st.booleans(), min_size=3, max_size=3),
        "arm": st.integers(0, len(ARMS)),
    }
)
ALIKE = {"meeting": [{1}] * 3, "people": [{1}] * 3, "has": [True] * 3, "arm": len(ARMS)}
"""Codes of meeting and people that are equal numbers, and no arm."""


def bits(places: set[int]) -> int:
    return sum(1 << place for place in places)


def in_words(
    row: dict[str, Any], asked: list[Modality], arms: set[str]
) -> tuple[bool, tuple[str, ...]]:
    """Whether a meeting is usable whatever its arm, and all its codes."""
    places = [MODALITIES.index(modality) for modality in asked]
    usable = any(
        row["has"][n] and not row["meeting"][n] and not row["people"][n] for n in places
    )  # fmt: skip
    found: set[str] = set()
    if not usable:
        found |= {MEETING.codes[bit] for n in places for bit in row["meeting"][n]}
        found |= {PERSON.codes[bit] for n in places for bit in row["people"][n]}
        if not any(row["has"][n] for n in places):
            found.add("MEETING_NO_CONTENT")
    arm = ARMS[row["arm"]] if row["arm"] < len(ARMS) else None
    if arm is None and not found:
        found.add("SPLIT_UNASSIGNED")
    elif arm is not None and arm not in arms:
        found.add(f"{arm.upper()}_ARM")
    return usable, in_order(found)


@given(st.lists(MEETINGS, min_size=1, max_size=4), st.sets(st.sampled_from(MODALITIES), min_size=1),
       st.sets(st.sampled_from(ARMS)))  # fmt: skip
@example([ALIKE], {MODALITIES[0]}, set())
def test_a_meeting_is_denied_by_all_its_codes(
    rows: list[dict[str, Any]], asked: set[Modality], arms: set[Any]
) -> None:
    order = [modality for modality in MODALITIES if modality in asked]
    request = Request("us", "p", (Operation.FINE_TUNING,), tuple(order), frozenset(arms))
    columns: dict[str, Any] = {
        name: np.array([[bits(row[name][n]) for n in range(3)] for row in rows], np.uint64)
        for name in ("meeting", "people")
    }
    verdicts = Verdicts(
        request,
        {m: Verdict(columns["meeting"][:, n], np.zeros(0, np.uint64), columns["people"][:, n])
         for n, m in enumerate(MODALITIES)},
        {m: np.array([row["has"][n] for row in rows]) for n, m in enumerate(MODALITIES)},
        np.array([row["arm"] for row in rows]),
    )  # fmt: skip
    wanted = [in_words(row, order, arms) for row in rows]
    assert [verdicts.codes(n) for n in range(len(rows))] == [codes for _, codes in wanted]
    assert verdicts.code_lists().to_pylist() == [[*codes] for _, codes in wanted]
    assert verdicts.usable.tolist() == [usable for usable, _ in wanted]
    allowed = [row["arm"] < len(ARMS) and ARMS[row["arm"]] in arms for row in rows]
    admitted = [usable and of_arm for (usable, _), of_arm in zip(wanted, allowed, strict=True)]
    assert verdicts.admitted.tolist() == admitted
    for place, arm in enumerate(ARMS):
        mine = [n for n, row in enumerate(rows) if row["arm"] == place and wanted[n][0]]
        assert verdicts.of_arm(arm).tolist() == mine
    for n, modality in enumerate(MODALITIES):
        own = [*(MEETING.codes[b] for b in sorted(rows[0]["meeting"][n])),
               *(PERSON.codes[b] for b in sorted(rows[0]["people"][n]))]  # fmt: skip
        assert [*verdicts.modality_codes(0, modality)] == own


ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), BITS), max_size=8)
"""Of each roster row its meeting, its person and its codes."""
SHARP = Defaults(Mode.PER_SPEAKER, ConsentType.IMPLIED, 0, 1, 2, 50, 1, OnWithdrawal.ABORT)


@given(ROWS, st.lists(st.tuples(BITS, st.booleans()), min_size=4, max_size=4), st.integers(0, 3),
       st.sampled_from(Mode))  # fmt: skip
def test_codes_of_people_deny_their_meeting_as_the_mode_says(
    rows: list[tuple[int, int, set[int]]], meetings: list[tuple[set[int], bool]], least: int,
    mode: Mode,
) -> None:  # fmt: skip
    rows = sorted(rows, key=lambda row: row[0])
    roll = Roll(
        np.array([row[0] for row in rows], np.int64),
        np.unique([row[1] for row in rows], return_inverse=True)[1].astype(np.int64),
        np.array([one for _, one in meetings]),
    )  # fmt: skip
    own = np.array([bits(places) for places, _ in meetings], np.uint64)
    people = np.array([bits(places) for _, _, places in rows], np.uint64)
    found = roll.join(own, people, replace(SHARP, mode=mode, min_speakers=least))
    assert found.people.tolist() == people.tolist()
    for number, (places, one_to_one) in enumerate(meetings):
        here = [row for row in rows if row[0] == number]
        codes, joined = {MEETING.codes[place] for place in places}, set[str]()
        if mode is Mode.UNANIMOUS:
            joined = {PERSON.codes[place] for row in here for place in row[2]}
        else:
            if len({subject for _, subject, codes_ in here if not codes_}) < least:
                codes.add("TOO_FEW_CONSENTING")
            if one_to_one and any(codes_ for _, _, codes_ in here):
                codes.add("ONE_TO_ONE")
        assert {*MEETING.names(found.meeting[number])} == codes
        assert {*PERSON.names(found.joined[number])} == joined
        assert found.admits()[number] == (not codes and not joined)
