"""Losses that are no numbers, and memory that is not enough."""

import json
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from endings import ends, with_key_of
from faults.conftest import KINDS, Command
from faults.test_disks import verifies

Undisturbed = Callable[..., Path]
LOSS: dict[str, Any] = {"moment": "loss", "call": 11}  # of step 3
THREE = ("train.micro_rows", "corpus.row_tokens", "train.activation_checkpointing")
PRIVATE = ("privacy.noise=1", "train.micro_rows=0")


def named(run_dir: Path) -> list[str]:
    """Documents that were said to be at fault, in step 3; readable by their owner only."""
    path = run_dir / "private" / "nonfinite.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    said = json.loads(path.read_text())
    assert said["step"] == 3
    assert len(said["documents"]) >= 1
    return list(said["documents"])


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "rank", "call"), [("one", 0, 11), ("ddp", 0, 6), ("ddp", 1, 6)])
def test_a_loss_that_is_no_number(
    command: Command, undisturbed: Undisturbed, tmp_path: Path, kind: str, rank: int, call: int
) -> None:
    run_dir = with_key_of(undisturbed(kind), tmp_path / "run")
    plan = {"moment": "loss", "call": call, "rank": rank, "fault": "spoil"}
    outcome = command.faulty(plan, run_dir, *KINDS[kind])
    assert outcome.code == 5, outcome.err
    line = outcome.line("LOSS_NOT_FINITE")
    assert re.search(r"step 3\b.*private/nonfinite\.json", line)
    assert not any(document in line for document in named(run_dir))
    assert verifies(run_dir)
    assert command.shipped(run_dir, *KINDS[kind]).code == 0
    assert ends(run_dir) == ends(undisturbed(kind))


@pytest.mark.slow
def test_a_validation_loss_that_is_no_number(command: Command, run_dir: Path) -> None:
    outcome = command.faulty({"moment": "evaluate", "fault": "spoil"}, run_dir)
    assert outcome.code == 5, outcome.err
    outcome.line("LOSS_NOT_FINITE")
    said = json.loads((run_dir / "private" / "nonfinite.json").read_text())
    assert said["step"] == 6
    assert verifies(run_dir)


@pytest.mark.slow
def test_a_private_training_says_the_same(command: Command, tmp_path: Path) -> None:
    pytest.importorskip("opacus")
    plan = {"moment": "loss", "call": 3, "fault": "spoil"}
    outcome = command.faulty(plan, tmp_path / "run", *PRIVATE)
    assert outcome.code == 5, outcome.err
    assert "private/nonfinite.json" in outcome.line("LOSS_NOT_FINITE")
    assert (tmp_path / "run" / "private" / "nonfinite.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["starve", "cramp"])
def test_out_of_memory(
    command: Command, undisturbed: Undisturbed, run_dir: Path, fault: str
) -> None:
    outcome = command.faulty(LOSS | {"fault": fault}, run_dir)
    assert outcome.code == 5, outcome.err
    line = outcome.line("OUT_OF_MEMORY")
    assert all(key in line for key in THREE)
    assert verifies(run_dir)
    assert json.loads((run_dir / "checkpoints" / "LATEST.json").read_text())["file"].endswith(
        "2.safetensors"
    )
    assert command.shipped(run_dir).code == 0
    assert ends(run_dir) == ends(undisturbed())
