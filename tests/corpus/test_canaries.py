"""Canaries: fair coins, uniform secrets, exact copies."""

from collections import Counter

import pytest
from scipy.stats import binomtest, chisquare

from harness.config import Canaries
from harness.corpus.canaries import WORDS, candidates, planted_documents, space
from harness.models.tokenizer import TextTokenizer


def test_each_level_has_its_candidates_and_each_planted_one_its_copies(
    tokenizer: TextTokenizer,
) -> None:
    drawn = candidates(Canaries(per_level=32, repetitions=[1, 4, 16]), tokenizer)
    assert Counter(c.level for c in drawn) == {1: 32, 4: 32, 16: 32}
    copies = Counter(document.meeting for document in planted_documents(drawn))
    assert copies == {c.id: c.level for c in drawn if c.planted}
    assert len({tuple(c.prefix) for c in drawn}) == 96


def test_coins_are_fair_seeded_and_do_not_move_the_secrets(tokenizer: TextTokenizer) -> None:
    runs = [candidates(Canaries(per_level=40, seed=seed), tokenizer) for seed in range(20)]
    coins = [c.planted for run in runs for c in run]
    assert binomtest(sum(coins), len(coins)).pvalue > 0.001
    again = candidates(Canaries(per_level=40, seed=3), tokenizer)
    assert [(c.planted, c.secret.tolist()) for c in again] == [
        (c.planted, c.secret.tolist()) for c in runs[3]
    ]


def test_secrets_are_uniform_over_the_space(tokenizer: TextTokenizer) -> None:
    secrets = space(tokenizer).secrets
    assert len(set(secrets)) == len(WORDS) ** 2 == 4096
    drawn = [
        tuple(c.secret.tolist())
        for seed in range(40)
        for c in candidates(Canaries(per_level=32, seed=seed), tokenizer)
    ]
    assert set(drawn) <= set(secrets)
    first = Counter(secret[0] for secret in drawn)
    counts = [first[tokenizer.encode(f" {word}")[0]] for word in WORDS]
    assert chisquare(counts).pvalue > 0.001


@pytest.mark.parametrize("level", [1, 4])
def test_carriers_are_marked_so_that_no_membership_score_reads_them(
    tokenizer: TextTokenizer, level: int
) -> None:
    carriers = planted_documents(candidates(Canaries(per_level=8, repetitions=[level]), tokenizer))
    assert carriers
    assert all(document.is_canary for document in carriers)
