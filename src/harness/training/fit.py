"""The train stage: gate again, then adapter, receipt and model card."""

import os
import shutil
import sys
import warnings
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import partial
from typing import Any

import torch
from peft import PeftModel
from pytorch_lightning import Callback, Trainer

from harness.commitments.merkle import set_root
from harness.commitments.receipt import Committer, Observer, audit_key
from harness.config import Config, Train
from harness.consent import gate
from harness.consent.capability import Admitted
from harness.consent.sources import prepare
from harness.corpus.datamodule import DrawnSteps, MeetingData
from harness.errors import Preempted
from harness.launch.preemption import Preemption, watch
from harness.launch.ranks import ranks, together
from harness.models import adapter, base
from harness.models.base import Base
from harness.rundir import Attempt, RunDir, write_json
from harness.tracking import Tracker
from harness.training.checkpoint import LATEST, TrainState, machine
from harness.training.compiling import Choice, Confirm, choose, compile_layers
from harness.training.memory import memory
from harness.training.meter import Meter, cost, gemm_peak
from harness.training.module import LoraModule
from harness.training.noising import Noising, noise_key, private_key
from harness.training.peers import Meeting, Surroundings, company, exchange, gather, strategy
from harness.training.publishing import publish
from harness.training.recorder import Bar, Guard, Log, Recorder
from harness.training.resume import resume

# before any training sets them
OWN_THREADS, GIVEN = torch.get_num_threads(), "OMP_NUM_THREADS" in os.environ


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
        Preempted: a signal arrived and a checkpoint is saved; ``BEGIN_AGAIN`` where a training
            that torchrun started begins again.
    """
    while True:
        try:
            return _run(config, run, attempt)
        except gate.Withdrawn as error:
            here = ranks()
            if not error.restart or here.rank > 0:  # rank 0 begins again, with new followers
                raise
            run.publish(attempt)
            _begin_again(run)
            if here.launched and here.processes > 1:  # which it cannot start
                raise Preempted("BEGIN_AGAIN", "something was withdrawn and every step forgotten",
                                "checkpoints/", "give the same command to start without "
                                "it") from None  # fmt: skip


def _run(config: Config, run: RunDir, attempt: Attempt) -> dict[str, Any]:
    with watch() as preemption:
        try:
            return _watched(config, run, attempt, preemption)
        finally:
            run.asked = preemption.received is not None


def _watched(
    config: Config, run: RunDir, attempt: Attempt, preemption: Preemption
) -> dict[str, Any]:
    source = prepare(config.data)
    admitted = gate.admit(source, config, datetime.now(UTC))

    last = None

    def still_permitted() -> None:
        nonlocal last
        now = datetime.now(UTC)
        last = gate.check_withdrawals(source, config, admitted.authority, now, last)

    _determine(config)
    loaded = base.load(config.model)
    first = ranks().rank == 0
    audit_key(run)  # before other processes look for it
    data = MeetingData(admitted, loaded.tokenizer, config, private_key(run, config))
    stopping = partial(getattr, preemption, "received")
    with (
        together(config.train.devices, run.path) as here,
        exchange(here, config.train, str(run.path.resolve()), stopping) as meeting,
    ):
        data.rank, data.processes = here.rank, here.processes
        guard = Guard(lambda: run.publish(attempt), still_permitted, preemption)
        with Tracker(run) if first else nullcontext(_Silent()) as tracker, memory(), company():
            module, state = _train(config, run, guard, admitted, loaded, data, tracker, meeting)
        others = gather(module.observer.take())[1:]
    if not first:
        return {}
    for leaves in others:
        module.observer.learn(leaves)
    module.observer.tokens = state.tokens
    guard.before_saving()
    return publish(config, run, admitted, loaded, data, module, state)


class _Silent:
    """Where followers log to."""

    def log(self, step: int, numbers: dict[str, float]) -> None:
        """Nowhere."""


def _determine(config: Config) -> None:
    """Set what the bits of a training depend on in this process."""
    torch.use_deterministic_algorithms(config.train.deterministic)
    # every tensor is written before it is read; filling them first took a tenth of a CPU step
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.set_num_threads(_threads(config.train))
    if config.train.accelerator != "cpu" and torch.cuda.is_available():
        torch.cuda.set_device(ranks().local)  # before anything is put on a device


def _threads(settings: Train) -> int:
    """As many as asked for; else what processes of one machine have each."""
    if settings.threads:
        return settings.threads
    return max(1, OWN_THREADS // (1 if GIVEN else settings.devices))


def _begin_again(run: RunDir) -> None:
    """Forget every step: no checkpoint may be continued that saw what is withdrawn."""
    run.file("checkpoints", LATEST).unlink(missing_ok=True)  # killed from here on, it begins again
    shutil.rmtree(run.file("checkpoints"))
    run.file("checkpoints").mkdir(mode=0o700)
    run.file("train", "metrics.jsonl").unlink(missing_ok=True)
    print("train: something was withdrawn; starting again without it, from step 0", flush=True)


def _train(
    config: Config, run: RunDir, guard: Guard, admitted: Admitted, loaded: Base,
    data: MeetingData, tracker: Log, meeting: Meeting,
) -> tuple[LoraModule, TrainState]:  # fmt: skip
    committer = Committer(audit_key(run))
    device = _device(config)
    compiling = choose(config.train, data.tokens * config.train.epochs, device)
    begun = TrainState(
        train_root=set_root(committer.documents(data.meetings)), plan=data.steps.digest(),
        epochs=[admitted.authority.epoch],
        machine=machine(device, loaded, compiling.on, data.processes),
    )  # fmt: skip
    torch.manual_seed(config.train.seed + data.rank)
    state, tensors, leaves = resume(run.file("checkpoints"), begun, admitted.authority,
                                  config.train.deterministic, data.rank)  # fmt: skip
    observer = Observer(committer, loaded.tokenizer.bos_id, loaded.tokenizer.pad_id, leaves)
    model = adapter.attach(loaded, config.lora, config.train.seed)
    _prepare(config, model, compiling)
    noising = _noising(config, run, data, model)
    module = LoraModule(model, config.train, len(data.steps), observer, state.step,
                        lambda: guard.stop.received is not None, noising)  # fmt: skip
    if tensors:
        module.restore(tensors)
    data.start = state.step
    if data.rank == 0:
        coins = [{"id": c.id, "level": c.level, "planted": c.planted} for c in data.canaries]
        write_json(run.file("private", "canaries.json"), coins)
    if state.step == len(data.steps) or state.stopped:
        return module, state
    meter = _meter(config, model, loaded, data, device, compiling)
    recorder = Recorder(state, data, config.train, run.path, tracker, guard, meter, meeting)
    callbacks: list[Callback] = [recorder, *([Bar(len(data.steps), recorder)] * (data.rank == 0))]
    if compiling.on:
        callbacks.append(Confirm())
    _fit(_trainer(config, callbacks, data.processes), module, data, guard.stop)
    if data.rank == 0:
        write_json(run.file("train", "speed.json"), meter.report())
    if state.step < len(data.steps) and not state.stopped:  # Lightning may have left before a step
        raise Preempted("PREEMPTED", f"stopped by a signal after step {state.step}",
                        "checkpoints/", "give the same command to go on")  # fmt: skip
    return module, state


def _noising(config: Config, run: RunDir, data: MeetingData, model: PeftModel) -> Noising | None:
    if not isinstance(data.steps, DrawnSteps):
        return None
    key = noise_key(run, config, data.steps.digest())
    return Noising(config.privacy, data.steps, adapter.trained(model), key)


def _device(config: Config) -> torch.device:
    gpu = config.train.accelerator != "cpu" and torch.cuda.is_available()
    return torch.device("cuda", torch.cuda.current_device()) if gpu else torch.device("cpu")


def _prepare(config: Config, model: PeftModel, compiling: Choice) -> None:
    """What is done to a model once its adapter is in."""
    if config.train.activation_checkpointing:
        model.get_base_model().gradient_checkpointing_enable(
            gradient_checkpointing_kwargs={"use_reentrant": False}
        )
    if compiling.on:
        compile_layers(model)


def _meter(
    config: Config, model: PeftModel, loaded: Base, data: MeetingData, device: torch.device,
    compiling: Choice,
) -> Meter:  # fmt: skip
    peak = gemm_peak(device, loaded.model.dtype) * data.processes
    facts = {
        "device": machine(device, loaded, compiling.on, data.processes)["device"],
        "dtype": str(loaded.model.dtype).removeprefix("torch."), "attention": loaded.attention,
        "compiled": compiling.on, "processes": data.processes,
        "strategy": config.train.strategy if data.processes > 1 else "single",
    }  # fmt: skip
    if data.rank == 0:
        print(f"train: {facts['device']}, {facts['dtype']}, attention {facts['attention']}, "
              f"GEMM peak {peak / 1e12:.2f} TFLOP/s; "
              f"{'compiled' if compiling.on else 'not compiled'} ({compiling.why})",
              file=sys.stderr, flush=True)  # fmt: skip
    return Meter(cost(model), peak, facts)


def _fit(trainer: Trainer, module: LoraModule, data: MeetingData, preemption: Preemption) -> None:
    """Fit; Lightning answers SIGTERM at its own start, and Ctrl-C, by leaving the process."""
    try:
        trainer.fit(module, datamodule=data)
    except SystemExit:
        if preemption.received is None:
            raise KeyboardInterrupt from None


def _trainer(config: Config, callbacks: list[Callback], processes: int) -> Trainer:
    for library in ("pytorch_lightning", "lightning_fabric"):
        warnings.filterwarnings("ignore", module=library)
    return Trainer(
        accelerator="gpu" if config.train.accelerator == "cuda" else config.train.accelerator,
        devices=processes, strategy=strategy(config.train, processes), max_epochs=1, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=callbacks, use_distributed_sampler=False, plugins=[Surroundings()],
        num_sanity_val_steps=0, limit_val_batches=0,
    )  # fmt: skip
