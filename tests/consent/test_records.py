"""Rows are read strictly, and writing is the inverse of reading."""

from dataclasses import fields
from typing import Any

import pytest

from harness.consent.head import TABLES
from harness.consent.records import ConsentEvent, ExclusionRule, parse, parse_time, to_json
from harness.errors import Refused

World = Any
EVERYWHERE = {"meetings": ["*"], "modalities": ["*"], "operations": ["*"], "purposes": ["*"]}
EVENT_KEYS = sorted(field.name for field in fields(ConsentEvent))


def test_reading_inverts_writing(shared_world: World) -> None:
    for name, (kind, _) in TABLES.items():
        for row in getattr(shared_world.draft.tables, name):
            assert parse(kind, to_json(row), name) == row


@pytest.mark.parametrize("key", EVENT_KEYS)
def test_every_field_of_an_event_is_needed_and_typed(key: str, shared_world: World) -> None:
    value = to_json(shared_world.draft.tables.consent[0])
    with pytest.raises(Refused, match=f"SCHEMA_INVALID.*consent row 1 key {key}"):
        parse(ConsentEvent, {k: v for k, v in value.items() if k != key}, "consent row 1")
    with pytest.raises(Refused, match=f"SCHEMA_INVALID.*consent row 1 key {key}"):
        parse(ConsentEvent, value | {key: 1.5}, "consent row 1")


def test_a_mistyped_field_is_named(shared_world: World) -> None:
    value = to_json(shared_world.draft.tables.consent[0]) | {"exclude": True}
    with pytest.raises(Refused, match=r"UNKNOWN_FIELD.*row 1 key exclude"):
        parse(ConsentEvent, value, "row 1")


@pytest.mark.parametrize(
    "text", ["2026-01-01T00:00:00", "2026-01-01T00:00:00+00:00", "2026-02-30T00:00:00Z", "", "٢026"]
)
def test_only_utc_with_z_is_a_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_time(text)


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "meting"},
        {"kind": "modality", "value": "transcripts"},
        {"kind": "subject", "value": "ada@example.org"},
        {"kind": "date_range", "value": "2026-01-02T00:00:00Z/2026-01-01T00:00:00Z"},
        {"kind": "turn", "value": "transcript/-1"},
        {"kind": "file", "value": "0123"},
        {"scope": EVERYWHERE | {"meetings": []}},
        {"scope": EVERYWHERE | {"modalities": []}},
        {"scope": EVERYWHERE | {"purposes": []}},
        {"scope": EVERYWHERE | {"operations": ["training"]}},
        {"scope": EVERYWHERE | {"modalities": ["transcripts"]}},
    ],
)
def test_an_exclusion_that_would_match_nothing_by_mistake_is_refused(
    changes: dict[str, Any],
) -> None:
    rule = {"rule_id": "r", "kind": "meeting", "value": "m", "source": "court",
            "scope": EVERYWHERE, "effective_from": "2026-01-01T00:00:00Z", "effective_until": None,
            "added_at": "2026-01-01T00:00:00Z"}  # fmt: skip
    assert parse(ExclusionRule, rule, "r").value == "m"
    with pytest.raises(Refused, match="SCHEMA_INVALID"):
        parse(ExclusionRule, rule | changes, "r")
