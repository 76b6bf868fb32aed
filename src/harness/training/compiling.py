"""torch.compile where it gains, and a word about it."""

import shutil
from dataclasses import dataclass

import torch
from peft import PeftModel

from harness.config import Train
from harness.models.adapter import backbone

WARM_UP = 300  # steps after which a compiled training on a CUDA device is ahead, with a margin


@dataclass(frozen=True)
class Choice:
    """Attributes: on: whether to compile; why: for the log."""

    on: bool
    why: str


def choose(settings: Train, steps: int, device: torch.device) -> Choice:
    """Whether to compile a training of so many steps."""
    if settings.compile == "off":
        return Choice(False, "train.compile=off")
    if settings.compile == "auto" and device.type != "cuda":
        return Choice(False, "not on a CPU unless train.compile=on: warming up takes minutes")
    if settings.compile == "auto" and steps < WARM_UP:
        return Choice(False, f"{steps} steps are too few to gain from warming up")
    if device.type != "cuda" and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        return Choice(False, "there is no C++ compiler here")
    return Choice(True, "train.compile=on" if settings.compile == "on" else f"{steps} steps")


def compile_layers(model: PeftModel) -> None:
    """Compile each decoder layer; they are alike, so the first one's code serves all.

    After PEFT has put the adapter in, and for rows of any length.
    """
    for layer in backbone(model).layers:  # type: ignore[union-attr]
        layer.compile(dynamic=True)
