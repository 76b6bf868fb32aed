"""What resume needs, in one safetensors file: no pickle, no base weights."""

import errno
import json
import os
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from harness.digest import sha256_hex
from harness.errors import Refused, Unwritable
from harness.models.base import Base
from harness.rundir import clear_leftovers, read_json, write_bytes, write_json
from harness.training import observed
from harness.training.observed import Observed

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
        plan: digest of documents, masks, canaries, packing and order.
        epochs: manifest epochs under which the training ran.
        machine: what bits depend on, see :func:`machine`.
        observed: what the receipt's observer has seen, as this process has written it.
    """

    step: int = 0
    tokens: int = 0
    supervised_tokens: int = 0
    evaluations: list[tuple[int, float]] = field(default_factory=list)
    stopped: bool = False
    plan: str = ""
    train_root: str = ""
    epochs: list[int] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=dict)
    observed: Observed = field(default_factory=Observed)


def machine(device: torch.device, base: Base, compiled: bool, processes: int) -> dict[str, Any]:
    """What the bits of a result depend on beside data and settings."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return {
        "device": name,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "base_sha256": base.sha256,
        "dtype": str(base.model.dtype),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "attention": base.attention,
        "compiled": compiled,
        "processes": processes,
    }


def save_checkpoint(
    folder: Path, state: TrainState, tensors: dict[str, Tensor], leaves: Sequence[bytes]
) -> None:
    """Write a checkpoint whole, point LATEST at it, and drop all but it and the one before.

    Args:
        folder: ``checkpoints/``.
        state: of the training; learns what is observed.
        tensors: adapter and optimiser tensors, and ``random.RANK.*`` states of every process.
        leaves: that the receipt's observer has met since this process last saved.

    Raises:
        Unwritable: ``CHECKPOINT_UNWRITABLE`` where the disk is full, read-only or gone; what was
            saved before is untouched.
    """
    path = folder / f"step-{state.step:07d}.safetensors"
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        if not folder.is_dir():  # never made again: whoever removed it, removed what it held
            raise FileNotFoundError(errno.ENOENT, "no such folder")
        state.observed = observed.extend(folder, state.observed, leaves)
        data = save(contiguous, metadata={"state": json.dumps(asdict(state))})
        before = read_json(folder / LATEST) if (folder / LATEST).exists() else {}
        latest = {"file": path.name, "leaves": state.observed.file, "sha256": sha256_hex(data)}
        write_bytes(path, data, mode=0o600)
        write_json(folder / LATEST, latest)
        _keep_only(folder, {*before.values(), *latest.values()})
    except OSError as error:
        raise Unwritable(
            "CHECKPOINT_UNWRITABLE", os.strerror(error.errno or errno.EIO),
            f"checkpoints/{path.name}",
            "make room or mount it again; the same command goes on from the last checkpoint",
        ) from None  # fmt: skip


def load_checkpoint(
    folder: Path, rank: int = 0
) -> tuple[TrainState, dict[str, Tensor], list[bytes]] | None:
    """The newest whole checkpoint, or None; random states of this process are restored.

    Args:
        folder: ``checkpoints/``.
        rank: of this process.

    Raises:
        Refused: ``CHECKPOINT_CORRUPT`` when a digest is not the recorded one, or another version
            of the harness wrote it.
    """
    if not (folder / LATEST).exists():
        return None
    latest = read_json(folder / LATEST)
    path = folder / Path(latest["file"]).name
    data = path.read_bytes() if path.exists() else b""
    if sha256_hex(data) != latest["sha256"]:
        raise Refused("CHECKPOINT_CORRUPT", "the checkpoint is not the one that was written",
                      path.name, "delete checkpoints/ to start again")  # fmt: skip
    tensors = load(data)  # what was hashed is what is used
    states = {name: tensors.pop(name) for name in sorted(tensors) if name.startswith("random.")}
    mine = f"random.{rank}."
    restore_random({n.removeprefix(mine): v for n, v in states.items() if n.startswith(mine)})
    values = json.loads(_header(data)["state"])
    if values.keys() != {each.name for each in fields(TrainState)}:
        raise Refused("CHECKPOINT_CORRUPT", "another version of the harness wrote the checkpoint",
                      path.name, "continue with that version, or delete checkpoints/ to start "
                      "again")  # fmt: skip
    leaves = observed.read(folder, Observed(**values.pop("observed")))
    values["evaluations"] = [(int(step), float(loss)) for step, loss in values["evaluations"]]
    return TrainState(**values), tensors, leaves


def _keep_only(folder: Path, names: set[str]) -> None:
    """Drop what neither this checkpoint nor the one before names, and what kills left half made."""
    for pattern in ("step-*.safetensors", observed.PATTERN):
        for old in folder.glob(pattern):
            if old.name not in names:
                old.unlink()
    clear_leftovers(folder)


def _header(data: bytes) -> dict[str, str]:
    """Metadata of a safetensors file: eight bytes of length, then JSON."""
    size = int.from_bytes(data[:8], "little")
    return dict(json.loads(data[8 : 8 + size])["__metadata__"])


def random_states() -> dict[str, Tensor]:
    """States of every generator that a training draws from in this process."""
    version, internal, _ = random.getstate()
    states = {"torch": torch.get_rng_state(), "python": torch.tensor([version, *internal])}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def restore_random(states: dict[str, Tensor]) -> None:
    """Put back what :func:`random_states` gave."""
    torch.set_rng_state(states["torch"])
    version, *internal = states["python"].tolist()
    random.setstate((version, tuple(internal), None))
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])
