"""Statistics whose unit is the one that was randomised: the meeting, inside its series."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, binom

Floats = NDArray[np.float64]
LEVEL = 0.95


@dataclass(frozen=True, eq=False)
class Panel:
    """One value a meeting (or several, one column each), with its series and arm.

    Attributes:
        values: shape (meetings, columns).
        series: series of each meeting.
        arm: arm of each meeting.
    """

    values: Floats
    series: NDArray[np.str_]
    arm: NDArray[np.str_]

    @staticmethod
    def of(rows: Iterable[tuple[str, str, Sequence[float]]]) -> "Panel":
        """Build from (series, arm, values) rows."""
        listed = list(rows)
        return Panel(
            np.array([values for *_, values in listed], dtype=np.float64),
            np.array([series for series, *_ in listed]),
            np.array([arm for _, arm, _ in listed]),
        )

    def only(self, *arms: str) -> "Panel":
        """The rows of some arms."""
        kept = np.isin(self.arm, arms)
        return Panel(self.values[kept], self.series[kept], self.arm[kept])

    def blocks(self) -> list[dict[str, Floats]]:
        """For each series the values of each arm, shape (meetings, columns)."""
        return [
            {
                str(arm): self.values[(self.series == name) & (self.arm == arm)]
                for arm in np.unique(self.arm[self.series == name])
            }
            for name in np.unique(self.series)
        ]


Blocks = list[dict[str, Floats]]
Statistic = Callable[[Blocks], float]


@dataclass(frozen=True)
class Interval:
    """A two-sided 95 % interval of an estimate."""

    value: float
    low: float
    high: float


def auc(positive: Floats, negative: Floats) -> float:
    """Area under the ROC curve: Mann-Whitney, ties count one half."""
    differences = positive[:, None] - negative[None, :]
    return float(((differences > 0) + 0.5 * (differences == 0)).mean())


def tpr_at_fpr(positive: Floats, negative: Floats, alpha: float) -> float:
    """max{TPR : FPR <= alpha} over deterministic thresholds."""
    thresholds = np.concatenate([np.unique(np.concatenate([positive, negative])), [np.inf]])
    allowed = [t for t in thresholds if (negative >= t).mean() <= alpha]
    return max(float((positive >= t).mean()) for t in allowed)


def inside_series_auc(positive: str, negative: str, column: int = 0) -> Statistic:
    """AUC over pairs of meetings of the same series, averaged over series."""

    def statistic(blocks: Blocks) -> float:
        return mean([
            auc(block[positive][:, column], block[negative][:, column])
            for block in blocks if positive in block and negative in block
        ])  # fmt: skip

    return statistic


def inside_series_difference(positive: str, negative: str, column: int = 0) -> Statistic:
    """Difference of arm means inside each series, averaged over series."""

    def statistic(blocks: Blocks) -> float:
        return mean([
            block[positive][:, column].mean() - block[negative][:, column].mean()
            for block in blocks if positive in block and negative in block
        ])  # fmt: skip

    return statistic


def arm_mean(arm: str, column: int = 0) -> Statistic:
    """Mean over the meetings of one arm."""

    def statistic(blocks: Blocks) -> float:
        return mean([value for b in blocks if arm in b for value in b[arm][:, column]])

    return statistic


def mean(values: Sequence[float] | Floats) -> float:
    """Mean; NaN where there is nothing, which a record turns into null."""
    return float(np.mean(values)) if len(values) else float("nan")


def bootstrap(panel: Panel, statistic: Statistic, draws: int, seed: int) -> Interval:
    """Percentile interval by resampling meetings inside series and arm.

    Strata are small (two meetings), where drawing n of n would understate the variance, so n - 1 of
    n are drawn (Rao and Wu 1988). One of the drawn is then repeated: a stratum keeps its size and
    so its weight among strata of other sizes; without that, means over strata of unequal sizes
    are off centre. It makes standard errors up to 6 % too large, never too small. A series in which
    an arm has a single meeting cannot be resampled inside; such series are drawn whole, among
    themselves, and where there is but one of them, all series are drawn whole. A single series
    gives no interval: its ends are infinite.

    Args:
        panel: values.
        statistic: of the blocks.
        draws: number of replicates.
        seed: of the generator.
    """
    rng, blocks = np.random.default_rng(seed), panel.blocks()
    rich = [block for block in blocks if min(map(len, block.values())) > 1]
    poor = [block for block in blocks if min(map(len, block.values())) == 1]
    if len(poor) == 1:
        rich, poor = [], blocks
    value = statistic(blocks)
    if len(poor) == 1 or not np.isfinite(value):
        return Interval(value, -np.inf, np.inf)
    replicates = np.array([statistic(_resampled(rich, poor, rng)) for _ in range(draws)])
    ends = np.quantile(replicates[np.isfinite(replicates)], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(ends[0]), float(ends[1]))


def _resampled(rich: Blocks, poor: Blocks, rng: np.random.Generator) -> Blocks:
    inside = [{arm: rows[_drawn(len(rows), rng)] for arm, rows in block.items()} for block in rich]
    return inside + ([poor[i] for i in _drawn(len(poor), rng)] if poor else [])


def _drawn(n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """n - 1 of n numbers with replacement, and one of those again."""
    first = rng.integers(n, size=n - 1)
    return np.append(first, first[rng.integers(n - 1)])


def not_degenerate(
    interval: Interval, n: int, floor: float = 0.0, ceiling: float = 1.0
) -> Interval:
    """Widen an interval of zero width at the edge of a bounded statistic.

    When all n independent units sit at the edge, the share of units off it is below the exact
    binomial (Clopper-Pearson) bound, and so is the distance of the mean from the edge. Ends beyond
    the edges are cut.
    """
    if interval.high > interval.low:
        return Interval(interval.value, max(floor, interval.low), min(ceiling, interval.high))
    room = (1 - ((1 - LEVEL) / 2) ** (1 / n)) * (ceiling - floor)
    return Interval(
        interval.value, max(floor, interval.low - room), min(ceiling, interval.high + room)
    )


def permutation_p(
    panel: Panel, statistic: Statistic, arms: tuple[str, str], draws: int, seed: int
) -> float | None:
    """One-sided p-value: arms are permuted among the meetings of each series.

    Args:
        panel: values; meetings of other arms are left out.
        statistic: large values speak against the null.
        arms: the two arms that were drawn.
        draws: number of permutations.
        seed: of the generator.

    Returns:
        (1 + permutations at least as large) / (1 + draws); None where the statistic is undefined.
    """
    rng = np.random.default_rng(seed)
    first, second = arms
    blocks = [b for b in panel.blocks() if first in b and second in b]
    observed = statistic(blocks) if blocks else float("nan")
    if not np.isfinite(observed):
        return None
    # the same arrangement in another order may differ in the last bit
    bar = observed - 1e-9 * max(1.0, abs(observed))
    pooled = [(np.concatenate([b[first], b[second]]), len(b[first])) for b in blocks]
    hits = 0
    for _ in range(draws):
        shuffled = [(rng.permutation(rows), count) for rows, count in pooled]
        hits += statistic([{first: r[:c], second: r[c:]} for r, c in shuffled]) >= bar
    return (1 + hits) / (1 + draws)


def median_interval(values: Floats) -> Interval:
    """Median with its distribution-free interval (order statistics; David and Nagaraja 2003).

    The r-th smallest and r-th largest of n values, for the largest r that covers at least 95 %;
    below 6 values none does, and the ends are infinite.
    """
    ordered, n = np.sort(values), len(values)
    r = int(binom.ppf((1 - LEVEL) / 2, n, 0.5))  # P(fewer than r of n below the median) <= 2.5 %
    if r < 1:
        return Interval(float(np.median(values)), -np.inf, np.inf)
    return Interval(float(np.median(values)), float(ordered[r - 1]), float(ordered[n - r]))


def clopper_pearson(hits: int, n: int) -> tuple[float, float]:
    """Exact two-sided 95 % binomial interval (Clopper and Pearson 1934)."""
    tail = (1 - LEVEL) / 2
    low = 0.0 if hits == 0 else float(beta.ppf(tail, hits, n - hits + 1))
    high = 1.0 if hits == n else float(beta.ppf(1 - tail, hits + 1, n - hits))
    return low, high


def holm(p_values: Mapping[str, float | None]) -> dict[str, float]:
    """Adjusted p-values (Holm 1979); a missing one counts as 1, so that the family stays whole."""
    known = {name: 1.0 if p is None else p for name, p in p_values.items()}
    adjusted, running = {}, 0.0
    for place, name in enumerate(sorted(known, key=lambda key: known[key])):
        running = max(running, min(1.0, (len(known) - place) * known[name]))
        adjusted[name] = running
    return adjusted


def finite(value: float) -> float | None:
    """The number, or None where it is none that JSON has."""
    return float(value) if np.isfinite(value) else None


def record(
    name: str, metric: str, interval: Interval | None, n: int, unit: str = "meeting", **more: Any
) -> dict[str, Any]:
    """One row of results.json; a value that is no number becomes null, with its reason."""
    row: dict[str, Any] = {
        "name": name, "metric": metric, "value": None, "ci_low": None, "ci_high": None,
        "p_value": None, "n": n, "unit": unit, "primary": False, "verdict": None,
        "threshold": None, "resolved": True, "strata": [],
    }  # fmt: skip
    if interval is not None:
        numbers = {"value": interval.value, "ci_low": interval.low, "ci_high": interval.high}
        row |= {key: finite(value) for key, value in numbers.items()}
    row |= {
        key: finite(value) if isinstance(value, float) else value for key, value in more.items()
    }
    if row["value"] is None:
        row.setdefault("reason", "not enough data")
    return row
