"""The product of a frozen weight and its LoRA adapter, with nothing computed that nobody needs.

PEFT adds the adapter's output to the base's in two more passes over it, and autograd keeps both.
Here the adapter is added inside the matrix product, and the backward pass makes three gradients:
of the input and of the two adapter matrices. The frozen weight gets none.
"""

from typing import Any, cast

import torch
from peft.tuners.lora.layer import Linear, LoraLayer
from torch import Tensor, nn
from torch.autograd import Function


class _AdaptedProduct(Function):
    """``x W' + scale (x A') B' + bias`` for x of shape (tokens, in)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        down, up = a.to(x.dtype), (b * scale).to(x.dtype)
        inner = x @ down.T
        out = nn.functional.linear(x, weight, bias)
        ctx.save_for_backward(x, weight, down, up, inner)
        ctx.scale, ctx.dtypes = scale, (a.dtype, b.dtype)
        return out.addmm_(inner, up.T)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, down, up, inner = ctx.saved_tensors
        gradient, (a_dtype, b_dtype) = gradients[0], ctx.dtypes
        to_inner = gradient @ up
        to_x = (gradient @ weight).addmm_(to_inner, down) if ctx.needs_input_grad[0] else None
        to_a = (to_inner.T @ x).to(a_dtype)
        to_b = (gradient.T @ inner).to(b_dtype).mul_(ctx.scale)
        return to_x, None, None, to_a, to_b, None


def _for_compiler(
    x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
) -> Tensor:
    """The same by plain operators, whose gradients the compiler knows.

    That of torch 2.11 was seen to lose those of :class:`_AdaptedProduct` on a GPU without a word.
    """
    inner = x @ a.to(x.dtype).T
    return torch.addmm(nn.functional.linear(x, weight, bias), inner, (b * scale).to(x.dtype).T)


class FrozenBaseLinear(Linear):  # type: ignore[misc]  # PEFT has no types
    """PEFT's LoRA layer with its product computed by :class:`_AdaptedProduct` where that is it."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """As PEFT's; dropout, variants, merged and switched-off adapters are left to PEFT."""
        names = self.active_adapters
        if self.disable_adapters or self.merged or args or kwargs or len(names) != 1:
            return cast(Tensor, super().forward(x, *args, **kwargs))
        base, (name,) = self.get_base_layer(), names
        dropout = self.lora_dropout[name]
        idle = isinstance(dropout, nn.Identity) or not dropout.training or dropout.p == 0.0
        a, b = self.lora_A[name], self.lora_B[name]
        plain = type(base) is nn.Linear and a.bias is None and b.bias is None
        if not plain or not idle or name in self.lora_variant or x.dtype != base.weight.dtype:
            return cast(Tensor, super().forward(x))
        flat = x.reshape(-1, x.shape[-1])
        product = _for_compiler if torch.compiler.is_compiling() else _AdaptedProduct.apply
        out: Tensor = product(
            flat, base.weight, base.bias, a.weight, b.weight, float(self.scaling[name])
        )
        return out.view(*x.shape[:-1], -1)


def compute_adapted_products(model: nn.Module) -> int:
    """Let every plain LoRA layer of a model compute as :class:`FrozenBaseLinear`.

    The layers stay PEFT's own, with their parameters and their saving; only their class changes.

    Returns:
        How many layers there are.
    """
    layers = [module for module in model.modules() if type(module) is Linear]
    for layer in layers:
        assert isinstance(layer, LoraLayer)
        layer.__class__ = FrozenBaseLinear
    return len(layers)
