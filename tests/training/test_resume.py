"""Where a training may go on, and where not."""

from dataclasses import replace
from pathlib import Path

import pytest

from factories import AUTHORITY, tiny_config
from harness.consent.gate import Withdrawn
from harness.errors import Refused
from harness.rundir import RunDir
from harness.training import fit
from harness.training.checkpoint import TrainState, random_states, save_checkpoint
from harness.training.resume import resume


def folder(run: RunDir) -> Path:
    return run.file("checkpoints")


def saved(run: RunDir, state: TrainState) -> None:
    states = {f"random.0.{name}": value for name, value in random_states().items()}
    save_checkpoint(folder(run), state, states, [])


@pytest.mark.parametrize("restarts", [False, True])
def test_a_checkpoint_of_other_turns_is_not_continued(restarts: bool, tmp_path: Path) -> None:
    """What was withdrawn while nothing ran is as what is withdrawn while it runs."""
    run = RunDir(tmp_path, tiny_config())
    saved(run, TrainState(step=3, train_root="old"))
    authority, begun = replace(AUTHORITY, restarts=restarts), TrainState(train_root="new")
    with pytest.raises(Withdrawn, match="TRAIN_ROOT_CHANGED") as caught:
        resume(folder(run), begun, authority, True)
    assert caught.value.restart is restarts
    fit._begin_again(run)
    state, tensors, leaves = resume(folder(run), begun, authority, True)
    assert (state.step, tensors, leaves) == (0, {}, [])


def test_a_checkpoint_of_another_plan_is_not_continued(tmp_path: Path) -> None:
    """Other masks or canaries on the same turns: the steps that are left would not be its steps."""
    run = RunDir(tmp_path, tiny_config())
    saved(run, TrainState(step=3, train_root="r", plan="one"))
    with pytest.raises(Refused, match="PLAN_CHANGED"):
        resume(folder(run), TrainState(train_root="r", plan="other"), AUTHORITY, True)


def test_another_machine_is_refused_where_bits_count_and_told_where_they_do_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDir(tmp_path, tiny_config())
    saved(run, TrainState(step=3, machine={"threads": 1, "compiled": False}))
    here = TrainState(machine={"threads": 2, "compiled": False})
    with pytest.raises(Refused, match="MACHINE_CHANGED: threads differ"):
        resume(folder(run), here, AUTHORITY, True)
    assert resume(folder(run), here, AUTHORITY, False)[0].step == 3
    assert "threads differ" in capsys.readouterr().err
