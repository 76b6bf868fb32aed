"""The train stage refuses to publish what the receipt does not vouch for."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from factories import admitted, tiny_config
from harness.consent.gate import Withdrawn
from harness.corpus import datamodule
from harness.corpus.datamodule import Batch, MeetingData
from harness.corpus.documents import Document
from harness.errors import Refused
from harness.rundir import RunDir
from harness.training import fit


def trained(
    folder: Path, monkeypatch: pytest.MonkeyPatch, check: Callable[..., None] | None = None,
    noise: float = 0.0,
) -> RunDir:  # fmt: skip
    config = tiny_config(epochs=1)
    config.privacy.noise = noise
    monkeypatch.setattr(fit, "prepare", lambda data: None)
    monkeypatch.setattr(fit.gate, "check_withdrawals", check or (lambda *_: None))
    monkeypatch.setattr(fit.gate, "admit", lambda *_: admitted())
    run = RunDir(folder, config)
    try:
        with run.stage("train") as attempt:
            fit.run(config, run, attempt)
    finally:
        torch.use_deterministic_algorithms(False)
    return run


def test_an_undisturbed_training_publishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trained(tmp_path, monkeypatch)
    assert (run.path / "adapter" / "adapter_model.safetensors").exists()
    receipt = json.loads((run.path / "train" / "receipt.json").read_text())
    assert receipt["equal"] is True
    assert receipt["epochs"] == [1]


@pytest.mark.parametrize("restart", [False, True])
def test_what_is_withdrawn_meanwhile_is_not_saved(
    restart: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second look finds a withdrawal; with restart, training begins again from step 0."""
    looks: list[int] = []

    def check(*_: object) -> None:
        looks.append(len(looks))
        if len(looks) == 2:
            error = Withdrawn("WITHDRAWN_MEANWHILE", "withdrawn")
            error.restart = restart
            raise error

    if not restart:
        with pytest.raises(Withdrawn):
            trained(tmp_path, monkeypatch, check)
        assert list((tmp_path / "adapter").iterdir()) == []
        return
    run = trained(tmp_path, monkeypatch, check)
    lines = (run.path / "train" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, len(lines) + 1))
    undisturbed = trained(tmp_path / "undisturbed", monkeypatch)
    adapters = [(r.path / "adapter" / "adapter_model.safetensors").read_bytes()
                for r in (run, undisturbed)]  # fmt: skip
    assert adapters[0] == adapters[1]


def test_an_overtaken_training_stops_at_its_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SLURM may start the job again while the node it thinks dead lives on."""
    honest = MeetingData.collate

    def overtake(self: MeetingData, rows: list[list[Document]]) -> Batch:
        (tmp_path / "logs" / "claims" / "train-2").touch()
        return honest(self, rows)

    monkeypatch.setattr(MeetingData, "collate", overtake)
    with pytest.raises(Refused, match="SUPERSEDED"):
        trained(tmp_path, monkeypatch)
    assert not (tmp_path / "train" / "metrics.jsonl").exists()


def test_a_turn_slipped_in_after_tokenising_publishes_no_adapter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = MeetingData.collate

    def slip(self: MeetingData, rows: list[list[Document]]) -> Batch:
        batch = honest(self, rows)
        ids = batch.input_ids.clone()
        start, end, _ = batch.spans[0][0]
        ids[0, start:end] = 99
        return replace(batch, input_ids=ids)

    monkeypatch.setattr(MeetingData, "collate", slip)
    with pytest.raises(Refused, match="RECEIPT_UNEQUAL"):
        trained(tmp_path, monkeypatch)
    assert json.loads((tmp_path / "train" / "receipt.json").read_text())["equal"] is False
    assert list((tmp_path / "adapter").iterdir()) == []
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "refused"


def test_a_private_step_that_draws_nothing_is_made_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is noised and counted like others; who left it out would tell that nobody was drawn."""
    draw = datamodule.drawn
    monkeypatch.setattr(datamodule, "drawn", lambda n, rate, step, seed: (
        [] if step == 1 else draw(n, rate, step, seed)
    ))  # fmt: skip
    run = trained(tmp_path, monkeypatch, noise=1.0)
    lines = (run.path / "train" / "metrics.jsonl").read_text().splitlines()
    empty = json.loads(lines[1])
    assert (empty["loss"], empty["tokens_per_second"], empty["padding"]) == (0.0, 0.0, 0.0)
    assert empty["grad_norm"] > 0
    receipt = json.loads((run.path / "train" / "receipt.json").read_text())
    assert receipt["privacy"]["steps"] == len(lines)
    assert receipt["equal"] is True
