"""The one-run audit: valid where privacy holds, strong where it does not, and as defined."""

import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from harness.config import Canaries
from harness.corpus.canaries import Canary, candidates
from harness.errors import Refused
from harness.models.tokenizer import TextTokenizer
from harness.probes import audit as module
from harness.probes.audit import (
    DELTA,
    LEVEL,
    MEANS,
    Claim,
    audit,
    audit_records,
    claimed,
    epsilon_lower_bound,
    p_value,
)
from harness.training.privacy import ClippedSum, noise_generator, noise_multiplier

REPEATS = 2000


@pytest.fixture(autouse=True, scope="module")
def remembered() -> Iterator[None]:
    """Simulations ask for few bounds, many times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "epsilon_lower_bound", lru_cache(epsilon_lower_bound))
        yield


@st.composite
def counts(draw: st.DrawFn) -> tuple[int, int, int]:
    """Coins, guesses and right ones."""
    m = draw(st.integers(1, 120))
    r = draw(st.integers(0, m))
    return m, r, draw(st.integers(0, r))


epsilons = st.floats(0, 8)
deltas = st.sampled_from([0.0, 1e-6, 1e-4, 1e-2])


def counted(m: int, r: int, v: int, epsilon: float, delta: float) -> float:
    """The definition, term by term; the maximum over all i up to m, as the corollary has it."""
    q = math.exp(epsilon) / (1 + math.exp(epsilon))
    chance = [math.comb(r, k) * q**k * (1 - q) ** (r - k) for k in range(r + 1)]
    least = math.fsum(chance[v:])
    alpha = max(
        math.fsum(chance[k] for k in range(r + 1) if v > k >= v - i) / i for i in range(1, m + 1)
    )
    return min(1.0, least + 2 * m * delta * alpha)


@given(counts(), epsilons, deltas)
@settings(deadline=None)
def test_the_p_value_is_its_definition(
    drawn: tuple[int, int, int], epsilon: float, delta: float
) -> None:
    expected = counted(*drawn, epsilon, delta)
    assert p_value(*drawn, epsilon, delta) == pytest.approx(expected, rel=1e-9, abs=1e-14)


@pytest.mark.parametrize("m", [1, 2, 3, 8])
def test_without_privacy_loss_it_is_the_chance_of_fair_coins(m: int) -> None:
    """Every outcome of m coins counted: at epsilon 0 no guess is better than another."""
    right = [sum(coins) for coins in product((0, 1), repeat=m)]
    for v in range(m + 1):
        assert p_value(m, m, v, 0.0, 0.0) == pytest.approx(np.mean([n >= v for n in right]))


@given(counts(), epsilons, st.floats(0, 3), deltas)
@settings(deadline=None)
def test_more_right_guesses_are_stronger_and_weaker_claims_are_harder_to_reject(
    drawn: tuple[int, int, int], epsilon: float, more: float, delta: float
) -> None:
    m, r, v = drawn
    p = p_value(m, r, v, epsilon, delta)
    assert 0 <= p <= 1
    assert p_value(m, r, v, epsilon, delta + 1e-3) >= p
    assert p_value(m, r, v, epsilon + more, 0.0) >= p_value(m, r, v, epsilon, 0.0) - 1e-12
    assert p_value(m + 1, r, v, epsilon, delta) >= p
    assume(v < r)
    assert p_value(m, r, v + 1, epsilon, 0.0) <= p_value(m, r, v, epsilon, 0.0)
    assert epsilon_lower_bound(m, r, v + 1, 0.0) >= epsilon_lower_bound(m, r, v, 0.0)


@given(counts(), deltas, st.sampled_from([0.01, 0.05, 0.2]))
@settings(deadline=None)
def test_the_bound_is_the_lower_end_of_what_is_rejected(
    drawn: tuple[int, int, int], delta: float, level: float
) -> None:
    bound = epsilon_lower_bound(*drawn, delta, level)
    if bound == 0:
        assert p_value(*drawn, 0.0, delta) >= level
    else:
        assert (
            p_value(*drawn, bound, delta) < level
        )  # itself still rejected, not the root's far side
        assert p_value(*drawn, bound + 1e-6, delta) >= level
    assert epsilon_lower_bound(*drawn, delta, level / 2) <= bound
    assert epsilon_lower_bound(*drawn, 0.0, level) >= bound


@pytest.mark.parametrize("r", [1, 5, 32, 64])
def test_perfect_guesses_give_the_closed_form(r: int) -> None:
    q = LEVEL ** (1 / r)
    found = epsilon_lower_bound(r, r, r, 0.0)
    assert found == pytest.approx(max(0.0, math.log(q / (1 - q))), abs=1e-9)
    assert epsilon_lower_bound(64, r, r, 1e-4) < found or found == 0


@pytest.mark.parametrize(("m", "r", "v"), [(3, 4, 1), (3, 2, 3), (3, 3, -1)])
def test_counts_that_cannot_be_are_refused(m: int, r: int, v: int) -> None:
    with pytest.raises(Refused, match="AUDIT_COUNTS"):
        p_value(m, r, v, 1.0, 0.0)


Mechanism = Callable[[np.random.Generator, np.ndarray, float, float], np.ndarray]


def responses(
    rng: np.random.Generator, coins: np.ndarray, epsilon: float, delta: float
) -> np.ndarray:
    """Randomised response, which reveals with probability delta: (epsilon, delta)-private."""
    honest = rng.random(coins.shape) < 1 / (1 + math.exp(-epsilon))
    said = np.where(honest, coins, ~coins).astype(float)
    told = rng.random(coins.shape) < delta
    return np.where(told, np.where(coins, 2.0, -1.0), said)


def revealing(
    rng: np.random.Generator, coins: np.ndarray, epsilon: float, delta: float
) -> np.ndarray:
    """Randomised response that with probability delta tells everything at once."""
    said = responses(rng, coins, epsilon, 0.0)
    return coins.astype(float) if rng.random() < delta else said


@pytest.mark.parametrize("share", [0.5, 1.0])
@pytest.mark.parametrize("mechanism", [responses, revealing])
@pytest.mark.parametrize(
    ("epsilon", "delta"), [(0.0, 0.0), (0.5, 0.0), (2.0, 0.0), (1.0, 1e-3), (0.0, 1e-2)]
)
def test_a_true_claim_is_rejected_at_most_one_time_in_twenty(
    epsilon: float, delta: float, mechanism: Mechanism, share: float
) -> None:
    rng, above = np.random.default_rng(20), 0
    for _ in range(REPEATS):
        coins = rng.random(64) < 0.5
        scores = mechanism(rng, coins, epsilon, delta)
        above += audit(scores.tolist(), coins.tolist(), delta, share).epsilon > epsilon
    assert binomtest(above, REPEATS, LEVEL, alternative="greater").pvalue > 0.01


def test_a_false_claim_is_rejected_where_there_is_power() -> None:
    """Epsilon 4 claimed to be 1: nearly always with 200 coins."""
    rng, above = np.random.default_rng(1), 0
    for _ in range(200):
        coins = rng.random(200) < 0.5
        scores = responses(rng, coins, 4.0, 0.0) + 0.01 * rng.random(200)
        above += audit(scores.tolist(), coins.tolist(), 1e-5).epsilon > 1.0
    assert above >= 190


def test_guesses_are_the_extremes_of_both_ends() -> None:
    scores = [5.0, -5.0, 4.0, -4.0, 0.3, -0.3, 0.2, -0.2]
    planted = [True, False, False, False, False, True, True, False]
    found = audit(scores, planted, 0.0)
    assert (found.m, found.guesses, found.correct) == (8, 4, 3)
    assert found.most == epsilon_lower_bound(8, 4, 4, 0.0)
    whole = audit(scores, planted, 0.0, share=1.0)
    assert (whole.guesses, whole.correct) == (8, 5)  # the better half: True False True False


@given(st.lists(st.booleans(), min_size=4, max_size=60))
def test_equal_scores_are_told_apart_by_place_alone(coins: list[bool]) -> None:
    """A model that knows nothing gives the same guesses whatever the coins."""
    found = audit([1.0] * len(coins), coins, 0.0)
    each = len(coins) // 4
    expected = sum(coins[len(coins) - each :]) + sum(not coin for coin in coins[:each])
    assert found.correct == expected


def trained_privately(coins: np.ndarray, noise: float, seed: int) -> list[float]:
    """One step of DP-SGD on unit vectors, one a canary; a canary's score is its own direction."""
    vectors = torch.nn.functional.normalize(
        torch.randn(len(coins), 4000, generator=torch.Generator().manual_seed(seed)), dim=1
    )
    total = ClippedSum([torch.zeros(4000)], 1.0)
    for vector in vectors[torch.from_numpy(coins)]:
        total.add([vector])
    (released,) = total.noised(noise, noise_generator(seed.to_bytes(16, "big")), 100.0)
    return [float(score) for score in vectors @ released]


def test_a_private_step_is_not_accused_and_one_with_nearly_no_noise_is() -> None:
    """200 canaries, claimed epsilon 2 at 1e-5."""
    rng, noise, above = np.random.default_rng(3), noise_multiplier(2.0, DELTA, 1.0, 1), 0
    for seed in range(40):
        coins = rng.random(200) < 0.5
        above += audit(trained_privately(coins, noise, seed), coins.tolist(), DELTA).epsilon > 2.0
    assert above <= 5  # 5 % of 40, and chance
    found = audit(trained_privately(coins, 1e-3, 99), coins.tolist(), DELTA)
    assert found.correct == found.guesses == 100
    assert found.epsilon == found.most > 2.0


@pytest.fixture(scope="module")
def canaries(tokenizer: TextTokenizer) -> list[Canary]:
    return candidates(Canaries(per_level=100, repetitions=[4, 1]), tokenizer)


def known(canaries: list[Canary], strength: float) -> list[float]:
    """Scores that lie ``strength`` higher where the canary was planted."""
    noise = np.random.default_rng(0).normal(size=len(canaries))
    return [float(n + strength * c.planted) for n, c in zip(noise, canaries, strict=True)]


def test_a_claim_is_measured_at_one_copy_alone(canaries: list[Canary]) -> None:
    once, often = audit_records(canaries, known(canaries, 9.0), Claim(2.0, 1e-6))
    assert (once["name"], often["name"]) == ("dp_audit_1", "dp_audit_4")
    assert (once["threshold"], once["verdict"], once["delta"]) == (2.0, "FAIL", 1e-6)
    assert once["value"] > 2.0
    assert once["p_value"] == pytest.approx(p_value(100, 50, once["correct"], 2.0, 1e-6))
    assert once["p_value"] < LEVEL
    assert (often["threshold"], often["verdict"], often["p_value"]) == (None, None, None)
    assert "4 documents together" in often["metric"]
    assert all(row["primary"] is False and MEANS in row["reason"] for row in (once, often))


def test_what_is_not_above_the_claim_is_inconclusive_never_passed(canaries: list[Canary]) -> None:
    for strength, claim in ((0.0, Claim(2.0, 1e-6)), (9.0, Claim(8.0, 1e-6))):
        once, _ = audit_records(canaries, known(canaries, strength), claim)
        assert once["verdict"] == "INCONCLUSIVE"
        assert once["p_value"] >= LEVEL
    assert "at most 2.78 could have been found" in once["reason"]  # so that 8 was out of reach


def test_without_a_claim_every_row_is_descriptive(canaries: list[Canary]) -> None:
    rows = audit_records(canaries, known(canaries, 9.0), None)
    assert {(row["verdict"], row["threshold"], row["delta"]) for row in rows} == {
        (None, None, DELTA)
    }
    assert all(row["value"] > 2.0 and row["n"] == 100 for row in rows)


def test_too_few_canaries_or_scores_that_are_no_numbers_are_no_result(
    canaries: list[Canary],
) -> None:
    few = [canary for canary in canaries if canary.level == 1][:3]
    broken = [math.nan, *known(canaries, 1.0)[1:]]
    for row in (audit_records(few, known(few, 1.0), Claim(2.0, 0.0))[0],
                audit_records(canaries, broken, None)[1]):  # fmt: skip
        assert row["value"] is None
        assert row["reason"] == "not enough data"
    assert audit_records(few, known(few, 1.0), Claim(2.0, 0.0))[0]["verdict"] == "INCONCLUSIVE"
    assert audit_records([], [], None) == []


def test_a_claim_is_read_from_the_receipt() -> None:
    privacy = {"epsilon": 2, "delta": 1e-5, "unit": "document", "noise_multiplier": 1.1}
    assert claimed({"privacy": privacy}) == Claim(2.0, 1e-5)
    assert claimed({}) is claimed({"privacy": None}) is None


@pytest.mark.parametrize(
    "privacy",
    [{}, {"epsilon": 1.0}, {"epsilon": None, "delta": 0.1}, {"epsilon": math.nan, "delta": 0.1},
     {"epsilon": math.inf, "delta": 0.1}, {"epsilon": -1, "delta": 0.1}, {"epsilon": 1, "delta": 1},
     [1, 2], "2"],
)  # fmt: skip
def test_a_claim_that_is_no_number_is_refused(privacy: object) -> None:
    with pytest.raises(Refused, match=r"PRIVACY_CLAIM.*train/receipt\.json"):
        claimed({"privacy": privacy})
