"""Runs the shipped command in processes of their own, on the demo's meetings and a tiny model."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

TINY = [
    "model=tiny", "tracking=off", "model.dtype=float32", "train.threads=1", "corpus.row_tokens=256",
    "corpus.meeting_tokens=250", "canaries.per_level=4", "canaries.repetitions=[1,2]",
    "train.epochs=3", "train.batch_rows=4", "train.checkpoint_steps=2", "train.eval_epochs=1",
    "train.accelerator=cpu", "lora.dropout=0.1", "train.lr=0.01",
]  # fmt: skip

Harness = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all runs of these tests keep keys, store and manifest."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="session")
def harness(work: Path) -> Harness:
    """Start ``harness COMMAND run_dir=RUN ...`` on the tiny model; returns the process."""

    def start(
        command: str, run_dir: Path, *more: str, trust: Path | None = None,
        launcher: tuple[str, ...] = (),
    ) -> subprocess.Popen[str]:  # fmt: skip
        environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        environment.pop("HARNESS_TRUST", None)
        environment |= {"HARNESS_TRUST": str(trust)} if trust else {}
        words = [command, *TINY, f"run_dir={run_dir}", f"data.work={work / 'harness'}", *more]
        return subprocess.Popen(
            [sys.executable, *launcher, "-m", "harness.cli", *words], env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    return start


@pytest.fixture(scope="session")
def finished(harness: Harness) -> Callable[..., tuple[int, str, str]]:
    """Run to the end; returns exit code, stdout and stderr."""

    def run(
        command: str, run_dir: Path, *more: str, trust: Path | None = None,
        launcher: tuple[str, ...] = (),
    ) -> tuple[int, str, str]:  # fmt: skip
        process = harness(command, run_dir, *more, trust=trust, launcher=launcher)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err

    return run
