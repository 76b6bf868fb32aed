"""What the gate says of the epoch before."""

from dataclasses import replace
from pathlib import Path

import pytest

from consent.conftest import World
from harness.config import Config
from harness.consent import authoring, layout
from harness.consent.authoring import write_manifest
from harness.consent.head import Mode
from harness.consent.manifest import load
from harness.consent.present import trust_first
from harness.consent.records import State
from harness.consent.session import Session
from harness.consent.signing import load_trust
from harness.consent.since import changes_since
from harness.errors import Refused


def next_epoch(world: World, old: Path) -> Session:
    """Move the signed manifest away and sign the draft as the epoch after it."""
    source = world.source
    before = load(source.manifest, load_trust(source.trust), world.now)
    source.manifest.rename(old)
    write_manifest(source.manifest, world.draft, [world.key], world.issued, world.expires,
                   before.head.epoch + 1, before.sha256)  # fmt: skip
    source.seen.unlink()
    trust_first(source, world.now)
    return Session(source, Config(), world.now)


@pytest.mark.parametrize("rows", [0, 10**6])
def test_a_refusal_shows_with_its_code(
    rows: int, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authoring, "JSONL_ROWS", rows)
    monkeypatch.setattr(layout, "MEETINGS_A_PART", 2)
    world.sign()
    world.edit("consent", lambda event: event.event_id in ("e0", "e1"), state=State.REFUSED)
    session = next_epoch(world, tmp_path / "old")
    found = changes_since(session, tmp_path / "old")
    assert found["epoch"] == 1
    assert (found["newly_admitted"], found["newly_denied"]) == (0, 1)
    assert found["by_code"] == {"CONSENT_REFUSED": 1}


def test_other_terms_are_decided_as_they_were(world: World, tmp_path: Path) -> None:
    world.edit("consent", lambda event: event.event_id == "e1", state=State.REFUSED)
    world.sign()
    terms = replace(world.draft.defaults, mode=Mode.PER_SPEAKER, min_speakers=1)
    world.draft = replace(world.draft, defaults=terms)
    found = changes_since(next_epoch(world, tmp_path / "old"), tmp_path / "old")
    assert (found["newly_admitted"], found["newly_denied"]) == (1, 0)
    assert found["by_code"] == {"CONSENT_REFUSED": -1}


def test_another_manifest_is_not_compared(world: World, tmp_path: Path) -> None:
    world.sign()
    session = next_epoch(world, tmp_path / "old")
    with pytest.raises(Refused, match="PREVIOUS_MISMATCH"):
        changes_since(session, session.source.manifest)
