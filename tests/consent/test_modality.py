"""What covers what, and what derives from what, for every operation and kind of content."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.consent.modality import (
    BIT,
    OPERATION_BIT,
    covering_mask,
    covers,
    mask,
    origins,
)
from harness.consent.records import Operation
from harness.meetings.model import Modality


@pytest.mark.parametrize(("listed", "asked"), [*product(Operation, Operation)])
def test_an_operation_covers_itself_and_training_fine_tuning(
    listed: Operation, asked: Operation
) -> None:
    wanted = listed == asked or (listed, asked) == (Operation.TRAINING, Operation.FINE_TUNING)
    assert covers([listed], asked) is wanted
    assert bool(covering_mask(asked) & OPERATION_BIT[listed]) is wanted
    assert not covers([], asked)


@given(st.sets(st.sampled_from(Modality)))
def test_a_set_of_kinds_is_its_bits(kinds: set[Modality]) -> None:
    bits = mask([*kinds, *kinds])
    assert {kind for kind in Modality if bits & BIT[kind]} == kinds


STATED = st.dictionaries(
    st.sampled_from(Modality), st.sets(st.sampled_from(Modality), max_size=3), max_size=6
)
NATURE = {"transcript": "audio", "caption": "audio", "timeline": "audio",
          "summary_ai": "transcript"}  # fmt: skip


@given(st.sampled_from(Modality), STATED)
def test_origins_are_all_that_is_reached(
    kind: Modality, stated: dict[Modality, set[Modality]]
) -> None:
    reached = {kind}
    for _ in Modality:
        reached |= {origin for one in reached for origin in stated.get(one, ())}
        reached |= {Modality(NATURE[one]) for one in reached if one in NATURE}
    assert origins(kind, stated) == reached - {kind}
