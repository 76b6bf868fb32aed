"""The audit finds a training that is not private, and one that only says it is."""

from pathlib import Path
from typing import Any

import pytest
import torch

from factories import admitted, meeting, tiny_config
from harness.config import Config
from harness.corpus.canaries import candidates, space
from harness.models import adapter, base
from harness.probes.audit import audit_records, claimed
from harness.probes.exposure import measure
from harness.probes.scores import Cost
from harness.rundir import RunDir, read_json
from harness.training import fit, privacy

pytestmark = pytest.mark.slow
CANARIES = 200
TARGET = 2.0


def config_of(epsilon: float) -> Config:
    """Canaries that stand once in the corpus, and epochs enough to know them by heart."""
    config = tiny_config(epochs=40, batch_rows=8, eval_epochs=0, checkpoint_steps=10**6, lr=5e-3)
    config.canaries.per_level, config.canaries.repetitions = CANARIES, [1]
    config.lora.r, config.lora.dropout = 16, 0.0
    config.privacy.epsilon = epsilon
    return config


def audited(folder: Path, epsilon: float, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Train and audit; the row ``dp_audit_1`` with the receipt's claim."""
    config, permission = config_of(epsilon), admitted((meeting("m0", 10), meeting("m1", 10)))
    patch.setattr(fit, "prepare", lambda data: None)
    patch.setattr(fit.gate, "check_withdrawals", lambda *_: None)
    patch.setattr(fit.gate, "admit", lambda *_: permission)
    run = RunDir(folder, config)
    try:
        with run.stage("train") as attempt:
            receipt = fit.run(config, run, attempt)
    finally:
        torch.use_deterministic_algorithms(False)
    assert read_json(run.file("train", "receipt.json")) == receipt
    loaded = base.load(config.model)
    model = adapter.load(loaded, folder / "adapter")
    canaries = candidates(config.canaries, loaded.tokenizer)
    found = measure(model, canaries, space(loaded.tokenizer), Cost())
    (row,) = audit_records(canaries, found.scores, claimed(receipt))
    print("dp_audit_1:", row["value"], row["correct"], row["guesses"], receipt.get("privacy"))
    return row | {"claim": receipt.get("privacy")}


def test_a_training_that_is_not_private_is_known_by_its_canaries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = audited(tmp_path, 0.0, monkeypatch)
    assert row["claim"] is None
    assert row["value"] > TARGET, row


def test_a_private_training_is_not_shown_to_be_less_so_than_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = audited(tmp_path, TARGET, monkeypatch)
    assert 0.99 * TARGET < row["claim"]["epsilon"] <= TARGET
    assert row["value"] <= row["claim"]["epsilon"], row
    assert row["verdict"] == "INCONCLUSIVE"


def test_a_training_whose_noise_is_nil_fails_the_claim_that_its_receipt_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check of what was added is off, too: nothing but the audit is left to find it."""
    honest = privacy._noise
    monkeypatch.setattr(privacy, "_noise", lambda *given: 0.0 * honest(*given))
    monkeypatch.setattr(privacy, "check_noise", lambda *_: None)
    row = audited(tmp_path, TARGET, monkeypatch)
    assert row["claim"]["epsilon"] <= TARGET
    assert row["value"] > TARGET, row
    assert row["verdict"] == "FAIL"
    assert row["p_value"] < 0.05
