"""Equal words have equal hashes, and no word is mistaken for another whose hash is equal."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.consent import names
from harness.consent.names import Hashes, Index, hashes, open_table, repeated

QUICK = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
WORDS = st.text(st.sampled_from("ab\x00\xe9\u5f20\U0001f600"), max_size=20) | st.text(max_size=9)
VISIBLE = st.characters(min_codepoint=0x21, max_codepoint=0x7E)
SEEDS = st.integers(0, 2**64 - 1)
COLLISIONS = st.sampled_from([None, 1, 2, 3])
"""How many different hashes there are; None for as many as there are."""


def array(words: list[str]) -> pa.Array:
    return pa.array(words, pa.string())


def few_hashes(monkeypatch: pytest.MonkeyPatch, different: int | None) -> None:
    """Let different words have equal hashes, the last and the first of all among them."""

    def colliding(words: pa.Array, seed: int) -> Hashes:
        return hashes(words, seed) % np.uint64(different) - np.uint64(1)

    monkeypatch.setattr(names, "hashes", hashes if different is None else colliding)


@QUICK
@given(st.lists(WORDS, max_size=12), st.lists(WORDS, max_size=4), st.lists(WORDS, max_size=4),
       SEEDS)  # fmt: skip
def test_a_hash_depends_on_word_and_seed_alone(
    words: list[str], before: list[str], after: list[str], seed: int
) -> None:
    whole = array([*before, *words, *after])[len(before) : len(before) + len(words)]
    alone = [int(hashes(array([word, "beside"]), seed)[0]) for word in words]
    for layout in (whole, array(words), pa.concat_arrays([array(words)])):
        assert hashes(layout, seed).tolist() == alone


@QUICK
@given(st.lists(st.text(VISIBLE, max_size=20), min_size=2, max_size=30, unique=True), SEEDS)
def test_different_words_have_different_hashes(words: list[str], seed: int) -> None:
    """As far as a test can tell; bytes that no id has may collide."""
    assert len({*hashes(array(words), seed).tolist()}) == len(words)


@pytest.mark.parametrize("size", [1, 3])
def test_empty_words_have_a_hash(size: int) -> None:
    beside = int(hashes(array(["", "a"]), 7)[0])
    assert hashes(array([""] * size), 7).tolist() == [beside] * size
    assert repeated(np.zeros(size, np.int64), array([""] * size)).tolist() == [size > 1] * size


def test_another_seed_gives_another_hash() -> None:
    words = array([f"m{n}" for n in range(1000)])
    assert not (hashes(words, 1) == hashes(words, 2)).any()


@pytest.mark.parametrize(
    "empty",
    [array([]), array(["a"])[:0], array(["a"])[1:], array(["a"]).filter(pa.array([False])),
     array(["a"]).take(pa.array([], pa.int64())), pa.table({"a": array(["b"])}).schema.empty_table()
     .column("a").combine_chunks()],
)  # fmt: skip
def test_no_words_have_no_hashes(empty: pa.Array) -> None:
    assert hashes(empty, 7).tolist() == []
    assert repeated(np.zeros(0, np.int64), empty).tolist() == []
    assert index(["a"], 7).find(empty).tolist() == []


def index(ids: list[str], seed: int) -> Index:
    """An index of ids."""
    table = open_table(names.hashes(array(ids), seed))
    return Index(pa.array(ids, pa.large_string()), table, seed)


@QUICK
@given(st.lists(WORDS, unique=True, max_size=30), st.lists(WORDS, max_size=10), st.data(),
       COLLISIONS, SEEDS)  # fmt: skip
def test_an_index_finds_what_a_dictionary_finds(
    monkeypatch: pytest.MonkeyPatch, ids: list[str], others: list[str], data: st.DataObject,
    different: int | None, seed: int,
) -> None:  # fmt: skip
    few_hashes(monkeypatch, different)
    words = [
        *others,
        *data.draw(st.lists(st.sampled_from(ids), max_size=20) if ids else st.just([])),
    ]
    words = data.draw(st.permutations(words))
    numbers = {word: n for n, word in enumerate(ids)}
    first = data.draw(st.integers(0, len(words)))
    found = index(ids, seed).find(array(words)[first:])
    assert found.dtype == np.int64
    assert found.tolist() == [numbers.get(word, -1) for word in words[first:]]


@QUICK
@given(st.lists(st.tuples(st.integers(0, 4), st.text("ab", max_size=2) | WORDS), max_size=30),
       COLLISIONS)  # fmt: skip
def test_repeated_finds_pairs_that_stand_twice(
    monkeypatch: pytest.MonkeyPatch, rows: list[tuple[int, str]], different: int | None
) -> None:
    few_hashes(monkeypatch, different)
    counts = Counter(rows)
    groups = np.array([group for group, _ in rows], np.int64)
    found = repeated(groups, array([word for _, word in rows]))
    assert found.tolist() == [counts[row] > 1 for row in rows]
    before = array(["", "\xe9", *(word for _, word in rows)])[2:]
    assert repeated(groups, before).tolist() == found.tolist()
