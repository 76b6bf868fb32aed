"""What the gate opens, hands out and writes."""

import json
import os
import stat
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from harness.config import Config
from harness.consent import gate
from harness.consent.capability import Admitted
from harness.consent.records import Arm, ExclusionRule, Operation, RuleKind, RuleScope, RuleSource
from harness.errors import Denied, Refused
from harness.rundir import Attempt, RunDir

World = Any
SOURCE = Path(gate.__file__).parents[1]


def sentinel_rule(world: World) -> ExclusionRule:
    scope = RuleScope(("m2",), ("*",), ("*",), ("*",))
    return ExclusionRule("s", RuleKind.MEETING, "m2", scope, world.start, None,
                         RuleSource.SENTINEL, world.start)  # fmt: skip


def job(config: Config, **changes: Any) -> Config:
    return replace(config, job=replace(config.job, **changes))


def test_only_the_gate_holds_the_key() -> None:
    holders = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if "GATE_KEY" in path.read_text()
    }
    assert holders == {"consent/capability.py", "consent/gate.py"}


def test_permissions_cannot_be_made_by_others(shared_world: World, config: Config) -> None:
    admitted = gate.admit(shared_world.source, config, shared_world.now)
    with pytest.raises(TypeError):
        Admitted(admitted.authority, admitted.train, (), {}, object())  # type: ignore[arg-type]


def test_each_operation_gets_its_own_arms(shared_world: World, config: Config) -> None:
    source, now = shared_world.source, shared_world.now
    admitted = gate.admit(source, config, now)
    scored = gate.evaluable(source, config, now)
    leak = gate.leak_test(source, config, now)
    assert [m.id for m in admitted.train] == [m.id for m in scored.members] == ["m0"]
    assert [m.id for m in scored.heldout] == ["m1"]
    assert [m.id for m in leak.sentinels] == ["m2"]
    assert {arm: [name for name, _ in kept] for arm, kept in admitted.kept_out.items()} == {
        "heldout": ["m1"],
        "sentinel": ["m2"],
    }


def test_turns_keep_their_way_back(shared_world: World, config: Config) -> None:
    (meeting,) = gate.admit(shared_world.source, config, shared_world.now).train
    assert [(t.modality, t.index, t.speaker, t.text) for t in meeting.turns] == [
        ("transcript", 0, 0, "hello"),
        ("transcript", 1, 1, "good day"),
    ]


def test_only_sentinel_rules_are_set_aside(world: World, config: Config) -> None:
    world.append("exclusions", sentinel_rule(world))
    assert len(gate.leak_test(world.sign(), config, world.now).sentinels) == 1
    world.edit("exclusions", lambda row: True, source=RuleSource.SUBJECT)
    assert gate.leak_test(world.sign(), config, world.now).sentinels == ()


@pytest.mark.parametrize("missing", [Operation.EVALUATION, Operation.LEAK_TEST])
def test_training_implies_no_other_operation(
    missing: Operation, world: World, config: Config
) -> None:
    operations = tuple(op for op in Operation if op is not missing)
    world.edit("consent", lambda row: True, operations=operations)
    source = world.sign()
    assert len(gate.admit(source, config, world.now).train) == 1
    if missing is Operation.LEAK_TEST:
        assert gate.leak_test(source, config, world.now).sentinels == ()
    else:
        with pytest.raises(Refused, match="NOTHING_ADMITTED"):
            gate.evaluable(source, config, world.now)


def test_no_probe_reads_validation(world: World, config: Config) -> None:
    world.edit("split", lambda row: row.meeting_id == "m1", arm=Arm.VALIDATION)
    source = world.sign()
    assert [m.id for m in gate.admit(source, config, world.now).validation] == ["m1"]
    assert gate.evaluable(source, config, world.now).heldout == ()


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_denied_content_is_never_opened(
    how: str, world: World, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = world.sign()
    before = gate.admit(source, config, world.now), gate.decide(source, config, world.now)
    for name in ("m1", "m2"):
        path = source.store / name / "turns.jsonl"
        path.unlink()
        if how == "replaced":
            path.write_bytes(b"\x00 not even a transcript")
    opened: list[str] = []
    real = os.open

    def spy(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        opened.append(str(path))
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", spy)
    after = gate.admit(source, config, world.now), gate.decide(source, config, world.now)
    assert after == before
    assert opened.count("turns.jsonl") == 2
    assert not {"m1", "m2"} & {*opened}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"controller": "https://other.example"}, "JOB_CONTROLLER_MISMATCH"),
        ({"purpose": "dpv:Marketing"}, "JOB_PURPOSE_OUT_OF_SCOPE"),
        ({"modalities": ["audio"]}, "JOB_MODALITY_OUT_OF_SCOPE"),
        ({"modalities": ["trnscript"]}, "JOB_MODALITY_OUT_OF_SCOPE"),
        ({"modalities": []}, "JOB_EMPTY"),
    ],
)
def test_a_job_out_of_scope_is_refused(
    changes: dict[str, Any], code: str, shared_world: World, config: Config
) -> None:
    with pytest.raises(Refused, match=code):
        gate.admit(shared_world.source, job(config, **changes), shared_world.now)


def test_an_operation_out_of_scope_is_refused(world: World, config: Config) -> None:
    scope = replace(world.draft.scope, operations=(Operation.EVALUATION,))
    world.draft = replace(world.draft, scope=scope)
    with pytest.raises(Refused, match="JOB_OPERATION_OUT_OF_SCOPE"):
        gate.admit(world.sign(), config, world.now)


def test_the_stage_writes_its_contract_files(
    world: World,
    config: Config,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    world.expires = world.now + timedelta(days=36500)
    world.edit("consent", lambda row: True, valid_until=world.expires)
    world.draft = replace(
        world.draft,
        defaults=replace(
            world.draft.defaults, max_consent_age_days=36500, max_withdrawals_age_s=10**10
        ),
    )
    monkeypatch.setattr(gate, "prepare", lambda data: world.sign())
    run = RunDir(tmp_path / "run", config)
    summary = gate.run(config, run, Attempt("gate", 1))
    assert summary == json.loads((run.path / "gate/summary.json").read_bytes())
    assert summary["arms"] == {"train": 1, "heldout": 1, "sentinel": 1, "validation": 0}
    assert (summary["meetings_total"], summary["meetings_admitted"]) == (3, 1)
    assert (summary["turns_total"], summary["turns_admitted"]) == (6, 2)
    assert summary["by_code"] == {"HELDOUT_ARM": 1, "SENTINEL_ARM": 1}
    decisions = run.path / "private/decisions.parquet"
    assert stat.S_IMODE(decisions.stat().st_mode) == 0o600
    assert [tuple(row.values()) for row in pq.read_table(decisions).to_pylist()] == [
        ("m0", -1, "meeting", "admit", []),
        ("m0", 0, "transcript", "admit", []),
        ("m0", 1, "transcript", "admit", []),
        ("m1", -1, "meeting", "deny", ["HELDOUT_ARM"]),
        ("m2", -1, "meeting", "deny", ["SENTINEL_ARM"]),
    ]
    assert "HELDOUT_ARM" in capsys.readouterr().out
    strict = replace(config, gate=replace(config.gate, require_all=True))
    assert (
        gate.run(strict, run, Attempt("gate", 1))["by_code"] == summary["by_code"]
    )  # the draw is no denial
    world.append("exclusions", replace(sentinel_rule(world), source=RuleSource.COURT))
    with pytest.raises(Denied, match="GATE_DENIED"):
        gate.run(strict, run, Attempt("gate", 1))


@pytest.mark.parametrize("missing", [Operation.EVALUATION, Operation.LEAK_TEST])
@pytest.mark.parametrize("meeting", ["m0", "m1", "m2"])
def test_arms_are_measured_only_where_they_agreed_to_the_same(
    missing: Operation, meeting: str, world: World, config: Config
) -> None:
    kept = tuple(o for o in (Operation.FINE_TUNING, Operation.EVALUATION, Operation.LEAK_TEST)
                 if o is not missing)  # fmt: skip
    world.edit("consent", lambda e: meeting in e.scope.meetings, operations=kept)
    source = world.sign()
    assert [m.id for m in gate.admit(source, config, world.now).train] == ["m0"]
    arms = {"m0": lambda: gate.evaluable(source, config, world.now).members,
            "m1": lambda: gate.evaluable(source, config, world.now).heldout,
            "m2": lambda: gate.leak_test(source, config, world.now).sentinels}  # fmt: skip
    if meeting == "m0":
        with pytest.raises(Refused, match="NOTHING_ADMITTED"):
            arms["m0"]()
    else:
        assert arms[meeting]() == ()


def test_without_the_leak_test_in_scope_no_sentinel_is_read(world: World, config: Config) -> None:
    scope = world.draft.scope
    operations = (Operation.FINE_TUNING, Operation.EVALUATION)
    world.draft = replace(world.draft, scope=replace(scope, operations=operations))
    world.edit("consent", lambda e: True, operations=operations)
    source = world.sign()
    assert gate.leak_test(source, config, world.now).sentinels == ()
    assert gate.evaluable(source, config, world.now).heldout
