"""A training that was killed ends with the bits of one that was not."""

import json
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from endings import ends, with_key_of

Finished = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def undisturbed(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "undisturbed"
    code, _, err = finished("train", run_dir)
    assert code == 0, err
    return run_dir


def steps_done(run_dir: Path) -> int:
    metrics = run_dir / "train" / "metrics.jsonl"
    return metrics.read_bytes().count(b"\n") if metrics.exists() else 0


def wait_for_step(process: Any, run_dir: Path, step: int) -> None:
    while process.poll() is None and steps_done(run_dir) < step:
        time.sleep(0.002)


def test_the_undisturbed_run_is_whole(undisturbed: Path) -> None:
    _, metrics, receipt = ends(undisturbed)
    assert [line["step"] for line in metrics] == list(range(1, len(metrics) + 1))
    assert len(metrics) >= 12
    assert receipt["equal"] is True
    assert sum(line["eval_loss"] is not None for line in metrics) == 3
    assert metrics[-1]["eval_loss"] < metrics[0]["loss"]


def test_killed_again_and_again_it_ends_with_the_same_bits(
    harness: Callable[..., Any], finished: Finished, undisturbed: Path, tmp_path: Path
) -> None:
    run_dir = with_key_of(undisturbed, tmp_path / "killed")
    total = steps_done(undisturbed)
    draw = random.Random(0)
    for step in sorted(draw.sample(range(1, total), 3)):
        process = harness("train", run_dir)
        wait_for_step(process, run_dir, step)
        time.sleep(draw.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    code, _, err = finished("train", run_dir)
    assert code == 0, err
    assert ends(run_dir) == ends(undisturbed)
    attempts = json.loads((run_dir / "run.json").read_text())["stages"]["train"]["attempts"]
    assert len(attempts) == 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_saves_a_checkpoint_and_exits_75(
    harness: Callable[..., Any], finished: Finished, undisturbed: Path, tmp_path: Path,
    number: signal.Signals,
) -> None:  # fmt: skip
    run_dir = with_key_of(undisturbed, tmp_path / "signalled")
    process = harness("train", run_dir, "train.checkpoint_steps=1000")
    wait_for_step(process, run_dir, 3)
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == 75, err
    assert err.strip().splitlines()[-1].startswith("harness: PREEMPTED:")
    assert json.loads((run_dir / "run.json").read_text())["status"] == "preempted"
    code, _, err = finished("train", run_dir, "train.checkpoint_steps=1000")
    assert code == 0, err
    assert ends(run_dir) == ends(undisturbed)


def test_done_is_done(finished: Finished, undisturbed: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*") if path.is_file()}
    code, out, _ = finished("train", undisturbed)
    after = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*") if path.is_file()}
    assert code == 0
    assert "done before" in out
    changed = {path.name for path in after if after[path] != before.get(path)}
    assert not changed


def test_other_settings_in_the_same_directory_are_refused(
    finished: Finished, undisturbed: Path
) -> None:
    code, _, err = finished("train", undisturbed, "train.epochs=4")
    assert code == 2
    assert "RUN_CONFIG" in err
    assert "train.epochs" in err
    assert len(err.strip().splitlines()) == 1
