"""Safetensors read and written one tensor at a time: what any other reader finds in them."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from harness.errors import Refused
from harness.models.shards import Entry, arrange, entries_of, model_entries, write_model


def entry(name: str, *shape: int, dtype: str = "F32") -> Entry:
    return Entry(name, Path("nowhere"), shape, dtype)


@given(st.lists(st.integers(0, 9), min_size=1), st.integers(1, 80))
def test_shards_hold_every_tensor_once_and_no_more_than_they_may(
    sizes: list[int], limit: int
) -> None:
    entries = [entry(f"t{i}", size) for i, size in enumerate(sizes)]
    shards = arrange(entries, limit)
    assert [held for shard in shards for held in shard] == entries
    for shard in shards:
        assert len(shard) == 1 or sum(held.nbytes for held in shard) <= limit
    for left, right in pairwise(shards):  # none is begun without need
        assert sum(held.nbytes for held in (*left, right[0])) > limit


def test_what_is_written_reads_back_with_the_library(tmp_path: Path) -> None:
    values = {
        "odd": torch.tensor([True, False, True]),
        "half": torch.randn(5, 3).to(torch.bfloat16),
        "scalar": torch.tensor(7.0),
        "steps": torch.arange(4),
        "none": torch.zeros(0, 3),
        "turned": torch.randn(3, 4).T,
        "ü": torch.randn(2),
    }
    types = {"odd": "BOOL", "half": "BF16", "steps": "I64"}
    entries = [
        entry(name, *tensor.shape, dtype=types.get(name, "F32")) for name, tensor in values.items()
    ]
    write_model(tmp_path, [entries], lambda held: values[held.name])
    read = load_file(tmp_path / "model.safetensors")
    assert read.keys() == values.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in values.items())
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == 0o600


def test_several_shards_have_an_index(tmp_path: Path) -> None:
    values = {f"t{i}": torch.full((4,), float(i)) for i in range(3)}
    shards = arrange([entry(name, 4) for name in values], 32)
    write_model(tmp_path, shards, lambda held: values[held.name])
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_size": 48}
    assert {*index["weight_map"].values()} == {
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    }
    again = model_entries(tmp_path)
    assert all(torch.equal(again[name].read(), tensor) for name, tensor in values.items())


def damaged(folder: Path, how: str) -> None:
    save_file({"a": torch.zeros(2)}, folder / "part.safetensors")
    index = {"weight_map": {"a": "part.safetensors"}}
    if how == "truncated":
        data = (folder / "part.safetensors").read_bytes()
        (folder / "part.safetensors").write_bytes(data[:-3])
    elif how == "lacks a tensor":
        index["weight_map"]["b"] = "part.safetensors"
    elif how == "lacks a file":
        index["weight_map"]["b"] = "other.safetensors"
    elif how == "leads elsewhere":
        index["weight_map"]["b"] = "../part.safetensors"
    text = "{" if how == "no index" else "[]" if how == "a list" else json.dumps(index)
    (folder / "model.safetensors.index.json").write_text(text)


@pytest.mark.parametrize(
    "how",
    ["truncated", "lacks a tensor", "lacks a file", "leads elsewhere", "no index", "a list"],
)  # fmt: skip
def test_damaged_folders_are_refused(how: str, tmp_path: Path) -> None:
    damaged(tmp_path, how)
    with pytest.raises(Refused, match="WEIGHTS_UNREADABLE"):
        model_entries(tmp_path)


def test_pickles_and_quantised_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(Refused, match="MODEL_MISSING"):
        model_entries(tmp_path)
    small = torch.zeros(2).to(torch.float8_e4m3fn)
    save_file({"a": small}, tmp_path / "model.safetensors")
    with pytest.raises(Refused, match=r"WEIGHTS_TYPE.*F8_E4M3"):
        entries_of(tmp_path / "model.safetensors")
