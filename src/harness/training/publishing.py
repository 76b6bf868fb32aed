"""What a training leaves: the receipt first, and an adapter only where that is equal."""

import errno
import re
import shutil
import sys
from typing import Any

from safetensors import SafetensorError

from harness.commitments.receipt import Committer, arm_leaves, audit_key, receipt
from harness.config import Config
from harness.consent.capability import Admitted
from harness.corpus.datamodule import DrawnSteps, MeetingData
from harness.errors import Refused
from harness.models.base import Base
from harness.rundir import RunDir, clear_leftovers, write_bytes, write_json
from harness.training.card import model_card
from harness.training.checkpoint import TrainState
from harness.training.module import LoraModule


def publish(
    config: Config, run: RunDir, admitted: Admitted, loaded: Base, data: MeetingData,
    module: LoraModule, state: TrainState,
) -> dict[str, Any]:  # fmt: skip
    """Write receipt, leaves, adapter and model card; return the receipt.

    Raises:
        Refused: ``RECEIPT_UNEQUAL`` when something else than what was admitted entered.
    """
    committer = Committer(audit_key(run))
    arms = arm_leaves(committer, data.meetings, admitted.kept_out)
    undrawn = data.steps.never(state.step) if isinstance(data.steps, DrawnSteps) else []
    made = receipt(committer, arms, data.carriers, module.observer, undrawn)
    made |= {"masked": data.masked}
    if module.noising:
        made["privacy"] = module.noising.spent(state.step)
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
    for name in ("", "train", "adapter", "private"):
        clear_leftovers(run.path / name)  # of attempts that were killed while they wrote
    print(f"train: {made['tokens']} tokens entered, the receipt is equal; adapter in "
          f"{run.path / 'adapter'}", file=sys.stderr, flush=True)  # fmt: skip
    return made


def _save_adapter(run: RunDir, module: LoraModule, card: str) -> None:
    staged = run.file("adapter", ".staged")
    shutil.rmtree(staged, ignore_errors=True)
    try:
        module.model.eval().save_pretrained(str(staged), save_embedding_layers=False)
    except SafetensorError as error:  # its errors of the disk are no OSError
        number = re.search(r"os error (\d+)", str(error))
        raise OSError(int(number[1]) if number else errno.EIO, "not written", str(staged)) from None
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        write_bytes(run.file("adapter", name), (staged / name).read_bytes(), mode=0o600)
    write_bytes(run.file("adapter", "README.md"), card.encode(), mode=0o600)
    shutil.rmtree(staged)
