"""The random split: complete, balanced inside each series, and open to recomputation."""

import hashlib
import hmac
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.consent.columns import to_arrow
from harness.consent.records import Arm, SplitRow
from harness.consent.split import check_draw, draw, is_the_draw
from harness.errors import Refused

IDS = st.lists(st.text("abcdef0123456789", min_size=1, max_size=8), max_size=20, unique=True)


@given(st.text(max_size=5), IDS)
def test_arms_differ_by_at_most_one_in_a_series(seed: str, meetings: list[str]) -> None:
    arms = draw(seed, {"s": meetings}, ())
    counts = [Counter(arms.values())[arm] for arm in (Arm.TRAIN, Arm.HELDOUT, Arm.SENTINEL)]
    assert sum(counts) == len(meetings)
    assert counts == sorted(counts, reverse=True)
    assert counts[0] - counts[2] <= 1


@given(st.text(max_size=5), IDS, st.randoms())
def test_the_order_of_rows_does_not_matter(seed: str, meetings: list[str], order: object) -> None:
    shuffled = [*meetings]
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    assert draw(seed, {"s": meetings}, ()) == draw(seed, {"s": shuffled}, ())


def test_the_first_ticket_is_trained_on() -> None:
    names = [f"m{n}" for n in range(6)]
    first = min(names, key=lambda n: hmac.digest(b"k", n.encode(), hashlib.sha256))
    arms = draw("k", {"s": names}, ())
    assert arms[first] is Arm.TRAIN
    assert Counter(arms.values()) == dict.fromkeys((Arm.TRAIN, Arm.HELDOUT, Arm.SENTINEL), 2)
    assert Counter(draw("k", {"s": names[:4]}, ()).values())[Arm.TRAIN] == 2


@given(IDS.filter(lambda ids: len(ids) > 3), st.data())
def test_a_swapped_arm_is_not_the_draw(meetings: list[str], data: st.DataObject) -> None:
    arms = draw("k", {"s": meetings, "v": ["v1"]}, {"v"})
    rows = [SplitRow(name, "v" if name == "v1" else "s", arm) for name, arm in arms.items()]
    assert is_the_draw("k", [to_arrow(SplitRow, rows)])
    place = data.draw(st.integers(0, len(meetings) - 1))
    others = [arm for arm in Arm if arm is not rows[place].arm]
    rows[place] = SplitRow(rows[place].meeting_id, "s", data.draw(st.sampled_from(others)))
    assert not is_the_draw("k", [to_arrow(SplitRow, rows)])


@given(st.lists(st.integers(1, 5), min_size=2, max_size=4), st.integers(0, 1), st.randoms())
def test_the_draw_of_several_series_is_known_in_any_order_of_rows(
    sizes: list[int], kept: int, order: object
) -> None:
    pool = {f"s{n}": [f"m{n}-{k}" for k in range(size)] for n, size in enumerate(sizes)}
    arms = draw("k", pool, {"s1"} if kept else ())
    rows = [SplitRow(name, series, arms[name]) for series, names in pool.items() for name in names]
    order.shuffle(rows)  # type: ignore[attr-defined]
    half = len(rows) // 2
    parts = [to_arrow(SplitRow, some) for some in (rows[:half], rows[half:]) if some]
    assert is_the_draw("k", parts)


def test_only_a_claim_of_a_draw_has_to_be_one() -> None:
    rows = [SplitRow(name, "s", arm) for name, arm in draw("k", {"s": ["a", "b", "c"]}, ()).items()]
    drawn = [to_arrow(SplitRow, rows)]
    swapped = [to_arrow(SplitRow, [SplitRow(row.meeting_id, "s", Arm.TRAIN) for row in rows])]
    assert check_draw("k", True, drawn) is True
    assert check_draw("k", False, drawn) is False
    assert check_draw("k", False, swapped) is False
    with pytest.raises(Refused, match="SPLIT_NOT_RANDOM"):
        check_draw("k", True, swapped)
