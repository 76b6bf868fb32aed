"""Disks that are full, read-only or gone: one line, exit 5, and nothing is lost."""

import hashlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from endings import ends, with_key_of
from faults.conftest import Command

Undisturbed = Callable[..., Path]
MOMENTS: dict[str, dict[str, Any]] = {
    "metrics": {"moment": "metrics"},  # of step 1, before there is such a file
    "checkpoint": {"moment": "save", "call": 2},
    "receipt": {"moment": "publish"},
    "adapter": {"moment": "adapter"},
}
SMALL = {"metrics": 100, "checkpoint": 9000, "receipt": 100, "adapter": 9000}
GONE = {"metrics": {"moment": "metrics", "call": 3}, "checkpoint": {"moment": "save", "call": 2},
        "receipt": {"moment": "publish"}, "adapter": {"moment": "adapter"}}  # fmt: skip


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a disk to fill")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", place], check=False)
    if mounted.returncode:
        pytest.skip("no tmpfs can be mounted here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def refused(moment: str) -> str:
    """Code of the refusal."""
    return "CHECKPOINT_UNWRITABLE" if moment == "checkpoint" else "RUN_UNWRITABLE"


def verifies(run_dir: Path) -> bool:
    """Whether the last checkpoint, where there is one, is what was written."""
    latest = run_dir / "checkpoints" / "LATEST.json"
    if not latest.exists():
        return True
    said = json.loads(latest.read_text())
    data = (run_dir / "checkpoints" / said["file"]).read_bytes()
    return hashlib.sha256(data).hexdigest() == str(said["sha256"])


def goes_on(command: Command, run_dir: Path, undisturbed: Path) -> None:
    assert verifies(run_dir)
    outcome = command.shipped(run_dir)
    assert outcome.code == 0, outcome.err
    assert ends(run_dir) == ends(undisturbed)


@pytest.mark.parametrize(
    "moment",
    [m if m == "adapter" else pytest.param(m, marks=pytest.mark.slow) for m in MOMENTS],
)
def test_files_may_grow_no_more(
    command: Command, undisturbed: Undisturbed, run_dir: Path, moment: str
) -> None:
    plan = MOMENTS[moment] | {"fault": "limit", "bytes": SMALL[moment]}
    outcome = command.faulty(plan, run_dir)
    assert outcome.code == 5, outcome.err
    outcome.line(refused(moment))
    goes_on(command, run_dir, undisturbed())


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_full_disk(command: Command, undisturbed: Undisturbed, disk: Path, moment: str) -> None:
    run_dir = with_key_of(undisturbed(), disk / "run")
    outcome = command.faulty(MOMENTS[moment] | {"fault": "fill", "path": str(disk)}, run_dir)
    assert outcome.code == 5, outcome.err
    assert "No space left" in outcome.line(refused(moment))
    assert not [*run_dir.rglob(".*.tmp")]
    (disk / "filler").unlink()
    goes_on(command, run_dir, undisturbed())


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_disk_that_becomes_read_only(
    command: Command, undisturbed: Undisturbed, disk: Path, moment: str
) -> None:
    run_dir = with_key_of(undisturbed(), disk / "run")
    outcome = command.faulty(MOMENTS[moment] | {"fault": "lock", "path": str(disk)}, run_dir)
    assert outcome.code == 5, outcome.err
    assert "Read-only" in outcome.line(refused(moment))
    again = command.shipped(run_dir)
    assert again.code == 5, again.err
    assert again.line("RUN_UNWRITABLE")
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    goes_on(command, run_dir, undisturbed())


@pytest.mark.slow
@pytest.mark.parametrize("moment", GONE)
def test_a_run_directory_that_vanishes(
    command: Command, undisturbed: Undisturbed, run_dir: Path, moment: str
) -> None:
    outcome = command.faulty(GONE[moment] | {"fault": "vanish", "path": str(run_dir)}, run_dir)
    assert outcome.code == 5, outcome.err
    outcome.line(refused(moment))
    assert not run_dir.exists()  # what comes back must find its place free
    run_dir.with_name("run.gone").rename(run_dir)
    goes_on(command, run_dir, undisturbed())


@pytest.mark.slow
@pytest.mark.parametrize("back", [True, False])
def test_checkpoints_that_vanish(
    command: Command, undisturbed: Undisturbed, run_dir: Path, back: bool
) -> None:
    """They come back, or all is done again."""
    folder = run_dir / "checkpoints"
    plan = GONE["metrics"] | {"fault": "vanish", "path": str(folder)}
    outcome = command.faulty(plan, run_dir)
    assert outcome.code == 5, outcome.err
    outcome.line("CHECKPOINT_UNWRITABLE")
    assert not folder.exists()
    if back:
        folder.with_name("checkpoints.gone").rename(folder)
    goes_on(command, run_dir, undisturbed())
