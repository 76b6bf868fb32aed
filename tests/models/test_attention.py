"""Attention inside documents: equal to a masked one, and not one bit between documents."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import GptOssConfig, GptOssForCausalLM, MistralConfig, MistralForCausalLM

from factories import tiny_config
from harness.models import attention, base

WIDTH = 8


def drawn(lengths: list[list[int]], heads: int, groups: int, dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(sum(map(sum, lengths)))
    rows, tokens = len(lengths), sum(lengths[0])
    return [
        torch.randn(rows, count, tokens, WIDTH, generator=generator).to(dtype).requires_grad_()
        for count in (heads, groups, groups)
    ]


def starts_of(lengths: list[list[int]]) -> Tensor:
    positions = [torch.cat([torch.arange(n) for n in row]) for row in lengths]
    return attention.document_starts(torch.stack(positions))


@st.composite
def rows(draw: st.DrawFn) -> list[list[int]]:
    """Rows of equal length, cut into documents of any length."""
    tokens = draw(st.integers(1, 300))
    found = []
    for _ in range(draw(st.integers(1, 3))):
        cuts = sorted(draw(st.sets(st.integers(1, max(1, tokens - 1)), max_size=12)) | {tokens})
        found.append([b - a for a, b in zip([0, *cuts], cuts, strict=False)])
    return found


@given(rows(), st.sampled_from([(1, 1), (4, 2), (6, 2)]))
@settings(max_examples=60, deadline=None)
def test_it_is_attention_under_a_mask_of_documents(
    lengths: list[list[int]], heads: tuple[int, int]
) -> None:
    query, key, value = drawn(lengths, *heads, torch.float64)
    starts, scale = starts_of(lengths), 0.3
    out, _ = attention.within_documents(
        torch.nn.Module(), query, key, value, None, scaling=scale, document_starts=starts
    )
    expected = attention._masked(query, key, value, starts, scale)
    assert torch.allclose(out, expected, atol=1e-9)
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).double()
    ours = torch.autograd.grad((out * weight).sum(), (query, key, value))
    theirs = torch.autograd.grad((expected * weight).sum(), (query, key, value))
    # keys and values are summed in float32
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_another_document_changes_no_bit(dtype: torch.dtype) -> None:
    lengths = [[140, 30, 5, 125], [300]]
    query, key, value = (x.detach() for x in drawn(lengths, 4, 2, dtype))
    starts = starts_of(lengths)
    before = attention._attend(query, key, value, starts, 0.3)
    for tensor in (query, key, value):
        tensor[0, :, 140:170] += 1.0
    after = attention._attend(query, key, value, starts, 0.3)
    assert not torch.equal(before[0, :, 140:170], after[0, :, 140:170])
    after[0, :, 140:170] = before[0, :, 140:170]
    assert torch.equal(before, after)


def test_nothing_that_grows_with_the_square_is_kept() -> None:
    held: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        held.append(tensor.numel())
        return tensor

    inputs = drawn([[1000]], 2, 1, torch.float32)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        attention._attend(*inputs, starts_of([[1000]]), 0.3)
    assert max(held) <= 1000 * 2 * WIDTH


def small(**more: object) -> dict[str, object]:
    return {
        "vocab_size": 50, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2,
    } | more  # fmt: skip


def test_a_window_or_a_sink_is_not_ours() -> None:
    torch.manual_seed(0)
    windowed = MistralForCausalLM(MistralConfig(**small(sliding_window=8))).eval()
    assert not attention.agrees(windowed)
    assert attention.agrees(MistralForCausalLM(MistralConfig(**small(sliding_window=None))).eval())
    sinks = GptOssForCausalLM(GptOssConfig(**small(
        head_dim=8, num_local_experts=2, num_experts_per_tok=1, sliding_window=None,
        layer_types=["full_attention"] * 2,
    )))  # fmt: skip
    assert not attention.agrees(sinks.eval())


def test_a_model_keeps_its_own_attention_where_asked() -> None:
    config = tiny_config()
    assert base.load(config.model).attention == "documents"
    config.model.attention = "eager"
    assert base.load(config.model).attention == "eager"
