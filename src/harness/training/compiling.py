"""torch.compile where it gains, and a word about it."""

import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from peft import PeftModel
from pytorch_lightning import Callback, Trainer

from harness.config import Train
from harness.corpus.datamodule import Step
from harness.errors import ExitCode, HarnessError
from harness.models.adapter import backbone
from harness.training.module import LoraModule

# Tokens after which a compiled training is ahead. On an H200 warming up took 73 s for a model of
# 1 B weights, and each token 3.8 microseconds less from then on; 59 s and 15.6 for one of 8 B.
WARM_UP = 20_000_000
APART = 0.3  # of the gradient's norm; rounding in bfloat16 gives a few hundredths


@dataclass(frozen=True)
class Choice:
    """Attributes: on: whether to compile; why: for the log."""

    on: bool
    why: str


def choose(settings: Train, tokens: int, device: torch.device) -> Choice:
    """Whether to compile a training of so many tokens."""
    if settings.compile == "off":
        return Choice(False, "train.compile=off")
    if settings.compile == "auto" and device.type != "cuda":
        return Choice(False, "not on a CPU unless train.compile=on: warming up takes minutes")
    if settings.compile == "auto" and tokens < WARM_UP:
        return Choice(False, f"{tokens:,} tokens are too few to gain from warming up")
    if device.type != "cuda" and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        return Choice(False, "there is no C++ compiler here")
    return Choice(True, "train.compile=on" if settings.compile == "on" else f"{tokens:,} tokens")


def compile_layers(model: PeftModel) -> None:
    """Compile each decoder layer; they are alike, so the first one's code serves all.

    After PEFT has put the adapter in, and for rows of any length. Dropout draws as it does in plain
    layers, so that the two can be compared.
    """
    from torch._inductor import config as inductor  # takes seconds, and is for this only

    inductor.fallback_random = True
    for layer in backbone(model).layers:  # type: ignore[union-attr]
        layer.compile(dynamic=True)


class Unfaithful(HarnessError):
    """Compiled code does not compute what the model does (exit 5)."""

    exit_code = ExitCode.INTERNAL


class Confirm(Callback):
    """Before the first step, compares the compiled layers' gradient with the plain layers'."""

    def __init__(self) -> None:
        self.done = False

    def on_train_batch_start(  # type: ignore[override]
        self, trainer: Trainer, pl_module: LoraModule, batch: Step, batch_idx: int
    ) -> None:
        """Compare on the first step that has a loss; nothing of it is kept.

        Raises:
            Unfaithful: ``COMPILE_DIFFERS``.
        """
        if self.done or not batch.supervised:  # known to all processes: none may go ahead alone
            return
        self.done = True
        apart, whole = 0.0, 0.0
        for part in batch.micro:  # one by one: their sum may be small beside them, errors are not
            with plain_layers(pl_module.model):
                plain = pl_module.gradient_of(part)
            compiled = pl_module.gradient_of(part)
            apart += float((compiled - plain).square().sum())
            whole += float(plain.square().sum())
        if not math.sqrt(apart) <= APART * math.sqrt(whole):
            raise Unfaithful("COMPILE_DIFFERS", "compiled layers give another gradient",
                             "train.compile", "set it to off, or try another torch")  # fmt: skip


@contextmanager
def plain_layers(model: PeftModel) -> Iterator[None]:
    """Let the layers run as they are, not compiled."""
    layers = list(backbone(model).layers)  # type: ignore[arg-type]
    compiled = [layer._compiled_call_impl for layer in layers]
    for layer in layers:
        layer._compiled_call_impl = None
    try:
        yield
    finally:
        for layer, call in zip(layers, compiled, strict=True):
            layer._compiled_call_impl = call
