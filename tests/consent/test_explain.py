"""The sentences name what decided: codes, rules and events, and nothing that was said."""

import json
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from harness import cli
from harness.config import Config
from harness.consent import authoring, gate, layout
from harness.consent.explain import explain
from harness.consent.head import Mode
from harness.consent.records import (
    Delegation,
    ExclusionRule,
    RuleKind,
    RuleScope,
    RuleSource,
    State,
)
from harness.consent.session import Session
from harness.consent.withdrawals import Withdrawal
from harness.errors import Refused
from harness.rundir import Attempt, RunDir

World = Any
BY_A_HOST: dict[str, Any] = {"delegation": Delegation.HOST, "actor_key": "a" * 32}


@pytest.fixture
def decided(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """A gate stage, decided at the world's time, in which Bo refused m0 and a court took m1."""
    world.edit("consent", lambda e: e.event_id == "e1", state=State.REFUSED)
    scope = RuleScope(("*",), ("*",), ("*",), ("*",))
    world.append("exclusions", ExclusionRule("court-7", RuleKind.MEETING, "m1", scope, world.start,
                                             None, RuleSource.COURT, world.start))  # fmt: skip
    return run_gate(world, tmp_path, monkeypatch)


def run_gate(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    modalities: tuple[str, ...] = ("transcript",),
) -> RunDir:  # fmt: skip
    """A gate stage in mode per_speaker, decided at the world's time."""
    world.draft = replace(
        world.draft, defaults=replace(world.draft.defaults, mode=Mode.PER_SPEAKER, min_speakers=1)
    )
    source = world.sign()
    config = Config(run_dir=str(tmp_path / "run"))
    config.job.modalities = [*modalities]
    config.data.source, config.data.root = "folder", str(source.store)
    config.data.manifest, config.data.withdrawals = str(source.manifest), str(source.withdrawals)
    config.data.state, config.tracking.mode = str(source.seen), "off"
    monkeypatch.setenv("HARNESS_TRUST", str(source.trust))
    run = RunDir(Path(config.run_dir), config)
    monkeypatch.setattr(gate, "Session", lambda at, asked, _: Session(at, asked, world.now))
    with run.stage("gate") as attempt:
        assert attempt == Attempt("gate", 1)
        gate.run(config, run, attempt)
    return run


def test_a_person_who_refused_is_named_with_the_event(decided: RunDir) -> None:
    text = "\n".join(explain(decided.path, "m0", None))
    assert "Meeting m0 of series s was admitted for training." in text
    assert f"person {'b' * 32}: CONSENT_REFUSED: A person refused." in text
    assert "decided by event e1 (refused, " in text
    assert "epoch 1" in text
    assert "hello" not in text


@pytest.mark.parametrize(
    ("days", "state", "deciding"),
    [(3, State.WITHDRAWN, ["e6"]), (0, State.WITHDRAWN, ["e1", "e6"]), (-1, State.REFUSED, ["e1"])],
)
def test_the_latest_that_are_heard_decide(
    days: int, state: State, deciding: list[str], world: World, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    add(world, days, state=state)
    assert deciding_of_bo(run_gate(world, tmp_path, monkeypatch)) == deciding


@pytest.mark.parametrize(
    ("first", "second", "deciding"),
    [("m0", "m1", ["e1"]), ("m1", "m0", ["e6"]), ("m1", "m1", ["e6"]), ("m0", "m0", ["e6"])],
)
def test_else_the_nearest_that_permit_decide(
    first: str, second: str, deciding: list[str], world: World, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Neither is heard, as a host spoke; m0 is named by one, by both or by none."""
    world.edit("consent", lambda e: e.subject_key == "b" * 32, **BY_A_HOST)
    world.edit("consent", lambda e: e.event_id == "e1",
               scope=replace(world.event(1, first, "b" * 32).scope))  # fmt: skip
    world.table("consent", [e for e in world.draft.tables.consent
                            if e.subject_key != "b" * 32 or e.event_id == "e1"])  # fmt: skip
    world.edit("consent", lambda e: True, seq=0)
    add(world, 3, meeting=second, **BY_A_HOST)
    rows = enumerate(world.draft.tables.consent)
    world.table("consent", [replace(event, seq=seq) for seq, event in rows])
    assert deciding_of_bo(run_gate(world, tmp_path, monkeypatch)) == deciding


def add(world: World, days: int, meeting: str = "m0", **changes: Any) -> None:
    """Append event e6 of Bo, some days after the others."""
    event = world.event(6, meeting, "b" * 32, retroactive=True, **changes)
    time = event.event_time + timedelta(days=days)
    world.append("consent", replace(event, event_time=time, recorded_time=time))


def deciding_of_bo(run: RunDir) -> list[str]:
    """The events that decided about Bo in m0."""
    lines = [*explain(run.path, "m0", None)]
    begin = next(n for n, line in enumerate(lines) if f"person {'b' * 32}" in line)
    return [line.split()[3] for line in lines[begin:] if "decided by event" in line]


def test_a_rule_is_named_with_who_asked_for_it(decided: RunDir) -> None:
    text = "\n".join(explain(decided.path, "m1", None))
    assert "Meeting m1 of series s was denied for training." in text
    assert "Rule court-7 (meeting, asked for by court) excludes it." in text


@pytest.mark.parametrize(("turn", "said"), [("0", "admit"), ("transcript/1", "deny")])
def test_a_turn_has_its_own_sentence(turn: str, said: str, decided: RunDir) -> None:
    lines = [*explain(decided.path, "m0", turn)]
    assert [line for line in lines if line.startswith("Turn")] == [
        f"Turn transcript/{turn[-1]}: {said}."
    ]
    assert any("SPEAKER_DROPPED" in line for line in lines) is (said == "deny")


def test_what_was_not_decided_is_refused_in_one_line(
    decided: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, code in ((["m9"], "MEETING_UNKNOWN"), (["m0", "transcript/7"], "TURN_UNKNOWN")):
        assert cli.answer(lambda w=words: cli.dispatch(["explain", str(decided.path), *w])) == 4  # type: ignore[misc]
        err = capsys.readouterr().err
        assert code in err
        assert err.count("\n") == 1


def test_another_manifest_explains_nothing(decided: RunDir) -> None:
    path = decided.path / "gate" / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"manifest_sha256": "0" * 64}))
    with pytest.raises(Refused, match=r"MANIFEST_CHANGED.*--manifest"):
        list(explain(decided.path, "m0", None))


def test_a_run_is_explained_by_a_copy_of_its_epochs_manifest(
    decided: RunDir, world: World, tmp_path: Path
) -> None:
    before = list(explain(decided.path, "m0", None))
    kept = tmp_path / "kept"
    shutil.copytree(world.source.manifest, kept)
    (world.source.manifest / "MANIFEST.json").write_bytes(b"{}")
    assert list(explain(decided.path, "m0", None, kept)) == before


@pytest.mark.parametrize("meetings", [("m0",), ("m0", "mistyped")])
def test_a_manifest_in_parts_is_explained_alike(
    meetings: tuple[str, ...], world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = world.now - timedelta(hours=1)
    entry = Withdrawal("b" * 32, world.draft.scope.controller, (), (), (), meetings, (), time, time,
                       False)  # fmt: skip
    sign, ids = type(world).sign, [row.meeting_id for row in world.draft.tables.meetings]

    def signed(self: World) -> Any:
        source = sign(self)
        self.withdraw(entry)
        return source

    monkeypatch.setattr(type(world), "sign", signed)
    told = []
    for name in ("lines", "parts"):
        run = run_gate(world, tmp_path / name, monkeypatch)
        told.append([[*explain(run.path, meeting, None)][:-1] for meeting in ids])
        monkeypatch.setattr(authoring, "JSONL_ROWS", 0)
        monkeypatch.setattr(layout, "MEETINGS_A_PART", 1)
        monkeypatch.setattr(layout, "EVENTS_A_PART", 1)
    assert told[0] == told[1]
    withdrawn = ["CONSENT_WITHDRAWN" in "\n".join(lines) for lines in told[0]]
    assert withdrawn == [len(meetings) > 1 or meeting in meetings for meeting in ids]
    with pytest.raises(Refused, match="MEETING_UNKNOWN"):
        [*explain(run.path, "m99", None)]
