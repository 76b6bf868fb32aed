"""A manifest is taken as it was signed, or not at all."""

import shutil
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.config import Config
from harness.consent import gate
from harness.consent.authoring import draft_of, resign, write_manifest
from harness.consent.head import HEAD, SIGNATURE
from harness.consent.manifest import load, load_at_any_time
from harness.consent.present import Source, trust_first
from harness.consent.records import Arm
from harness.consent.signing import KeyRole, load_trust, save_trust, trust_root
from harness.digest import strict_json
from harness.errors import Refused

World = Any


def refuses(source: Source, world: World, code: str) -> None:
    with pytest.raises(Refused, match=f"^{code}: ") as caught:
        gate.admit(source, Config(), world.now)
    assert caught.value.exit_code == 4


@settings(max_examples=80, deadline=None, suppress_health_check=[*HealthCheck])
@given(data=st.data())
def test_any_changed_byte_refuses(
    data: st.DataObject, shared_world: World, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "flip"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(shared_world.folder, folder)
    admitted = folder / "store/m0/turns.jsonl"
    paths = sorted(p for p in [*(folder / "manifest").iterdir(), admitted] if p.stat().st_size)
    path = data.draw(st.sampled_from(paths))
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    source = replace(shared_world, folder=folder).source
    with pytest.raises(Refused) as caught:
        gate.admit(source, Config(), shared_world.now)
    assert caught.value.exit_code == 4


def test_a_missing_manifest(world: World) -> None:
    refuses(world.source, world, "MANIFEST_MISSING")


@pytest.mark.parametrize("name", [HEAD, SIGNATURE])
def test_a_missing_head_or_signature(name: str, world: World) -> None:
    (world.sign().manifest / name).unlink()
    refuses(world.source, world, "MANIFEST_MISSING")


def test_a_missing_table(world: World) -> None:
    (world.sign().manifest / "exclusions.jsonl").unlink()
    refuses(world.source, world, "MANIFEST_FILE_MISSING")


def test_an_extra_file(world: World) -> None:
    (world.sign().manifest / "consent.bak").touch()
    refuses(world.source, world, "MANIFEST_FILE_EXTRA")


def test_a_linked_table(world: World) -> None:
    table = world.sign().manifest / "split.jsonl"
    table.rename(world.folder / "split.jsonl")
    table.symlink_to(world.folder / "split.jsonl")
    refuses(world.source, world, "MANIFEST_NOT_REGULAR")


def test_expired_and_not_yet_valid(world: World) -> None:
    source = world.sign()
    trust = load_trust(source.trust)
    with pytest.raises(Refused, match="MANIFEST_EXPIRED"):
        load(source.manifest, trust, world.expires)
    with pytest.raises(Refused, match="MANIFEST_NOT_YET_VALID"):
        load(source.manifest, trust, world.issued - timedelta(seconds=301))
    assert load(source.manifest, trust, world.issued - timedelta(seconds=300)).head.epoch == 1


def test_a_key_that_is_not_pinned(world: World) -> None:
    world.key = Ed25519PrivateKey.generate()
    world.sign()
    refuses(world.source, world, "MANIFEST_KEY_UNKNOWN")


def test_a_key_of_another_role(world: World) -> None:
    keys = [(world.key, (KeyRole.GATE,)), (world.log_key, (KeyRole.LOG,))]
    save_trust(world.source.trust, trust_root(keys))
    world.sign()
    refuses(world.source, world, "MANIFEST_KEY_UNKNOWN")


def test_a_second_signature_is_needed_where_the_threshold_is_two(world: World) -> None:
    other = Ed25519PrivateKey.generate()
    root = trust_root([
        (world.key, (KeyRole.MANIFEST,)), (other, (KeyRole.MANIFEST,)),
        (world.log_key, (KeyRole.LOG,)),
    ])  # fmt: skip
    two = tuple(replace(t, keys=2) if t.role is KeyRole.MANIFEST else t for t in root.thresholds)
    save_trust(world.source.trust, replace(root, thresholds=two))
    world.sign()
    refuses(world.source, world, "MANIFEST_SIG_THRESHOLD")
    for keys, accepted in (([world.key, world.key], False), ([world.key, other], True)):
        write_manifest(world.source.manifest, world.draft, keys, world.issued, world.expires)
        if accepted:
            trust_first(world.source, world.now)
            assert gate.admit(world.source, Config(), world.now).train
        else:
            refuses(world.source, world, "MANIFEST_SIG_THRESHOLD")


def test_the_signature_of_another_manifest(world: World) -> None:
    signature = (world.sign().manifest / SIGNATURE).read_bytes()
    world.expires += timedelta(days=1)
    (world.sign().manifest / SIGNATURE).write_bytes(signature)
    refuses(world.source, world, "MANIFEST_HASH_MISMATCH")


def test_a_withdrawal_that_names_an_unknown_meeting_is_no_silent_nothing(world: World) -> None:
    (first, *_) = world.draft.tables.consent
    scope = replace(first.scope, meetings=("M0",))
    world.edit("consent", lambda row: row is first, scope=scope)
    world.sign()
    refuses(world.source, world, "UNKNOWN_REFERENCE")


def test_duplicate_rows(world: World) -> None:
    (first, *_) = world.draft.tables.consent
    world.append("consent", replace(first, seq=99))
    world.sign()
    refuses(world.source, world, "DUPLICATE_ID")


def test_arms_that_are_not_the_draw(world: World) -> None:
    world.draft = replace(world.draft, split=replace(world.draft.split, randomised=True))
    orders = [(Arm.TRAIN, Arm.HELDOUT, Arm.SENTINEL), (Arm.HELDOUT, Arm.TRAIN, Arm.SENTINEL)]
    outcomes = []
    for order in orders:
        rows = zip(world.draft.tables.split, order, strict=True)
        world.table("split", [replace(row, arm=arm) for row, arm in rows])
        try:
            gate.admit(world.sign(), Config(), world.now)
            outcomes.append("admitted")
        except Refused as error:
            outcomes.append(error.code)
    assert "SPLIT_NOT_RANDOM" in outcomes


def test_resign_describes_content_anew(world: World) -> None:
    source = world.sign()
    old = load_at_any_time(source.manifest, load_trust(source.trust), world.now)
    (source.store / "m1/turns.jsonl").write_bytes(b'{"speaker":"Ada","text":"other"}\n')
    (source.store / "m2/turns.jsonl").unlink()
    resign(source.manifest, old, source.store, [world.key])
    new = load(source.manifest, load_trust(source.trust), world.now)
    assert (new.head.epoch, new.head.prev) == (2, old.sha256)
    assert [(row.meeting_id, row.turns) for row in new.tables.content] == [("m0", 2), ("m1", 1)]
    assert replace(draft_of(new).tables, content=()) == replace(draft_of(old).tables, content=())


def test_a_key_that_stands_twice_is_refused() -> None:
    with pytest.raises(Refused, match="JSON_INVALID"):
        strict_json(b'{"state":"refused","state":"given"}', "consent.jsonl row 1")
