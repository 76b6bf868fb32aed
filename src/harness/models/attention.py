"""Attention inside documents: rows of packed documents, and no mask anywhere.

Transformers lets a model choose its attention by name; ``documents`` is ours. It takes where each
document starts and works on one document after another, so nothing is spent on pairs of tokens that
may not see each other: on a GPU by FlashAttention's kernels for sequences of varying length, on a
CPU by blocks of matrix products.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from inspect import signature
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.varlen import varlen_attn
from transformers import PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import AttentionInterface

NAME = "documents"
BLOCK = 128  # queries at once: their scores against 512 keys of 9 heads stay in a core's cache
# torch 2.11 takes fewer key heads than query heads without being told
_SAYS_GROUPED = "enable_gqa" in signature(varlen_attn).parameters
_HALF = (torch.bfloat16, torch.float16)


def document_starts(position_ids: Tensor) -> Tensor:
    """Where documents start in the flattened rows, and the end of all; int32, shape (n + 1,).

    Args:
        position_ids: int64, shape (rows, tokens), 0 at each document's start and at each row's.
    """
    flat = position_ids.flatten()
    starts = torch.nonzero(flat == 0)[:, 0]
    return torch.cat([starts, starts.new_tensor([len(flat)])]).to(torch.int32)


def agrees(model: PreTrainedModel) -> bool:
    """Whether this attention is the model's own, by its settings and on packed documents.

    Windows and caps show in the settings, biases and sinks in the hidden states of two short
    documents in one row. In bfloat16 transformers' own two ways differ, too, by rounding; ours must
    not differ from the nearer of them by more than twice as much.
    """
    settings = model.config.get_text_config().to_dict()
    windows = settings.get("sliding_window") and settings.get("use_sliding_window", True)
    if windows or settings.get("attn_logit_softcapping"):
        return False
    before = model.config._attn_implementation
    try:
        ours, sdpa, eager = (_packed_states(model, name) for name in (NAME, "sdpa", "eager"))
    except ValueError:  # transformers knows that the model cannot attend in one of these ways
        return False
    finally:
        model.set_attn_implementation(before)
    between = (sdpa - eager).norm()
    nearest = torch.minimum((ours - sdpa).norm(), (ours - eager).norm())
    return bool(nearest <= 2 * between + 1e-3 * eager.norm())


def _packed_states(model: PreTrainedModel, name: str) -> Tensor:
    model.set_attn_implementation(name)
    ids = torch.arange(1, 33, device=model.device)[None] % model.config.get_text_config().vocab_size
    positions = torch.cat([torch.arange(20), torch.arange(12)])[None].to(model.device)
    more = {"document_starts": document_starts(positions)} if name == NAME else {}
    with torch.no_grad():
        out = model.get_decoder()(input_ids=ids, position_ids=positions, use_cache=False, **more)
    states: Tensor = out.last_hidden_state.float()
    return states


def within_documents(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None,
    scaling: float | None = None, document_starts: Tensor | None = None, **rest: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """Causal attention inside each document; the function behind the name ``documents``.

    Args:
        query: shape (rows, heads, tokens, width).
        key: shape (rows, key heads, tokens, width).
        value: same shape as key.
        scaling: of the scores; by default one over the root of width.
        document_starts: see :func:`document_starts`; without it (generation) each row is one
            document and PyTorch's own attention is used.

    Returns:
        Shape (rows, tokens, heads, width), and no weights.
    """
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if document_starts is None:
        out, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scale,
                                        **rest)  # fmt: skip
        return out, None
    if query.is_cuda and query.dtype in _HALF:
        return _on_gpu(query, key, value, document_starts, scale), None
    if query.is_cuda:
        return _masked(query, key, value, document_starts, scale), None
    return _attend(query, key, value, document_starts, scale).transpose(1, 2), None


def _on_gpu(query: Tensor, key: Tensor, value: Tensor, starts: Tensor, scale: float) -> Tensor:
    rows, heads, tokens, width = query.shape
    q, k, v = (x.transpose(1, 2).reshape(rows * tokens, -1, width) for x in (query, key, value))
    grouped = _SAYS_GROUPED and k.shape[1] != heads
    attend = partial(varlen_attn, enable_gqa=True) if grouped else varlen_attn
    out = attend(q, k, v, starts, starts, tokens, tokens, scale=scale, window_size=(-1, 0))
    assert isinstance(out, Tensor)
    return out.view(rows, tokens, heads, width)


def _masked(query: Tensor, key: Tensor, value: Tensor, starts: Tensor, scale: float) -> Tensor:
    """In float32 FlashAttention has no kernel: PyTorch's attention under a mask of documents."""
    rows, _, tokens, _ = query.shape
    place = torch.arange(rows * tokens, device=query.device, dtype=torch.int32)
    owner = torch.bucketize(place, starts, right=True).view(rows, 1, tokens)
    seen = (owner.transpose(1, 2) == owner).tril()[:, None]
    out = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=seen, scale=scale,
                                                     enable_gqa=True)  # fmt: skip
    return out.transpose(1, 2)


@dataclass(frozen=True)
class _Block:
    """Queries ``start`` to ``end`` of a row see its keys from ``first`` to ``end``, but ``hidden``.

    Attributes:
        hidden: bool, shape (end - start, end - first), or None where only the square at the end
            is causal.
    """

    row: int
    first: int
    start: int
    end: int
    hidden: Tensor | None


@lru_cache(maxsize=4)
def _blocks(starts: tuple[int, ...], tokens: int) -> tuple[_Block, ...]:
    return tuple(_cut(starts, tokens))


def _cut(starts: tuple[int, ...], tokens: int) -> Iterator[_Block]:
    """Blocks of every document; short neighbours share one, under a mask of their own."""
    pending: list[int] = []
    for start, end in pairwise(starts):
        joined = pending and end - pending[0] <= BLOCK and start // tokens == pending[0] // tokens
        if pending and not joined:
            yield from _group(pending, start, tokens)
            pending = []
        pending.append(start)
    yield from _group(pending, starts[-1], tokens)


def _group(starts: list[int], end: int, tokens: int) -> Iterator[_Block]:
    row, first = divmod(starts[0], tokens)
    last = first + end - starts[0]
    if len(starts) > 1:
        place = torch.arange(starts[0], end)
        owner = torch.bucketize(place, torch.tensor(starts), right=True)
        hidden = (owner[:, None] != owner) | (place[:, None] < place)
        yield _Block(row, first, first, last, hidden)
        return
    for start in range(first, last, BLOCK):
        yield _Block(row, first, start, min(start + BLOCK, last), None)


@lru_cache(maxsize=1)
def _future() -> Tensor:
    return torch.ones(BLOCK, BLOCK, dtype=torch.bool).triu(1)


def _weights(block: _Block, query: Tensor, key: Tensor) -> Tensor:
    """Attention weights of a block, shape (key heads, group x queries, keys)."""
    heads, stacked, keys = *query.shape[:2], key.shape[1]
    count = block.end - block.start
    scores = (query @ key.transpose(1, 2)).view(heads, stacked // count, count, keys)
    if block.hidden is not None:
        scores.masked_fill_(block.hidden, -torch.inf)
    else:
        scores[..., keys - count :].masked_fill_(_future()[:count, :count], -torch.inf)
    return torch.softmax(scores, -1).view(heads, stacked, keys)


@torch.library.custom_op("harness::attend_within_documents", mutates_args=())
def _attend(query: Tensor, key: Tensor, value: Tensor, starts: Tensor, scale: float) -> Tensor:
    """Attention on the CPU; one operator, so that a compiler does not look inside."""
    _, heads, tokens, width = query.shape
    groups = key.shape[1]
    out = query.new_empty(query.shape)
    for block in _blocks(tuple(starts.tolist()), tokens):
        mine, seen = slice(block.start, block.end), slice(block.first, block.end)
        asked = (query[block.row, :, mine] * scale).reshape(groups, -1, width)
        weights = _weights(block, asked, key[block.row, :, seen])
        out[block.row, :, mine] = (weights @ value[block.row, :, seen]).view(heads, -1, width)
    return out


@_attend.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, starts: Tensor, scale: float) -> Tensor:
    return query.new_empty(query.shape)


@torch.library.custom_op("harness::attend_within_documents_backward", mutates_args=())
def _attend_backward(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, starts: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Weights are made again, block by block; nothing that grows with the square is kept."""
    groups, width = key.shape[1], key.shape[3]
    to_query = torch.empty_like(query, memory_format=torch.contiguous_format)
    to_key, to_value = (torch.zeros(key.shape, dtype=torch.float32) for _ in range(2))
    for block in _blocks(tuple(starts.tolist()), query.shape[2]):
        mine, seen = slice(block.start, block.end), slice(block.first, block.end)
        k, v = key[block.row, :, seen], value[block.row, :, seen]
        q = (query[block.row, :, mine] * scale).reshape(groups, -1, width)
        g, o = (x[block.row, :, mine].reshape(groups, -1, width) for x in (gradient, out))
        weights = _weights(block, q, k)
        to_value[block.row, :, seen] += weights.transpose(1, 2) @ g
        error = (g @ v.transpose(1, 2)).sub_((g * o).sum(-1, keepdim=True)).mul_(weights)
        to_query[block.row, :, mine] = (error @ k).mul_(scale).view(query.shape[1], -1, width)
        to_key[block.row, :, seen] += error.transpose(1, 2) @ q
    return to_query, to_key.to(key.dtype), to_value.to(value.dtype)


@_attend_backward.register_fake
def _(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, starts: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    return query.new_empty(query.shape), key.new_empty(key.shape), value.new_empty(value.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    query, key, value, starts, ctx.scale = inputs
    ctx.save_for_backward(query, key, value, output, starts)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    query, key, value, out, starts = ctx.saved_tensors
    return (*_attend_backward(gradient, query, key, value, out, starts, ctx.scale), None, None)


_attend.register_autograd(_backward, setup_context=_keep)
AttentionInterface.register(NAME, within_documents)
