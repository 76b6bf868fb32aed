"""The run directory: whole files, distinct attempts, honest states."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from harness.config import Config
from harness.errors import Preempted, Refused, UsageError
from harness.rundir import GUARDED, RunDir, write_bytes


def opened(path: Path, **train: Any) -> RunDir:
    config = Config(run_dir=str(path))
    for key, value in train.items():
        setattr(config.train, key, value)
    return RunDir(path, config, "train")


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "run.json").read_text())
    return found


def test_a_crash_while_writing_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def crash(*_: Any) -> None:
        raise OSError

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(OSError):  # noqa: PT011 - any will do
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"


def test_guarded_folders_are_for_the_owner_alone(tmp_path: Path) -> None:
    opened(tmp_path)
    assert {oct((tmp_path / name).stat().st_mode & 0o777) for name in GUARDED} == {"0o700"}


def test_attempts_claimed_at_once_are_distinct(tmp_path: Path) -> None:
    runs = [opened(tmp_path) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda run: run._claim("train").n, runs))
    assert sorted(numbers) == list(range(1, 9))


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(Refused("C", "w"), "refused", 4), (UsageError("C", "w"), "refused", 2),
     (Preempted("C", "w"), "preempted", 75), (ValueError("w"), "failed", 5), (None, "done", 0)],
)  # fmt: skip
def test_how_a_stage_ended_is_recorded(
    tmp_path: Path, error: Exception | None, status: str, code: int
) -> None:
    run = opened(tmp_path)
    if error is None:
        with run.stage("train"):
            pass
    else:
        with pytest.raises(type(error)), run.stage("train"):
            raise error
    record = read(tmp_path)
    attempt = record["stages"]["train"]["attempts"][0]
    assert (record["status"], record["stages"]["train"]["status"]) == (status, status)
    assert (attempt["n"], attempt["exit_code"]) == (1, code)
    assert attempt["start"] <= attempt["end"]
    assert record["attempts"] == 1
    assert record["seconds"]["train"] >= 0


def test_what_is_done_is_not_claimed_again(tmp_path: Path) -> None:
    with opened(tmp_path).stage("train") as first:
        assert not first.done
    before = (tmp_path / "run.json").read_bytes()
    with opened(tmp_path).stage("train") as second:
        assert second.done
    assert (tmp_path / "run.json").read_bytes() == before


def test_what_failed_is_tried_again_under_the_same_run_id(tmp_path: Path) -> None:
    first = opened(tmp_path)
    with pytest.raises(ValueError, match="x"), first.stage("train"):
        raise ValueError("x")
    second = opened(tmp_path)
    with second.stage("train") as attempt:
        assert attempt.n == 2
    assert second.run_id == first.run_id
    assert [a["exit_code"] for a in read(tmp_path)["stages"]["train"]["attempts"]] == [5, 0]


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    with opened(tmp_path).stage("train"):
        pass
    with pytest.raises(UsageError, match=r"RUN_CONFIG.*train\.epochs, train\.lr"):
        opened(tmp_path, lr=0.5, epochs=99).stage("train").__enter__()
    with opened(tmp_path, lr=0.5).stage("gate") as attempt:  # the gate does not depend on it
        assert not attempt.done


def test_an_overtaken_attempt_publishes_nothing_and_leaves_the_record(tmp_path: Path) -> None:
    old, new = opened(tmp_path), opened(tmp_path)
    with old.stage("train") as first:
        with new.stage("train"):
            pass
        with pytest.raises(Refused, match="SUPERSEDED"):
            old.publish(first)
        assert not old.is_current(first)
    record = read(tmp_path)
    assert [a["exit_code"] for a in record["stages"]["train"]["attempts"]] == [None, 0]
    assert record["stages"]["train"]["status"] == "done"


def test_stages_that_run_at_once_do_not_forget_each_other(tmp_path: Path) -> None:
    one, other = opened(tmp_path), opened(tmp_path)
    with one.stage("train"), other.stage("gate"):
        pass
    assert {name: s["status"] for name, s in read(tmp_path)["stages"].items()} == {
        "train": "done", "gate": "done",
    }  # fmt: skip
