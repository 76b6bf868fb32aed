"""The command as a user meets it: help, refusals in one line, completion, sweeps."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from harness import cli
from harness.errors import ExitCode

Answer = tuple[int, str, str]


def harness(*words: str, folder: Path | None = None, **more: str) -> Answer:
    """Run the command in a process of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | more
    environment.pop("HARNESS_TRUST", None)
    done = subprocess.run(
        [sys.executable, "-m", "harness.cli", *words], cwd=folder, env=environment,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("command", ["gate", "train", "probe", "report", "run"])
def test_help_shows_groups_settings_and_examples(command: str) -> None:
    code, out, _ = harness(command, "--help")
    assert code == 0
    for word in ("data: demo, folder, qmsum", "model: hub", "epochs:", f"harness {command}"):
        assert word in out


def test_help_of_the_whole_imports_nothing_heavy() -> None:
    script = (
        "import sys; from harness.cli import dispatch; dispatch(['--help']); "
        "print(sorted({'torch', 'transformers', 'hydra', 'pyarrow', 'wandb'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert all(name in done.stdout for name in cli.COMMANDS)


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (["tarin"], "train"),
        (["train", "lora.rnk=4"], "lora.r"),
        (["train", "train.epochs=many"], "train.epochs"),
        (["train", "train.epochs=0"], "train.epochs"),
        (["gate", "data=folder"], "data."),
        (["train", "model=foo"], "tiny"),
        (["train", "--colour"], "--colour"),
        (["train", "data.root=[unclosed"], ""),
    ],
)
def test_a_mistake_is_one_line_that_names_it(words: list[str], near: str, tmp_path: Path) -> None:
    code, out, err = harness(*words, folder=tmp_path)
    assert code == ExitCode.USAGE
    assert out == ""
    assert len(err.strip().splitlines()) == 1, err
    assert err.startswith("harness: ")
    assert near in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("typed", "expected"),
    [("harness ", {"gate", "run"}), ("harness tr", {"train"}),
     ("harness train model=", {"model=tiny"}), ("harness train lora.", {"lora.r="})],
)  # fmt: skip
def test_completion(typed: str, expected: set[str], tmp_path: Path) -> None:
    code, out, _ = harness("-sc", "query=bash", folder=tmp_path, COMP_LINE=typed)
    assert code == 0
    assert expected <= set(out.split())


def test_the_gate_on_the_demo(tmp_path: Path) -> None:
    words = ["gate", f"run_dir={tmp_path / 'run'}", f"data.work={tmp_path / 'work'}"]
    code, out, err = harness(*words, "json=true")
    assert (code, err) == (0, "")
    summary = json.loads(out.splitlines()[-1])
    assert summary == json.loads((tmp_path / "run" / "gate" / "summary.json").read_text())
    assert summary["arms"] == {"train": 24, "heldout": 24, "sentinel": 24, "validation": 8}
    path = tmp_path / "run" / "private" / "decisions.parquet"
    assert path.stat().st_mode & 0o777 == 0o600
    rows = pq.read_table(path)
    assert rows.column_names == ["meeting_id", "turn", "modality", "decision", "codes"]
    admitted = [d for d, t in zip(rows["decision"].to_pylist(), rows["turn"].to_pylist(),
                                  strict=True) if t >= 0 and d == "admit"]  # fmt: skip
    assert len(admitted) == summary["turns_admitted"]
    code, out, _ = harness(*words)
    assert code == 0
    assert "done before" in out
    code, _, err = harness(*words[:1], f"run_dir={tmp_path / 'all'}", words[2],
                           "gate.require_all=true")  # fmt: skip
    assert code == ExitCode.DENIED
    assert err.startswith("harness: GATE_DENIED")


def test_a_sweep_has_a_directory_for_each_member_and_skips_what_is_done(tmp_path: Path) -> None:
    words = ["gate", "-m", f"run_dir={tmp_path / 'sweep'}", f"data.work={tmp_path / 'work'}",
             "data.seed=1,2"]  # fmt: skip
    code, _, err = harness(*words)
    assert (code, err) == (0, "")
    index = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert len(index["members"]) == 2
    for name, member in index["members"].items():
        assert re.fullmatch("[0-9a-f]{12}", name)
        assert member["status"] == "done"
        assert (tmp_path / "sweep" / name / "gate" / "summary.json").exists()
    code, out, _ = harness(*words)
    assert code == 0
    assert out.count("done before") == 2


def test_a_failed_member_does_not_stop_the_others(tmp_path: Path) -> None:
    code, _, err = harness(
        "gate", "-m", f"run_dir={tmp_path / 'sweep'}", f"data.work={tmp_path / 'work'}",
        "job.purpose=dpv:Marketing,dpv:ResearchAndDevelopment",
    )  # fmt: skip
    assert code == ExitCode.REFUSED
    assert len(err.strip().splitlines()) == 1
    index = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    states = sorted(member["status"] for member in index["members"].values())
    assert states == ["done", "refused"]


def test_an_unforeseen_error_tells_its_type_and_place_but_not_its_message(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HARNESS_DEBUG", raising=False)

    def work() -> int:
        raise RuntimeError("said in confidence")

    assert cli.answer(work) == ExitCode.INTERNAL
    err = capsys.readouterr().err
    assert re.fullmatch(r"harness: INTERNAL: RuntimeError at \S+:\d+; .*\n", err)
    assert "confidence" not in err
    monkeypatch.setenv("HARNESS_DEBUG", "1")
    with pytest.raises(RuntimeError):
        cli.answer(work)
