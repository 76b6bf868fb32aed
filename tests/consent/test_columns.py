"""Numbers that stand for pairs, runs of rows and sets of words, beside plain loops."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from harness.consent.columns import blocks, coupled, fixed_numbers, uncoupled, word_sets

PAIRS = st.integers(1, 5).flatmap(
    lambda size: st.tuples(
        st.just(size), st.lists(st.tuples(st.integers(0, 9), st.integers(0, size - 1)))
    )
)


@given(PAIRS)
def test_a_number_stands_for_one_pair(drawn: tuple[int, list[tuple[int, int]]]) -> None:
    size, pairs = drawn
    left, right = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))
    numbers = coupled(left, right, size)
    assert [*zip(*(x.tolist() for x in uncoupled(numbers, size)), strict=True)] == pairs
    assert len({*numbers.tolist()}) == len({*pairs})


def test_no_pairs_of_nothing() -> None:
    empty = np.zeros(0, np.int64)
    assert [len(side) for side in uncoupled(coupled(empty, empty, 0), 0)] == [0, 0]


@given(st.lists(st.integers(0, 6)), st.integers(1, 8))
def test_runs_cover_all_rows_and_are_as_long_as_they_may(sizes: list[int], most: int) -> None:
    runs = [*blocks(np.array(sizes, np.int64), most)]
    assert [row for start, end in runs for row in range(start, end)] == [*range(len(sizes))]
    for start, end in runs:
        assert end == start + 1 or sum(sizes[start:end]) <= most
        assert end == len(sizes) or sum(sizes[start : end + 1]) > most


WORDS = [f"w{n}" for n in range(150)]  # more than two numbers of 62 bits hold


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 149))), st.integers(0, 150))
def test_the_words_of_each_owner_are_one_of_the_different_sets(
    items: list[tuple[int, int]], known: int
) -> None:
    items = [(owner, word) for owner, word in items if word < known]
    owners, codes = (np.array([item[side] for item in items], np.int64) for side in (0, 1))
    of, sets = word_sets(owners, codes, WORDS[:known], 5)
    assert [sets[n] for n in of] == [
        frozenset(WORDS[word] for owner, word in items if owner == one) for one in range(5)
    ]
    assert len({*sets}) == len(sets)


@given(st.lists(st.binary(min_size=16, max_size=16), max_size=5), st.integers(0, 5))
def test_fixed_values_are_their_bytes_also_in_a_slice(values: list[bytes], first: int) -> None:
    found = fixed_numbers(pa.array(values, pa.binary(16))[first:], 2)
    assert found.shape == (len(values[first:]), 2)
    assert [row.tobytes() for row in found] == values[first:]
