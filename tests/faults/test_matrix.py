"""Every signal at every moment: the same command again ends with the bits of an undisturbed run."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from signal import SIGKILL, SIGTERM, SIGUSR1, SIGUSR2, Signals
from typing import Any

import pytest

from endings import ends, with_key_of
from faults.conftest import KINDS, Command

Undisturbed = Callable[..., Path]
SIGNALS = (SIGKILL, SIGTERM, SIGUSR1, SIGUSR2)
MOMENTS: dict[str, dict[str, Any]] = {
    "first step": {"moment": "loss", "call": 1},
    "accumulation": {"moment": "loss", "call": 11},  # the third of four passes of step 3
    "checkpoint": {"moment": "replace:step-0000004.safetensors"},  # written, not yet in place
    "evaluation": {"moment": "evaluate"},
    "end": {"moment": "replace:adapter_model.safetensors"},
}
SHARED = {"accumulation": {"moment": "loss", "call": 6}}  # the second of two passes of step 3
MORE: dict[str, dict[str, Any]] = {
    "start": {"moment": "start"},  # Lightning has the signals here
    "load": {"moment": "load"},
    "pointer": {"moment": "replace:LATEST.json", "call": 2},
    "receipt": {"moment": "replace:receipt.json"},
}
QUICK = {(SIGTERM, "end", "one")}
FSDP = {(SIGKILL, "checkpoint"), (SIGTERM, "accumulation"), (SIGUSR2, "evaluation")}
CELLS = [
    *((number, moment, "one") for moment in MOMENTS for number in SIGNALS),
    *((number, moment, "ddp") for moment in MOMENTS for number in SIGNALS),
    *((number, moment, "fsdp2") for number, moment in sorted(FSDP)),
    *((number, moment, "one") for moment in MORE for number in (SIGKILL, SIGTERM)),
]  # fmt: skip


def named(number: Signals, moment: str, kind: str) -> Any:
    """A cell as a parameter; slow unless it is one of the few quick ones."""
    marks = [] if (number, moment, kind) in QUICK else [pytest.mark.slow]
    return pytest.param(number, moment, kind, marks=marks, id=f"{number.name}-{moment}-{kind}")


def plan_of(number: Signals, moment: str, kind: str, rank: int = 0) -> dict[str, Any]:
    found = (MOMENTS | MORE)[moment] if kind == "one" else (MOMENTS | SHARED)[moment]
    return found | {"fault": "send", "signal": int(number), "rank": rank}


def goes_on(command: Command, run_dir: Path, kind: str) -> None:
    """The command again: it ends well, or is told once more that something ended it."""
    outcome = command.shipped(run_dir, *KINDS[kind])
    assert outcome.code == 0, outcome.err
    assert outcome.only_ours(), outcome.err


def nobody_is_left(run_dir: Path, seconds: float = 60.0) -> bool:
    """Whether every process that works on a run directory ends in time."""
    until = time.monotonic() + seconds
    while any(str(run_dir) in line for line in command_lines()):
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


def command_lines() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            mine = int(path.parent.name) == os.getpid()
            found += (
                [] if mine else [path.read_bytes().replace(b"\0", b" ").decode("utf8", "replace")]
            )
        except OSError:  # it ended meanwhile
            continue
    return found


@pytest.mark.parametrize(("number", "moment", "kind"), [named(*cell) for cell in CELLS])
def test_the_bits_are_those_of_an_undisturbed_run(
    command: Command, undisturbed: Undisturbed, tmp_path: Path,
    number: Signals, moment: str, kind: str,
) -> None:  # fmt: skip
    run_dir = with_key_of(undisturbed(kind), tmp_path / "run")
    outcome = command.faulty(plan_of(number, moment, kind), run_dir, *KINDS[kind])
    done = moment in ("end", "receipt")
    expected = -SIGKILL if number == SIGKILL else 0 if done else 75
    assert outcome.code == expected, outcome.err
    if expected == 75:
        outcome.line("PREEMPTED")
    goes_on(command, run_dir, kind)
    assert ends(run_dir) == ends(undisturbed(kind))
    assert nobody_is_left(run_dir)
    assert not [*run_dir.rglob(".*.tmp")]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp2"])
@pytest.mark.parametrize("moment", ["accumulation", "evaluation"])
def test_a_signal_to_one_process_stops_all(
    command: Command, undisturbed: Undisturbed, tmp_path: Path, moment: str, kind: str
) -> None:
    run_dir = with_key_of(undisturbed(kind), tmp_path / "run")
    outcome = command.faulty(plan_of(SIGTERM, moment, kind, rank=1), run_dir, *KINDS[kind])
    assert outcome.code == 75, outcome.err
    outcome.line("PREEMPTED")
    goes_on(command, run_dir, kind)
    assert ends(run_dir) == ends(undisturbed(kind))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp2"])
@pytest.mark.parametrize("moment", ["load", "accumulation", "evaluation"])
def test_a_lost_process_ends_all(
    command: Command, undisturbed: Undisturbed, tmp_path: Path, moment: str, kind: str
) -> None:
    run_dir = with_key_of(undisturbed(kind), tmp_path / "run")
    lost = plan_of(SIGKILL, moment, "one" if moment == "load" else kind, rank=1)
    began = time.monotonic()
    outcome = command.faulty(lost, run_dir, *KINDS[kind])
    if moment != "load":  # there a process is missed at once
        assert time.monotonic() - began < 60 + 60  # and what it takes to come so far, when busy
    assert outcome.code == 5, outcome.err
    outcome.line("PEER_LOST")
    goes_on(command, run_dir, kind)
    assert ends(run_dir) == ends(undisturbed(kind))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp2"])
def test_processes_begin_again_together_without_what_is_withdrawn(
    command: Command, undisturbed: Undisturbed, tmp_path: Path, kind: str
) -> None:
    """Whoever the others were started for begins anew with others, and nothing is left between."""
    run_dir = with_key_of(undisturbed(kind), tmp_path / "run")
    withdrawn = {"moment": "permission", "call": 2, "fault": "withdraw"}
    outcome = command.faulty(withdrawn, run_dir, *KINDS[kind])
    assert outcome.code == 0, outcome.err
    assert "starting again without it" in outcome.out
    assert ends(run_dir) == ends(undisturbed(kind))
    assert nobody_is_left(run_dir)


def test_killed_between_two_passes_it_goes_on_and_defects_of_a_resume_show(
    command: Command, undisturbed: Undisturbed, run_dir: Path, tmp_path: Path
) -> None:
    """Forgotten random states and a loader that is one step off must fail the comparison."""
    outcome = command.faulty(plan_of(SIGKILL, "accumulation", "one"), run_dir)
    assert outcome.code == -SIGKILL, outcome.err
    shutil.copytree(run_dir, tmp_path / "defective")
    goes_on(command, run_dir, "one")
    assert ends(run_dir) == ends(undisturbed())
    outcome = command.faulty({"defect": "random"}, tmp_path / "defective")
    assert outcome.code == 0, outcome.err
    adapter, metrics, receipt = ends(tmp_path / "defective")
    assert adapter != ends(undisturbed())[0]
    assert metrics != ends(undisturbed())[1]
    assert receipt == ends(undisturbed())[2]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp2"])
def test_followers_have_nothing_to_say(undisturbed: Undisturbed, kind: str) -> None:
    assert (undisturbed(kind) / "logs" / "rank-1.log").read_text() == ""


@pytest.mark.slow
def test_a_loader_that_is_one_step_off_shows(
    command: Command, undisturbed: Undisturbed, run_dir: Path
) -> None:
    command.faulty(plan_of(SIGKILL, "accumulation", "one"), run_dir)
    outcome = command.faulty({"defect": "loader"}, run_dir)
    assert outcome.code in (0, 4), outcome.err
    if outcome.code == 4:  # what it passed over never entered
        outcome.line("RECEIPT_UNEQUAL")
    else:
        assert ends(run_dir)[0] != ends(undisturbed())[0]
