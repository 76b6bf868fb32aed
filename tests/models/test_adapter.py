"""The adapter: off it is the base, packed documents are isolated, plain peft loads it."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from factories import tiny_config
from harness.errors import Refused
from harness.models import adapter, base


@pytest.fixture
def model() -> PeftModel:
    config = tiny_config()
    attached = adapter.attach(base.load(config.model), config.lora, seed=1).eval()
    with torch.no_grad():
        for name, weight in attached.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.2, generator=torch.Generator().manual_seed(len(name)))
    return attached


def states(model: PeftModel, ids: list[int], positions: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return adapter.hidden_states(model, torch.tensor([ids]), torch.tensor([positions]))[0]


def test_switched_off_it_is_the_base(model: PeftModel) -> None:
    ids, positions = [1, 30, 40, 50], [0, 1, 2, 3]
    plain = base.load(tiny_config().model)
    with torch.no_grad():
        expected = plain.model.model(input_ids=torch.tensor([ids])).last_hidden_state[0]
    with model.disable_adapter():
        assert torch.allclose(states(model, ids, positions), expected, atol=1e-5)
    assert not torch.allclose(states(model, ids, positions), expected, atol=1e-2)


def test_packed_documents_do_not_see_each_other(model: PeftModel) -> None:
    first, second = [1, 30, 40, 50, 60], [1, 70, 80]
    alone = states(model, second, [0, 1, 2])
    packed = states(model, first + second, [0, 1, 2, 3, 4, 0, 1, 2])
    assert torch.allclose(packed[5:], alone, atol=1e-5)
    other = states(model, [1, 99, 98, 97, 96, *second], [0, 1, 2, 3, 4, 0, 1, 2])
    assert torch.equal(other[5:], packed[5:])  # to the bit
    assert not torch.equal(other[:5], packed[:5])
    joined = states(model, first + second, list(range(8)))
    assert not torch.allclose(joined[5:], alone, atol=1e-3)


def test_initialisation_is_a_function_of_the_seed() -> None:
    config = tiny_config()
    drawn = []
    for seed in (1, 1, 2):
        attached = adapter.attach(base.load(config.model), config.lora, seed)
        drawn.append(next(w for n, w in attached.named_parameters() if "lora_A" in n).clone())
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_plain_peft_loads_what_is_saved(model: PeftModel, tmp_path: Path) -> None:
    model.save_pretrained(str(tmp_path))
    again = adapter.load(base.load(tiny_config().model), tmp_path)
    ids, positions = [1, 30, 40], [0, 1, 2]
    assert torch.equal(states(again, ids, positions), states(model, ids, positions))
    assert all("lora" in name for name in load_file(tmp_path / "adapter_model.safetensors"))


def test_a_missing_adapter_and_unknown_targets_are_refused(tmp_path: Path) -> None:
    loaded = base.load(tiny_config().model)
    with pytest.raises(Refused, match="ADAPTER_MISSING"):
        adapter.load(loaded, tmp_path)
    config = tiny_config()
    config.lora.targets = "no_such_module"
    with pytest.raises(Refused, match=r"LORA_TARGETS.*lora\.targets"):
        adapter.attach(loaded, config.lora, seed=0)


def test_rows_are_laid_end_to_end_for_an_attention_that_knows_one_row_only(
    model: PeftModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = torch.tensor([[1, 30, 40, 1, 50], [1, 60, 70, 80, 90]])
    positions = torch.tensor([[0, 1, 2, 0, 1], [0, 1, 2, 3, 4]])
    shapes = []
    adapter.embeddings(model).register_forward_pre_hook(
        lambda _, given: shapes.append(tuple(given[0].shape))
    )
    model.set_attn_implementation("sdpa")
    with torch.no_grad():
        expected = adapter.hidden_states(model, ids, positions)
        monkeypatch.setattr(adapter, "_IN_ONE_ROW", ("sdpa",))
        found = adapter.hidden_states(model, ids, positions)
    assert shapes == [(2, 5), (1, 10)]
    assert torch.allclose(found, expected, atol=1e-5)
