"""Cross-entropy under a frozen head, in chunks, without a full-vocabulary float32 tensor."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

CHUNK = 256
CHUNK_ON_GPU = 2048  # enough rows to fill it; float32 logits of 128,000 words take 1 GB


class _FrozenHeadLoss(Function):
    """Sum of cross-entropies; the gradient of the hidden states is made in the forward pass."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float32, device=states.device)
        gradient = torch.empty_like(states)
        size = CHUNK_ON_GPU if states.is_cuda else CHUNK
        for start in range(0, len(states), size):
            part = slice(start, start + size)
            log_p = torch.log_softmax((states[part] @ weight.T).float(), dim=-1)
            rows = torch.arange(len(log_p), device=states.device)
            total -= log_p[rows, targets[part]].sum()
            error = log_p.exp_()
            error[rows, targets[part]] -= 1.0
            gradient[part] = error.to(weight.dtype) @ weight
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * outputs[0].to(gradient.dtype), None, None


def supervised_loss(states: Tensor, weight: Tensor, labels: Tensor, predicting: Tensor) -> Tensor:
    """Sum of token losses in nats.

    Only supervised rows meet the head. The head must be frozen: it gets no gradient.

    Args:
        states: hidden states, shape (rows, tokens, width).
        weight: head, shape (vocabulary, width), same dtype as the states.
        labels: int64, shape (rows, tokens).
        predicting: int64, shape (supervised,): flat places of the labels that count.
    """
    chosen = states.flatten(0, 1)[predicting].to(weight.dtype)
    targets = labels.flatten()[predicting]
    total: Tensor = _FrozenHeadLoss.apply(chosen, weight, targets)  # type: ignore[no-untyped-call]
    return total
