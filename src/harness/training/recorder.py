"""What happens at an optimiser step's boundary: metrics, validation, checkpoint, stop."""

import json
import math
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from harness.config import Train
from harness.corpus.datamodule import MeetingData, Step
from harness.errors import Refused
from harness.launch.preemption import Preemption
from harness.rundir import append, write_bytes, write_json
from harness.training.checkpoint import TrainState, random_states, save_checkpoint
from harness.training.meter import Meter, padding
from harness.training.module import LoraModule, Made, NonFinite, not_finite
from harness.training.peers import Meeting, gather


class Log(Protocol):
    """Where numbers go beside metrics.jsonl."""

    def log(self, step: int, numbers: dict[str, float]) -> None:
        """Record numbers under an optimiser step."""
        ...


@dataclass(frozen=True)
class Guard:
    """What may end a training before its last step.

    Attributes:
        is_newest: raises when a later attempt took the run over.
        still_permitted: raises when something that is trained on was withdrawn.
        stop: signals that ask for a checkpoint and a stop.
    """

    is_newest: Callable[[], None]
    still_permitted: Callable[[], None]
    stop: Preemption

    def before_saving(self) -> None:
        """Raise unless what was learnt may be kept."""
        self.still_permitted()  # may take long
        self.is_newest()


class Recorder(Callback):
    """Keeps the training's state whole at each step boundary; files are rank 0's.

    Args:
        state: changed in place.
        data: for the validation batches and the number of steps in an epoch.
        settings: the ``train`` section.
        folder: run directory.
        log: experiment tracker.
        guard: says whether to go on.
        meter: counts what the time is spent on.
        meeting: of the processes.
    """

    def __init__(
        self, state: TrainState, data: MeetingData, settings: Train, folder: Path, log: Log,
        guard: Guard, meter: Meter, meeting: Meeting,
    ) -> None:  # fmt: skip
        self.state, self.data, self.settings = state, data, settings
        self.folder, self.tracker = folder, log
        self.guard, self.meter, self.meeting = guard, meter, meeting
        self.first = data.rank == 0
        self.metrics = folder / "train" / "metrics.jsonl"
        self.loss = 0.0
        self._threads = torch.get_num_threads()
        self._clock = time.perf_counter()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take signals and threads back from Lightning; cut metrics back to the checkpoint.

        Raises:
            Refused: ``PROCESSES_DIFFER`` when another process would train on something else.
        """
        self.guard.stop.arm()
        torch.set_num_threads(self._threads)  # the bits depend on it, and the state says so
        plans = gather((self.state.plan, self.state.train_root, self.state.step))
        if len(set(plans)) > 1:
            raise Refused("PROCESSES_DIFFER", "not all processes admit or hold the same",
                          "train.devices", "give the same command to go on")  # fmt: skip
        if self.first:
            self.metrics.parent.mkdir(exist_ok=True)
            cut_back(self.metrics, self.state.step)
        self._clock = time.perf_counter()

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: Trainer, pl_module: LoraModule, outputs: Any, batch: Step, batch_idx: int
    ) -> None:
        """Close the step that was just made."""
        if self.first:
            self.guard.is_newest()  # a superseded process stops here and leaves the metrics alone
        made = pl_module.made
        pl_module.step = self.state.step = self.state.step + 1
        self.state.tokens += batch.tokens
        self.state.supervised_tokens += batch.supervised
        seconds = time.perf_counter() - self._clock
        loss = self._evaluate(pl_module)
        self.loss = made.loss
        flops = sum(self.meter.cost.of(part) for part in batch.micro) * self.data.processes
        share = self.meter.step(seconds, batch.tokens, batch.supervised, batch.slots, flops)
        if self.first:
            self._write(made, batch, seconds, share, loss)
        self._stop(trainer, made)
        if trainer.should_stop or self._due():
            self.save(trainer, pl_module)
        self._clock = time.perf_counter()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Say which documents a step held that came to no number; a message must not."""
        if isinstance(exception, NonFinite) and self.first:
            found = {"step": exception.step, "documents": sorted(set(exception.documents))}
            write_json(self.folder / "private" / "nonfinite.json", found, mode=0o600)

    def save(self, trainer: Trainer, module: LoraModule) -> None:
        """Write a checkpoint of this boundary, if everything in it may still be trained on."""
        held = gather((module.observer.take(), random_states()))
        with self.meeting.first_alone(f"saved/{self.state.step}"):
            if self.first:
                self._save(trainer, module, held)

    def _save(self, trainer: Trainer, module: LoraModule, held: list[Any]) -> None:
        self.guard.before_saving()
        leaves, *others = (leaves for leaves, _ in held)
        leaves = leaves + [leaf for other in others for leaf in module.observer.learn(other)]
        tensors = module.tensors(trainer.optimizers[0])
        tensors |= module.noising.state() if module.noising else {}
        for rank, (_, states) in enumerate(held):
            tensors |= {f"random.{rank}.{name}": value for name, value in states.items()}
        save_checkpoint(self.folder / "checkpoints", self.state, tensors, leaves)

    def _due(self) -> bool:
        last = self.state.step == len(self.data.steps)
        return last or self.state.step % self.settings.checkpoint_steps == 0

    def _evaluate(self, module: LoraModule) -> float | None:
        every = self.settings.eval_epochs * self.data.steps.per_epoch
        if not every or not self.data.validation or self.state.step % every:
            return None
        loss = module.evaluate(self.data.validation_batches())
        if not math.isfinite(loss):
            raise not_finite(self.state.step, [d.id for d in self.data.validation])
        self.state.evaluations.append((self.state.step, loss))
        return loss

    def _stop(self, trainer: Trainer, made: Made) -> None:
        alone = self.data.processes == 1  # others learn of a signal with the next step's sum only
        preempted = bool(made.stop) or (alone and self.guard.stop.received is not None)
        losses = [loss for _, loss in self.state.evaluations]
        patience = self.settings.patience
        worse = patience > 0 and len(losses) > patience and min(losses) < min(losses[-patience:])
        self.state.stopped = worse
        trainer.should_stop = preempted or worse

    def _write(
        self, made: Made, batch: Step, seconds: float, share: float, eval_loss: float | None
    ) -> None:
        line = {
            "step": self.state.step, "loss": made.loss, "lr": made.rate,
            "tokens": self.state.tokens, "supervised_tokens": self.state.supervised_tokens,
            "tokens_per_second": round(batch.tokens / seconds, 1),
            "supervised_tokens_per_second": round(batch.supervised / seconds, 1),
            "padding": padding(batch.tokens, batch.slots), "mfu": round(share, 4),
            "peak_memory_mb": peak_memory_mb(), "grad_norm": made.norm, "eval_loss": eval_loss,
        }  # fmt: skip
        append(self.metrics, json.dumps(line, allow_nan=False))
        numbers = {f"train/{key}": value for key, value in line.items() if value is not None}
        self.tracker.log(self.state.step, numbers)


class Bar(Callback):
    """A progress bar with loss, tokens per second and time left; a line now and then in a log.

    Args:
        total: optimiser steps of the whole training.
        recorder: whose metrics are shown.
    """

    def __init__(self, total: int, recorder: Recorder) -> None:
        self.total, self.recorder = total, recorder
        console = Console(stderr=True)
        self.live = console.is_terminal
        self.progress = Progress(
            TextColumn("train"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
            TextColumn("loss {task.fields[loss]:.3f}  {task.fields[speed]:.0f} tokens/s"),
            TimeRemainingColumn(), console=console, disable=not self.live,
        )  # fmt: skip

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the bar at the step that training starts from."""
        done = self.recorder.state.step
        self.task = self.progress.add_task(
            "", total=self.total, completed=done, loss=0.0, speed=0.0
        )
        self.progress.start()
        self._start, self._done = time.perf_counter(), done

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: Trainer, pl_module: LoraModule, outputs: Any, batch: Step, batch_idx: int
    ) -> None:
        """Move on by one step."""
        step, loss = self.recorder.state.step, self.recorder.loss
        seconds = time.perf_counter() - self._start
        pace = seconds / max(1, step - self._done)
        self.progress.update(self.task, completed=step, loss=loss, speed=batch.tokens / pace)
        if not self.live and (step % max(1, self.total // 10) == 0 or step == self.total):
            left = pace * (self.total - step)
            self.progress.console.print(
                f"train step {step}/{self.total}  loss {loss:.3f}  "
                f"{batch.tokens / pace:.0f} tokens/s  {left:.0f} s left"
            )

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the terminal as it was."""
        self.progress.stop()


def cut_back(metrics: Path, step: int) -> None:
    """Drop the lines of steps after ``step``, which are about to be made again."""
    if not metrics.exists():
        return
    kept = []
    for line in metrics.read_bytes().splitlines(keepends=True):
        if not line.endswith(b"\n") or json.loads(line)["step"] > step:
            break
        kept.append(line)
    write_bytes(metrics, b"".join(kept))


def peak_memory_mb() -> float:
    """Peak memory in MiB: of the GPU where there is one, else resident memory of the process."""
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
