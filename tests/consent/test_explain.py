"""The sentences name what decided: codes, rules and events, and nothing that was said."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import cli
from harness.config import Config
from harness.consent import gate
from harness.consent.explain import explain
from harness.consent.head import Mode
from harness.consent.records import ExclusionRule, RuleKind, RuleScope, RuleSource, State
from harness.consent.session import Session
from harness.errors import Refused
from harness.rundir import Attempt, RunDir

World = Any


@pytest.fixture
def decided(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """A gate stage, decided at the world's time, in which Bo refused m0 and a court took m1."""
    world.edit("consent", lambda e: e.event_id == "e1", state=State.REFUSED)
    scope = RuleScope(("*",), ("*",), ("*",), ("*",))
    world.append("exclusions", ExclusionRule("court-7", RuleKind.MEETING, "m1", scope, world.start,
                                             None, RuleSource.COURT, world.start))  # fmt: skip
    world.draft = replace(
        world.draft, defaults=replace(world.draft.defaults, mode=Mode.PER_SPEAKER, min_speakers=1)
    )
    source = world.sign()
    config = Config(run_dir=str(tmp_path / "run"))
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
    with pytest.raises(Refused, match="MANIFEST_CHANGED"):
        list(explain(decided.path, "m0", None))
