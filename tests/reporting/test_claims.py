"""Sentences follow the numbers that they are computed from."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.reporting import claims


def record(verdict: str | None, **more: Any) -> dict[str, Any]:
    plain = {
        "name": "sentinel_leak",
        "metric": "difference",
        "value": 0.1,
        "ci_low": 0.0,
        "ci_high": 0.2,
        "n": 48,
        "unit": "meeting",
        "primary": True,
        "verdict": verdict,
    }
    return plain | more  # fmt: skip


@pytest.mark.parametrize(
    ("verdict", "shown"),
    [("PASS", "PASS"), ("FAIL", "FAIL"), ("INCONCLUSIVE", "INCONCLUSIVE"),
     (None, "INCONCLUSIVE"), ("pass", "INCONCLUSIVE")],
)  # fmt: skip
def test_only_a_verdict_of_the_contract_is_taken(verdict: str | None, shown: str) -> None:
    found = claims.claims({"probes": [record(verdict)]})
    assert [claim.verdict for claim in found] == [shown]


def test_a_registered_primary_without_a_record_is_inconclusive() -> None:
    found = claims.claims({"probes": [], "primaries": ["extraction"]})
    assert [(claim.name, claim.verdict) for claim in found] == [("extraction", "INCONCLUSIVE")]


@given(st.lists(st.sampled_from(["PASS", "FAIL", "INCONCLUSIVE"]), min_size=1, max_size=6))
def test_the_headline_counts(verdicts: list[str]) -> None:
    probes = [record(verdict, name=f"p{i}") for i, verdict in enumerate(verdicts)]
    said = claims.headline(claims.claims({"probes": probes}))
    counts = [len(verdicts), *(verdicts.count(v) for v in ("PASS", "FAIL", "INCONCLUSIVE"))]
    assert [int(word) for word in said.replace(",", "").replace(".", "").split()
            if word.isdigit()] == counts  # fmt: skip


@given(st.floats(allow_nan=True, allow_infinity=True) | st.none())
def test_a_number_is_written_or_said_to_be_missing(value: float | None) -> None:
    text = claims.number(value)
    if value is None or not math.isfinite(value):
        assert text == claims.NOT_MEASURED
    else:
        read = float(text.replace("−", "-").replace(" ", ""))
        assert read == pytest.approx(value, rel=6e-3, abs=0.6 if abs(value) >= 1000 else 1e-300)


def test_overfitting_is_said_only_where_it_is() -> None:
    rising = [{"loss": 1.0, "eval_loss": value} for value in (3.0, 2.0, 2.5)]
    falling = [{"loss": 1.0, "eval_loss": value} for value in (3.0, 2.0, 1.5)]
    assert "overfits" in claims.loss_takeaway(rising)
    assert "overfits" not in claims.loss_takeaway(falling)
    assert claims.NOT_MEASURED in claims.loss_takeaway([{"loss": 1.0, "eval_loss": None}])
