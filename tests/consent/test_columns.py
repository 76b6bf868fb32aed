"""Pairs of numbers as one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from harness.consent.columns import coupled, uncoupled

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
