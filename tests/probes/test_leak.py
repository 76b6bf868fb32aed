"""The leak test: its rule at every corner, its error rate, its power."""

import numpy as np
import pytest

from harness.probes.leak import leak_records, verdict
from harness.probes.statistics import Interval, Panel


@pytest.mark.parametrize(
    ("leak", "control", "margin", "expected"),
    [
        ((-0.1, 0.1), (1.0, 2.0), (-1.0, -0.5), "PASS"),
        ((0.1, 0.3), (1.0, 2.0), (-0.9, 0.1), "FAIL"),
        ((0.1, 0.3), (1.0, 2.0), (-0.9, -0.1), "FAIL"),  # both: a leak is shown
        ((-0.1, 0.1), (-0.1, 2.0), (-1.0, -0.5), "INCONCLUSIVE"),  # the control shows nothing
        ((-0.9, 0.9), (1.0, 2.0), (-1.0, 0.2), "INCONCLUSIVE"),  # too wide to rule it out
        ((float("nan"), float("nan")), (1.0, 2.0), (float("nan"), float("nan")), "INCONCLUSIVE"),
    ],
)
def test_the_rule(
    leak: tuple[float, float], control: tuple[float, float], margin: tuple[float, float],
    expected: str,
) -> None:  # fmt: skip
    intervals = (Interval(0.0, *pair) for pair in (leak, control, margin))
    assert verdict(*intervals) == expected


def panel(seed: int, leak: float, control: float) -> Panel:
    rng = np.random.default_rng(seed)
    shift = {"member": control, "heldout": 0.0, "sentinel": leak}
    return Panel.of(
        (f"s{name}", arm, [rng.normal(shift[arm], 0.2)])
        for name in range(12)
        for arm in ("member", "heldout", "sentinel")
        for _ in range(2)
    )


def verdicts(leak: float, control: float, runs: int = 60) -> list[str]:
    return [leak_records(panel(i, leak, control), 100, i)[0]["verdict"] for i in range(runs)]


def test_no_leak_passes_and_seldom_fails() -> None:
    found = verdicts(0.0, 2.0)
    assert found.count("PASS") >= 54
    assert found.count("FAIL") <= 6


def test_a_leak_as_large_as_training_fails() -> None:
    assert set(verdicts(2.0, 2.0, runs=20)) == {"FAIL"}


def test_without_a_working_control_nothing_is_said() -> None:
    assert "PASS" not in verdicts(0.0, 0.0)


def test_records_hold_the_control_and_the_smallest_effect_that_would_show() -> None:
    leak, control, margin = leak_records(panel(0, 0.0, 2.0), 300, 0)
    assert leak["primary"]
    assert control["value"] == pytest.approx(2.0, abs=0.3)
    assert margin["value"] == pytest.approx(leak["value"] - control["value"] / 2)
    assert 0 < leak["minimum_detectable"] < 0.5


def test_few_series_carry_no_verdict_however_clear_they_look() -> None:
    few = panel(0, 0.0, 2.0)
    kept = np.isin(few.series, [f"s{i}" for i in range(5)])
    found = leak_records(Panel(few.values[kept], few.series[kept], few.arm[kept]), 100, 0)[0]
    assert found["verdict"] == "INCONCLUSIVE"
    assert "5 of 6 series" in found["reason"]
