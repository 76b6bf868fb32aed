"""Statistics: definitions against oracles, coverage and error rates by simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest
from sklearn.metrics import roc_auc_score, roc_curve

from harness.probes.statistics import (
    Interval,
    Panel,
    arm_mean,
    auc,
    bootstrap,
    clopper_pearson,
    holm,
    inside_series_auc,
    inside_series_difference,
    median_interval,
    not_degenerate,
    permutation_p,
    record,
    tpr_at_fpr,
)

numbers = st.lists(st.integers(-5, 5), min_size=1, max_size=30).map(np.array)


@given(numbers, numbers)
def test_auc_is_sklearns(positive: np.ndarray, negative: np.ndarray) -> None:
    labels = [1] * len(positive) + [0] * len(negative)
    expected = roc_auc_score(labels, np.concatenate([positive, negative]))
    assert auc(positive, negative) == pytest.approx(expected)
    assert auc(positive, negative) + auc(negative, positive) == pytest.approx(1)


@given(numbers, numbers, st.floats(0, 1))
def test_tpr_is_the_highest_at_an_allowed_fpr(
    positive: np.ndarray, negative: np.ndarray, alpha: float
) -> None:
    labels = [1] * len(positive) + [0] * len(negative)
    fpr, tpr, _ = roc_curve(labels, np.concatenate([positive, negative]), drop_intermediate=False)
    assert tpr_at_fpr(positive, negative, alpha) == pytest.approx(tpr[fpr <= alpha].max())


def test_perfect_separation_gives_a_tpr_of_one_at_any_alpha() -> None:
    assert tpr_at_fpr(np.array([2.0, 3.0]), np.array([0.0, 1.0]), 0.01) == 1.0


def panel(rng: np.random.Generator, effect: float, series: int = 12, each: int = 2) -> Panel:
    rows = []
    for name in range(series):
        level = rng.normal(scale=2)
        for arm, shift in (("member", effect), ("heldout", 0.0)):
            rows += [(f"s{name}", arm, [level + shift + rng.normal()]) for _ in range(each)]
    return Panel.of(rows)


@pytest.mark.parametrize("effect", [0.0, 1.0])
def test_intervals_cover_the_truth(rng: np.random.Generator, effect: float) -> None:
    """Nominal 95 %: at least 91 % of 300 intervals, for a mean and for a ranking."""
    truth = effect, float(auc(rng.normal(effect, 1, 3000), rng.normal(0, 1, 3000)))
    statistics = (
        inside_series_difference("member", "heldout"),
        inside_series_auc("member", "heldout"),
    )
    hits = np.zeros(2)
    for _ in range(300):
        drawn = panel(rng, effect)
        for place, statistic in enumerate(statistics):
            found = bootstrap(drawn, statistic, 150, 1)
            hits[place] += found.low <= truth[place] <= found.high
    assert (hits / 300 >= 0.91).all(), hits / 300


def test_permutation_p_is_uniform_under_the_null_and_small_under_an_effect(
    rng: np.random.Generator,
) -> None:
    statistic = inside_series_difference("member", "heldout")
    null = [
        permutation_p(panel(rng, 0.0), statistic, ("member", "heldout"), 99, seed)
        for seed in range(300)
    ]
    assert binomtest(sum(p <= 0.05 for p in null), 300, 0.05).pvalue > 0.001
    strong = permutation_p(panel(rng, 3.0), statistic, ("member", "heldout"), 999, 1)
    assert strong == pytest.approx(0.001)


def test_series_with_a_single_meeting_in_an_arm_are_still_resampled(
    rng: np.random.Generator,
) -> None:
    drawn = panel(rng, 1.0, each=1)
    found = bootstrap(drawn, inside_series_difference("member", "heldout"), 200, 0)
    assert found.high - found.low > 0.2


def test_no_interval_at_the_edge_has_zero_width() -> None:
    for value in (0.0, 1.0):
        widened = not_degenerate(Interval(value, value, value), 12)
        assert widened.high > widened.low
        assert widened.low <= value <= widened.high
    exact = binomtest(12, 12).proportion_ci(0.95).low
    assert not_degenerate(Interval(1.0, 1.0, 1.0), 12).low == pytest.approx(exact)
    assert not_degenerate(Interval(0.5, 0.4, 0.6), 12) == Interval(0.5, 0.4, 0.6)


@given(st.integers(1, 60), st.data())
def test_clopper_pearson_is_scipys(n: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, n))
    expected = binomtest(hits, n).proportion_ci(0.95)
    assert clopper_pearson(hits, n) == pytest.approx((expected.low, expected.high))


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), min_size=1, max_size=8))
def test_holm_keeps_order_and_is_between_raw_and_bonferroni(p_values: dict[str, float]) -> None:
    adjusted = holm(p_values)
    for name, p in p_values.items():
        assert p <= adjusted[name] <= min(1.0, len(p_values) * p) + 1e-12
    by_raw = sorted(p_values, key=lambda name: p_values[name])
    assert [adjusted[n] for n in by_raw] == sorted(adjusted.values())


def test_median_interval_covers(rng: np.random.Generator) -> None:
    hits = 0
    for _ in range(400):
        found = median_interval(rng.exponential(size=16))
        hits += found.low <= np.log(2) <= found.high
    assert hits / 400 >= 0.92


def test_a_record_without_a_number_is_null_with_a_reason() -> None:
    row = record("x", "y", Interval(float("nan"), 0.0, float("inf")), 3)
    assert (row["value"], row["ci_low"], row["ci_high"]) == (None, 0.0, None)
    assert row["reason"]


def test_a_mean_over_series_of_unequal_sizes_is_covered(rng: np.random.Generator) -> None:
    """Large series differ from small ones: resampling must keep the weight of each."""
    sizes, levels = [2] * 6 + [8] * 2, [0.0] * 6 + [3.0] * 2
    truth, hits = float(np.average(levels, weights=sizes)), 0
    for _ in range(200):
        drawn = Panel.of(
            (f"s{series}", "member", [level + rng.normal()])
            for series, (size, level) in enumerate(zip(sizes, levels, strict=True))
            for _ in range(size)
        )
        found = bootstrap(drawn, arm_mean("member"), 150, 1)
        hits += found.low <= truth <= found.high
    assert hits / 200 >= 0.9


def test_an_undefined_statistic_has_no_p_value() -> None:
    alone = Panel.of([("s", "member", [1.0]), ("t", "heldout", [2.0])])
    statistic = inside_series_difference("member", "heldout")
    assert permutation_p(alone, statistic, ("member", "heldout"), 99, 0) is None


def test_rounding_does_not_make_the_drawn_arms_look_extreme() -> None:
    """All meetings alike up to the last bit: every permutation is as large as the observed one."""
    values = [0.1 + 0.2, 0.3, 0.3, 0.1 + 0.2, 0.3, 0.3]
    arms = ["member"] * 3 + ["heldout"] * 3
    drawn = Panel.of(("s", arm, [value]) for arm, value in zip(arms, values, strict=True))
    statistic = inside_series_difference("member", "heldout")
    assert permutation_p(drawn, statistic, ("member", "heldout"), 99, 0) == 1.0


def test_holm_counts_a_missing_p_value() -> None:
    assert holm({"a": 0.03, "b": None}) == {"a": pytest.approx(0.06), "b": 1.0}


def test_a_lone_series_that_cannot_be_resampled_inside_still_varies(
    rng: np.random.Generator,
) -> None:
    rows = [(f"s{i}", arm, [rng.normal()]) for i in range(3) for arm in ("member", "heldout") * 2]
    rows += [("lone", arm, [rng.normal()]) for arm in ("member", "heldout")]
    statistic = inside_series_difference("member", "heldout")
    assert (
        bootstrap(Panel.of(rows), statistic, 200, 0).high
        > bootstrap(Panel.of(rows), statistic, 200, 0).low
    )
    alone = bootstrap(Panel.of(rows[-2:]), statistic, 200, 0)
    assert (alone.low, alone.high) == (-np.inf, np.inf)


@pytest.mark.parametrize("n", [6, 14, 16, 42])
def test_a_median_interval_covers_exactly_what_it_says(n: int) -> None:
    """By the binomial law: the chance that the ends lie on both sides of the median."""
    found = median_interval(np.arange(1.0, n + 1))
    r = int(found.low)
    assert found.high == n + 1 - r
    assert 1 - 2 * binom.cdf(r - 1, n, 0.5) >= 0.95
    assert 1 - 2 * binom.cdf(r, n, 0.5) < 0.95


def test_too_few_values_give_no_interval_and_nothing_gives_no_number() -> None:
    assert median_interval(np.arange(5.0)).low == -np.inf
    empty = bootstrap(Panel.of([("s", "member", [1.0])]), arm_mean("heldout"), 10, 0)
    assert np.isnan(empty.value)
    row = record("x", "y", empty, 0, minimum_detectable=float("nan"))
    assert (row["value"], row["ci_low"], row["minimum_detectable"]) == (None, None, None)
