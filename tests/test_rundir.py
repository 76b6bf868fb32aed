"""The run directory: whole files, distinct attempts, and what run.json says at the end."""

import errno
import json
import multiprocessing
import os
import stat
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import rundir
from harness.config import Config, Data, Job, Tracking, Train, config_digest, stage_values
from harness.errors import (
    Denied,
    HarnessError,
    Preempted,
    ProbeFailed,
    Refused,
    Unwritable,
    UsageError,
)
from harness.rundir import RunDir, read_json, write_bytes, write_json

ENDS = [
    (Refused("CODE", "wrong"), "refused", 4), (UsageError("CODE", "wrong"), "refused", 2),
    (Denied("CODE", "wrong"), "failed", 3), (ProbeFailed("CODE", "wrong"), "failed", 6),
    (Preempted("CODE", "stop"), "preempted", 75), (ValueError("text"), "failed", 5),
    (KeyboardInterrupt(), "failed", 130), (SystemExit(1), "failed", 5),
]  # fmt: skip


@pytest.fixture(autouse=True)
def commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fixed commit, so that no test starts git."""
    monkeypatch.setattr(rundir, "_git_commit", lambda: "c0ffee")


def mode(path: Path) -> int:
    """Permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


def saved(path: Path) -> dict[str, Any]:
    """What run.json on disk says."""
    record = json.loads((path / "run.json").read_bytes())
    assert isinstance(record, dict)
    return record


def finish(run: RunDir, stage: str) -> int:
    """Run a stage that does nothing; its attempt number, negative when it was done before."""
    with run.stage(stage) as attempt:
        return -attempt.n if attempt.done else attempt.n


def claim(path: Path) -> int:
    """Claim an attempt at training as another process would, and leave it open."""
    return RunDir(path, Config())._claim("train").n


def state_of(path: Path) -> dict[str, tuple[int, bytes]]:
    """Time of change and content of every file."""
    files = [file for file in sorted(path.rglob("*")) if file.is_file()]
    return {str(file): (file.stat().st_mtime_ns, file.read_bytes()) for file in files}


def test_a_crash_before_the_rename_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "new" / "file.json"
    write_bytes(path, b"old")

    def crash(*_: Any) -> None:
        raise OSError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", crash)
        with pytest.raises(OSError, match="power cut"):
            write_bytes(path, b"new and longer")
    assert path.read_bytes() == b"old"
    left = [file.name for file in path.parent.iterdir() if file != path]
    assert all(name.startswith(".file.json.") and name.endswith(".tmp") for name in left)
    write_bytes(path, b"new")  # what the crash left behind is in nobody's way
    assert path.read_bytes() == b"new"


def test_writing_leaves_nothing_but_the_file(tmp_path: Path) -> None:
    for data in (b"one", b"two", b""):
        write_bytes(tmp_path / "deep" / "file", data)
        assert (tmp_path / "deep" / "file").read_bytes() == data
        assert [*(tmp_path / "deep").iterdir()] == [tmp_path / "deep" / "file"]


def test_bytes_are_on_disk_before_the_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    sync, move = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append("fsync"), sync(fd))[1])
    monkeypatch.setattr(os, "replace", lambda *two: (order.append("replace"), move(*two))[1])
    write_bytes(tmp_path / "file", b"data")
    assert order == ["fsync", "replace"]


@pytest.mark.parametrize("bits", [0o600, 0o640, 0o644])
def test_files_have_the_mode_that_was_asked_for(tmp_path: Path, bits: int) -> None:
    umask = os.umask(0o022)
    try:
        write_bytes(tmp_path / "file", b"x", bits)
    finally:
        os.umask(umask)
    assert mode(tmp_path / "file") == bits


@settings(max_examples=30, deadline=None)  # each example waits for the disk
@given(st.dictionaries(st.text(), st.text() | st.integers() | st.none() | st.booleans()))
def test_json_comes_back_as_written(
    tmp_path_factory: pytest.TempPathFactory, value: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip.json"
    write_json(path, value)
    assert read_json(path) == value
    assert [*read_json(path)] == [*value]


def test_json_is_strict(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "file", {"loss": float("nan")})
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff"])
def test_a_file_that_cannot_be_read_is_refused_by_name(
    tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "receipt.json").write_bytes(content)
    with pytest.raises(Refused) as caught:
        read_json(tmp_path / "receipt.json")
    assert (caught.value.code, caught.value.where) == ("RUN_FILE", "receipt.json")
    assert caught.value.remedy


def test_guarded_folders_are_closed_to_others(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        RunDir(tmp_path / "run", Config())
    finally:
        os.umask(umask)
    modes = {name: mode(tmp_path / "run" / name) for name in ("private", "checkpoints", "adapter")}
    assert set(modes.values()) == {0o700}


def test_guarded_folders_that_stood_open_are_closed(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir(mode=0o755)
    (tmp_path / "private").chmod(0o755)
    RunDir(tmp_path, Config())
    assert mode(tmp_path / "private") == 0o700


def test_opening_records_nothing(tmp_path: Path) -> None:
    RunDir(tmp_path / "run", Config())
    assert not (tmp_path / "run" / "run.json").exists()


def test_run_json_has_the_fields_of_the_contract(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    run = RunDir(tmp_path, Config(name="a"), "gate run_dir=x")
    assert finish(run, "gate") == 1
    record = saved(tmp_path)
    assert record == run.record
    assert record.keys() == {
        "schema", "run_id", "name", "command", "status", "attempts", "git_commit",
        "config_digest", "created", "seconds", "stages",
    }  # fmt: skip
    told = {key: record[key] for key in ("schema", "name", "command", "status", "attempts")}
    assert told == {"schema": "harness/run/v1", "name": "a", "command": "gate run_dir=x",
                    "status": "done", "attempts": 1}  # fmt: skip
    assert record["git_commit"] == "c0ffee"
    assert record["config_digest"] == config_digest(Config())
    assert record["seconds"]["gate"] >= 0
    assert record["stages"]["gate"]["config"] == stage_values(Config(), "gate")
    (attempt,) = record["stages"]["gate"]["attempts"]
    assert attempt.keys() == {"n", "start", "end", "exit_code", "host", "slurm_job_id"}
    assert (attempt["n"], attempt["exit_code"], attempt["slurm_job_id"]) == (1, 0, "77")
    start, end = (datetime.fromisoformat(attempt[key]) for key in ("start", "end"))
    assert start.tzinfo is not None
    assert start <= end


@pytest.mark.parametrize(("error", "status", "code"), ENDS, ids=lambda value: repr(value)[:20])
def test_how_a_stage_ended_is_recorded_and_raised(
    tmp_path: Path, error: BaseException, status: str, code: int
) -> None:
    def work() -> None:
        with RunDir(tmp_path, Config()).stage("train"):
            assert saved(tmp_path)["status"] == "running"
            raise error

    with pytest.raises(type(error)) as caught:
        work()
    assert caught.value is error
    record = saved(tmp_path)
    assert (record["status"], record["stages"]["train"]["status"]) == (status, status)
    assert record["stages"]["train"]["attempts"][0]["exit_code"] == code
    assert finish(RunDir(tmp_path, Config()), "train") == 2
    assert saved(tmp_path)["status"] == "done"
    assert saved(tmp_path)["attempts"] == 2


def test_the_worst_stage_decides_the_status(tmp_path: Path) -> None:
    run = RunDir(tmp_path, Config())
    finish(run, "gate")
    with pytest.raises(HarnessError), run.stage("train"):
        raise Preempted("PREEMPTED", "stop")
    assert saved(tmp_path)["status"] == "preempted"
    finish(run, "train")
    assert saved(tmp_path)["status"] == "done"


def test_a_done_stage_is_not_claimed_again_and_rewrites_nothing(tmp_path: Path) -> None:
    finish(RunDir(tmp_path, Config()), "gate")
    before = state_of(tmp_path)
    again = RunDir(tmp_path, replace(Config(), json=True, tracking=Tracking("off")), "again")
    assert finish(again, "gate") == -1
    assert state_of(tmp_path) == before


def test_the_identity_of_a_run_stays(tmp_path: Path) -> None:
    first = RunDir(tmp_path, Config())
    finish(first, "gate")
    second = RunDir(tmp_path, Config())
    finish(second, "train")
    assert second.run_id == first.run_id
    assert {"gate", "train"} == saved(tmp_path)["stages"].keys()


def test_other_settings_are_refused_by_the_names_of_their_keys(tmp_path: Path) -> None:
    finish(RunDir(tmp_path, Config()), "train")
    before = state_of(tmp_path)
    other = replace(Config(), train=Train(lr=1.0, epochs=1), data=Data(seed=5, work="elsewhere"))
    with pytest.raises(UsageError) as caught:
        finish(RunDir(tmp_path, other), "train")
    assert caught.value.exit_code == 2
    assert caught.value.code == "RUN_CONFIG"
    for key in ("train.lr", "train.epochs", "data.seed"):
        assert key in str(caught.value)
    assert "data.work" not in str(caught.value)
    assert state_of(tmp_path) == before


def test_settings_of_a_later_stage_may_change(tmp_path: Path) -> None:
    finish(RunDir(tmp_path, Config()), "gate")
    assert finish(RunDir(tmp_path, replace(Config(), train=Train(lr=1.0))), "gate") == -1
    with pytest.raises(UsageError):
        finish(RunDir(tmp_path, replace(Config(), job=Job(purpose="dpv:Marketing"))), "gate")


@pytest.mark.parametrize("stage", ["train", "probe", "report"])
def test_a_stage_is_not_built_on_one_made_with_other_settings(tmp_path: Path, stage: str) -> None:
    finish(RunDir(tmp_path, Config()), "gate")
    before = state_of(tmp_path)
    with pytest.raises(UsageError, match=r"gate was run here with other values of data\.seed"):
        finish(RunDir(tmp_path, replace(Config(), data=Data(seed=7))), stage)
    assert state_of(tmp_path) == before


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_claims_at_the_same_time_get_distinct_attempts(tmp_path: Path, kind: str) -> None:
    run = RunDir(tmp_path, Config())
    finish(run, "gate")
    if kind == "threads":
        pool: Any = ThreadPoolExecutor(8)
    else:
        pool = ProcessPoolExecutor(8, multiprocessing.get_context("fork"))
    with pool:
        numbers = list(pool.map(claim, [tmp_path] * 24))
    assert sorted(numbers) == [*range(1, 25)]
    attempts = saved(tmp_path)["stages"]["train"]["attempts"]
    assert [attempt["n"] for attempt in attempts] == [*range(1, 25)]
    assert saved(tmp_path)["run_id"] == run.run_id


def test_an_overtaken_attempt_publishes_nothing_and_ends_quietly(tmp_path: Path) -> None:
    old = RunDir(tmp_path, Config())
    before: dict[str, tuple[int, bytes]] = {}

    def work() -> None:
        with old.stage("train") as first:
            old.publish(first)  # nobody is ahead yet
            assert finish(RunDir(tmp_path, Config()), "train") == 2
            before.update(state_of(tmp_path))
            assert not old.is_current(first)
            old.publish(first)

    with pytest.raises(Refused) as caught:
        work()
    assert (caught.value.code, caught.value.exit_code) == ("SUPERSEDED", 4)
    assert state_of(tmp_path) == before
    assert saved(tmp_path)["status"] == "done"
    codes = [a["exit_code"] for a in saved(tmp_path)["stages"]["train"]["attempts"]]
    assert codes == [None, 0]


def test_an_overtaken_attempt_that_believes_it_is_done_changes_nothing(tmp_path: Path) -> None:
    old = RunDir(tmp_path, Config())
    with old.stage("train"):
        newer = RunDir(tmp_path, Config())
        newer._claim("train")
        before = state_of(tmp_path)
    assert state_of(tmp_path) == before
    assert saved(tmp_path)["stages"]["train"]["status"] == "running"


def test_stages_that_run_at_once_do_not_forget_each_other(tmp_path: Path) -> None:
    one, other = RunDir(tmp_path, Config()), RunDir(tmp_path, Config())
    with one.stage("train"), other.stage("gate"):
        pass
    states = {name: state["status"] for name, state in saved(tmp_path)["stages"].items()}
    assert states == {"train": "done", "gate": "done"}


def test_a_refused_stage_may_be_tried_with_other_settings_unless_it_could_be_continued(
    tmp_path: Path,
) -> None:
    def refused(path: Path) -> None:
        with pytest.raises(Refused), RunDir(path, Config()).stage("train"):
            raise Refused("MANIFEST_EXPIRED", "w")

    other = Config()
    other.train.epochs = 99
    refused(tmp_path / "bare")
    finish(RunDir(tmp_path / "bare", other), "train")
    refused(tmp_path / "begun")
    (tmp_path / "begun" / "checkpoints" / "step-0000003.safetensors").touch()
    with pytest.raises(UsageError, match=r"train\.epochs"):
        finish(RunDir(tmp_path / "begun", other), "train")


def test_everybody_who_opens_a_fresh_directory_gets_the_same_run_id(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: RunDir(tmp_path, Config()).run_id, range(16)))
    assert len(set(runs)) == 1
    assert len(runs[0]) == 12


def test_config_yaml_holds_every_setting(tmp_path: Path) -> None:
    import yaml

    finish(RunDir(tmp_path, Config(name="a")), "gate")
    values = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert values["name"] == "a"
    assert values["job.modalities"] == ["transcript"]
    assert values["model.revision"] is None


def test_leftovers_are_what_a_killed_writer_names_so_and_nothing_else(tmp_path: Path) -> None:
    others = [".keep.tmp", ".mine.0123.tmp", "a.json", f"x.{'0' * 32}.tmp"]
    for name in others[1:]:
        (tmp_path / name).write_text("x")
    (tmp_path / others[0]).mkdir()
    (tmp_path / f".{'a' * 32}.{'0' * 32}.tmp").mkdir()
    with rundir.replaced(tmp_path / "t.json") as path:
        name = path.name
    (tmp_path / "t.json").rename(tmp_path / name)
    rundir.clear_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*others, f".{'a' * 32}.{'0' * 32}.tmp"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EFBIG])
def test_a_disk_that_takes_nothing_more_is_one_line_and_leaves_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    run = RunDir(tmp_path / "run", Config())

    def full(*_: Any) -> None:
        raise OSError(number, os.strerror(number))  # of a write: names no file

    def work() -> None:
        with run.stage("train"):
            monkeypatch.setattr(os, "fsync", full)
            write_json(run.file("train", "receipt.json"), {})

    with pytest.raises(Unwritable, match=r"RUN_UNWRITABLE: .*\(train/receipt\.json\)") as caught:
        work()
    assert caught.value.exit_code == 5
    assert [*run.path.rglob(".*.tmp")] == []
    monkeypatch.undo()
    assert finish(RunDir(tmp_path / "run", Config()), "train") == 2


def test_a_run_directory_that_vanished_is_not_made_again(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run", Config())

    def work() -> None:
        with run.stage("train") as attempt:
            run.path.rename(tmp_path / "away")
            run.publish(attempt)
            write_json(run.file("train", "receipt.json"), {})

    with pytest.raises(Unwritable, match=r"RUN_UNWRITABLE: No such file"):
        work()
    assert not run.path.exists()


def test_other_errors_of_the_system_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), rundir.writable(tmp_path):
        raise PermissionError(errno.EPERM, "no")
    with pytest.raises(FileNotFoundError), rundir.writable(tmp_path):
        (tmp_path / "file").read_bytes()  # its folder is there: a defect, not a disk
