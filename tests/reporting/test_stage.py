"""The stage: a file, and the same numbers for wandb."""

import json
from pathlib import Path

import pytest

from harness.config import Config
from harness.errors import Refused
from harness.reporting import inputs, stage
from harness.rundir import Attempt, RunDir
from harness.tracking import allowed


def test_it_writes_the_page(run: RunDir) -> None:
    summary = stage.run(run.config, run, Attempt("report", 1))
    page = Path(summary["report"])
    assert page == run.path / "report.html"
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_an_empty_run_is_refused(tmp_path: Path) -> None:
    config = Config(run_dir=str(tmp_path))
    config.tracking.mode = "off"
    with pytest.raises(Refused, match="RUN_EMPTY"):
        stage.run(config, RunDir(tmp_path, config), Attempt("report", 1))


def test_a_broken_file_is_refused_without_its_content(run: RunDir) -> None:
    (run.path / "probes" / "results.json").write_text("{said in confidence")
    with pytest.raises(Refused, match="RUN_FILE") as caught:
        stage.run(run.config, run, Attempt("report", 1))
    assert "confidence" not in str(caught.value)


def test_wandb_gets_each_probes_value_and_only_what_is_allowed(run: RunDir) -> None:
    found = inputs.read(run)
    numbers = allowed(stage.numbers(found))
    for record in json.loads((run.path / "probes" / "results.json").read_text())["probes"]:
        if record["value"] is not None:
            assert numbers[f"probe/{record['name']}/value"] == record["value"]
