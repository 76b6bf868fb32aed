"""Exclusion rules by who people are: domains in any case, countries with their parts."""

from dataclasses import replace
from typing import Any

import pytest

from consent.test_frame import MEETING, START, frame_of
from harness.config import Config
from harness.consent import gate
from harness.consent.bits import MEETING as MEETING_CODES
from harness.consent.exclusion import Counting, Exclusions
from harness.consent.records import ALL, ExclusionRule, RuleKind, RuleScope, RuleSource
from harness.meetings.model import Modality

World = Any


@pytest.mark.parametrize(
    ("kind", "value", "excluded"),
    [
        (RuleKind.DOMAIN, "acme.EXAMPLE", True),
        (RuleKind.DOMAIN, "cme.example", False),
        (RuleKind.JURISDICTION, "XA", True),
        (RuleKind.JURISDICTION, "XA-1", True),
        (RuleKind.JURISDICTION, "XA-2", False),
        (RuleKind.JURISDICTION, "X", False),
    ],
)
def test_a_rule_reaches_whom_it_means(
    kind: RuleKind, value: str, excluded: bool, world: World
) -> None:
    world.edit("participants", lambda row: row.label == "Bo", domain="Acme.example",
               jurisdictions=("XA", "XA-1"))  # fmt: skip
    (place,) = world.draft.tables.jurisdictions
    world.append("jurisdictions", replace(place, code="XA-1"))
    world.edit("jurisdictions", lambda row: True, transfer_to=(ALL,))
    scope = RuleScope((ALL,), (ALL,), (ALL,), (ALL,))
    rule = ExclusionRule("r", kind, value, scope, world.start, None, RuleSource.COURT, world.start)
    world.append("exclusions", rule)
    rows = gate.decide(world.sign(), Config(), world.now).rows.to_pylist()
    codes = {code for row in rows if row["meeting_id"] == "m0" for code in row["codes"]}
    assert (f"EXCLUDED_{kind.upper()}" in codes) is excluded


@pytest.mark.parametrize("name", ["!before", "m", "~after"])
def test_a_rule_names_meetings_whatever_their_ids(name: str) -> None:
    meetings = [replace(MEETING, meeting_id=one) for one in (name, "other")]
    frame = frame_of({"meetings": meetings, "participants": [], "content": [], "split": []})
    scope = RuleScope((name,), (ALL,), (ALL,), (ALL,))
    kept = ExclusionRule("r", RuleKind.SERIES, "s0", scope, START, None, RuleSource.COURT, START)
    codes = Exclusions(frame, Counting([kept])).meetings(Modality.AUDIO)
    assert [MEETING_CODES.names(code) for code in codes] == [("EXCLUDED_SERIES",), ()]
