"""The leak test: do meetings that were excluded at random look more familiar than held-out ones?

Sentinels are admissible meetings that the draw excluded, through the same rules as any exclusion.
They differ from held-out meetings by that alone, so a difference of the reference score is a leak.
"No leak" is said only when a leak half as large as training would have been seen.
"""

from typing import Any

from scipy.stats import norm

from harness.probes.statistics import (
    Interval,
    Panel,
    bootstrap,
    inside_series_difference,
    permutation_p,
    record,
)

ARMS = {"member", "heldout", "sentinel"}
FEWEST_SERIES = 6
METRIC = "difference of reference score (nats per token)"


def leak_records(panel: Panel, draws: int, seed: int) -> list[dict[str, Any]]:
    """The leak test, its positive control, and the margin between them.

    Args:
        panel: reference score of each meeting; arms member, heldout and sentinel.
        draws: bootstrap and permutation draws.
        seed: of the draws.
    """
    leak = inside_series_difference("sentinel", "heldout")
    control = inside_series_difference("member", "heldout")
    found, trained, margin = (
        bootstrap(panel, statistic, draws, seed)
        for statistic in (leak, control, lambda b: leak(b) - 0.5 * control(b))
    )
    n = len(panel.arm)
    p = permutation_p(panel, leak, ("sentinel", "heldout"), draws, seed)
    p_control = permutation_p(panel, control, ("member", "heldout"), draws, seed)
    return [
        record("sentinel_leak", METRIC, found, n, p_value=p, primary=True, threshold=0.0,
               minimum_detectable=_minimum_detectable(found),
               **_judged(panel, verdict(found, trained, margin), p_control)),
        record("leak_control", METRIC, trained, n, p_value=p_control),
        record("leak_margin", f"{METRIC}, leak minus half of control", margin, n),
    ]  # fmt: skip


def _judged(panel: Panel, found: str, p_control: float | None) -> dict[str, str]:
    """The verdict, unless too few series stand behind it or the control may be chance."""
    complete = [block for block in panel.blocks() if block.keys() >= ARMS]
    if len(complete) < FEWEST_SERIES:
        found, reason = (
            "INCONCLUSIVE",
            f"all three arms in {len(complete)} of {FEWEST_SERIES} series",
        )
        return {"verdict": found, "reason": reason}
    if found == "PASS" and (p_control is None or p_control > 0.05):
        return {"verdict": "INCONCLUSIVE", "reason": "the control may be chance"}
    return {"verdict": found}


def verdict(leak: Interval, control: Interval, margin: Interval) -> str:
    """FAIL when a leak is shown, PASS when one of half the control's size is ruled out.

    Args:
        leak: sentinel minus held-out.
        control: trained minus held-out.
        margin: leak minus half of the control.
    """
    if leak.low > 0:
        return "FAIL"
    return "PASS" if margin.high < 0 and control.low > 0 else "INCONCLUSIVE"


def _minimum_detectable(interval: Interval) -> float:
    """Smallest difference that the test finds with 80 % power at one-sided 2.5 %."""
    error = (interval.high - interval.low) / (2 * norm.ppf(0.975))
    return float((norm.ppf(0.975) + norm.ppf(0.8)) * error)
