"""Exposure: the trie against brute force, ranks against counting."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import PeftModel

from harness.config import Canaries
from harness.corpus.canaries import CanarySpace, candidates, space
from harness.models.tokenizer import TextTokenizer
from harness.probes.exposure import (
    Trie,
    centred,
    exposure,
    exposure_curve,
    exposure_records,
    measure,
    median_exposure,
    secret_nlls,
)
from harness.probes.scores import Cost

UNEVEN = CanarySpace(((5, 6, 7), (5, 6, 8), (5, 9), (10,), (11, 6, 7)))


def test_the_trie_gives_what_scoring_each_secret_gives(memorised: PeftModel) -> None:
    prefix = [1, 30, 40, 50]
    cost = Cost()
    found = secret_nlls(memorised, prefix, Trie(UNEVEN), cost)
    for secret, nll in zip(UNEVEN.secrets, found, strict=True):
        ids = torch.tensor([[*prefix, *secret]])
        with torch.no_grad():
            log_p = memorised(input_ids=ids).logits[0].log_softmax(-1)
        plain = -sum(float(log_p[len(prefix) - 1 + i, token]) for i, token in enumerate(secret))
        assert nll == pytest.approx(plain, abs=1e-4)
    assert cost.forwards == 3
    assert cost.tokens == len(prefix) + 2 + 2  # the prefix, then 5 and 11, then 5-6 and 11-6


@given(st.lists(st.integers(0, 9), min_size=2, max_size=50), st.data())
def test_exposure_counts_ties_against_the_secret(values: list[int], data: st.DataObject) -> None:
    secret = data.draw(st.integers(0, len(values) - 1))
    others = values[:secret] + values[secret + 1 :]
    rank = 1 + sum(other <= values[secret] for other in others)
    expected = np.log2(len(others)) - np.log2(rank)
    assert exposure(np.array(values, float), secret) == pytest.approx(expected)


def test_unplanted_canaries_look_uniform_and_records_are_complete(
    memorised: PeftModel, tokenizer: TextTokenizer
) -> None:
    canaries = candidates(Canaries(per_level=20, repetitions=[1, 4]), tokenizer)
    whole = space(tokenizer)
    cost = Cost()
    found = measure(memorised, canaries, whole, cost)
    bits = found.bits
    assert cost.forwards == 2 * len(canaries)  # a pass for each word, scores and exposure together
    assert len(found.scores) == len(canaries)
    rows = {row["name"]: row for row in exposure_records(canaries, bits, whole)}
    assert rows.keys() == {
        "exposure_planted_1", "exposure_planted_4", "exposure_unplanted",
        "exposure_unplanted_uniformity",
    }  # fmt: skip
    # nothing was planted in this model's training, so every candidate is exchangeable
    assert rows["exposure_unplanted_uniformity"]["p_value"] > 0.001
    assert 0.2 < rows["exposure_unplanted"]["value"] < 3
    curve = exposure_curve(canaries, bits, whole)
    assert curve["max_bits"] == pytest.approx(np.log2(4095))
    planted = sum(level["planted"]["n"] for level in curve["levels"])
    assert planted == sum(canary.planted for canary in canaries)


def test_a_centred_score_is_what_carrier_and_words_leave_over() -> None:
    """Likely carriers and likely words are taken out; what was planted stays, and by how much."""
    rng = np.random.default_rng(0)
    carriers, words = rng.normal(size=(30, 1)), rng.normal(size=(1, 500))
    own = rng.choice(500, 30, replace=False).tolist()
    nlls = carriers + words
    assert centred(list(nlls), own) == pytest.approx([0.0] * 30)
    nlls[4, own[4]] -= 5.0
    found = np.array(centred(list(nlls), own))
    assert found[4] == pytest.approx(5.0, abs=0.02)
    assert np.abs(np.delete(found, 4)).max() < 0.2
    assert centred([np.array([1.0, 3.0])], [0]) == [1.0]
    assert centred([], []) == []


def test_scores_tell_planted_from_unplanted_where_exposure_is_at_its_ceiling() -> None:
    own, nlls = [0, 1, 2], np.full((3, 9), 6.0)
    nlls[0, 0], nlls[1, 1] = 1.0, 3.0
    assert exposure(nlls[0], 0) == exposure(nlls[1], 1) == pytest.approx(3.0)
    known, less, unknown = centred(list(nlls), own)
    assert known > less > unknown


def test_an_interval_of_a_saturated_median_has_a_width() -> None:
    most = float(np.log2(4095))
    found = median_exposure(np.full(16, most), most)
    assert (found.low, found.value, found.high) == (pytest.approx(most - 1), most, most)
    spread = median_exposure(np.linspace(0, most, 16), most)
    assert spread.low < spread.value < spread.high <= most


def test_a_secret_learnt_by_heart_has_the_highest_exposure(tokenizer: TextTokenizer) -> None:
    nlls = np.arange(4096.0)
    assert exposure(nlls, 0) == pytest.approx(np.log2(4095))
    assert exposure(nlls, 4095) == pytest.approx(np.log2(4095) - 12)
