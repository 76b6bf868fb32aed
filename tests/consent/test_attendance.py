"""Which meetings an event names, beside a look through its lists."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import example, given
from hypothesis import strategies as st

from harness.consent.attendance import Scopes
from harness.consent.columns import Columns
from harness.consent.records import ALL

MEETINGS, SERIES = [f"m{n}" for n in range(6)], ["s0", "s1", "s2"]
LISTED = st.lists(st.sampled_from([*MEETINGS, "m99", "!odd", ALL]), max_size=4, unique=True)
OF_SERIES = st.lists(st.sampled_from([*SERIES, "s99", ALL]), max_size=3, unique=True)


class Known:
    """Names in the order of their numbers."""

    def find_meetings(self, ids: pa.Array) -> Any:
        return number_in(MEETINGS, ids)

    def find_series(self, ids: pa.Array) -> Any:
        return number_in(SERIES, ids)


def number_in(names: list[str], ids: pa.Array) -> Any:
    return np.array([names.index(i) if i in names else -1 for i in ids.to_pylist()], np.int64)


def scopes(events: list[tuple[list[str], list[str]]], series: list[int]) -> Scopes:
    lists = pa.list_(pa.field("item", pa.string(), nullable=False))
    times = pa.array([0] * len(events), pa.timestamp("us", "UTC"))
    table = pa.table({"scope.meetings": pa.array([m for m, _ in events], lists),
                      "scope.series": pa.array([s for _, s in events], lists),
                      "scope.from": times, "scope.until": times})  # fmt: skip
    attendance: Any = SimpleNamespace(
        events=SimpleNamespace(columns=Columns(table)), names=Known(),
        number=np.arange(len(MEETINGS)), series=np.array(series),
    )  # fmt: skip
    return Scopes(attendance)


@given(st.lists(st.tuples(LISTED, OF_SERIES), min_size=1, max_size=6),
       st.lists(st.integers(0, 2), min_size=6, max_size=6))  # fmt: skip
@example([(["m1", "m0"], []), (["m0"], [])], [0] * 6)  # m3 would be taken for the second's m0
@example([(["m0", "m99"], []), ([], []), (["m0"], [])], [0] * 6)  # and m4 for the third's
@example([(["m99", "m0"], [])], [0] * 6)
def test_an_event_names_the_meetings_and_series_that_it_lists(
    events: list[tuple[list[str], list[str]]], series: list[int]
) -> None:
    found = scopes(events, series)
    pairs = [(e, m) for e in range(len(events)) for m in range(len(MEETINGS))]
    named = found.names(*(np.array(column) for column in zip(*pairs, strict=True)))
    assert named.tolist() == [names(*events[e], m, series[m]) for e, m in pairs]
    assert found.none.tolist() == [not meetings and not listed for meetings, listed in events]
    unknown = [n for n, (m, s) in enumerate(events) if {"m99", "!odd", "s99"} & {*m, *s}]
    assert sorted({*found.unknown.tolist()}) == unknown


def names(meetings: list[str], of_series: list[str], meeting: int, series: int) -> bool:
    if ALL in (*meetings, *of_series):
        return True
    return MEETINGS[meeting] in meetings or SERIES[series] in of_series
