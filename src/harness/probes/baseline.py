"""The model-free baseline: what a bag of words tells about membership without any model.

A membership score means something only beyond it (Meeus et al. 2024, Das et al. 2024).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from harness.probes.statistics import (
    Panel,
    bootstrap,
    inside_series_auc,
    not_degenerate,
    permutation_p,
    record,
)


def bag_of_words(
    texts: Sequence[str], series: Sequence[str], member: Sequence[bool]
) -> list[float]:
    """Out-of-fold membership score of each meeting; each fold leaves a whole series out.

    Args:
        texts: of the meetings.
        series: their series.
        member: whether they were trained on.
    """
    labels, groups = np.array(member), np.array(series)
    scores: NDArray[np.float64] = np.zeros(len(texts))
    for name in np.unique(groups):
        test = groups == name
        if len(np.unique(labels[~test])) < 2:
            continue
        model = make_pipeline(TfidfVectorizer(sublinear_tf=True), LogisticRegression(C=10.0))
        model.fit([text for text, out in zip(texts, test, strict=True) if not out], labels[~test])
        left_out = [text for text, out in zip(texts, test, strict=True) if out]
        scores[test] = model.decision_function(left_out)
    return [float(value) for value in scores]


def baseline_records(panel: Panel, draws: int, seed: int) -> list[dict[str, Any]]:
    """The baseline's AUC, and by how much the reference score beats it, paired by meeting.

    Args:
        panel: columns reference score and bag-of-words score; arms member and heldout.
        draws: bootstrap and permutation draws.
        seed: of the draws.
    """
    reference, blind = (inside_series_auc("member", "heldout", column) for column in (0, 1))
    series = len(panel.blocks())
    alone = not_degenerate(bootstrap(panel, blind, draws, seed), series)
    p = permutation_p(panel, blind, ("member", "heldout"), draws, seed)
    gap = bootstrap(panel, lambda blocks: reference(blocks) - blind(blocks), draws, seed)
    return [
        record("model_free", "AUC inside series", alone, len(panel.arm), p_value=p),
        record("membership_minus_model_free", "difference of AUC inside series",
               not_degenerate(gap, series, -1.0, 1.0), len(panel.arm)),
    ]  # fmt: skip
