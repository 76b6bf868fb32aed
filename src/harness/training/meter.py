"""What a training does with its time: tokens, padding, memory, and the share of the GEMM peak.

Model FLOPs are those that LoRA on a frozen base cannot do without: 2 for each weight and token
forward and 2 backward for the gradient of the input, none for the gradient of a frozen weight, so
4 N where training every weight takes 6 N; 6 for each weight of the adapter; the head only where a
token has a loss; attention inside documents, half of the square. What the embeddings give needs no
gradient either, so that the products which the first layer begins with take 2 less. Activations
computed again, and products that a kernel makes twice, do not count.
"""

import statistics
import time
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import PeftModel
from torch import nn

from harness.corpus.datamodule import Batch
from harness.models.adapter import backbone, head

ENTRIES = ("q_proj", "k_proj", "v_proj", "qkv_proj")
"""What an adapted model's first layer begins with, by the names that transformers gives."""


@dataclass(frozen=True)
class Cost:
    """Floating-point operations of a model in training.

    Attributes:
        token: for every token in a row's documents.
        supervised: further ones for a token with a loss.
        pair: further ones for each pair of tokens in a document, ordered or not.
    """

    token: int
    supervised: int
    pair: int

    def of(self, batch: Batch) -> int:
        """Of one batch, forward and backward."""
        ends = [0] * len(batch.spans)
        pairs = 0
        for row, spans in enumerate(batch.spans):
            for start, end, span in spans:
                if span.start == 1:
                    pairs += ends[row] ** 2
                    ends[row] = 1
                ends[row] += end - start
            pairs += ends[row] ** 2
        return self.token * batch.tokens + self.supervised * batch.supervised + self.pair * pairs


def cost(model: PeftModel) -> Cost:
    """Count a model's matrix weights; four-bit weights count as the weights they stand for.

    Exact where every linear layer is adapted; where fewer are, less may be needed.
    """
    decoder, config = backbone(model), model.get_base_model().config.get_text_config()
    token = 0
    for name, module in decoder.named_modules():
        if isinstance(module, nn.Linear):
            token += _share(name) * module.in_features * module.out_features
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    attention = config.num_hidden_layers * config.num_attention_heads * width
    return Cost(token, 4 * head(model).weight.numel(), 6 * attention)


def _share(name: str) -> int:
    """Operations for each weight of a linear layer and token."""
    adapts = ".lora_" in name
    entry = name.startswith("layers.0.") and any(part in ENTRIES for part in name.split("."))
    return (6 if adapts else 4) - 2 * (entry and ".lora_B" not in name)


def gemm_peak(device: torch.device, dtype: torch.dtype, seconds: float = 0.3) -> float:
    """Operations per second of a square matrix product here and now: the most that can be reached.

    Args:
        device: to measure.
        dtype: that training computes in.
        seconds: to measure for; the best product counts.
    """
    size = 8192 if device.type == "cuda" else 1024
    own = torch.Generator(device).manual_seed(0)  # the training's own must not move
    left = torch.randn(size, size, device=device, generator=own).to(dtype)
    best, until = float("inf"), time.perf_counter() + seconds
    for number in range(1000):
        start = time.perf_counter()
        left @ left
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start) if number else best
        if time.perf_counter() > until and number >= 3:
            break
    return 2 * size**3 / best


def padding(tokens: int, slots: int) -> float:
    """Share of places in rows that hold no token; a private step that draws nothing has no rows."""
    return round(1 - tokens / slots, 4) if slots else 0.0


@dataclass
class Meter:
    """Turns the clock into figures; ``report`` at the end is ``train/speed.json``.

    Attributes:
        cost: of the model.
        peak: operations per second at best, of all devices.
        facts: what else is reported: kernels, device, compile.
    """

    cost: Cost
    peak: float
    facts: dict[str, Any] = field(default_factory=dict)
    steps: list[tuple[float, int, int, int, int]] = field(default_factory=list)

    def step(self, seconds: float, tokens: int, supervised: int, slots: int, flops: int) -> float:
        """Note one optimiser step; its share of the peak."""
        self.steps.append((seconds, tokens, supervised, slots, flops))
        return flops / seconds / self.peak

    def report(self) -> dict[str, Any]:
        """Medians over the steps of this start, and the padding over all of them."""
        found: dict[str, Any] = {
            **self.facts, "gemm_peak_tflops": round(self.peak / 1e12, 4),
            "flops": "4 N for frozen weights, 6 N for the adapter, attention in documents",
            "flops_per_token": self.cost.token, "flops_per_supervised_token": self.cost.supervised,
            "steps": len(self.steps),
        }  # fmt: skip
        if not self.steps:
            return found
        seconds, tokens, supervised, slots, flops = zip(*self.steps, strict=True)
        return found | {
            "tokens_per_second": self._median(tokens, seconds),
            "supervised_tokens_per_second": self._median(supervised, seconds),
            "mfu": round(self._median(flops, seconds, 0) / self.peak, 4),
            "padding": padding(sum(tokens), sum(slots)),
            "first_step_seconds": round(seconds[0], 3),
        }

    @staticmethod
    def _median(counts: tuple[int, ...], seconds: tuple[float, ...], digits: int = 1) -> float:
        return round(statistics.median(c / s for c, s in zip(counts, seconds, strict=True)), digits)
