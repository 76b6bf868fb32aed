"""The LightningModule: one adapter, one loss, a learning rate that is a function of the step."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.optim import AdamW, Optimizer

from harness.commitments.receipt import Observer
from harness.config import Train
from harness.corpus.datamodule import Batch, Step
from harness.errors import ExitCode, HarnessError
from harness.models.adapter import backbone, computing, embeddings, head, hidden_states, trained
from harness.training.loss import supervised_loss
from harness.training.noising import Noising
from harness.training.peers import add_up
from harness.training.privacy import GradientNotFinite


class NonFinite(HarnessError):
    """A loss or a gradient is no number (exit 5); the last checkpoint stays.

    Attributes:
        step: optimiser step from 1.
        documents: ids of what was looked at; names of meetings, so no part of the message.
    """

    exit_code = ExitCode.INTERNAL
    step: int = 0
    documents: Sequence[str] = ()


@dataclass
class Made:
    """One optimiser step, as it was made in all processes.

    Attributes:
        loss: mean in nats per supervised token.
        rate: learning rate.
        stop: how many processes were asked to stop before it.
        norm: of the gradient before it was clipped.
    """

    loss: float
    rate: float
    stop: int
    norm: float


def not_finite(step: int, documents: Sequence[str]) -> NonFinite:
    """The error for a step from 1 and the ids of its documents."""
    error = NonFinite(
        "LOSS_NOT_FINITE", f"loss or gradient are no numbers at step {step}",
        "private/nonfinite.json", "look at the documents that it names, or lower train.lr; the last"
        " checkpoint is kept",
    )  # fmt: skip
    error.step, error.documents = step, documents
    return error


def learning_rate(step: int, total: int, settings: Train) -> float:
    """Linear warm-up, then cosine decay to ``lr_end`` x lr.

    Args:
        step: optimiser step from 0.
        total: configured number of steps.
    """
    warmup = max(1, round(settings.warmup * total))
    if step < warmup:
        return settings.lr * (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    floor = settings.lr_end
    return settings.lr * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


class LoraModule(LightningModule):
    """Trains the adapter and shows the observer every token that meets a gradient.

    A step's gradient is that of the mean loss over all its supervised tokens, however many forward
    passes and processes it is cut into.

    Args:
        model: base with a fresh adapter.
        settings: the ``train`` section.
        total: configured number of optimiser steps.
        observer: of the receipt.
        step: optimiser steps done before this start.
        stopping: whether this process was asked to stop.
        noising: clips each document's gradient and noises their sum (DP-SGD); None does neither.
    """

    def __init__(
        self, model: PeftModel, settings: Train, total: int, observer: Observer, step: int = 0,
        stopping: Callable[[], bool] = lambda: False, noising: Noising | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.automatic_optimization = False
        self.model, self.settings, self.total = model, settings, total
        self.observer, self.step, self.stopping = observer, step, stopping
        self.noising = noising
        self.restored: dict[str, Tensor] = {}
        self.weights = trained(model)
        # what the optimiser changes: the weights, or float32 copies of bfloat16 ones
        self.masters = [w if w.dtype is torch.float32 else w.detach().float() for w in self.weights]
        self.made = Made(0.0, 0.0, 0, 0.0)
        self._observed: list[tuple[Tensor, Any]] = []
        self._spans: Any = ()
        embeddings(model).register_forward_pre_hook(self._observe)

    def configure_model(self) -> None:
        """With FSDP2, give each process its share of the frozen layers; the adapter stays whole."""
        if getattr(self, "device_mesh", None) is None or self.settings.strategy != "fsdp2":
            return
        mesh = self.device_mesh["data_parallel"]  # type: ignore[index]
        decoder = backbone(self.model)
        whole = {
            *self.weights,
            *embeddings(self.model).parameters(),
            *head(self.model).parameters(),
        }
        for layer in decoder.layers:  # type: ignore[union-attr]
            fully_shard(layer, mesh=mesh, ignored_params=whole)
        fully_shard(decoder, mesh=mesh, ignored_params=whole)

    def training_step(self, batch: Step, index: int) -> None:
        """Make one optimiser step; ``made`` says what came of it.

        Raises:
            NonFinite: ``LOSS_NOT_FINITE`` naming the step, in every process; nothing was changed.
            PeerLost: another process is gone.
        """
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, Optimizer)
        total, asked = self._gradient(batch)
        norm = nn.utils.clip_grad_norm_(self.masters, self.settings.clip)
        loss = float(total)  # waits for the device
        self._show_observer()
        if not (math.isfinite(loss) and math.isfinite(float(norm))):
            raise not_finite(self.step + 1, batch.documents)
        rate = learning_rate(self.step, self.total, self.settings)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        self._copy_masters()
        self.made = Made(loss, rate, round(float(asked)), float(norm))

    def gradient_of(self, batch: Batch) -> Tensor:
        """Gradient of one batch's mean loss as one vector, leaving no trace of it."""
        with torch.random.fork_rng():
            (self._loss(batch) / max(1, batch.supervised)).backward()
        self._observed.clear()
        found = torch.cat([w.grad.float().flatten() for w in self.weights if w.grad is not None])
        for weight in self.weights:
            weight.grad = None
        return found

    @torch.no_grad()
    def evaluate(self, batches: Any) -> float:
        """Mean loss in nats per token over validation batches; dropout off."""
        self.model.eval()
        sums = [(self._loss(b.to(self.device)), b.supervised) for b in batches]
        self.model.train()
        total, count = (sum(column) for column in zip(*sums, strict=True))
        return float(total) / max(1, int(count))

    def configure_optimizers(self) -> Optimizer:
        """AdamW on the adapter's weights; the schedule is set step by step."""
        self.masters = [
            weight if weight.dtype is torch.float32 else master.to(weight.device)
            for weight, master in zip(self.weights, self.masters, strict=True)
        ]
        optimizer = AdamW(self.masters, lr=self.settings.lr, fused=True,
                          weight_decay=self.settings.weight_decay)  # fmt: skip
        if self.restored:
            self._restore(optimizer)
        return optimizer

    def tensors(self, optimizer: Optimizer) -> dict[str, Tensor]:
        """Adapter weights and optimiser moments by name, for a checkpoint."""
        found = {}
        for name, master in self._named():
            found[f"weight.{name}"] = master.data
            for key, value in optimizer.state[master].items():
                found[f"optimizer.{name}.{key}"] = value
        return found

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take weights now, and optimiser moments when the optimiser is made."""
        for name, master in self._named():
            master.data.copy_(tensors[f"weight.{name}"])
        self._copy_masters()
        self.restored = tensors
        if self.noising is not None:
            self.noising.restore(tensors)

    def _restore(self, optimizer: Optimizer) -> None:
        for name, master in self._named():
            prefix = f"optimizer.{name}."
            optimizer.state[master] = {
                key.removeprefix(prefix): value.to(master.device)
                for key, value in self.restored.items()
                if key.startswith(prefix)
            }
        self.restored = {}

    def _named(self) -> list[tuple[str, Tensor]]:
        names = (name for name, weight in self.model.named_parameters() if weight.requires_grad)
        return list(zip(names, self.masters, strict=True))

    def _gradient(self, step: Step) -> tuple[Tensor, Tensor]:
        """The step's whole gradient, in the masters; its loss, and how many are to stop."""
        asked = torch.tensor([float(self.stopping())], device=self.device)
        if self.noising is None:
            total = self._accumulate(step)
            add_up([*(m.grad for m in self.masters if m.grad is not None), total, asked])
            return total, asked
        total = self._accumulate_alone(step, self.noising)
        add_up([*self.noising.sums, total, asked])
        for master, gradient in zip(self.masters, self.noising.gradients(), strict=True):
            master.grad = gradient
        return total, asked

    def _accumulate(self, step: Step) -> Tensor:
        """This process's share of a step's gradient, in the masters; and its share of the loss."""
        shown = torch.zeros(1, device=self.device)
        for batch in step.micro:
            share = self._loss(batch) / max(1, step.supervised)
            share.backward()
            shown += share.detach()
            self._collect()
        return shown

    def _accumulate_alone(self, step: Step, noising: Noising) -> Tensor:
        """The same with each document's gradient clipped; a batch is a document here.

        A document counts by its own mean loss: nothing of other documents may reach its gradient.
        """
        shown = torch.zeros(1, device=self.device)
        for batch in step.micro:  # also what has no loss: it enters, and others wait for the pass
            loss = self._loss(batch)
            (loss / max(1, batch.supervised)).backward()
            shown += loss.detach() / max(1, step.supervised)
            self._collect()
            try:
                if batch.documents:
                    noising.take(self.masters)
            except GradientNotFinite:
                shown += math.nan  # every process learns of it with the sum
        return shown

    @torch.no_grad()
    def _collect(self) -> None:
        """Add the gradients of bfloat16 weights up in float32."""
        for weight, master in zip(self.weights, self.masters, strict=True):
            if master is weight:
                continue
            assert weight.grad is not None
            held = weight.grad.float()
            master.grad = held if master.grad is None else master.grad.add_(held)
            weight.grad = None

    @torch.no_grad()
    def _copy_masters(self) -> None:
        for weight, master in zip(self.weights, self.masters, strict=True):
            if master is not weight:
                weight.copy_(master)

    def _loss(self, batch: Batch) -> Tensor:
        self._spans = batch.spans
        with computing(self.model):
            states = hidden_states(self.model, batch.input_ids, batch.position_ids, batch.starts)
            return supervised_loss(states, head(self.model).weight, batch.labels, batch.predicting)

    def _observe(self, module: Any, arguments: tuple[Any, ...]) -> None:
        """Keep a copy of what enters the forward pass; it is looked at when the device is done."""
        if torch.is_grad_enabled() and self.model.training:
            ids = arguments[0].detach()
            copy = torch.empty(ids.shape, dtype=ids.dtype, pin_memory=ids.is_cuda)
            self._observed.append((copy.copy_(ids, non_blocking=True), self._spans))

    def _show_observer(self) -> None:
        for ids, spans in self._observed:
            self.observer.observe(ids.numpy().reshape(len(spans), -1), spans)
        self._observed.clear()
