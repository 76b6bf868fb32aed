"""SIGKILL at fifty times drawn over the whole wall time of a run."""

import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from endings import ends, with_key_of
from faults.conftest import Command

KILLS = 50
IN_A_ROW = 5  # kills that one run directory goes through before it may end
SHIPPED = ["-m", "harness.cli"]


def survives(command: Command, run_dir: Path, after: float) -> bool:
    """Whether the command ends before it is killed so many seconds after its start."""
    process = command.start(SHIPPED, run_dir, ())
    try:
        _, err = process.communicate(timeout=after)
        assert process.returncode == 0, err
        return True
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return process.returncode == 0


@pytest.mark.slow
def test_killed_at_any_time_the_bits_are_the_same(
    command: Command, undisturbed: Callable[..., Path], tmp_path: Path
) -> None:
    expected = ends(undisturbed())
    began = time.monotonic()
    assert survives(command, with_key_of(undisturbed(), tmp_path / "timed"), 300)
    wall = time.monotonic() - began
    draw = random.Random(0)
    killed, directory = 0, 0
    while killed < KILLS:
        run_dir = with_key_of(undisturbed(), tmp_path / f"run-{directory}")
        directory += 1
        done = 0
        while done < IN_A_ROW and not survives(command, run_dir, draw.uniform(0, wall)):
            done += 1
        killed += done
        assert survives(command, run_dir, 300)
        assert ends(run_dir) == expected
