"""Private training: bounds against two oracles, clipped sums, noise that is really there."""

import hashlib
import math
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import logsumexp
from scipy.stats import binomtest, kstest
from scipy.stats import norm as normal

from harness.corpus.drawing import drawn as draw
from harness.corpus.packing import epoch_order
from harness.errors import HarnessError, Refused, UsageError
from harness.training import privacy
from harness.training.privacy import (
    ORDERS,
    ClippedSum,
    GradientNotFinite,
    check_noise,
    epsilon,
    group_epsilon,
    noise_generator,
    noise_multiplier,
)

DELTA = 1e-5
SHAPES = ((40, 30), (7,), (3, 2, 2))
RUNS = [(1.0, 0.01, 1000), (0.7, 0.1, 200), (4.0, 0.25, 300), (2.0, 1.0, 50), (20.0, 0.5, 100)]


def renyi(order: float, noise: float, rate: float) -> float:
    """RDP of one step by the trapezoid rule on its definition (Mironov et al. 2019, equation 2)."""
    z, step = np.linspace(-30 * noise, order + 30 * noise, 200_001, retstep=True)
    stay = math.log1p(-rate) if rate < 1 else -math.inf
    ratio = np.logaddexp(stay, math.log(rate) + (2 * z - 1) / (2 * noise**2))
    whole = logsumexp(order * ratio - z**2 / (2 * noise**2)) + math.log(step / noise)
    return float((whole - math.log(2 * math.pi) / 2) / (order - 1))


def classic(order: float, spent: float) -> float:
    """Conversion of Mironov 2017, proposition 3."""
    return spent - math.log(DELTA) / (order - 1)


def improved(order: float, spent: float) -> float:
    """Conversion of Balle et al. 2020, theorem 21."""
    return classic(order, spent) - math.log(order) / (order - 1) + math.log(1 - 1 / order)


@pytest.mark.parametrize(("noise", "rate", "steps"), RUNS)
def test_the_bound_is_that_of_our_own_integration(noise: float, rate: float, steps: int) -> None:
    orders = (*np.arange(1.25, 12, 0.25), *range(12, 80, 2))
    spent = {order: steps * renyi(order, noise, rate) for order in orders}
    found = epsilon(noise, rate, steps, DELTA)
    assert found == pytest.approx(min(improved(*item) for item in spent.items()), rel=0.01)
    assert found <= min(classic(*item) for item in spent.items())
    for order in set(orders) & set(ORDERS):  # each order alone is a bound, the least is taken
        assert found <= improved(order, spent[order]) * (1 + 1e-6) + 1e-6


@given(st.floats(0.5, 30), st.integers(1, 2000), st.sampled_from([1e-3, 1e-5, 1e-8]))
@settings(max_examples=50, deadline=None)
def test_it_is_not_below_the_exact_value_where_everything_is_drawn(
    noise: float, steps: int, delta: float
) -> None:
    """Balle and Wang 2018: n Gaussian steps are one, with noise / sqrt(n)."""
    scale = noise / math.sqrt(steps)

    def surplus(exact: float) -> float:
        far = exact + normal.logcdf(-1 / (2 * scale) - exact * scale)
        return float(normal.cdf(1 / (2 * scale) - exact * scale) - math.exp(far) - delta)

    exact = brentq(surplus, 0, 1 / (2 * scale**2) + 10 / scale) if surplus(0) > 0 else 0.0
    found = epsilon(noise, 1.0, steps, delta)
    assert exact <= found <= 1.35 * exact + 0.3


@given(st.floats(0.6, 10), st.floats(0.001, 0.9), st.integers(1, 500))
@settings(max_examples=40, deadline=None)
def test_more_noise_fewer_draws_and_fewer_steps_spend_less(
    noise: float, rate: float, steps: int
) -> None:
    spent = epsilon(noise, rate, steps, DELTA)
    assert epsilon(1.1 * noise, rate, steps, DELTA) <= spent
    assert epsilon(noise, 0.9 * rate, steps, DELTA) <= spent
    assert epsilon(noise, rate, steps + 1, DELTA) >= spent
    assert epsilon(noise, rate, steps, DELTA / 10) >= spent
    assert epsilon(noise, rate, 0, DELTA) == 0


@pytest.mark.parametrize("target", [0.1, 1.0, 2.0, 8.0, 100.0])
@pytest.mark.parametrize(("rate", "steps"), [(0.01, 2000), (0.2, 100), (1.0, 1)])
def test_the_noise_for_a_target_is_enough_and_hardly_more(
    target: float, rate: float, steps: int
) -> None:
    noise = noise_multiplier(target, DELTA, rate, steps)
    assert epsilon(noise, rate, steps, DELTA) <= target
    assert epsilon(0.999 * noise, rate, steps, DELTA) > target


def test_what_no_noise_can_give_is_refused() -> None:
    with pytest.raises(Refused, match="PRIVACY_UNREACHABLE"):
        noise_multiplier(1e-6, 1e-12, 0.5, 100)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [((1.0, 0.0, 10, 1e-5), "sample_rate"), ((1.0, 1.1, 10, 1e-5), "sample_rate"),
     ((1.0, 0.5, -1, 1e-5), "steps"), ((1.0, 0.5, 10, 0.0), "delta"),
     ((1.0, 0.5, 10, 1.0), "delta"), ((1.0, math.nan, 10, 1e-5), "sample_rate")],
)  # fmt: skip
def test_values_without_meaning_are_refused_by_name(
    arguments: tuple[float, float, int, float], named: str
) -> None:
    with pytest.raises(UsageError, match=rf"PRIVACY_VALUE: .*\({named}\)"):
        epsilon(*arguments)


@pytest.mark.parametrize("noise", [0.0, -1.0, math.nan, math.inf])
def test_no_noise_is_no_privacy(noise: float) -> None:
    with pytest.raises(Refused, match="NOISE_MISSING"):
        epsilon(noise, 0.5, 10, DELTA)
    with pytest.raises(Refused, match="NOISE_MISSING"):
        ClippedSum([torch.zeros(3)], 1.0).noised(noise, noise_generator(b"k" * 32), 1.0)


def test_without_the_extra_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opacus.accountants.analysis", None)
    with pytest.raises(Refused, match=r"DP_EXTRA_MISSING.*pip install 'meeting-harness\[dp\]'"):
        epsilon(1.0, 0.5, 10, DELTA)


def test_privacy_alone_imports_no_opacus() -> None:
    """The library is heavy; who trains without privacy needs none of it."""
    names = [name for name in vars(privacy) if "opacus" in name]
    assert names == ["_opacus"]


@given(st.floats(0, 5), st.floats(0, 1e-3), st.integers(1, 20))
def test_a_group_is_walked_one_document_at_a_time(one: float, delta: float, k: int) -> None:
    walked, failing = 0.0, 0.0
    for _ in range(k):  # (e, d) then (one, delta): P <= e^one (e^e P' + d) + delta
        walked, failing = walked + one, math.exp(one) * failing + delta
    assert group_epsilon(one, delta, k) == pytest.approx((walked, min(1.0, failing)))
    assert group_epsilon(one, delta, 1) == pytest.approx((one, delta))


def test_a_large_group_is_promised_nothing() -> None:
    assert group_epsilon(100.0, 1e-5, 100) == (10000.0, 1.0)


def test_each_document_is_drawn_by_its_own_coin() -> None:
    drawn = np.zeros((2000, 50))
    for step in range(2000):
        drawn[step, draw(50, 0.3, step, seed=7)] = 1
    assert binomtest(int(drawn.sum()), drawn.size, 0.3).pvalue > 0.001
    together = np.corrcoef(drawn.T)[np.triu_indices(50, 1)]
    assert np.abs(together).max() < 5 / math.sqrt(2000)
    after = np.corrcoef(drawn[1:].ravel(), drawn[:-1].ravel())[0, 1]
    assert abs(after) < 5 / math.sqrt(drawn.size)
    # the number drawn varies as it must: a fixed batch size would not be Poisson sampling
    assert drawn.sum(axis=1).var() == pytest.approx(50 * 0.3 * 0.7, rel=0.2)


@given(st.integers(1, 40), st.floats(0.01, 1), st.integers(0, 1000), st.integers(0, 1000))
def test_drawing_is_a_function_of_seed_and_step(n: int, rate: float, step: int, seed: int) -> None:
    drawn = draw(n, rate, step, seed)
    assert drawn == draw(n, rate, step, seed) == sorted(set(drawn))
    assert all(0 <= number < n for number in drawn)
    assert draw(n, 1.0, step, seed) == list(range(n))


def test_draws_are_not_the_numbers_that_order_the_epochs() -> None:
    plain = np.random.Generator(np.random.Philox(key=[3, 5])).random(64)
    assert draw(64, 0.5, 5, 3) != np.flatnonzero(plain < 0.5).tolist()
    assert sorted(epoch_order(64, 3, 5)) == list(range(64))


def test_the_whole_state_comes_from_the_secret() -> None:
    """Against numpy's twister from the same words; torch's own seeds repeat after 2^32."""
    words = np.frombuffer(hashlib.shake_256(b"s" * 16).digest(4 * 624), "<u4")
    twister = np.random.MT19937()
    twister.state = {"bit_generator": "MT19937", "state": {"key": words, "pos": 624}}
    ours = torch.empty(2000, dtype=torch.int64)
    ours.random_(0, 2**16, generator=noise_generator(b"s" * 16))
    assert (twister.random_raw(2000) & 0xFFFF).tolist() == ours.tolist()
    noise = torch.randn(5000, generator=noise_generator(b"t" * 16))
    assert kstest(noise.numpy(), "norm").pvalue > 1e-4
    with pytest.raises(UsageError, match="secret"):
        noise_generator(b"short")


def summed(clip: float = 1.0) -> ClippedSum:
    return ClippedSum([torch.zeros(shape) for shape in SHAPES], clip)


def gradients(seed: int, size: float = 1.0) -> list[torch.Tensor]:
    """One document's, with an L2 norm of ``size`` over all tensors together."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(shape, generator=generator) for shape in SHAPES]
    return [g * (size / length(drawn)) for g in drawn]


def length(tensors: list[torch.Tensor]) -> float:
    return math.sqrt(sum(float(t.double().square().sum()) for t in tensors))


@given(st.floats(1e-6, 1e6), st.floats(1e-3, 1e3), st.integers(0, 50))
@settings(deadline=None)
def test_no_document_is_longer_than_the_bound(size: float, clip: float, seed: int) -> None:
    total = summed(clip)
    given_ = gradients(seed, size)
    assert total.add(given_) == pytest.approx(size, rel=1e-5)
    assert length(total._sums) <= clip
    assert length(total._sums) == pytest.approx(min(size, clip), rel=1e-5)
    pairs = zip(total._sums, given_, strict=True)
    inner = sum(float((a.double() * b.double()).sum()) for a, b in pairs)
    assert inner == pytest.approx(size * length(total._sums), rel=1e-4)  # its direction stays
    assert total.clipped == (length(given_) > clip)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_gradient_that_is_no_number_is_not_added(value: float) -> None:
    total, wrong = summed(), gradients(0)
    wrong[0].view(-1)[0] = value
    with pytest.raises(GradientNotFinite, match="GRADIENT_NOT_FINITE") as caught:
        total.add(wrong)
    assert caught.value.exit_code == 5
    assert (total.documents, length(total.sums)) == (0, 0.0)


def test_the_sum_is_the_sum_of_clipped_ones_divided_by_the_expected_number() -> None:
    total, sizes = summed(2.0), [0.5, 1.9, 3.0, 40.0]
    for seed, size in enumerate(sizes):
        total.add(gradients(seed, size))
    assert (total.documents, total.clipped) == (4, 2)
    found = total.noised(1e-4, noise_generator(b"k" * 32), expected=10.0)
    for place, tensor in enumerate(found):
        plain = sum(gradients(i, s)[place] * min(1, 2 / s) for i, s in enumerate(sizes)) / 10
        assert torch.allclose(tensor, plain, atol=2e-4)
        assert (tensor.shape, tensor.dtype) == (SHAPES[place], torch.float32)
    assert all(not bool(t.any()) for t in total._sums)  # nothing is left to be noised twice


@pytest.mark.parametrize("expected", [1.0, 8.0])
def test_noise_is_normal_independent_and_of_the_right_size(expected: float) -> None:
    total = ClippedSum([torch.zeros(100, 100), torch.zeros(5000)], 0.5)
    generator = noise_generator(b"k" * 32)
    first, second = (total.noised(3.0, generator, expected) for _ in range(2))
    flat = torch.cat([t.flatten() for t in first]).double() * expected / 1.5
    again = torch.cat([t.flatten() for t in second]).double() * expected / 1.5
    assert kstest(flat.numpy(), "norm").pvalue > 1e-4
    assert abs(float((flat * again).mean())) < 5 / math.sqrt(len(flat))


def test_a_step_that_draws_nobody_is_noised_all_the_same() -> None:
    found = summed().noised(1.0, noise_generator(b"k" * 32), 4.0)
    assert all(bool(t.any()) for t in found)


def test_a_generator_restored_from_its_state_goes_on_with_the_same_noise() -> None:
    generator = noise_generator(b"k" * 32)
    summed().noised(1.0, generator, 1.0)
    state = generator.get_state()
    expected = summed().noised(1.0, generator, 1.0)
    restored = torch.Generator()
    restored.set_state(state)
    assert all(map(torch.equal, expected, summed().noised(1.0, restored, 1.0)))


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.5])
def test_noise_that_is_silently_nil_or_off_is_refused(
    factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = torch.randn
    monkeypatch.setattr(torch, "randn", lambda *a, **k: factor * plain(*a, **k))
    with pytest.raises(Refused, match="NOISE_MISSING: noise with standard deviation"):
        summed().noised(1.0, noise_generator(b"k" * 32), 1.0)


def test_noise_that_is_lost_in_rounding_is_refused() -> None:
    """What is measured is what was added, not what was drawn."""
    total = ClippedSum([torch.zeros(1000)], 1e12)
    total.add([torch.full((1000,), 1e10)])
    with pytest.raises(Refused, match="NOISE_MISSING"):
        total.noised(1e-12, noise_generator(b"k" * 32), 1.0)


@pytest.mark.parametrize("n", [1, 2, 10, 1000, 100000])
def test_good_noise_of_any_size_passes_and_nil_or_constant_noise_does_not(n: int) -> None:
    generator = torch.Generator().manual_seed(n)
    for _ in range(300 if n < 10000 else 10):
        check_noise(3.0 * torch.randn(n, generator=generator), 3.0)
    with pytest.raises(Refused, match="NOISE_MISSING"):
        check_noise(torch.zeros(n), 3.0)
    if n >= 1000:
        with pytest.raises(Refused, match="NOISE_MISSING"):
            check_noise(torch.full((n,), 3.0), 3.0)  # of the right size, but the same everywhere
    check_noise(torch.zeros(0), 3.0)


def test_a_generator_seeded_anew_at_every_step_is_refused() -> None:
    total = summed()
    total.noised(1.0, noise_generator(b"k" * 32), 1.0)
    with pytest.raises(Refused, match="NOISE_REPEATED"):
        total.noised(1.0, noise_generator(b"k" * 32), 1.0)


@pytest.mark.parametrize(
    ("spoilt", "code"),
    [([torch.ones(40, 30), torch.ones(7)], "GRADIENT_SHAPES"),
     ([torch.ones(30, 40), torch.ones(7), torch.ones(3, 2, 2)], "GRADIENT_SHAPES"),
     ([torch.ones(40, 30), torch.full((7,), math.nan), torch.ones(3, 2, 2)], "NOT_FINITE"),
     ([torch.ones(40, 30), torch.full((7,), math.inf), torch.ones(3, 2, 2)], "NOT_FINITE")],
)  # fmt: skip
def test_gradients_that_do_not_fit_or_are_no_numbers_enter_no_sum(
    spoilt: list[torch.Tensor], code: str
) -> None:
    total = summed()
    with pytest.raises(HarnessError, match=code):
        total.add(spoilt)
    assert (total.documents, length(total._sums)) == (0, 0.0)


@pytest.mark.parametrize("clip", [0.0, -1.0, math.inf, math.nan])
def test_a_bound_that_bounds_nothing_is_refused(clip: float) -> None:
    with pytest.raises(UsageError, match="clip"):
        summed(clip)


def test_gradients_in_bfloat16_are_summed_in_float32() -> None:
    total = ClippedSum([torch.zeros(64, dtype=torch.bfloat16)], 1e6)
    for _ in range(1000):
        total.add([torch.ones(64, dtype=torch.bfloat16)])
    assert total._sums[0].tolist() == [1000.0] * 64
