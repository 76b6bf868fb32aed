"""Warnings about exclusion rules that match nothing, as a mistyped one does."""

import json
from pathlib import Path

import pytest

from consent.conftest import World
from harness.consent.authoring import lines
from harness.consent.drafting import TERMS, Terms, lint
from harness.consent.head import TABLES
from harness.consent.records import (
    ExclusionRule,
    RuleKind,
    RuleScope,
    RuleSource,
    to_json,
)

EVERYWHERE = RuleScope(("*",), ("*",), ("*",), ("*",))
MATCHING = {
    RuleKind.MEETING: "m0", RuleKind.SERIES: "s", RuleKind.SUBJECT: "a" * 32,
    RuleKind.LABEL: "ADA", RuleKind.DATE_RANGE: "2020-01-01T00:00:00Z/2020-01-02T00:00:00Z",
    RuleKind.MODALITY: "audio",
}  # fmt: skip


def warned(world: World, folder: Path, kind: RuleKind, value: str) -> bool:
    rule = ExclusionRule("r", kind, value, EVERYWHERE, world.start, None, RuleSource.COURT,
                         world.start)  # fmt: skip
    world.append("exclusions", rule)
    draft = world.draft
    for name in TABLES:
        (folder / f"{name}.jsonl").write_bytes(lines(getattr(draft.tables, name)))
    terms = Terms(draft.issuer, draft.scope, draft.defaults, draft.split)
    (folder / TERMS).write_text(json.dumps(to_json(terms)))
    errors, warnings = lint(folder, world.now)
    assert not errors
    found = [w for w in warnings if w.code == "MATCHES_NOTHING"]
    assert all(w.where == "exclusions.jsonl row 1 key value" for w in found)
    return bool(found)


@pytest.mark.parametrize("kind", MATCHING)
def test_a_rule_that_can_match_is_not_named(kind: RuleKind, world: World, tmp_path: Path) -> None:
    value = MATCHING[kind]
    if kind is RuleKind.SERIES:
        value = world.draft.tables.meetings[0].series_id
    assert not warned(world, tmp_path, kind, value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (RuleKind.MEETING, "M0"), (RuleKind.SERIES, "nowhere"), (RuleKind.SUBJECT, "f" * 32),
        (RuleKind.LABEL, "Adda"), (RuleKind.TAG, "hr"), (RuleKind.JURISDICTION, "xa"),
        (RuleKind.DOMAIN, "other.example"), (RuleKind.FILE, "0" * 64), (RuleKind.ACCOUNT, "x"),
    ],
)  # fmt: skip
def test_a_mistyped_rule_is_named(kind: RuleKind, value: str, world: World, tmp_path: Path) -> None:
    assert warned(world, tmp_path, kind, value)
