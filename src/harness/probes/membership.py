"""Membership: can members be told from held-out meetings by their scores?

Every score is "higher means member". Definitions: loss (Yeom et al. 2018), reference and zlib
(Carlini et al. 2021; the base model is the reference), Min-K% (Shi et al. 2024), Min-K%++ (Zhang et
al. 2025).
"""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.probes.scores import TokenScores
from harness.probes.statistics import (
    Interval,
    Panel,
    auc,
    bootstrap,
    inside_series_auc,
    not_degenerate,
    permutation_p,
    record,
    tpr_at_fpr,
)

K_SHARE = 0.2
SMALLEST_VARIANCE = 1e-12
PASS_BELOW = 0.6
SCORES = ("reference", "loss", "zlib", "min_k", "min_k_plus_plus")


def meeting_scores(scores: Sequence[TokenScores], text: str) -> list[float]:
    """The scores of one meeting, in the order of :data:`SCORES`.

    Args:
        scores: of all its documents.
        text: that the documents hold, for zlib.
    """
    logp, base = _joined(scores, "logp"), _joined(scores, "base_logp")
    mean, var = _joined(scores, "mean"), _joined(scores, "var")
    spread = np.sqrt(np.maximum(var, SMALLEST_VARIANCE))
    surprise = np.where(var < SMALLEST_VARIANCE, 0.0, (logp - mean) / spread)
    return [
        float((logp - base).mean()),
        float(logp.mean()),
        float(logp.sum() / len(zlib.compress(text.encode()))),
        _lowest(logp),
        _lowest(surprise),
    ]


def membership_records(panel: Panel, draws: int, alpha: float, seed: int) -> list[dict[str, Any]]:
    """AUC and TPR of each score.

    Args:
        panel: one row a meeting, columns as :data:`SCORES`, arms member and heldout.
        draws: bootstrap and permutation draws.
        alpha: false-positive rate of the TPR.
        seed: of the draws.
    """
    areas = [_area(panel, column, draws, seed) for column in range(len(SCORES))]
    return areas + [_rate(panel, column, draws, alpha, seed) for column in range(len(SCORES))]


def roc(panel: Panel, column: int) -> tuple[list[float], list[float], float]:
    """Staircase of the ROC over all pairs of meetings: FPR, TPR, and the area."""
    member, heldout = _arms(panel, column)
    if not (len(member) and len(heldout)):
        return [], [], float("nan")
    cuts = np.concatenate([[np.inf], np.unique(np.concatenate([member, heldout]))[::-1]])
    fpr = [float((heldout >= cut).mean()) for cut in cuts]
    tpr = [float((member >= cut).mean()) for cut in cuts]
    return fpr, tpr, auc(member, heldout)


def _area(panel: Panel, column: int, draws: int, seed: int) -> dict[str, Any]:
    statistic = inside_series_auc("member", "heldout", column)
    series = len(panel.blocks())
    interval = not_degenerate(bootstrap(panel, statistic, draws, seed), series)
    p = permutation_p(panel, statistic, ("member", "heldout"), draws, seed)
    primary = column == 0
    verdict: dict[str, Any] = {
        "primary": True,
        "verdict": _verdict(interval),
        "threshold": PASS_BELOW,
    }
    return record(
        f"membership_{SCORES[column]}", "AUC inside series", interval, len(panel.arm), p_value=p,
        **(verdict if primary else {}),
    )  # fmt: skip


def _verdict(interval: Interval) -> str:
    if interval.low > 0.5:
        return "FAIL"
    return "PASS" if interval.high < PASS_BELOW else "INCONCLUSIVE"


def _rate(panel: Panel, column: int, draws: int, alpha: float, seed: int) -> dict[str, Any]:
    name, metric = f"membership_{SCORES[column]}_tpr", f"TPR at FPR<={alpha:g}"
    heldout = _arms(panel, column)[1]
    if len(heldout) * alpha < 1:
        return record(name, metric, None, len(panel.arm), resolved=False,
                      reason=f"{len(heldout)} held-out meetings resolve no FPR below "
                      f"{1 / max(1, len(heldout)):.2g}")  # fmt: skip

    def statistic(blocks: list[dict[str, Any]]) -> float:
        member, out = (
            np.concatenate([b[arm][:, column] for b in blocks if arm in b])
            for arm in ("member", "heldout")
        )
        return tpr_at_fpr(member, out, alpha)

    interval = bootstrap(panel, statistic, min(draws, 500), seed)
    return record(name, metric, not_degenerate(interval, len(heldout)), len(panel.arm))


def _arms(panel: Panel, column: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values = panel.values[:, column]
    return values[panel.arm == "member"], values[panel.arm == "heldout"]


def _joined(scores: Sequence[TokenScores], name: str) -> NDArray[np.float64]:
    return np.concatenate([getattr(item, name) for item in scores]).astype(np.float64)


def _lowest(values: NDArray[np.float64]) -> float:
    count = max(1, int(np.ceil(K_SHARE * len(values))))
    return float(np.partition(values, count - 1)[:count].mean())
