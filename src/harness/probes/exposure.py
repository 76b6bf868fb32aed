"""Exposure of canaries (Carlini et al. 2019), exact over the whole space of secrets.

exposure = log2 |R| - log2 rank, where R is the space without the secret and
rank = 1 + #{r in R: NLL(r) <= NLL(secret)}: ties count against the secret.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peft import PeftModel
from scipy.stats import kstest
from torch import Tensor
from transformers import DynamicCache

from harness.corpus.canaries import Canary, CanarySpace
from harness.models.adapter import backbone, computing, head
from harness.probes.scores import Cost
from harness.probes.statistics import Interval, finite, median_interval, record

Secret = tuple[int, ...]


class Trie:
    """The secrets of a space as a trie, so that shared beginnings are run once.

    Args:
        space: all secrets; none may be the beginning of another.
    """

    def __init__(self, space: CanarySpace) -> None:
        self.secrets = space.secrets
        self.children: dict[Secret, dict[int, None]] = {}
        for secret in space.secrets:
            for depth, token in enumerate(secret):
                self.children.setdefault(secret[:depth], {})[token] = None


@torch.inference_mode()
def secret_nlls(
    model: PeftModel, prefix: Sequence[int], trie: Trie, cost: Cost
) -> NDArray[np.float64]:
    """Negative log-likelihood of every secret after a prefix, in nats, in the trie's order.

    The prefix is run once, then the trie level by level on its key-value cache.
    """
    nll: dict[Secret, float] = {(): 0.0}
    cache = DynamicCache()
    level: list[Secret] = [()]
    inputs = torch.tensor([list(prefix)])
    start = 0
    while level:
        log_p = _next_log_p(model, inputs, start, cache, cost)
        deeper: list[tuple[int, Secret]] = []
        for row, node in enumerate(level):
            tokens = list(trie.children[node])
            for token, value in zip(tokens, log_p[row, tokens].tolist(), strict=True):
                nll[(*node, token)] = nll[node] - value
                if (*node, token) in trie.children:
                    deeper.append((row, (*node, token)))
        start += inputs.shape[1]
        level = [node for _, node in deeper]
        if level:
            cache.reorder_cache(torch.LongTensor([row for row, _ in deeper]))
            inputs = torch.tensor([[node[-1]] for node in level])
    return np.array([nll[secret] for secret in trie.secrets])


def exposure(nlls: NDArray[np.float64], secret: int) -> float:
    """Exposure in bits of the secret with this number among all secrets."""
    rank = int((nlls <= nlls[secret]).sum())  # itself counts for the 1
    return float(np.log2(len(nlls) - 1) - np.log2(rank))


@dataclass(frozen=True)
class Exposed:
    """How well each canary is known, in the order given.

    Attributes:
        bits: exposure.
        scores: :func:`centred` log-probability of the secret, in nats; without exposure's ceiling.
    """

    bits: list[float]
    scores: list[float]


def measure(
    model: PeftModel, canaries: Sequence[Canary], space: CanarySpace, cost: Cost
) -> Exposed:
    """Exposure and score of each canary, planted or not, in the order given."""
    trie, numbers = Trie(space), {secret: i for i, secret in enumerate(space.secrets)}
    own = [numbers[tuple(canary.secret.tolist())] for canary in canaries]
    nlls = [secret_nlls(model, canary.prefix.tolist(), trie, cost) for canary in canaries]
    bits = [exposure(row, secret) for row, secret in zip(nlls, own, strict=True)]
    return Exposed(bits, centred(nlls, own))


def centred(nlls: Sequence[NDArray[np.float64]], own: Sequence[int]) -> list[float]:
    """Log-probability of each canary's secret, beyond what carrier and words explain, in nats.

    A carrier may make every secret likely, and some words are likely anywhere. What the base model
    would say of that, the pass over the whole space says without another one: of the carrier the
    mean over all secrets, of the words the mean after all other carriers.

    Args:
        nlls: of every secret after each canary's prefix, shape (canaries, secrets).
        own: number of each canary's secret.
    """
    if not own:
        return []
    relative = np.stack(nlls)
    relative -= relative.mean(axis=1, keepdims=True)
    mine = relative[np.arange(len(own)), own]
    others = (relative[:, own].sum(axis=0) - mine) / max(1, len(own) - 1)
    return [float(score) for score in others - mine]


def exposure_records(
    canaries: Sequence[Canary], bits: Sequence[float], space: CanarySpace
) -> list[dict[str, Any]]:
    """Median exposure by repetitions, of planted canaries and of unplanted twins.

    Unplanted secrets are exchangeable with their references, so their ranks must look uniform
    (Kolmogorov-Smirnov); when they do not, the measurement is broken.
    """
    groups, most = grouped(canaries, bits), float(np.log2(len(space.secrets) - 1))
    rows = [
        _median(f"exposure_planted_{level}", values, most)
        for (level, planted), values in groups.items()
        if planted
    ]
    twins = np.array([b for c, b in zip(canaries, bits, strict=True) if not c.planted])
    strata = [
        {"name": f"{level} repetitions", "value": float(np.median(values)), "n": len(values)}
        for (level, planted), values in groups.items()
        if not planted
    ]
    rows.append(_median("exposure_unplanted", twins, most) | {"strata": strata})
    quantiles = 2.0**-twins * (len(space.secrets) - 1) / len(space.secrets)
    test = kstest(quantiles, "uniform") if len(twins) else None
    rows.append(
        record("exposure_unplanted_uniformity", "Kolmogorov-Smirnov distance", None, len(twins),
               "canary", value=float(test.statistic) if test else None,
               p_value=float(test.pvalue) if test else None)
    )  # fmt: skip
    return rows


def exposure_curve(
    canaries: Sequence[Canary], bits: Sequence[float], space: CanarySpace
) -> dict[str, Any]:
    """What the report draws: a box for each level, planted and not."""
    groups, most = grouped(canaries, bits), float(np.log2(len(space.secrets) - 1))
    levels = sorted({canary.level for canary in canaries})
    return {
        "max_bits": most,
        "space": len(space.secrets),
        "levels": [
            {"level": level, "planted": _box(groups.get((level, True)), most),
             "unplanted": _box(groups.get((level, False)), most)}
            for level in levels
        ],
    }  # fmt: skip


def grouped(
    canaries: Sequence[Canary], bits: Sequence[float]
) -> dict[tuple[int, bool], NDArray[np.float64]]:
    """Exposures by (level, planted), levels ascending."""
    keys = sorted({(canary.level, canary.planted) for canary in canaries})
    return {
        key: np.array(
            [b for c, b in zip(canaries, bits, strict=True) if (c.level, c.planted) == key]
        )
        for key in keys
    }


def _next_log_p(
    model: PeftModel, inputs: Tensor, start: int, cache: DynamicCache, cost: Cost
) -> Tensor:
    cost.forwards, cost.tokens = cost.forwards + 1, cost.tokens + inputs.numel()
    device = next(iter(model.parameters())).device
    positions = torch.arange(start, start + inputs.shape[1]).expand(inputs.shape)
    with computing(model):
        out = backbone(model)(
            input_ids=inputs.to(device), position_ids=positions.to(device), past_key_values=cache,
            use_cache=True,
        )  # fmt: skip
        logits: Tensor = head(model)(out.last_hidden_state[:, -1]).float()
        return logits.log_softmax(dim=-1).cpu()


def median_exposure(values: NDArray[np.float64], most: float) -> Interval:
    """Median of exposures; its interval is widened at both ends by one rank.

    A rank is a whole number, so an exposure is known to its neighbours only; without this, canaries
    that all have rank 1 would give an interval of zero width.

    Args:
        values: exposures in bits.
        most: log2 |R|, the exposure of rank 1.
    """
    found = median_interval(values)
    low, high = (2.0 ** (most - end) for end in (found.low, found.high))
    return Interval(
        found.value, float(most - np.log2(low + 1)), float(most - np.log2(max(1.0, high - 1)))
    )


def _median(name: str, values: NDArray[np.float64], most: float) -> dict[str, Any]:
    interval = median_exposure(values, most) if len(values) else None
    return record(name, "median exposure (bits)", interval, len(values), "canary")


def _box(values: NDArray[np.float64] | None, most: float) -> dict[str, Any] | None:
    if values is None:
        return None
    interval = median_exposure(values, most)
    q1, q3 = np.quantile(values, [0.25, 0.75])
    return {
        "n": len(values), "median": interval.value, "q1": float(q1), "q3": float(q3),
        "min": float(values.min()), "max": float(values.max()), "ci_low": finite(interval.low),
        "ci_high": finite(interval.high), "values": [float(f"{value:.3g}") for value in values],
    }  # fmt: skip
