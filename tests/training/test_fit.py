"""The train stage refuses to publish what the receipt does not vouch for."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Trainer

from factories import admitted, tiny_config
from harness.config import Train
from harness.consent.gate import Withdrawn
from harness.corpus import datamodule
from harness.corpus.datamodule import Batch, MeetingData
from harness.corpus.documents import Document
from harness.errors import Refused, UsageError
from harness.rundir import RunDir
from harness.training import fit
from harness.training.checkpoint import (
    TrainState,
    load_checkpoint,
    random_states,
    save_checkpoint,
)
from harness.training.module import LoraModule
from harness.training.noising import noise_key
from harness.training.recorder import Recorder


def trained(
    folder: Path, monkeypatch: pytest.MonkeyPatch, check: Callable[..., None] | None = None,
    noise: float = 0.0, delta: float = 1e-5,
) -> RunDir:  # fmt: skip
    config = tiny_config(epochs=1)
    config.privacy.noise, config.privacy.delta = noise, delta
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


def test_noise_is_another_on_other_documents_and_with_other_settings(tmp_path: Path) -> None:
    """The same noise on other documents, or clipped otherwise, could be subtracted."""
    config = tiny_config()
    config.privacy.noise = 1.0
    run = RunDir(tmp_path, config)
    plain = noise_key(run, config, "plan")
    assert noise_key(run, config, "plan") == plain
    other = replace(config, privacy=replace(config.privacy, clip=0.5))
    found = {plain, noise_key(run, config, "other plan"), noise_key(run, other, "plan")}
    assert len(found) == 3
    assert noise_key(RunDir(tmp_path / "other", config), config, "plan") not in found


def test_a_delta_that_promises_nothing_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=r"PRIVACY_VALUE.*1 / documents.*privacy\.delta"):
        trained(tmp_path, monkeypatch, noise=1.0, delta=0.5)
    assert not (tmp_path / "train" / "metrics.jsonl").exists()


def test_a_restart_that_is_killed_begins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LATEST goes first: no half removed folder is a checkpoint that cannot be read."""
    run = RunDir(tmp_path, tiny_config())
    folder = run.file("checkpoints")
    save_checkpoint(folder, TrainState(step=3), dict(random_tensors()), [b"1" * 32])

    def killed(path: Path) -> None:
        next(path.glob("observed-*")).unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(fit.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        fit._begin_again(run)
    assert load_checkpoint(folder) is None


def random_tensors() -> Iterator[tuple[str, torch.Tensor]]:
    for name, value in random_states().items():
        yield f"random.0.{name}", value


def test_threads_are_what_the_state_says_whatever_lightning_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With several processes Lightning sets them anew, after the state is made."""
    seen, honest, before = [], Recorder.on_train_start, torch.get_num_threads()

    def start(self: Recorder, trainer: Trainer, module: LoraModule) -> None:
        torch.set_num_threads(3)
        honest(self, trainer, module)
        seen.append((torch.get_num_threads(), self.state.machine["threads"]))

    monkeypatch.setattr(Recorder, "on_train_start", start)
    try:
        trained(tmp_path, monkeypatch)
    finally:
        torch.set_num_threads(before)
    assert seen == [(1, 1)]


def test_processes_share_the_threads_of_their_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "OWN_THREADS", 8)
    monkeypatch.setattr(fit, "GIVEN", False)
    assert fit._threads(Train(devices=2)) == 4
    assert fit._threads(Train(devices=16)) == 1
    assert fit._threads(Train(devices=2, threads=3)) == 3
    monkeypatch.setattr(fit, "GIVEN", True)
    assert fit._threads(Train(devices=2)) == 8
