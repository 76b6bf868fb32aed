"""The train stage: gate again, then adapter, receipt and model card."""

import shutil
import sys
import warnings
from datetime import UTC, datetime
from typing import Any

import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning import Trainer

from harness.commitments.merkle import set_root
from harness.commitments.receipt import Committer, Observer, arm_leaves, audit_key, receipt
from harness.config import Config
from harness.consent import gate
from harness.consent.capability import Admitted, Authority
from harness.consent.sources import prepare
from harness.corpus.datamodule import MeetingData
from harness.errors import Preempted, Refused
from harness.launch.preemption import Preemption, watch
from harness.models import adapter, base
from harness.models.base import Base
from harness.rundir import Attempt, RunDir, write_bytes, write_json
from harness.tracking import Tracker
from harness.training.card import model_card
from harness.training.checkpoint import TrainState, load_checkpoint, machine
from harness.training.module import LoraModule
from harness.training.recorder import Bar, Guard, Log, Recorder


def run(config: Config, run: RunDir, attempt: Attempt) -> dict[str, Any]:
    """Train on what the gate admits now; continue where an earlier attempt stopped.

    Returns:
        The receipt.

    Raises:
        Refused: by the gate; ``TRAIN_ROOT_CHANGED`` when other turns are admitted than an
            unfinished attempt trained on; ``MACHINE_CHANGED`` when its bits cannot be continued;
            ``RECEIPT_UNEQUAL`` when something else than what was admitted entered;
            ``WITHDRAWN_MEANWHILE`` when something that is trained on is withdrawn, unless the
            manifest asks to start again without it.
        Preempted: a signal arrived and a checkpoint is saved.
    """
    while True:
        try:
            return _run(config, run, attempt)
        except gate.Withdrawn as error:
            if not error.restart:
                raise
            run.publish(attempt)
            _begin_again(run)


def _run(config: Config, run: RunDir, attempt: Attempt) -> dict[str, Any]:
    source = prepare(config.data)
    admitted = gate.admit(source, config, datetime.now(UTC))

    last = None

    def still_permitted() -> None:
        nonlocal last
        now = datetime.now(UTC)
        last = gate.check_withdrawals(source, config, admitted.authority, now, last)

    torch.use_deterministic_algorithms(True)
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    loaded = base.load(config.model)
    data = MeetingData(admitted, loaded.tokenizer, config)
    with watch() as preemption, Tracker(run) as tracker:
        guard = Guard(lambda: run.publish(attempt), still_permitted, preemption)
        module, state = _train(config, run, guard, admitted, loaded, data, tracker)
    guard.before_saving()
    return _publish(config, run, admitted, loaded, data, module, state)


def _begin_again(run: RunDir) -> None:
    """Forget every step: no checkpoint may be continued that saw what is withdrawn."""
    shutil.rmtree(run.file("checkpoints"))
    run.file("checkpoints").mkdir(mode=0o700)
    run.file("train", "metrics.jsonl").unlink(missing_ok=True)
    print("train: something was withdrawn; starting again without it, from step 0", flush=True)


def _train(
    config: Config, run: RunDir, guard: Guard, admitted: Admitted, loaded: Base,
    data: MeetingData, tracker: Log,
) -> tuple[LoraModule, TrainState]:  # fmt: skip
    committer = Committer(audit_key(run))
    root = set_root(committer.documents(data.meetings))
    state, tensors, seen = _resume(run, root, admitted.authority, loaded)
    observer = Observer(committer, loaded.tokenizer.bos_id, loaded.tokenizer.pad_id, seen)
    observer.tokens = state.tokens
    model = adapter.attach(loaded, config.lora, config.train.seed)
    module = LoraModule(model, config.train, len(data.steps), observer, state.step)
    if tensors:
        module.restore(tensors)
    else:
        torch.manual_seed(config.train.seed)
    data.start = state.step
    coins = [{"id": c.id, "level": c.level, "planted": c.planted} for c in data.canaries]
    write_json(run.file("private", "canaries.json"), coins)
    recorder, preemption = Recorder(state, data, config.train, run.path, tracker, guard), guard.stop
    if state.step < len(data.steps) and not state.stopped:
        _fit(_trainer(config, [recorder, Bar(len(data.steps), recorder)]), module, data, preemption)
    if preemption.received and state.step < len(data.steps) and not state.stopped:
        raise Preempted("PREEMPTED", f"stopped by a signal after step {state.step}",
                        "checkpoints/", "give the same command to go on")  # fmt: skip
    return module, state


def _fit(trainer: Trainer, module: LoraModule, data: MeetingData, preemption: Preemption) -> None:
    """Fit; Lightning answers SIGTERM at its own start, and Ctrl-C, by leaving the process."""
    try:
        trainer.fit(module, datamodule=data)
    except SystemExit:
        if preemption.received is None:
            raise KeyboardInterrupt from None


def _trainer(config: Config, callbacks: list[Any]) -> Trainer:
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    return Trainer(
        accelerator="gpu" if config.train.accelerator == "cuda" else config.train.accelerator,
        devices=1, max_epochs=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=callbacks,
        gradient_clip_val=config.train.clip, use_distributed_sampler=False,
        plugins=[LightningEnvironment()], num_sanity_val_steps=0, limit_val_batches=0,
    )  # fmt: skip


def _resume(
    run: RunDir, root: str, authority: Authority, loaded: Base
) -> tuple[TrainState, dict[str, torch.Tensor], set[bytes]]:
    found = load_checkpoint(run.file("checkpoints"))
    here = machine(torch.device("cuda" if torch.cuda.is_available() else "cpu"), loaded)
    if found is None:
        return TrainState(train_root=root, epochs=[authority.epoch], machine=here), {}, set()
    state, tensors, seen = found
    if state.train_root != root:
        error = gate.Withdrawn(
            "TRAIN_ROOT_CHANGED", "other turns are admitted than this attempt trained on",
            "checkpoints/", "start from step 0 in another run_dir",
        )  # fmt: skip
        error.restart = authority.restarts
        raise error
    changed = sorted(key for key in here if here[key] != state.machine.get(key))
    if changed:
        raise Refused("MACHINE_CHANGED", f"{', '.join(changed)} differ from when it began",
                      "checkpoints/", "continue on its machine, or in another run_dir")  # fmt: skip
    if authority.epoch not in state.epochs:
        state.epochs.append(authority.epoch)
    return state, tensors, seen


def _publish(
    config: Config, run: RunDir, admitted: Admitted, loaded: Base, data: MeetingData,
    module: LoraModule, state: TrainState,
) -> dict[str, Any]:  # fmt: skip
    committer = Committer(audit_key(run))
    arms = arm_leaves(committer, data.meetings, admitted.kept_out)
    made = receipt(committer, arms, data.carriers, module.observer)
    made |= {"manifest_sha256": admitted.authority.manifest_sha256,
             "epoch": admitted.authority.epoch, "epochs": state.epochs, "base": loaded.name,
             "base_sha256": loaded.sha256}  # fmt: skip
    write_json(run.file("train", "receipt.json"), made)
    listed = {arm: sorted(leaf.hex() for leaf in leaves) for arm, leaves in arms.items()}
    write_json(run.file("private", "leaves.json"), listed)  # what the roots stand for
    if not made["equal"]:
        raise Refused("RECEIPT_UNEQUAL", "what entered training is not what was admitted",
                      "train/receipt.json", "no adapter is written; find what came in")  # fmt: skip
    _save_adapter(run, module, model_card(config, made))
    print(f"train: {made['tokens']} tokens entered, the receipt is equal; adapter in "
          f"{run.path / 'adapter'}", file=sys.stderr, flush=True)  # fmt: skip
    return made


def _save_adapter(run: RunDir, module: LoraModule, card: str) -> None:
    staged = run.file("adapter", ".staged")
    shutil.rmtree(staged, ignore_errors=True)
    module.model.eval().save_pretrained(str(staged), save_embedding_layers=False)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        write_bytes(run.file("adapter", name), (staged / name).read_bytes(), mode=0o600)
    write_bytes(run.file("adapter", "README.md"), card.encode(), mode=0o600)
    shutil.rmtree(staged)
