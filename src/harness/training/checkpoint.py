"""What resume needs, in one safetensors file: no pickle, no base weights."""

import json
import random
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from harness.digest import sha256_file
from harness.errors import Refused
from harness.models.base import Base
from harness.rundir import read_json, write_bytes, write_json

LATEST = "LATEST.json"


@dataclass
class TrainState:
    """Everything of a training that is not a tensor, but decides its next bit.

    Attributes:
        step: optimiser steps done.
        tokens: tokens that entered the forward pass so far.
        supervised_tokens: of them with a loss.
        evaluations: (step, validation loss) pairs so far.
        stopped: whether validation ended the training early.
        train_root: root of the admitted turns; another one forbids to continue.
        epochs: manifest epochs under which the training ran.
        machine: what bits depend on, see :func:`machine`.
    """

    step: int = 0
    tokens: int = 0
    supervised_tokens: int = 0
    evaluations: list[tuple[int, float]] = field(default_factory=list)
    stopped: bool = False
    train_root: str = ""
    epochs: list[int] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=dict)


def machine(device: torch.device, base: Base) -> dict[str, Any]:
    """What the bits of a result depend on beside data and settings."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return {
        "device": name,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "base_sha256": base.sha256,
        "dtype": str(base.model.dtype),
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }


def save_checkpoint(
    folder: Path, state: TrainState, tensors: dict[str, Tensor], seen: set[bytes]
) -> None:
    """Write a checkpoint whole, point LATEST at it, and drop all but the one before.

    Args:
        folder: ``checkpoints/``.
        state: of the training.
        tensors: adapter and optimiser tensors.
        seen: leaves that the receipt's observer collected.
    """
    leaves = np.frombuffer(b"".join(sorted(seen)), np.uint8).copy()
    extra = {"receipt.seen": torch.from_numpy(leaves), **_random_states()}
    header = {"state": json.dumps(asdict(state)), "random": json.dumps(random.getstate())}
    path = folder / f"step-{state.step:07d}.safetensors"
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save({**contiguous, **extra}, metadata=header), mode=0o600)
    write_json(folder / LATEST, {"file": path.name, "sha256": sha256_file(path)})
    for old in sorted(folder.glob("step-*.safetensors"))[:-2]:
        old.unlink()


def load_checkpoint(folder: Path) -> tuple[TrainState, dict[str, Tensor], set[bytes]] | None:
    """The newest whole checkpoint, or None; random states are restored.

    Raises:
        Refused: ``CHECKPOINT_CORRUPT`` when its digest is not the recorded one.
    """
    if not (folder / LATEST).exists():
        return None
    latest = read_json(folder / LATEST)
    path = folder / Path(latest["file"]).name
    if not path.exists() or sha256_file(path) != latest["sha256"]:
        raise Refused("CHECKPOINT_CORRUPT", "the checkpoint is not the one that was written",
                      path.name, "delete checkpoints/ to start again")  # fmt: skip
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    raw = tensors.pop("receipt.seen").numpy().tobytes()
    _restore_random(tensors, header["random"])
    values = json.loads(header["state"])
    values["evaluations"] = [(int(step), float(loss)) for step, loss in values["evaluations"]]
    return TrainState(**values), tensors, {raw[i : i + 32] for i in range(0, len(raw), 32)}


def _random_states() -> dict[str, Tensor]:
    states = {"random.torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["random.cuda"] = torch.cuda.get_rng_state()
    return states


def _restore_random(tensors: dict[str, Tensor], python_state: str) -> None:
    torch.set_rng_state(tensors.pop("random.torch"))
    if "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors.pop("random.cuda"))
    version, internal, gauss = json.loads(python_state)
    random.setstate((version, tuple(internal), gauss))
