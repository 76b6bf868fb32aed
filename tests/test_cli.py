"""The command line from outside: help, refusals of one line, the gate on the demo, and sweeps."""

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from harness import cli
from harness.config import Config
from harness.consent import gate
from harness.errors import (
    Denied,
    HarnessError,
    Preempted,
    ProbeFailed,
    Refused,
    UsageError,
)
from harness.rundir import RunDir, write_json

HEAVY = ("torch", "transformers", "hydra", "omegaconf", "pyarrow", "numpy", "wandb", "rich")
SECRET = "Zwetschgendatschi"

Result = tuple[int, str, str]
Command = Callable[..., Result]


def harness(*words: str, cwd: Path, **environment: str) -> Result:
    """Exit code, stdout and stderr of the shipped command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "harness.cli", *words], env=os.environ | environment, cwd=cwd,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="session", autouse=True)
def pythonpath() -> Any:
    """A relative PYTHONPATH made absolute, as the command runs in other folders."""
    old = os.environ.get("PYTHONPATH")
    with pytest.MonkeyPatch.context() as patch:
        if old:
            patch.setenv("PYTHONPATH", os.pathsep.join(map(os.path.abspath, old.split(":"))))
        yield


@pytest.fixture
def here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Command:
    """Exit code, stdout and stderr of a command line in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.delenv("HARNESS_DEBUG", raising=False)
    monkeypatch.delenv("HARNESS_TRUST", raising=False)

    def run(*words: str) -> Result:
        code = cli.answer(lambda: cli.dispatch(words))
        out, err = capfd.readouterr()
        return int(code), out, err

    return run


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A folder where `harness gate` ran on the demo, and how that went."""
    folder = tmp_path_factory.mktemp("demo")
    return folder, harness("gate", "run_dir=run", "data.work=work", "json=true", cwd=folder)


def last_json(out: str) -> Any:
    """The last line of stdout, read as JSON."""
    return json.loads(out.strip().splitlines()[-1])


def lines_of_json(out: str) -> int:
    """How many lines of stdout are JSON objects."""
    return sum(line.startswith("{") for line in out.splitlines())


def test_help_names_every_command_and_loads_nothing_heavy(tmp_path: Path) -> None:
    script = (
        "import sys; from harness.cli import dispatch; code = dispatch(['--help']);"
        f"print('loaded', [name for name in {HEAVY} if name in sys.modules]); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, text=True,
                          capture_output=True, timeout=30, check=True)  # fmt: skip
    assert done.stdout.splitlines()[-1] == "loaded []"
    assert all(f"\n  {name} " in done.stdout for name in cli.COMMANDS)


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"], ["help"]])
def test_every_way_to_ask_for_help(here: Command, words: list[str]) -> None:
    assert here(*words) == (0, cli.usage() + "\n", "")


def test_version(here: Command) -> None:
    code, out, _ = here("--version")
    assert code == 0
    assert re.fullmatch(r"harness \d+\.\d+\.\d+\S*\n", out)


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help_of_a_command_shows_groups_settings_and_exit_codes(
    here: Command, tmp_path: Path, command: str
) -> None:
    code, out, err = here(command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"harness {command}: ")
    assert "data: demo, folder, qmsum" in out
    assert "model: hub, smollm2-135m, tiny" in out
    assert "tracking: off, offline, online" in out
    assert "\ntrain:\n" in out
    assert "Exit codes: 0 done" in out
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["gat"], "gate"),
        (["--frobnicate"], "COMMAND"),
        (["train", "train.lrr=1"], "train.lr"),
        (["train", "trian.lr=1"], "train.lr"),
        (["gate", "+train.extra=1"], "train."),
        (["train", "train.epochs=many"], "train.epochs"),
        (["train", "train.lr=[1]"], "train.lr"),
        (["gate", "json=perhaps"], "json"),
        (["train", "train.epochs=0"], "train.epochs"),
        (["gate", "data=folder", "data.root=."], "data.manifest"),
        (["gate", "data=qmsum"], "data.root"),
        (["train", "model=hub"], "model.name"),
        (["gate", "data=web"], "web"),
        (["gate", "experiment=none"], "none"),
        (["gate", "dta=demo"], "data"),
        (["gate", "data.source=web"], "data.source"),
        (["gate", "--frobnicate"], "--frobnicate"),
        (["gate", "data.seed"], "data.seed"),
        (["gate", "data.seed='"], "data.seed"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)  # fmt: skip
def test_usage_errors_are_one_line_that_names_what_is_wrong(
    here: Command, tmp_path: Path, words: list[str], told: str
) -> None:
    code, out, err = here(*words)
    assert (code, out) == (2, "")
    assert err.startswith("harness: ")
    assert err.count("\n") == 1
    assert told in err
    assert "Traceback" not in err
    assert not (tmp_path / "runs" / "demo" / "gate").exists()


def test_usage_errors_from_outside(tmp_path: Path) -> None:
    code, out, err = harness("train", "train.lrr=1", cwd=tmp_path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("harness: ")


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("harness ", {*cli.COMMANDS, *cli.TOOLS}),
        ("harness re", {"report"}),
        ("harness nothing", set()),
        ("harness gate model=", {"model=hub", "model=smollm2-135m", "model=tiny"}),
        (
            "harness run experiment=q",
            {"experiment=quick", "experiment=qmsum", "experiment=qmsum-sft"},
        ),
        ("harness train train.warm", {"train.warmup="}),
        ("harness nothing model=", set()),
    ],
)
def test_completion(
    here: Command, monkeypatch: pytest.MonkeyPatch, typed: str, expected: set[str]
) -> None:
    monkeypatch.setenv("COMP_LINE", typed)
    monkeypatch.setenv("COMP_POINT", str(len(typed)))
    code, out, err = here("-sc", "query=bash")
    assert (code, err) == (0, "")
    assert {*out.split()} == expected


def test_the_completion_script_asks_this_command(here: Command) -> None:
    code, out, err = here("-sc", "install=bash")
    assert (code, err) == (0, "")
    assert "query=bash" in out


def test_the_gate_on_the_demo(demo: tuple[Path, Result]) -> None:
    folder, (code, out, err) = demo
    assert (code, err) == (0, "")
    assert "24 train" in out
    summary = json.loads((folder / "run" / "gate" / "summary.json").read_text())
    assert last_json(out) == summary
    assert lines_of_json(out) == 1
    assert [summary["arms"][arm] for arm in ("train", "heldout", "sentinel")] == [24, 24, 24]
    decisions = folder / "run" / "private" / "decisions.parquet"
    assert stat.S_IMODE(decisions.stat().st_mode) == 0o600
    table = pq.read_table(decisions)
    assert table.column_names == ["meeting_id", "turn", "modality", "decision", "codes"]
    rows = table.to_pylist()
    assert sum(row["turn"] == -1 for row in rows) == summary["meetings_total"]
    assert all((row["decision"] == "admit") == (row["codes"] == []) for row in rows)
    assert (
        sum(row["decision"] == "admit" and row["turn"] >= 0 for row in rows)
        == (summary["turns_admitted"])
    )


def test_the_same_command_again_keeps_what_is_done(
    here: Command, demo: tuple[Path, Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(demo[0])
    before = (demo[0] / "run" / "run.json").read_bytes()
    code, out, err = here("gate", "run_dir=run", "data.work=work", "tracking=off")
    assert (code, out, err) == (0, "gate: done before with these settings, kept as it is\n", "")
    assert (demo[0] / "run" / "run.json").read_bytes() == before


def test_other_settings_on_the_same_directory(
    here: Command, demo: tuple[Path, Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(demo[0])
    code, out, err = here("gate", "run_dir=run", "data.work=work", "data.seed=8")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "RUN_CONFIG" in err
    assert "data.seed" in err


def test_json_of_a_done_stage_is_its_summary(
    here: Command, demo: tuple[Path, Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(demo[0])
    _, out, _ = here("gate", "run_dir=run", "data.work=work", "json=true")
    assert lines_of_json(out) == 1
    assert last_json(out) == json.loads(Path("run/gate/summary.json").read_text())


def test_all_or_nothing_exits_3(here: Command, demo: tuple[Path, Result], tmp_path: Path) -> None:
    words = [f"data.work={demo[0] / 'work'}", "gate.require_all=true", "run_dir=run"]
    code, out, err = here("gate", *words)
    assert (code, err.count("\n")) == (3, 1)
    assert err.startswith("harness: GATE_DENIED")
    assert "Why not" in out
    assert (tmp_path / "run" / "gate" / "summary.json").exists()
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["stages"]["gate"]["attempts"][0]["exit_code"] == 3


def test_an_unforeseen_error_tells_type_and_place_but_no_text(
    here: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise LookupError(SECRET)

    monkeypatch.setattr(gate, "prepare", broken)
    code, out, err = here("gate", "run_dir=run")
    assert (code, err.count("\n")) == (5, 1)
    assert re.match(r"harness: INTERNAL: LookupError at gate\.py:\d+; ", err)
    assert SECRET not in out + err
    record = Path("run/run.json").read_text()
    assert json.loads(record)["status"] == "failed"
    assert SECRET not in record


def test_debugging_shows_the_error_itself(here: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_DEBUG", "1")

    def broken() -> int:
        raise LookupError("as it is")

    with pytest.raises(LookupError, match="as it is"):
        cli.answer(broken)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refused("C", "w"), 4), (UsageError("C", "w"), 2), (Denied("C", "w"), 3),
        (ProbeFailed("C", "w"), 6), (Preempted("C", "w"), 75), (KeyboardInterrupt(), 130),
        (ValueError("w"), 5), (MemoryError(), 5),
    ],
)  # fmt: skip
def test_the_exit_code_of_every_error(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.delenv("HARNESS_DEBUG", raising=False)

    def work() -> int:
        raise error

    assert cli.answer(work) == code
    err = capsys.readouterr().err
    assert err.startswith("harness: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(("stop", "code"), [(SystemExit(3), 3), (SystemExit(), 0)])
def test_a_library_that_exits_keeps_its_code(stop: SystemExit, code: int) -> None:
    def work() -> int:
        raise stop

    assert cli.answer(work) == code


def test_a_reader_that_went_away_is_no_error(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "harness.cli", "train", "--help"], cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=30) == 141


class Stages:
    """Stands in for the stages: writes what a summary is read from, or raises what was asked."""

    def __init__(self, **errors: BaseException) -> None:
        self.errors, self.ran = errors, [""][:0]

    def __call__(self, stage: str, _: Config, run: RunDir, again: bool = False) -> Any:
        with run.stage(stage, again) as attempt:
            if not attempt.done:
                self.ran.append(stage)
            if stage in self.errors:
                raise self.errors[stage]
            if stage in cli.SUMMARIES and not attempt.done:
                write_json(run.file(cli.SUMMARIES[stage]), {"stage": stage})
        return {"stage": stage}


@pytest.mark.parametrize(
    ("errors", "ran", "code"),
    [
        ({}, ["gate", "train", "probe", "report"], 0),
        ({"train": Preempted("PREEMPTED", "stop")}, ["gate", "train"], 75),
        ({"gate": Denied("GATE_DENIED", "no")}, ["gate"], 3),
        ({"probe": ProbeFailed("PROBE", "no")}, ["gate", "train", "probe", "report"], 6),
    ],
)  # fmt: skip
def test_run_goes_on_after_a_failed_probe_only(
    here: Command, monkeypatch: pytest.MonkeyPatch, errors: dict[str, HarnessError],
    ran: list[str], code: int,
) -> None:  # fmt: skip
    stages = Stages(**errors)
    monkeypatch.setattr(cli, "run_stage", stages)
    assert here("run", "run_dir=run")[0] == code
    assert stages.ran == ran


def test_run_begins_no_stage_after_a_signal(here: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """It came when there was nothing left to save: the training is done, the probes are not."""
    begun: list[str] = []

    def stage(name: str, _: Config, run: RunDir, again: bool = False) -> Any:
        begun.append(name)
        run.asked = name == "train"

    monkeypatch.setattr(cli, "run_stage", stage)
    code, _, err = here("run", "run_dir=run")
    assert code == 75
    assert err.startswith("harness: PREEMPTED: stopped by a signal before probe")
    assert begun == ["gate", "train"]


def test_the_gate_decides_again_until_the_training_is_done(
    here: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = Stages(train=Preempted("PREEMPTED", "stop"))
    monkeypatch.setattr(cli, "run_stage", stages)
    assert [here("run", "run_dir=run")[0] for _ in range(2)] == [75, 75]
    stages.errors.clear()
    assert [here("run", "run_dir=run")[0] for _ in range(2)] == [0, 0]
    assert stages.ran == [*["gate", "train"] * 3, "probe", "report"]
    attempts = json.loads(Path("run/run.json").read_text())["stages"]["gate"]["attempts"]
    assert [entry["n"] for entry in attempts] == [1, 2, 3]


@pytest.mark.parametrize("flag", ["json=true", "--json"])
def test_json_of_run_holds_every_stage(
    flag: str, here: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "run_stage", Stages())
    _, out, _ = here("run", "run_dir=run", flag)
    assert last_json(out).keys() == {"gate", "train", "probe", "report"}


def test_a_sweep_gives_a_member_a_setting_and_skips_what_is_done(here: Command) -> None:
    words = ("gate", "-m", "data.seed=1,2", "run_dir=sweep", "data.work=work", "tracking=off")
    code, out, err = here(*words)
    assert (code, err) == (0, "")
    assert out.count("sweep: ") == 2
    index = json.loads(Path("sweep/sweep.json").read_text())
    assert index["schema"] == "harness/sweep/v1"
    folders = {path.name for path in Path("sweep").iterdir() if path.is_dir()}
    assert folders == index["members"].keys()
    assert len(folders) == 2
    assert all(re.fullmatch("[0-9a-f]{12}", name) for name in folders)
    assert {(m["exit_code"], m["status"]) for m in index["members"].values()} == {(0, "done")}
    for name, member in index["members"].items():
        record = json.loads(Path("sweep", name, "run.json").read_text())
        assert record["config_digest"].startswith(name)
        assert record["command"] == member["command"]
    records = [Path("sweep", name, "run.json").read_bytes() for name in sorted(folders)]
    code, out, err = here(*words)
    assert (code, err) == (0, "")
    assert out.count("gate: done before") == 2
    assert [Path("sweep", n, "run.json").read_bytes() for n in sorted(folders)] == records


def test_a_member_that_the_manifest_does_not_permit(
    here: Command, demo: tuple[Path, Result]
) -> None:
    code, _, err = here("gate", "-m", "job.purpose=dpv:Marketing", "run_dir=sweep",
                        f"data.work={demo[0] / 'work'}")  # fmt: skip
    assert (code, err.count("\n")) == (4, 1)
    assert "JOB_PURPOSE_OUT_OF_SCOPE" in err
    (member,) = json.loads(Path("sweep/sweep.json").read_text())["members"].values()
    assert (member["status"], member["exit_code"]) == ("refused", 4)


def test_a_sweep_goes_on_after_a_member_that_fails_and_ends_with_the_worst_code(
    here: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stage(_: str, config: Config, run: RunDir, again: bool) -> Any:
        with run.stage("gate", again):
            if config.data.seed == 1:
                raise Refused("BROKEN", "member")
        return {}

    monkeypatch.setattr(cli, "run_stage", stage)
    code, _, err = here("gate", "-m", "data.seed=1,2,3", "run_dir=sweep")
    assert code == 4
    assert err == "harness: BROKEN: member\n"
    members = json.loads(Path("sweep/sweep.json").read_text())["members"].values()
    assert sorted(m["status"] for m in members) == ["done", "done", "refused"]
    assert sorted(m["exit_code"] for m in members) == [0, 0, 4]


def test_members_that_ask_for_the_same_are_refused(
    here: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "run_stage", Stages())
    code, _, err = here("gate", "-m", "data.work=a,b", "run_dir=sweep")
    assert code == 2
    assert "SWEEP_TWINS" in err
    assert len({path.name for path in Path("sweep").iterdir() if path.is_dir()}) == 1


@pytest.mark.parametrize("worst", [2, 3, 4, 5, 6, 75])
def test_codes_are_ordered_by_how_bad_they_are(worst: int) -> None:
    assert {*cli.SEVERITY} >= {0, 2, 3, 4, 5, 6, 75}
    assert max([0, worst, 0], key=cli.SEVERITY.index) == worst
    rank = cli.SEVERITY.index(worst)
    assert max([worst, cli.SEVERITY[rank - 1]], key=cli.SEVERITY.index) == worst
