"""Each person's events in the order of time, however they lie in the log."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consent.conftest import event as an_event
from harness.consent.columns import schema_of, to_arrow
from harness.consent.events import KEY, PERMITTING, Events, halves
from harness.consent.modality import BIT, OPERATION_BIT
from harness.consent.records import ConsentEvent, ConsentType, Delegation, Operation, State
from harness.meetings.model import Modality

QUICK = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NEWEST = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = [f"{high:016x}{low:016x}" for high in (0, 1, 2**64 - 1) for low in (0, 7, 2**63)]
"""Keys that share one half or the other."""


@st.composite
def logs(draw: st.DrawFn) -> list[ConsentEvent]:
    """Some events of few people at few times, so that many tie."""
    rows = draw(st.lists(st.tuples(st.sampled_from(KEYS), st.integers(-2, 2)), max_size=14))
    order = draw(st.permutations(range(len(rows)))) if draw(st.booleans()) else range(len(rows))
    found = [
        replace(an_event(seq, "m", key), event_time=NEWEST + timedelta(microseconds=time))
        for seq, (key, time) in zip(order, rows, strict=True)
    ]
    if draw(st.booleans()):  # as a part that somebody wrote well
        found.sort(key=lambda e: (e.subject_key, e.event_time, e.seq))
    return found


def binary(keys: list[str | None]) -> pa.Array:
    return pa.array([None if key is None else bytes.fromhex(key) for key in keys], KEY)


@QUICK
@given(logs(), st.lists(st.none() | st.sampled_from([*KEYS, "ab" * 16]), max_size=6),
       st.integers(0, 2))  # fmt: skip
def test_the_events_of_a_person_are_all_of_them_in_order(
    rows: list[ConsentEvent], asked: list[str | None], skipped: int
) -> None:
    events = Events.from_rows(rows)
    seqs = events.columns.array("seq").to_pylist()
    first, last = events.of(binary(asked)[skipped:])
    for key, start, end in zip(asked[skipped:], first, last, strict=True):
        mine = [e for e in rows if e.subject_key == key]
        mine.sort(key=lambda e: (e.event_time, e.seq))
        assert seqs[start:end] == [e.seq for e in mine]
    assert sorted(seqs) == sorted(e.seq for e in rows)


@QUICK
@given(logs(), st.randoms(use_true_random=False))
def test_the_order_of_the_log_does_not_matter(rows: list[ConsentEvent], rng: Any) -> None:
    mixed = [*rows]
    rng.shuffle(mixed)
    one, other = (Events.from_rows(some) for some in (rows, mixed))
    for key in KEYS:
        spans = [(e, *(int(x[0]) for x in e.of(binary([key])))) for e in (one, other)]
        found = [e.columns.table.slice(start, end - start).to_pylist() for e, start, end in spans]
        assert found[0] == found[1]


@QUICK
@given(logs(), st.integers(0, 14))
def test_a_slice_of_a_table_is_as_its_rows(rows: list[ConsentEvent], first: int) -> None:
    sliced, alone = Events(to_arrow(ConsentEvent, rows)[first:]), Events.from_rows(rows[first:])
    keys = binary([*KEYS])
    assert [x.tolist() for x in sliced.of(keys)] == [x.tolist() for x in alone.of(keys)]
    assert sliced.columns.table.to_pylist() == alone.columns.table.to_pylist()


NO_EVENTS = [schema_of(ConsentEvent).empty_table(),
             to_arrow(ConsentEvent, [an_event(0, "m", KEYS[0])])[1:]]  # fmt: skip


@pytest.mark.parametrize("table", NO_EVENTS)
def test_nobody_has_events_in_an_empty_log(table: pa.Table) -> None:
    first, last = Events(table).of(binary([None, *KEYS]))
    assert (first == last).all()


Property = Callable[[ConsentEvent], Any]
PROPERTIES: dict[str, Property] = {
    "permits": lambda e: e.state in PERMITTING,
    "time": lambda e: (
        (e.event_time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    ),
    "retroactive": lambda e: e.retroactive,
    "operations": lambda e: sum(OPERATION_BIT[o] for o in e.operations),
    "modalities": lambda e: sum(BIT[m] for m in e.modalities),
    "derivatives": lambda e: sum(BIT[m] for m in e.derivatives),
    "strength": lambda e: [*ConsentType].index(e.consent_type),
    "by_others": lambda e: e.delegation in ("host", "employer"),
    "by_guardian": lambda e: e.delegation in ("parent", "guardian"),
    "as_self": lambda e: e.delegation == "self",
    "by_self": lambda e: e.actor_key == e.subject_key,
}


@st.composite
def varied(draw: st.DrawFn) -> list[ConsentEvent]:
    def some(kind: Any) -> tuple[Any, ...]:
        return tuple(draw(st.lists(st.sampled_from([*kind]), unique=True, max_size=3)))

    return [
        replace(
            row, actor_key=draw(st.sampled_from([row.subject_key, KEYS[1]])),
            delegation=draw(st.sampled_from(Delegation)), state=draw(st.sampled_from(State)),
            consent_type=draw(st.sampled_from(ConsentType)), operations=some(Operation),
            modalities=some(Modality), derivatives=some(Modality), retroactive=draw(st.booleans()),
        )
        for row in draw(logs())
    ]  # fmt: skip


@QUICK
@given(varied())
def test_properties_stand_beside_their_events(rows: list[ConsentEvent]) -> None:
    events, by_seq = Events.from_rows(rows), {row.seq: row for row in rows}
    seqs = events.columns.array("seq").to_pylist()
    for name, of in PROPERTIES.items():
        assert getattr(events, name).tolist() == [of(by_seq[seq]) for seq in seqs], name


@given(st.lists(st.sampled_from(KEYS), max_size=9), st.integers(0, 9))
def test_equal_keys_have_equal_halves(keys: list[str], first: int) -> None:
    pairs = [*zip(*(x.tolist() for x in halves(binary([*keys])[first:])), strict=True)]
    assert len(pairs) == len(keys[first:])
    for one, pair in zip(keys[first:], pairs, strict=True):
        assert [other == one for other in keys[first:]] == [other == pair for other in pairs]
        raw = np.frombuffer(bytes.fromhex(one), np.int64)
        assert pair == tuple(raw.tolist())
