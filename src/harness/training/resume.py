"""Where a training goes on: only where its next bit would be that of an undisturbed one."""

import sys
from pathlib import Path
from typing import Any

from torch import Tensor

from harness.consent import gate
from harness.consent.capability import Authority
from harness.errors import Refused
from harness.training.checkpoint import TrainState, load_checkpoint


def resume(
    folder: Path, begun: TrainState, authority: Authority, deterministic: bool, rank: int = 0
) -> tuple[TrainState, dict[str, Tensor], list[bytes]]:
    """The newest checkpoint's state, tensors and observed leaves; ``begun`` where there is none.

    Random states of this process are restored.

    Args:
        folder: ``checkpoints/``.
        begun: the state that a training of these settings begins with here and now.
        authority: under which it would go on.
        deterministic: whether another machine is refused, or only told of.
        rank: of this process.

    Raises:
        Withdrawn: ``TRAIN_ROOT_CHANGED`` when other turns are admitted now.
        Refused: ``PLAN_CHANGED``, ``MACHINE_CHANGED`` or ``CHECKPOINT_CORRUPT``.
    """
    found = load_checkpoint(folder, rank)
    if found is None:
        return begun, {}, []
    state, tensors, leaves = found
    if state.train_root != begun.train_root:
        error = gate.Withdrawn(
            "TRAIN_ROOT_CHANGED", "other turns are admitted than this attempt trained on",
            "checkpoints/", "start from step 0 in another run_dir",
        )  # fmt: skip
        error.restart = authority.restarts
        raise error
    if state.plan != begun.plan:
        raise Refused("PLAN_CHANGED", "documents, masks, canaries or their order are not those of "
                      "the checkpoint", "checkpoints/", "continue with the version of the harness "
                      "that began, or in another run_dir")  # fmt: skip
    _same_machine(deterministic, begun.machine, state.machine)
    if authority.epoch not in state.epochs:
        state.epochs.append(authority.epoch)
    return state, tensors, leaves


def _same_machine(deterministic: bool, here: dict[str, Any], there: dict[str, Any]) -> None:
    """Continue only where the bits can be continued, or say that they are not."""
    changed = ", ".join(sorted(key for key in here if here[key] != there.get(key)))
    if changed and deterministic:
        raise Refused("MACHINE_CHANGED", f"{changed} differ from when it began", "checkpoints/",
                      "continue on its machine, or in another run_dir")  # fmt: skip
    if changed:
        print(f"train: {changed} differ from when it began; the bits are not those of an "
              "undisturbed run", file=sys.stderr, flush=True)  # fmt: skip
