"""The LightningModule: one adapter, one loss, a learning rate that is a function of the step."""

import math
from typing import Any

import torch
from peft import PeftModel
from pytorch_lightning import LightningModule
from torch import Tensor
from torch.optim import AdamW, Optimizer

from harness.commitments.receipt import Observer
from harness.config import Train
from harness.corpus.datamodule import Batch
from harness.errors import ExitCode, HarnessError
from harness.models.adapter import computing, embeddings, head, hidden_states
from harness.training.loss import supervised_loss


class NonFinite(HarnessError):
    """The loss is no number (exit 5); the last checkpoint stays."""

    exit_code = ExitCode.INTERNAL


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

    Args:
        model: base with a fresh adapter.
        settings: the ``train`` section.
        total: configured number of optimiser steps.
        observer: of the receipt.
        step: optimiser steps done before this start.
    """

    def __init__(
        self, model: PeftModel, settings: Train, total: int, observer: Observer, step: int = 0
    ) -> None:
        super().__init__()
        self.model, self.settings, self.total = model, settings, total
        self.observer, self.step = observer, step
        self.restored: dict[str, Tensor] = {}
        self._spans: Any = ()
        embeddings(model).register_forward_pre_hook(self._observe)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Mean loss in nats per supervised token.

        Raises:
            NonFinite: ``LOSS_NOT_FINITE`` naming the step.
        """
        self._spans = batch.spans
        total, supervised = self._loss(batch)
        loss = total / max(1, supervised)
        if not torch.isfinite(loss):
            raise NonFinite("LOSS_NOT_FINITE", f"at step {self.step + 1}", "train.lr",
                            "lower it; the last checkpoint is kept")  # fmt: skip
        return loss

    @torch.no_grad()
    def evaluate(self, batches: Any) -> float:
        """Mean loss in nats per token over validation batches; dropout off."""
        self.model.eval()
        sums = [self._loss(batch.to(self.device)) for batch in batches]
        self.model.train()
        return float(sum(total for total, _ in sums)) / max(1, sum(count for _, count in sums))

    def configure_optimizers(self) -> Optimizer:
        """AdamW on the adapter's weights; the schedule is set step by step."""
        adapted = [weight for weight in self.model.parameters() if weight.requires_grad]
        optimizer = AdamW(adapted, lr=self.settings.lr, weight_decay=self.settings.weight_decay,
                          fused=True)  # fmt: skip
        if self.restored:
            self._restore(optimizer)
        return optimizer

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Set the learning rate of this step."""
        for group in optimizer.param_groups:
            group["lr"] = self.current_rate()

    def current_rate(self) -> float:
        """Learning rate of the step that is being made."""
        return learning_rate(self.step, self.total, self.settings)

    def tensors(self, optimizer: Optimizer) -> dict[str, Tensor]:
        """Adapter weights and optimiser moments by name, for a checkpoint."""
        found = {}
        for name, weight in self._adapted():
            found[f"weight.{name}"] = weight.data
            for key, value in optimizer.state[weight].items():
                found[f"optimizer.{name}.{key}"] = value
        return found

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take weights now, and optimiser moments when the optimiser is made."""
        for name, weight in self._adapted():
            weight.data.copy_(tensors[f"weight.{name}"])
        self.restored = tensors

    def _restore(self, optimizer: Optimizer) -> None:
        for name, weight in self._adapted():
            prefix = f"optimizer.{name}."
            optimizer.state[weight] = {
                key.removeprefix(prefix): value.to(weight.device)
                for key, value in self.restored.items()
                if key.startswith(prefix)
            }
        self.restored = {}

    def _adapted(self) -> list[tuple[str, Tensor]]:
        return [(n, weight) for n, weight in self.model.named_parameters() if weight.requires_grad]

    def _loss(self, batch: Batch) -> tuple[Tensor, int]:
        with computing(self.model):
            states = hidden_states(self.model, batch.input_ids, batch.position_ids)
            weight = head(self.model).weight
            assert isinstance(weight, Tensor)
            return supervised_loss(states, weight, batch.labels)

    def _observe(self, module: Any, arguments: tuple[Any, ...]) -> None:
        if torch.is_grad_enabled() and self.model.training:
            self.observer.observe(arguments[0].cpu().numpy(), self._spans)
