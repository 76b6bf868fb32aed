"""Differentially private training of the adapter: DP-SGD (Abadi et al. 2016) in parts.

Neighbouring corpora differ by one *document*, added or removed: one stretch of one meeting of at
most ``corpus.row_tokens`` tokens, or one copy of a canary's carrier. Who fills k documents is
protected as a group of k (:func:`group_epsilon`). ``docs/privacy.md`` says what that leaves out.
"""

import hashlib
import math
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import chi2, norm
from torch import Tensor

from harness.errors import ExitCode, HarnessError, Refused, UsageError

ORDERS = (1.25, 1.5, 1.75, 2.25, 2.5, 2.75, 3.5, 4.5, 5.5, *map(float, range(2, 65)),
          80.0, 96.0, 128.0, 192.0, 256.0, 384.0, 512.0)  # fmt: skip
"""Renyi orders that are tried: each alone gives a valid bound, and the lowest is taken."""
_FLOAT_ERROR = 1e-12  # of a step's RDP; opacus' series were seen 1e-13 below 0
_PRECISION = 1e-4  # of a noise multiplier, relative
_BELOW = 1 - 2**-22  # rounding a scaled gradient to float32 must not lift its norm over the bound
_FALSE_ALARM = 1e-12  # of one test of one tensor's noise
_MT_WORDS = 624  # of a Mersenne twister's state
_MT_OFFSET = 24  # bytes before them in the state of torch's CPU generator


def epsilon(noise_multiplier: float, sample_rate: float, steps: int, delta: float) -> float:
    """Upper bound on epsilon of so many noised steps, at this delta; documents are the unit.

    By the Renyi accountant (Mironov, Talwar and Zhang 2019, computed by opacus; conversion by
    Balle et al. 2020, theorem 21). Its tighter PRV accountant is not used: it follows the privacy
    loss of one direction only, and says itself (``compute_safe_domain_size``) that its truncation
    is not known to be safe in all cases. The Renyi bound is proven for adding and for removing.

    Args:
        noise_multiplier: standard deviation of the noise, in units of the clipping bound.
        sample_rate: probability that a step draws a document, see
            :func:`harness.corpus.drawing.drawn`.
        steps: noised steps; 0 spends nothing.
        delta: probability with which the bound may fail; far below 1 / documents.

    Raises:
        Refused: ``DP_EXTRA_MISSING``; ``NOISE_MISSING`` when the noise is not above 0.
        UsageError: ``PRIVACY_VALUE`` naming the argument.
    """
    _check_sampling(sample_rate, steps, delta)
    _check_noise_multiplier(noise_multiplier)
    return _epsilon(_opacus(), noise_multiplier, sample_rate, steps, delta) if steps else 0.0


def noise_multiplier(target_epsilon: float, delta: float, sample_rate: float, steps: int) -> float:
    """The least noise multiplier, to 1 in 10,000, whose :func:`epsilon` is not above the target.

    Args:
        target_epsilon: above 0.
        delta, sample_rate, steps: as for :func:`epsilon`; at least one step.

    Raises:
        Refused: ``DP_EXTRA_MISSING``; ``PRIVACY_UNREACHABLE`` when the target is so low that the
            highest order cannot show it, whatever the noise.
        UsageError: ``PRIVACY_VALUE`` naming the argument.
    """
    _check_sampling(sample_rate, steps, delta)
    _check("target_epsilon", target_epsilon, 0 < target_epsilon < math.inf, "above 0")
    _check("steps", steps, steps >= 1, "at least 1")
    library, low, high = _opacus(), 0.0, 1.0
    if _converted(library, np.zeros(len(ORDERS)), delta) > target_epsilon / 2:  # of endless noise
        raise Refused("PRIVACY_UNREACHABLE", f"epsilon {target_epsilon:g} is less than can be "
                      f"shown at delta {delta:g}", "target_epsilon", "raise it")  # fmt: skip
    while _epsilon(library, high, sample_rate, steps, delta) > target_epsilon:
        low, high = high, 2 * high
    while high - low > _PRECISION * high:  # high always meets the target
        middle = (low + high) / 2
        if _epsilon(library, middle, sample_rate, steps, delta) > target_epsilon:
            low = middle
        else:
            high = middle
    return high


def group_epsilon(epsilon: float, delta: float, k: int) -> tuple[float, float]:
    """What (epsilon, delta) for one document means for any k documents together.

    (k epsilon, delta (1 + e^epsilon + ... + e^((k-1) epsilon))), by walking from one corpus to the
    other one document at a time (Dwork and Roth 2014, theorem 2.2; Vadhan 2017, lemma 2.2). A
    record that is repeated k times, or a meeting cut into k documents, is such a group.

    Returns:
        Epsilon and delta of the group; a delta of 1 promises nothing.
    """
    _check("k", k, k >= 1, "at least 1")
    _check("epsilon", epsilon, epsilon >= 0, "at least 0")
    growth = sum(math.exp(min(i * epsilon, 700.0)) for i in range(k))
    return k * epsilon, min(1.0, delta * growth)


def noise_generator(secret: bytes) -> torch.Generator:
    """A CPU generator whose whole state comes from secret bytes.

    ``manual_seed`` uses 32 bits of its seed, few enough to try them all, and a seed that stands in
    the configuration lets every reader of it subtract the noise.

    Args:
        secret: at least 16 random bytes, kept where the run's keys are kept.

    Raises:
        UsageError: ``PRIVACY_VALUE`` when they are fewer.
        Refused: ``NOISE_GENERATOR`` when torch keeps the generator's state in another form.
    """
    _check("secret", len(secret), len(secret) >= 16, "at least 16 bytes")
    generator = torch.Generator().manual_seed(1)
    state = generator.get_state()
    words = state[_MT_OFFSET : _MT_OFFSET + 8 * _MT_WORDS].view(torch.int64)
    if words[:2].tolist() != [1, 1812433254]:  # the twister's first words after seed 1
        raise Refused("NOISE_GENERATOR", f"torch {torch.__version__} keeps another state", "torch",
                      "install the version of constraints.txt")  # fmt: skip
    drawn = np.frombuffer(hashlib.shake_256(secret).digest(4 * _MT_WORDS), "<u4")
    words.copy_(torch.from_numpy(drawn.astype(np.int64)))
    generator.set_state(state)
    return generator


class GradientNotFinite(HarnessError):
    """A document's gradient is no number (exit 5); the last checkpoint stays."""

    exit_code = ExitCode.INTERNAL


class ClippedSum:
    """The sum of one step's gradients, each document's clipped, which leaves noised only.

    Sums are float32. Adding in floating point is not exact: two corpora may differ by one more
    rounding (relative 6e-8) than the clipping bound allows, and drawn noise takes finitely many
    values, whose gaps are known to tell inputs apart in principle (Mironov 2012). Neither is
    accounted for.

    Args:
        parameters: what is trained, in a fixed order; gives shapes and devices.
        clip: bound on the L2 norm of a document's whole gradient (flat clipping).

    Attributes:
        documents: added since this object was made; not noised, so no figure to publish.
        clipped: how many of them were longer than ``clip``; likewise.
    """

    def __init__(self, parameters: Sequence[Tensor], clip: float) -> None:
        _check("clip", clip, 0 < clip < math.inf, "above 0")
        self.clip, self.documents, self.clipped = clip, 0, 0
        self._sums = [torch.zeros_like(p, dtype=torch.float32) for p in parameters]
        self._seen: set[bytes] = set()

    @torch.no_grad()
    def add(self, gradients: Sequence[Tensor]) -> float:
        """Add one document's gradient, scaled to a norm of at most ``clip``.

        Args:
            gradients: of the mean loss of this document alone, one a parameter, same shapes.

        Returns:
            The norm before clipping.

        Raises:
            Refused: ``GRADIENT_SHAPES``.
            GradientNotFinite: ``GRADIENT_NOT_FINITE``; nothing was added.
        """
        if [g.shape for g in gradients] != [total.shape for total in self._sums]:
            raise Refused("GRADIENT_SHAPES", "a document's gradients do not fit the parameters",
                          "training/privacy.py", "report this: it is a defect")  # fmt: skip
        norms = [torch.linalg.vector_norm(g, dtype=torch.float64) for g in gradients]
        length = float(torch.stack(norms).norm())
        if not math.isfinite(length):
            raise GradientNotFinite(
                "GRADIENT_NOT_FINITE", "a document's gradient is no number", "train.lr",
                "lower it; the last checkpoint is kept",
            )  # fmt: skip
        scale = self.clip / length * _BELOW if length > self.clip else 1.0
        for total, gradient in zip(self._sums, gradients, strict=True):
            total.add_(gradient.to(total.dtype), alpha=scale)
        self.documents += 1
        self.clipped += length > self.clip
        return length

    @property
    def sums(self) -> list[Tensor]:
        """What was added so far, not noised: for other processes' sums to be added to in place."""
        return self._sums

    @torch.no_grad()
    def noised(
        self, noise_multiplier: float, generator: torch.Generator, expected: float
    ) -> list[Tensor]:
        """Noise the sum once, divide it by the expected number of documents, and begin anew.

        Every coordinate gets N(0, (noise_multiplier clip)^2). What was in fact added is measured
        and must have that standard deviation, and no state of the generator may serve twice.

        Args:
            noise_multiplier: standard deviation in units of ``clip``.
            generator: of the noise; its state belongs into checkpoints. See
                :func:`noise_generator`.
            expected: sampling rate x documents of the corpus; never the number that was drawn,
                which would tell of a document's presence.

        Returns:
            Float32 gradients in the order and shapes of the parameters.

        Raises:
            Refused: ``NOISE_MISSING`` when the noise is nil or off; ``NOISE_REPEATED``.
            UsageError: ``PRIVACY_VALUE``.
        """
        _check_noise_multiplier(noise_multiplier)
        _check("expected", expected, 0 < expected < math.inf, "above 0")
        self._never_twice(generator)
        scale, found = noise_multiplier * self.clip, []
        for total in self._sums:
            noisy = total + _noise(total, scale, generator)
            check_noise(noisy - total, scale)
            found.append(noisy / expected)
            total.zero_()
        return found

    def _never_twice(self, generator: torch.Generator) -> None:
        state = hashlib.blake2b(generator.get_state().numpy().tobytes()).digest()
        if state in self._seen:  # the difference of two such steps would have no noise at all
            raise Refused("NOISE_REPEATED", "two steps would have the same noise", "checkpoints/",
                          "restore the generator, and do not seed it at every step")  # fmt: skip
        self._seen.add(state)


def check_noise(noise: Tensor, scale: float) -> None:
    """Refuse what cannot be independent N(0, scale^2) noise, by its mean and mean square.

    Exact bounds (chi-square, normal) whose false alarms are 1 in 10^12 a tensor, whatever its size.

    Raises:
        Refused: ``NOISE_MISSING`` giving both standard deviations.
    """
    n, wide = noise.numel(), noise.double() / scale
    if not n:
        return
    square, mean = float(wide.square().sum()), float(wide.sum()) / math.sqrt(n)
    low, high = _square_bounds(n)
    if not (low <= square <= high and abs(mean) <= norm.isf(_FALSE_ALARM / 2)):
        raise Refused(
            "NOISE_MISSING", f"noise with standard deviation {scale * math.sqrt(square / n):.3g} "
            f"was added where {scale:.3g} is due", "training/privacy.py",
            "nothing was trained in this step; report this: it is a defect",
        )  # fmt: skip


def _noise(like: Tensor, scale: float, generator: torch.Generator) -> Tensor:
    drawn = torch.randn(like.shape, generator=generator, device=generator.device)
    return drawn.to(like.device) * scale


@lru_cache(maxsize=1024)
def _square_bounds(n: int) -> tuple[float, float]:
    return float(chi2.ppf(_FALSE_ALARM / 2, n)), float(chi2.isf(_FALSE_ALARM / 2, n))


def _epsilon(library: Any, noise: float, rate: float, steps: int, delta: float) -> float:
    rdp = library.compute_rdp(q=rate, noise_multiplier=noise, steps=1, orders=ORDERS)
    return _converted(library, steps * (np.maximum(rdp, 0.0) + _FLOAT_ERROR), delta)


def _converted(library: Any, spent: NDArray[np.float64], delta: float) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an order at the end of the list is a valid one, too
        found, _ = library.get_privacy_spent(orders=ORDERS, rdp=spent, delta=delta)
    return max(0.0, float(found))


def _opacus() -> Any:
    try:
        from opacus.accountants.analysis import rdp
    except ModuleNotFoundError:
        raise Refused("DP_EXTRA_MISSING", "opacus, which accounts for privacy, is not installed",
                      "extra dp", "pip install 'meeting-harness[dp]'") from None  # fmt: skip
    return rdp


def _check_sampling(sample_rate: float, steps: int, delta: float) -> None:
    _check("sample_rate", sample_rate, 0 < sample_rate <= 1, "above 0 and at most 1")
    _check("steps", steps, steps >= 0, "at least 0")
    _check("delta", delta, 0 < delta < 1, "between 0 and 1")


def _check_noise_multiplier(value: float) -> None:
    if not 0 < value < math.inf:
        raise Refused("NOISE_MISSING", f"a noise multiplier of {value} protects nothing",
                      "noise_multiplier", "set one above 0, or train without privacy")  # fmt: skip


def _check(name: str, value: float, holds: bool, must: str) -> None:
    if not holds:
        raise UsageError("PRIVACY_VALUE", f"{value} is not {must}", name, "correct it")
