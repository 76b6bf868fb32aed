"""Tracking: numbers and codes pass, text never; an offline run holds what was logged."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config import Config
from harness.errors import Refused
from harness.rundir import RunDir
from harness.tracking import Tracker, allowed, settings_of


def opened(folder: Path, mode: str) -> RunDir:
    config = Config(run_dir=str(folder))
    config.tracking.mode = mode
    return RunDir(folder, config)


@given(st.text(min_size=1).filter(lambda text: " " in text or text.islower()))
def test_words_are_refused_and_not_repeated(text: str) -> None:
    if len(text) in (40, 64):
        return
    with pytest.raises(Refused, match="TRACKING_TEXT") as caught:
        allowed({"said": text})
    if len(text) > 12:
        assert text not in str(caught.value)


@pytest.mark.parametrize("secret", ["482913", "415-555-0137", "$48,250", "Ada Lovelace", "ada"])
def test_secrets_do_not_pass_as_identifiers(secret: str) -> None:
    with pytest.raises(Refused, match="TRACKING_TEXT"):
        allowed({"key": secret})
    with pytest.raises(Refused, match="TRACKING_TEXT"):
        allowed({f"{secret} said": 1})


def test_numbers_codes_and_digests_pass() -> None:
    row = {"a/b": 1, "loss": 0.5, "equal": True, "verdict": "PASS", "root": "ab" * 32}
    assert allowed(row | {"missing": None}) == row


def test_settings_hold_no_paths_and_no_names() -> None:
    config = Config(name="quarterly with Ada", run_dir="/home/ada/runs")
    shown = settings_of(config)
    assert shown["train.lr"] == config.train.lr
    assert not any("ada" in str(value).lower() for value in shown.values())


def test_off_writes_nothing(tmp_path: Path) -> None:
    with Tracker(opened(tmp_path, "off")) as tracker:
        tracker.log(1, {"loss": 1.0})
        assert not tracker.active
    assert not (tmp_path / "wandb").exists()


def test_an_offline_run_holds_what_was_logged_under_the_runs_own_id(tmp_path: Path) -> None:
    run = opened(tmp_path, "offline")
    for steps in ((1, 2), (3, 4)):  # a second process that goes on
        with Tracker(run) as tracker:
            for step in steps:
                tracker.log(step, {"train/loss": 1.0 / step})
            tracker.summary({"probe/extraction/value": 0.25})
    folders = sorted((tmp_path / "wandb").glob(f"offline-run-*-{run.run_id}"))
    assert folders
    read = subprocess.run(
        [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--summary", "--json",
         str(folders[-1])], capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert read.returncode == 0, read.stderr
    assert '"probe/extraction/value"' in read.stdout
    assert "0.25" in read.stdout


@pytest.mark.parametrize("where", ["init", "log"])
def test_a_tracker_that_cannot_write_warns_once_and_stops_nothing(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def log(self, row: dict[str, float], step: int) -> None:
            raise OSError("disk full")

    def init(_: RunDir) -> Broken:
        if where == "init":
            raise OSError("disk full")
        return Broken()

    monkeypatch.setattr("harness.tracking._init", init)
    with caplog.at_level("WARNING"), Tracker(opened(tmp_path, "offline")) as tracker:
        for step in (1, 2, 3):
            tracker.log(step, {"loss": 1.0})
    said = [record.getMessage() for record in caplog.records]
    assert said == ["wandb stopped (OSError); the run goes on without it"]
