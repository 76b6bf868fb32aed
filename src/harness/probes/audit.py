"""A lower bound on epsilon from one run, by its canaries (Steinke, Nasr and Jagielski 2023).

Each canary was planted or not by a fair coin of its own. Who guesses the coins from the model
better than an (epsilon, delta)-private training allows has shown that the training was not so
private. It is evidence against claims below the bound, for records like canaries; it bounds no
leakage from above.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binom

from harness.corpus.canaries import Canary
from harness.errors import Refused
from harness.probes.statistics import record

SHARE = 0.5
"""Share of the canaries that is guessed, fixed before anything is seen: to choose the best of
several afterwards rejects true claims a quarter to a third of the time. In simulations (normal
scores 1 to 5 standard deviations apart, 32 to 200 canaries) a half gave at least three quarters of
what the best share gave."""
LEVEL = 0.05
DELTA = 1e-5
"""Where the training claims nothing, the bound is given at this delta."""
MEANS = ("It is evidence against any claim below it for records like these canaries, "
         "and no upper bound on leakage.")  # fmt: skip
_BISECTIONS = 40


@dataclass(frozen=True)
class Claim:
    """What a training says of its privacy, for one document.

    Attributes: epsilon; delta.
    """

    epsilon: float
    delta: float


@dataclass(frozen=True)
class Audit:
    """Attributes: m: canaries; guesses: how many of their coins were guessed; correct: of those;
    epsilon: lower bound at 95 % confidence; most: what it would be if all guesses were right."""

    m: int
    guesses: int
    correct: int
    epsilon: float
    most: float


def p_value(m: int, r: int, v: int, epsilon: float, delta: float) -> float:
    """Bound on the chance of v or more right guesses under (epsilon, delta)-privacy.

    Steinke et al. 2023, corollary 5.4 and appendix D: with W ~ Bin(r, q), q = 1 / (1 + e^-epsilon),
    it is P(W >= v) + 2 m delta max_{1 <= i <= v} P(v - i <= W < v) / i.

    Args:
        m: coins that were tossed.
        r: guesses made.
        v: right ones among them.
        epsilon: claimed.
        delta: claimed.

    Raises:
        Refused: ``AUDIT_COUNTS`` unless 0 <= v <= r <= m.
    """
    if not 0 <= v <= r <= m:
        raise Refused("AUDIT_COUNTS", f"{v} right of {r} guesses of {m} coins", "probes/audit.py",
                      "report this: it is a defect")  # fmt: skip
    q = 1 / (1 + math.exp(-epsilon))
    mass = np.cumsum(binom.pmf(np.arange(v - 1, -1, -1), r, q))  # P(v - i <= W < v), i from 1
    alpha = float((mass / np.arange(1, v + 1)).max(initial=0.0))
    return min(1.0, float(binom.sf(v - 1, r, q)) + 2 * m * delta * alpha)


def epsilon_lower_bound(
    m: int, guesses: int, correct: int, delta: float, level: float = LEVEL
) -> float:
    """An epsilon at which so many right guesses have a p-value below ``level``; 0 if there is none.

    The lower end of the last bisection, so that rounding errs on the side of no finding.

    Args:
        m: coins that were tossed.
        guesses: made.
        correct: right ones.
        delta: that the bound is for.
        level: 1 - confidence of the bound, one-sided.
    """
    low, high = 0.0, 1.0
    if p_value(m, guesses, correct, low, delta) >= level:
        return 0.0
    while p_value(m, guesses, correct, high, delta) < level:  # at the latest where q rounds to 1
        low, high = high, 2 * high
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if p_value(m, guesses, correct, middle, delta) < level:
            low = middle
        else:
            high = middle
    return low


def audit(
    scores: Sequence[float], planted: Sequence[bool], delta: float, share: float = SHARE
) -> Audit:
    """Guess the highest scores to be planted and as many of the lowest not to be.

    Args:
        scores: of each canary, higher where the model knows it better; equal ones are told apart
            by their place, which knows nothing of the coins.
        planted: what the coins said.
        delta: that the bound is for.
        share: of the canaries that is guessed, half of it from each end.
    """
    m, each = len(scores), math.floor(share * len(scores) / 2)
    order = np.argsort(np.asarray(scores, np.float64), kind="stable")
    coins = np.asarray(planted, bool)[order]
    correct = int((~coins[:each]).sum() + coins[m - each :].sum())
    bounds = (epsilon_lower_bound(m, 2 * each, right, delta) for right in (correct, 2 * each))
    return Audit(m, 2 * each, correct, *bounds)


def claimed(receipt: Mapping[str, Any]) -> Claim | None:
    """The claim in a receipt's ``privacy``; None where training claims none.

    Raises:
        Refused: ``PRIVACY_CLAIM`` when epsilon or delta is no number that could be claimed.
    """
    if receipt.get("privacy") is None:
        return None
    try:
        claim = Claim(float(receipt["privacy"]["epsilon"]), float(receipt["privacy"]["delta"]))
    except (KeyError, TypeError, ValueError):
        claim = Claim(math.nan, math.nan)
    if not (0 <= claim.epsilon < math.inf and 0 <= claim.delta < 1):
        raise Refused("PRIVACY_CLAIM", "epsilon or delta is missing or no number",
                      "train/receipt.json", "train again")  # fmt: skip
    return claim


def audit_records(
    canaries: Sequence[Canary], scores: Sequence[float], claim: Claim | None
) -> list[dict[str, Any]]:
    """``dp_audit_K`` for each level K of repetition; the bound is on groups of K documents.

    A claim is about one document, so that level 1 alone is measured by it: FAIL where the bound
    exceeds it, else INCONCLUSIVE, as a lower bound never shows that a claim holds. Its error rate
    of 5 % is its own, outside the primaries' adjustment. Coins were tossed whatever the meetings'
    split, so the records hold without a random one. Other rows are descriptive.

    Args:
        canaries: all candidates.
        scores: of each, see :class:`harness.probes.exposure.Exposed`.
        claim: of the training.
    """
    return [
        _row(level, [(s, c.planted) for c, s in zip(canaries, scores, strict=True)
                     if c.level == level], claim)
        for level in sorted({canary.level for canary in canaries})
    ]  # fmt: skip


def _row(level: int, drawn: Sequence[tuple[float, bool]], claim: Claim | None) -> dict[str, Any]:
    delta = claim.delta if claim else DELTA
    copies = "one document" if level == 1 else f"{level} documents together"
    name, metric = f"dp_audit_{level}", f"lower bound on epsilon, {copies}"
    scores, planted = [s for s, _ in drawn], [p for _, p in drawn]
    judged = {"threshold": claim.epsilon, "verdict": "INCONCLUSIVE"} if claim and level == 1 else {}
    if not np.isfinite(scores).all() or math.floor(SHARE * len(scores) / 2) < 1:
        return record(name, metric, None, len(scores), "canary", **judged)
    found = audit(scores, planted, delta)
    if judged and claim:
        judged |= _against(claim, found)
    reason = (f"{found.correct} of {found.guesses} guesses right; at most {found.most:.3g} could "
              f"have been found. {MEANS}")  # fmt: skip
    return record(name, metric, None, found.m, "canary", value=found.epsilon, delta=delta,
                  guesses=found.guesses, correct=found.correct, most=found.most, reason=reason,
                  **judged)  # fmt: skip


def _against(claim: Claim, found: Audit) -> dict[str, Any]:
    verdict = "FAIL" if found.epsilon > claim.epsilon else "INCONCLUSIVE"
    p = p_value(found.m, found.guesses, found.correct, claim.epsilon, claim.delta)
    return {"p_value": p, "verdict": verdict}
