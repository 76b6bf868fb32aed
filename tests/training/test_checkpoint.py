"""Checkpoints: what is saved comes back, and what was damaged is refused."""

import random
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch

from harness.digest import sha256_hex
from harness.errors import Refused, Unwritable
from harness.rundir import read_json, write_json
from harness.training.checkpoint import (
    TrainState,
    load_checkpoint,
    random_states,
    save_checkpoint,
)

STATE = TrainState(7, 100, 90, [(2, 1.5), (4, 1.25)], False, "plan", "root", [1, 2], {"threads": 1})
LEAVES = [b"2" * 32, b"1" * 32]


def saved(
    folder: Path, state: TrainState, leaves: Sequence[bytes] = LEAVES
) -> dict[str, torch.Tensor]:
    tensors = {"weight.a": torch.randn(3, 4), "optimizer.a.step": torch.tensor(7.0)}
    states = {f"random.0.{name}": value for name, value in random_states().items()}
    save_checkpoint(folder, state, tensors | states, leaves)
    return tensors


def leaf(number: int) -> bytes:
    return sha256(bytes([number])).digest()


def test_everything_comes_back_random_states_included(tmp_path: Path) -> None:
    torch.manual_seed(3)
    random.seed(3)
    written = replace(STATE)
    tensors = saved(tmp_path, written)
    expected = torch.rand(4).tolist(), random.random()
    torch.manual_seed(9)
    random.seed(9)
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    state, found, seen = loaded
    assert written.observed.count == 2
    assert state == STATE, "a process that goes on begins a file of its own"
    assert seen == LEAVES
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert (torch.rand(4).tolist(), random.random()) == expected


def test_none_before_the_first_and_two_at_most(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path) is None
    for step in (1, 2, 3):
        saved(tmp_path, TrainState(step=step))
    names = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert names == ["step-0000002.safetensors", "step-0000003.safetensors"]


@pytest.mark.parametrize("place", [0.0, 0.3, 0.6, 0.999])
def test_a_changed_byte_is_refused(tmp_path: Path, place: float) -> None:
    saved(tmp_path, TrainState(step=1))
    path = next(tmp_path.glob("*.safetensors"))
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 1
    path.write_bytes(data)
    with pytest.raises(Refused, match="CHECKPOINT_CORRUPT"):
        load_checkpoint(tmp_path)


def test_an_unfinished_write_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    saved(tmp_path, TrainState(step=1))
    (tmp_path / ".step-0000002.safetensors.1.tmp").write_bytes(b"half")
    (tmp_path / "step-0000003.safetensors").write_bytes(b"written, but not yet pointed at")
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    assert loaded[0].step == 1


def leaves_file(folder: Path) -> Path:
    (found,) = folder.glob("observed-*.leaves")
    return found


def test_observed_leaves_grow_by_what_is_new(tmp_path: Path) -> None:
    state = TrainState(step=1)
    saved(tmp_path, state, [leaf(1), leaf(2)])
    before = leaves_file(tmp_path).read_bytes()
    state.step = 2
    saved(tmp_path, state, [leaf(3)])
    assert leaves_file(tmp_path).read_bytes() == before + leaf(3)
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    assert loaded[2] == [leaf(1), leaf(2), leaf(3)]


def test_leaves_of_steps_that_were_not_saved_are_forgotten(tmp_path: Path) -> None:
    """Killed between the leaves and the checkpoint: the steps, and their leaves, come again."""
    state = TrainState(step=1)
    saved(tmp_path, state, [leaf(1)])
    with leaves_file(tmp_path).open("ab") as file:
        file.write(leaf(8) + leaf(9)[:5])
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    again, _, leaves = loaded
    assert leaves == [leaf(1)]
    again.step = 2
    saved(tmp_path, again, [*leaves, leaf(2)])
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    assert loaded[2] == [leaf(1), leaf(2)]


@pytest.mark.parametrize("saves", [1, 2])
def test_who_was_overtaken_spoils_nothing(tmp_path: Path, saves: int) -> None:
    """It wakes in the middle of saving: its successor's next checkpoint is whole all the same."""
    overtaken = TrainState(step=20)
    saved(tmp_path, overtaken, [leaf(1)])
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    newer, _, leaves = loaded
    for step in (40, 60)[:saves]:
        newer.step = step
        saved(tmp_path, newer, [*leaves, leaf(step)])
        leaves = []
    overtaken.step = 40
    with nullcontext() if saves == 1 else pytest.raises(Unwritable):  # what it wrote is gone
        saved(tmp_path, overtaken, [leaf(7)])
    newer.step = 80
    saved(tmp_path, newer, [leaf(80)])
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    assert loaded[0].step == 80
    assert loaded[2] == [leaf(1), *map(leaf, (40, 60)[:saves]), leaf(80)]


def test_what_a_killed_restart_left_is_gone_with_the_first_checkpoint(tmp_path: Path) -> None:
    """LATEST is removed first: weights that learnt what is withdrawn do not outlive the restart."""
    saved(tmp_path, TrainState(step=480))
    (tmp_path / "LATEST.json").unlink()
    assert load_checkpoint(tmp_path) is None
    saved(tmp_path, TrainState(step=20))
    assert [path.name for path in tmp_path.glob("step-*")] == ["step-0000020.safetensors"]
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    assert loaded[0].step == 20


@pytest.mark.parametrize("place", [0, 31, 32, 63])
def test_a_changed_byte_of_the_leaves_is_refused(tmp_path: Path, place: int) -> None:
    saved(tmp_path, TrainState(step=1))
    path = leaves_file(tmp_path)
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(Refused, match="CHECKPOINT_CORRUPT"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("left", [b"", LEAVES[0], LEAVES[1] + LEAVES[0], None])
def test_missing_or_reordered_leaves_are_refused(tmp_path: Path, left: bytes | None) -> None:
    state = TrainState(step=1)
    saved(tmp_path, state)
    path = leaves_file(tmp_path)
    path.unlink() if left is None else path.write_bytes(left)
    with pytest.raises(Refused, match="CHECKPOINT_CORRUPT"):
        load_checkpoint(tmp_path)
    if left is None or len(left) < 64:  # and they are not made up
        with pytest.raises(Unwritable, match="CHECKPOINT_UNWRITABLE"):
            saved(tmp_path, state, [leaf(3)])


def test_a_checkpoint_of_another_version_is_refused_by_name(tmp_path: Path) -> None:
    saved(tmp_path, TrainState(step=1))
    path = next(tmp_path.glob("step-*"))
    data = path.read_bytes().replace(b"train_root", b"other_root")
    path.write_bytes(data)
    latest = read_json(tmp_path / "LATEST.json")
    write_json(tmp_path / "LATEST.json", latest | {"sha256": sha256_hex(data)})
    with pytest.raises(Refused, match="CHECKPOINT_CORRUPT: another version of the harness"):
        load_checkpoint(tmp_path)
