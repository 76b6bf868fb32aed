"""Runs the shipped command, with and without a planted fault, in processes of their own."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import harness
from endings import with_key_of

TINY = [
    "model=tiny", "tracking=off", "model.dtype=float32", "train.threads=1", "corpus.row_tokens=256",
    "corpus.meeting_tokens=250", "canaries.per_level=4", "canaries.repetitions=[1,2]",
    "train.epochs=2", "train.batch_rows=4", "train.micro_rows=1", "train.checkpoint_steps=2",
    "train.eval_epochs=1", "train.accelerator=cpu", "lora.dropout=0.1", "train.lr=0.01",
]  # fmt: skip
KINDS = {
    "one": [], "ddp": ["train.devices=2"], "fsdp2": ["train.devices=2", "train.strategy=fsdp2"],
}  # fmt: skip
DRIVER = Path(__file__).with_name("driver.py")
OURS = re.compile(r"(train|train step|harness|gate)[: ]")


@dataclass(frozen=True)
class Outcome:
    """Attributes: code: exit code, negative of a signal; out, err: what was printed."""

    code: int
    out: str
    err: str

    def only_ours(self) -> bool:
        """Whether no library talked over the command."""
        return all(OURS.match(line) for line in self.err.splitlines())

    def line(self, name: str) -> str:
        """The one line of a refusal, which is the last; nothing but progress stands before it."""
        told = [line for line in self.err.splitlines() if line.startswith("harness: ")]
        assert self.only_ours(), self.err
        assert told == self.err.splitlines()[-1:], self.err
        assert told[0].startswith(f"harness: {name}: "), self.err
        return told[0]


@dataclass(frozen=True)
class Command:
    """``harness train`` on the tiny model.

    Attributes:
        work: where all runs keep store and manifest.
    """

    work: Path

    def shipped(self, run_dir: Path, *more: str) -> Outcome:
        """As a user starts it."""
        return self._run(["-m", "harness.cli"], run_dir, more)

    def faulty(self, plan: dict[str, Any], run_dir: Path, *more: str) -> Outcome:
        """With a fault at a moment, see ``driver.py``."""
        return self._run([str(DRIVER), json.dumps(plan)], run_dir, more)

    def start(
        self, program: list[str], run_dir: Path, more: tuple[str, ...]
    ) -> subprocess.Popen[str]:
        """The process; it imports the harness that these tests import."""
        words = ["train", *TINY, f"run_dir={run_dir}", f"data.work={self.work / 'made'}", *more]
        source = str(Path(harness.__file__).parents[1])
        environment = os.environ | {"PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
        environment |= {"CUDA_VISIBLE_DEVICES": ""}
        environment.pop("HARNESS_TRUST", None)
        return subprocess.Popen([sys.executable, *program, *words], env=environment, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip

    def _run(self, program: list[str], run_dir: Path, more: tuple[str, ...]) -> Outcome:
        process = self.start(program, run_dir, more)
        out, err = process.communicate(timeout=300)
        return Outcome(process.returncode, out, err)


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """The command, and where it works."""
    return Command(tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="session")
def undisturbed(command: Command) -> Callable[..., Path]:
    """The run directory of an undisturbed run of a kind; made once."""
    made: dict[str, Path] = {}

    def run(kind: str = "one") -> Path:
        if kind not in made:
            outcome = command.shipped(command.work / kind, *KINDS[kind])
            assert outcome.code == 0, outcome.err
            assert outcome.only_ours(), outcome.err
            made[kind] = command.work / kind
        return made[kind]

    return run


@pytest.fixture
def run_dir(undisturbed: Callable[..., Path], tmp_path: Path) -> Path:
    """A fresh run directory under the audit key of the undisturbed runs of one process."""
    return with_key_of(undisturbed(), tmp_path / "run")
