"""The chunked loss against the plain one: values and gradients."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from harness.corpus.datamodule import IGNORED
from harness.training.loss import CHUNK, supervised_loss


def chosen(labels: torch.Tensor) -> torch.Tensor:
    return torch.nonzero(labels.flatten() != IGNORED)[:, 0]


@pytest.mark.parametrize("tokens", [1, 7, CHUNK, CHUNK + 1, 3 * CHUNK - 5])
@pytest.mark.parametrize("masked", [0.0, 0.5, 1.0])
def test_equal_to_plain_cross_entropy(tokens: int, masked: float) -> None:
    generator = torch.Generator().manual_seed(tokens)
    states = torch.randn(2, tokens, 12, generator=generator, dtype=torch.float64)
    states, plain = (states.clone().requires_grad_() for _ in range(2))
    weight = torch.randn(40, 12, generator=generator, dtype=torch.float64)
    labels = torch.randint(40, (2, tokens), generator=generator)
    labels[torch.rand(2, tokens, generator=generator) < masked] = IGNORED
    total = supervised_loss(states, weight, labels, chosen(labels))
    expected = cross_entropy(
        (plain @ weight.T).flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)
    (total * 0.5).backward()
    (expected * 0.5).backward()
    assert torch.allclose(states.grad, plain.grad, atol=1e-6)


def test_no_full_vocabulary_float32_tensor_is_kept() -> None:
    """What the graph holds for backward is the size of the hidden states, not of the logits."""
    held: list[int] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        held.append(tensor.numel())
        return tensor

    states = torch.randn(1, 600, 8, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        labels = torch.randint(5000, (1, 600))
        supervised_loss(states, torch.randn(5000, 8), labels, chosen(labels))
    assert max(held) <= 600 * 8
