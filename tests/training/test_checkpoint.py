"""Checkpoints: what is saved comes back, and what was damaged is refused."""

import random
from pathlib import Path

import pytest
import torch

from harness.errors import Refused
from harness.training.checkpoint import (
    TrainState,
    load_checkpoint,
    random_states,
    save_checkpoint,
)

STATE = TrainState(7, 100, 90, [(2, 1.5), (4, 1.25)], False, "plan", "root", [1, 2], {"threads": 1})


def saved(folder: Path, step: int = 7) -> dict[str, torch.Tensor]:
    tensors = {"weight.a": torch.randn(3, 4), "optimizer.a.step": torch.tensor(7.0)}
    STATE.step = step
    states = {f"random.0.{name}": value for name, value in random_states().items()}
    save_checkpoint(folder, STATE, tensors | states, {b"1" * 32, b"2" * 32})
    return tensors


def test_everything_comes_back_random_states_included(tmp_path: Path) -> None:
    torch.manual_seed(3)
    random.seed(3)
    tensors = saved(tmp_path)
    expected = torch.rand(4).tolist(), random.random()
    torch.manual_seed(9)
    random.seed(9)
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    state, found, seen = loaded
    assert state == STATE
    assert seen == {b"1" * 32, b"2" * 32}
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert (torch.rand(4).tolist(), random.random()) == expected


def test_none_before_the_first_and_two_at_most(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path) is None
    for step in (1, 2, 3):
        saved(tmp_path, step)
    names = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert names == ["step-0000002.safetensors", "step-0000003.safetensors"]


@pytest.mark.parametrize("place", [0.0, 0.3, 0.6, 0.999])
def test_a_changed_byte_is_refused(tmp_path: Path, place: float) -> None:
    saved(tmp_path)
    path = next(tmp_path.glob("*.safetensors"))
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 1
    path.write_bytes(data)
    with pytest.raises(Refused, match="CHECKPOINT_CORRUPT"):
        load_checkpoint(tmp_path)


def test_an_unfinished_write_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    (tmp_path / ".step-0000002.safetensors.1.tmp").write_bytes(b"half")
    (tmp_path / "step-0000003.safetensors").write_bytes(b"written, but not yet pointed at")
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    assert loaded[0].step == 1
