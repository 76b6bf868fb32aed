"""Tables in parts: the same permissions and decisions as tables of lines, also by shards."""

from pathlib import Path

import pytest

from consent.conftest import World
from harness.config import Config
from harness.consent import authoring, gate, layout
from harness.consent.decisions import decide
from harness.consent.manifest import load
from harness.consent.records import ExclusionRule, RuleKind, RuleScope, RuleSource, State
from harness.consent.signing import load_trust
from harness.consent.withdrawals import Withdrawal
from harness.errors import Refused


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every table that has a row is long, and every part is short."""
    monkeypatch.setattr(authoring, "JSONL_ROWS", 0)
    monkeypatch.setattr(layout, "MEETINGS_A_PART", 2)
    monkeypatch.setattr(layout, "EVENTS_A_PART", 1)


@pytest.mark.usefixtures("in_parts")
def test_the_rows_come_back(world: World) -> None:
    source = world.sign()
    manifest = load(source.manifest, load_trust(source.trust), world.now)
    assert manifest.parts is not None
    assert manifest.parts.count("meetings") == 2
    assert manifest.parts.count("consent") == len(world.draft.tables.consent)
    for table in ("meetings", "participants", "content", "split", "consent"):
        rows = getattr(manifest.tables, table)
        assert len(rows) == len(getattr(world.draft.tables, table))
        assert {*map(repr, rows)} == {*map(repr, getattr(world.draft.tables, table))}


@pytest.mark.parametrize("state", [State.GIVEN, State.REFUSED])
def test_decisions_and_permission_are_the_same(
    state: State, world: World, request: pytest.FixtureRequest
) -> None:
    world.edit("consent", lambda event: event.event_id == "e1", state=state)
    config = Config()
    lines = decide(world.sign(), config, world.now)
    summaries = [lines.summary]
    permitted = _admitted(world)
    request.getfixturevalue("in_parts")
    parts = decide(world.sign(), config, world.now)
    assert parts.rows.to_pylist() == lines.rows.to_pylist()
    own = {"manifest_sha256", "epoch", "trust_first", "decided_at"}
    assert {k: v for k, v in parts.summary.items() if k not in own} == {
        k: v for k, v in summaries[0].items() if k not in own
    }
    assert _admitted(world) == permitted


@pytest.mark.usefixtures("in_parts")
def test_a_withdrawal_reaches_the_parts(world: World) -> None:
    before = decide(world.sign(), Config(), world.now)
    assert before.summary["meetings_admitted"] > 0
    taken = Withdrawal("b" * 32, world.draft.issuer, (), (), (), (), (), world.now, world.now,
                       False)  # fmt: skip
    world.withdraw(taken)
    after = decide(world.source, Config(), world.now)
    assert after.summary["meetings_admitted"] == 0
    assert "CONSENT_WITHDRAWN" in after.summary["by_code"]


@pytest.mark.usefixtures("in_parts")
@pytest.mark.parametrize("table", ["meetings", "participants", "content", "split", "consent"])
def test_a_changed_byte_of_any_part_refuses(table: str, world: World) -> None:
    source = world.sign()
    path = sorted(Path(source.manifest).glob(f"{table}-*.parquet"))[-1]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(Refused) as refused:
        decide(source, Config(), world.now)
    assert refused.value.code == "MANIFEST_HASH_MISMATCH"


@pytest.mark.usefixtures("in_parts")
@pytest.mark.parametrize("table", ["meetings", "participants", "content", "split", "consent"])
def test_a_missing_part_refuses(table: str, world: World) -> None:
    source = world.sign()
    sorted(Path(source.manifest).glob(f"{table}-*.parquet"))[0].unlink()
    with pytest.raises(Refused) as refused:
        decide(source, Config(), world.now)
    assert refused.value.code == "MANIFEST_FILE_MISSING"


@pytest.mark.usefixtures("in_parts")
def test_a_rule_with_an_unknown_purpose_refuses(world: World) -> None:
    scope = RuleScope(("*",), ("*",), ("*",), ("dpv:Mistyped",))
    world.append("exclusions", ExclusionRule("r", RuleKind.MEETING, "m0", scope, world.start, None,
                                             RuleSource.COURT, world.start))  # fmt: skip
    with pytest.raises(Refused) as refused:
        decide(world.sign(), Config(), world.now)
    assert refused.value.code == "UNKNOWN_REFERENCE"


def _admitted(world: World) -> object:
    try:
        found = gate.admit(world.source, Config(), world.now)
    except Refused as refused:
        return refused.code
    return found.train, found.validation, found.kept_out
