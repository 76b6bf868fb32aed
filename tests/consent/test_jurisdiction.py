"""What places demand together, beside plain loops: the most restrictive of the rows that apply."""

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from consent.conftest import NOW, PLACE
from harness.consent.jurisdiction import Demands, Places
from harness.consent.records import (
    ALL,
    Arm,
    ConsentType,
    Jurisdiction,
    Operation,
    SpecialCategory,
)
from harness.consent.request import Request, Use
from harness.meetings.model import Modality

CODES = ["DE", "US-CA", "XA"]
TICK = timedelta(microseconds=1)
ROWS = st.builds(
    lambda code, operation, modality, begin, end, kind, booleans, special, age, days, transfer: (
        replace(
            PLACE, code=code, operation=operation, modality=modality,
            effective_from=NOW + begin * TICK, effective_until=NOW + end * TICK,
            min_consent_type=kind, guardian_ok=booleans[0], employee_ok=booleans[1],
            all_party_recording=booleans[2], special_category=special, min_age=age,
            max_retention_days=days, transfer_to=tuple(transfer),
        )
    ),
    st.sampled_from(CODES), st.sampled_from([ALL, Operation.FINE_TUNING, Operation.TRAINING]),
    st.sampled_from([ALL, Modality.TRANSCRIPT, Modality.AUDIO]), st.sampled_from([-9, 0, 1]),
    st.sampled_from([2, 9]), st.sampled_from(ConsentType),
    st.tuples(st.booleans(), st.booleans(), st.booleans()), st.sampled_from(SpecialCategory),
    st.integers(0, 18), st.integers(0, 9), st.sets(st.sampled_from([*CODES, ALL])),
)  # fmt: skip
SETS = st.sets(st.sampled_from([*CODES, "FR"]), max_size=3)


def use(seat: set[str]) -> Use:
    request = Request("c", "p", (Operation.FINE_TUNING,), (Modality.TRANSCRIPT,), frozenset(Arm))
    head: Any = SimpleNamespace(scope=SimpleNamespace(jurisdictions=tuple(sorted(seat))))
    return Use(request, Operation.FINE_TUNING, Modality.TRANSCRIPT, NOW, head)


def applies(row: Jurisdiction) -> bool:
    return (
        row.operation in ("*", "ai:ModelFineTuning")
        and row.modality in ("*", "transcript")
        and row.effective_from <= NOW
        and row.effective_until > NOW
    )


@settings(max_examples=300, deadline=None)
@given(st.lists(ROWS, max_size=5), SETS, SETS)
def test_the_rows_of_all_places_are_joined(
    rows: list[Jurisdiction], seat: set[str], roster: set[str]
) -> None:
    places, mine = Places(rows, use(seat)), [row for row in rows if applies(row)]
    for place in [*CODES, "FR"]:
        assert places.has_rule(place) == any(row.code == place for row in mine)
    found = places.demands(roster)
    joined = [row for row in mine if row.code in roster | seat]
    if not joined:
        assert found == Demands(ConsentType.IMPLIED, False, False, SpecialCategory.ALLOW, 0, None,
                                False)  # fmt: skip
        return
    kinds, special = [*ConsentType], [SpecialCategory.ALLOW, SpecialCategory.EXPLICIT,
                                      SpecialCategory.DENY]  # fmt: skip
    assert found == Demands(
        kinds[max(kinds.index(row.min_consent_type) for row in joined)],
        all(row.guardian_ok for row in joined), all(row.employee_ok for row in joined),
        special[max(special.index(row.special_category) for row in joined)],
        max(row.min_age for row in joined), min(row.max_retention_days for row in joined),
        any(row.all_party_recording for row in joined),
    )  # fmt: skip
    assert places.blocks_transfer(roster) == any(
        there != row.code and there not in row.transfer_to and "*" not in row.transfer_to
        for row in mine if row.code in roster for there in seat
    )  # fmt: skip


def test_a_row_holds_from_its_first_tick_until_before_its_last() -> None:
    for begin, end, holds in ((0, 1, True), (1, 2, False), (-1, 0, False), (-1, 1, True)):
        row = replace(PLACE, effective_from=NOW + begin * TICK, effective_until=NOW + end * TICK)
        assert Places([row], use(set())).has_rule(PLACE.code) is holds
