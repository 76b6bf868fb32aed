"""Whatever denies a meeting, its words do not move one bit of the adapter."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from consent.test_material import say
from consent.test_opening import KEY, exclude, per_speaker, sign
from consent.test_reasons import DENIES, TURNS_ONLY, event
from factories import tiny_config
from harness.config import Config, Corpus
from harness.consent import gate
from harness.consent.capability import Admitted
from harness.consent.copies import digest_utterance, words
from harness.consent.records import ALL, Alias, Arm, RuleKind, State
from harness.digest import sha256_hex
from harness.errors import Refused
from harness.rundir import RunDir
from harness.training import fit

World = Any
OF_ALL = {  # these faults are of the manifest and deny the other meeting too
    "CONSENT_BEFORE_DISCLOSURE", "CONSENT_TOO_OLD", "JURISDICTION_NO_RULE", "LICENCE_FORBIDS",
    "MEETING_RETENTION_PASSED", "METADATA_NOT_COVERED", "NO_CONSENT_RECORD",
    "POLICY_VERSION_SUPERSEDED", "RECORDING_NOT_AGREED", "TRANSFER_BLOCKED",
}  # fmt: skip
OTHER = b'{"speaker":"Ada","text":"other words"}\n{"speaker":"Bo","text":"and more of them"}\n'


def adapter(
    folder: Path, admitted: Admitted, monkeypatch: pytest.MonkeyPatch, corpus: Corpus | None = None
) -> str:
    """Digest of the adapter that is trained on a permission."""
    monkeypatch.setattr(fit, "prepare", lambda data: None)
    monkeypatch.setattr(fit.gate, "admit", lambda *_: admitted)
    monkeypatch.setattr(fit.gate, "check_withdrawals", lambda *_: None)
    config = tiny_config(epochs=1)
    config.corpus = corpus or config.corpus
    run = RunDir(folder, config)
    try:
        with run.stage("train") as attempt:
            fit.run(run.config, run, attempt)
    finally:
        torch.use_deterministic_algorithms(False)
        monkeypatch.undo()
    return sha256_hex((folder / "adapter" / "adapter_model.safetensors").read_bytes())


def replace_content(world: World, path: str) -> None:
    (world.source.store / path).write_bytes(OTHER)
    world.edit("content", lambda row: row.path == path, sha256=sha256_hex(OTHER), bytes=len(OTHER))


def delete_content(world: World, path: str) -> None:
    (world.source.store / path).unlink()
    world.table("content", [row for row in world.draft.tables.content if row.path != path])


def outcome(
    world: World, config: Config, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[tuple[str, ...], str]:
    """Meetings that are trained on and the adapter's digest, or the code that refuses the run."""
    try:
        admitted = gate.admit(world.sign(), config, world.now)
    except Refused as error:
        return (), error.code
    return tuple(m.id for m in admitted.train), adapter(folder, admitted, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("code", DENIES)
def test_denied_words_do_not_reach_the_adapter(
    code: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config()
    world.edit("split", lambda row: row.meeting_id == "m1", arm=Arm.TRAIN)
    DENIES[code](world, config)
    chat = code == "MODALITY_NOT_REQUESTED"
    denied = "m0/none" if chat else "m0/turns.jsonl"
    (world.source.store / "m0" / "none").write_bytes(OTHER)
    changes = [lambda *_: None, replace_content, delete_content]
    if code == "EXCLUDED_FILE":  # other bytes are another file, which nobody excluded
        changes.remove(replace_content)
    outcomes = []
    for number, change in enumerate(changes):
        change(world, denied)
        outcomes.append(outcome(world, config, tmp_path / str(number), monkeypatch))
    assert len({*outcomes}) == 1
    admitted = () if code in OF_ALL else ("m0", "m1") if chat else ("m1",)
    assert outcomes[0][0] == admitted
    assert (outcomes[0][1] == "NOTHING_ADMITTED") is (code in OF_ALL)
    replace_content(world, "m1/turns.jsonl")  # the control: what is trained on does move it
    control = outcome(world, config, tmp_path / "control", monkeypatch)
    assert (control in outcomes) is (code in OF_ALL)


# --- turns -------------------------------------------------------------------------------------

ASK = "shall we begin with the budget of the northern plant"
REST = "then let us close the meeting here and write to everybody tomorrow"
SAID = "the offer is ninety thousand and nobody may hear of it before the board has met in may"
MORE = "our lawyers think that the other side will take it as long as we do not press them at all"
OTHER_WORDS = "these are other words altogether"
AT_1 = (RuleKind.TURN, "transcript/1", ("m0",), (ALL,), (ALL,), (ALL,))


@dataclass(frozen=True)
class Case:
    """How the second turn of a meeting comes to be denied, and what else may stand there.

    Attributes:
        turn: speaker and text.
        others: texts that are denied for the same reason as the first.
        deny: what makes the rows say so.
        before: the turn before it.
    """

    turn: tuple[str, str]
    others: tuple[str, ...]
    deny: Callable[[World], None]
    before: tuple[str, str] = ("Ada", ASK)


def bo_refuses(world: World) -> None:
    event(state=State.REFUSED)(world, tiny_config())


def m1_is_excluded(world: World) -> None:
    say(world, "m1", ("Ada", f"{SAID} {MORE}"))
    exclude(world, RuleKind.MEETING, "m1")


def an_alias_is_excluded(world: World) -> None:
    world.append("aliases", Alias("s", "Room 5", ("b" * 32,)))
    exclude(world, RuleKind.LABEL, "room 5")


TURN_CASES = {
    "EXCLUDED_TURN": Case(("Ada", SAID), (OTHER_WORDS, "no"), lambda world: exclude(world, *AT_1)),
    # the rule knows words by their digest: other writing of the same words is all it can deny
    "EXCLUDED_UTTERANCE": Case(
        ("Ada", SAID), (SAID.upper(), SAID.replace(" ", ", \u200b{gap} ") + "!"),
        lambda world: exclude(world, RuleKind.UTTERANCE, digest_utterance(words(SAID), KEY)),
    ),
    # anything from the excluded meeting, written anyhow, with whatever else the turn says
    "EXCLUDED_COPY": Case(("Ada", SAID), (MORE.title(), f"{OTHER_WORDS}: {SAID}"), m1_is_excluded),
    "SPEAKER_DROPPED": Case(("Bo", SAID), (OTHER_WORDS, ASK, "no"), bo_refuses),
    # whom a turn quotes follows from its first words; a quote of nobody known is Bo's too
    "QUOTES_DROPPED": Case(
        ("Ada", f'Replying to "{SAID[:20]}..."\n{OTHER_WORDS}'),
        (f'Reacted to "{SAID}" with !', f'Replying to "what nobody said"\n{MORE}'),
        bo_refuses, ("Bo", SAID),
    ),
    "KEY_IN_TURN": Case(
        ("Ada", f"{SAID} AKIAIOSFODNN7EXAMPLE"),
        (f"ghp_{'a1' * 18} {OTHER_WORDS}", "-----BEGIN PRIVATE KEY-----"), lambda world: None,
    ),
    "EXCLUDED_LABEL": Case(("Room 5", SAID), (OTHER_WORDS, "no"), an_alias_is_excluded),
}  # fmt: skip


def test_every_code_of_turns_has_a_case() -> None:
    of_pairs = {code for code in TURNS_ONLY if code.startswith("PAIRS_")}  # see test_pairs.py
    assert {*TURN_CASES} == TURNS_ONLY - of_pairs | {"EXCLUDED_LABEL"}


def turns_outcome(
    world: World, case: Case, text: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[list[str]], str]:
    """Codes of the meeting's turns, and the adapter's digest, with a text in place of the turn."""
    say(world, "m0", case.before, (case.turn[0], text), ("Ada", REST))
    source = sign(world)
    rows = gate.decide(source, tiny_config(), world.now).rows.to_pylist()
    codes = [row["codes"] for row in rows if row["meeting_id"] == "m0" and row["turn"] >= 0]
    admitted = gate.admit(source, tiny_config(), world.now)
    return codes, adapter(folder, admitted, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("code", TURN_CASES)
def test_words_of_a_denied_turn_do_not_reach_the_adapter(
    code: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = TURN_CASES[code]
    per_speaker(world)
    world.draft = replace(
        world.draft, defaults=replace(world.draft.defaults, max_dropped_percent=99)
    )
    case.deny(world)
    outcomes = [
        turns_outcome(world, case, text, tmp_path / str(number), monkeypatch)
        for number, text in enumerate((case.turn[1], *case.others))
    ]
    assert len({digest for _, digest in outcomes}) == 1
    before = ["SPEAKER_DROPPED"] if case.before[0] == "Bo" else []
    for codes, _ in outcomes:  # long enough, an excluded turn is a copy of itself too
        first, own, last = codes
        assert (first, last) == (before, [])
        assert {code} <= {*own} <= {code, "EXCLUDED_COPY"}
    free = replace(case, turn=("Ada", ""))  # the control: where nothing denies the turn, it does
    world.table("exclusions", [])
    control = turns_outcome(world, free, OTHER_WORDS, tmp_path / "control", monkeypatch)
    assert control[0][1] == []
    assert control[1] != outcomes[0][1]
