"""Whatever denies a meeting, its words do not move one bit of the adapter."""

from pathlib import Path
from typing import Any

import pytest
import torch

from consent.test_reasons import DENIES
from factories import tiny_config
from harness.config import Config
from harness.consent import gate
from harness.consent.capability import Admitted
from harness.consent.records import Arm
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


def adapter(folder: Path, admitted: Admitted, monkeypatch: pytest.MonkeyPatch) -> str:
    """Digest of the adapter that is trained on a permission."""
    monkeypatch.setattr(fit, "prepare", lambda data: None)
    monkeypatch.setattr(fit.gate, "admit", lambda *_: admitted)
    monkeypatch.setattr(fit.gate, "check_withdrawals", lambda *_: None)
    run = RunDir(folder, tiny_config(epochs=1))
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
