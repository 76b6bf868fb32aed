"""``harness manifest draw``: who may be drawn, by what seed, and what excludes the sentinels."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from consent.conftest import NOW
from harness.consent.authoring import lines
from harness.consent.columns import to_arrow
from harness.consent.drafting import STRICTEST, TERMS, lint, new_draft, open_draft
from harness.consent.drawing import UNDRAWN, draw_split
from harness.consent.head import TABLES, Draw
from harness.consent.records import Arm, RuleSource, SplitRow, to_json
from harness.consent.split import is_the_draw
from harness.consent.withdrawals import Log
from harness.errors import Refused
from harness.rundir import write_json

World = Any
NOBODY = Log((), (), NOW)


@pytest.fixture
def folder(world: World, tmp_path: Path) -> Path:
    """A draft of six willing meetings without arms, and one of somebody who refused."""
    tables = world.draft.tables
    meeting, people = tables.meetings[0], [p for p in tables.participants if p.meeting_id == "m0"]
    (file,) = [row for row in tables.content if row.meeting_id == "m0"][:1]
    names = [f"n{number}" for number in range(7)]
    events = [e for e in tables.consent if "m0" in e.scope.meetings]
    rows = {
        "meetings": [replace(meeting, meeting_id=name) for name in names],
        "participants": [replace(p, meeting_id=name) for name in names for p in people],
        "content": [replace(file, meeting_id=name) for name in names],
        "consent": [
            replace(event, seq=place, event_id=f"e{place}",
                    scope=replace(event.scope, meetings=tuple(names[:6])))
            for place, event in enumerate(events)
        ],
        "split": [], "exclusions": [],
    }  # fmt: skip
    draft = tmp_path / "draft"
    new_draft(draft)
    for name in TABLES:
        (draft / f"{name}.jsonl").write_bytes(lines(rows.get(name, getattr(tables, name))))
    terms = replace(STRICTEST, scope=world.draft.scope, defaults=world.draft.defaults)
    write_json(draft / TERMS, to_json(replace(terms, split=Draw(UNDRAWN, False))))
    return draft


def test_the_draw_is_of_those_whom_nothing_but_their_arm_keeps_out(folder: Path) -> None:
    counts = draw_split(folder, NOBODY, NOW, [])
    assert counts == {Arm.TRAIN: 2, Arm.HELDOUT: 2, Arm.SENTINEL: 2, Arm.VALIDATION: 0}
    with open_draft(folder, NOW) as draft:
        split, terms = draft.tables.split, draft.split
        assert {row.meeting_id for row in split} == {f"n{number}" for number in range(6)}
        assert terms.randomised
        assert terms.seed != UNDRAWN
        assert is_the_draw(terms.seed, [to_arrow(SplitRow, split)])
        sentinels = {row.meeting_id for row in split if row.arm is Arm.SENTINEL}
        rules = draft.tables.exclusions
        assert {rule.scope.meetings for rule in rules} == {(name,) for name in sentinels}
        assert {rule.source for rule in rules} == {RuleSource.SENTINEL}
        assert Counter(rule.kind for rule in rules).most_common(1)[0][1] == 1
    assert lint(folder, NOW)[0] == []


def test_drawing_again_gives_the_same(folder: Path) -> None:
    draw_split(folder, NOBODY, NOW, [])
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    draw_split(folder, NOBODY, NOW, [])
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_series_may_go_to_validation_as_a_whole(folder: Path) -> None:
    series = json.loads((folder / "meetings.jsonl").read_bytes().split(b"\n")[0])["series_id"]
    assert draw_split(folder, NOBODY, NOW, [series])[Arm.VALIDATION] == 6
    with pytest.raises(Refused, match="UNKNOWN_REFERENCE"):
        draw_split(folder, NOBODY, NOW, ["another"])


def test_nothing_is_drawn_of_nobody_who_agreed(folder: Path) -> None:
    (folder / "consent.jsonl").write_bytes(b"")
    with pytest.raises(Refused, match=r"NOTHING_ADMITTED.*: NO_CONSENT_RECORD \d+") as refused:
        draw_split(folder, NOBODY, NOW, [])
    assert "SPLIT_UNASSIGNED" not in str(refused.value)
    assert (folder / "split.jsonl").read_bytes() == b""
