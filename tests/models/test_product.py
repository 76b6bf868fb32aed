"""The adapted product: PEFT's own result and gradients, and no gradient for the frozen weight."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from harness.models.product import FrozenBaseLinear, compute_adapted_products


class Net(nn.Module):
    """One layer that an adapter goes on."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.inner = nn.Linear(7, 5, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x)
        return out


def adapted(seed: int, bias: bool, **more: object) -> nn.Module:
    torch.manual_seed(seed)
    model = get_peft_model(
        Net(bias), LoraConfig(r=3, lora_alpha=5, target_modules=["inner"], **more)
    )
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(weight)
    return model.double()


def run(model: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    out = model(x)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    return [out, *torch.autograd.grad(out.square().sum(), [x, *weights])]


@given(st.integers(0, 100), st.booleans(), st.booleans())
@settings(max_examples=20, deadline=None)
def test_as_peft_computes_it(seed: int, bias: bool, rslora: bool) -> None:
    x = torch.randn(2, 4, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    plain, ours = (adapted(seed, bias, use_rslora=rslora) for _ in range(2))
    assert compute_adapted_products(ours) == 1
    pairs = zip(run(plain, x), run(ours, x), strict=True)
    assert all(torch.allclose(a, b, atol=1e-10) for a, b in pairs)
    assert ours.base_model.model.inner.base_layer.weight.grad is None


@pytest.mark.parametrize("more", [{"use_dora": True}, {"lora_dropout": 0.5}])
def test_what_is_not_plain_is_left_to_peft(more: dict[str, object]) -> None:
    x = torch.randn(3, 7, dtype=torch.float64)
    plain, ours = (adapted(1, True, **more) for _ in range(2))
    compute_adapted_products(ours)
    found = []
    for model in (plain, ours):
        torch.manual_seed(2)
        found.append(run(model, x))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_a_layer_without_its_adapter_is_the_base() -> None:
    model, x = adapted(3, True), torch.randn(3, 7, dtype=torch.float64)
    compute_adapted_products(model)
    assert isinstance(model.base_model.model.inner, FrozenBaseLinear)
    with model.disable_adapter():
        off = model(x)
    assert torch.equal(off, model.base_model.model.inner.base_layer(x))
    model.merge_adapter()
    merged = model(x)
    model.unmerge_adapter()
    assert torch.allclose(model(x), merged)
