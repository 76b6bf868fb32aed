"""Who decides when several events speak of one person."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from harness.config import Config
from harness.consent import gate
from harness.consent.records import AgeBand, Delegation, Operation, State
from harness.meetings.model import Modality

World = Any
DAY = timedelta(days=1)


def codes(world: World) -> list[str]:
    rows = gate.decide(world.sign(), Config(), world.now).rows.to_pylist()
    return [code for row in rows if row["meeting_id"] == "m0" for code in row["codes"]]


def later(world: World, days: int = 3, **changes: Any) -> None:
    """Append an event of Bo about the train meeting, which was held before."""
    seq = len(world.draft.tables.consent)
    event = world.event(seq, "m0", "b" * 32, retroactive=True, **changes)
    time = event.event_time + days * DAY
    world.append("consent", replace(event, event_time=time, recorded_time=time))


@pytest.mark.parametrize("axis", ["operations", "purposes", "modalities"])
def test_a_withdrawal_that_names_nothing_reaches_everything(axis: str, world: World) -> None:
    later(world, state=State.WITHDRAWN, **{axis: ()})
    assert codes(world) == ["CONSENT_WITHDRAWN"]


def test_a_withdrawal_reaches_what_is_derived(world: World) -> None:
    later(world, state=State.WITHDRAWN, modalities=(Modality.AUDIO,))
    assert codes(world) == ["CONSENT_WITHDRAWN"]


def test_a_withdrawal_of_something_else_leaves_training(world: World) -> None:
    later(world, state=State.WITHDRAWN, operations=(Operation.LEAK_TEST,))
    assert codes(world) == []


def test_a_withdrawal_does_not_lapse(world: World) -> None:
    later(world, state=State.WITHDRAWN, valid_until=world.start)
    assert codes(world) == ["CONSENT_WITHDRAWN"]


def test_new_consent_after_a_withdrawal_counts(world: World) -> None:
    later(world, state=State.WITHDRAWN)
    later(world, days=4)
    assert codes(world) == []


def test_a_host_neither_gives_nor_spoils_consent(world: World) -> None:
    later(world, actor_key="a" * 32, delegation=Delegation.HOST)
    assert codes(world) == []


def test_consent_to_training_covers_fine_tuning(world: World) -> None:
    everyone = (Operation.TRAINING,)
    world.edit("consent", lambda row: True, operations=everyone)
    assert codes(world) == []


@pytest.mark.parametrize(("actor", "admitted"), [("d", True), ("b", False)])
def test_a_minor_needs_the_guardian(actor: str, admitted: bool, world: World) -> None:
    world.edit("participants", lambda row: row.subject_key == "b" * 32,
               age_band=AgeBand.MINOR_WITH_GUARDIAN)  # fmt: skip
    kind = Delegation.PARENT if admitted else Delegation.SELF
    world.edit("consent", lambda row: row.subject_key == "b" * 32,
               actor_key=actor * 32, delegation=kind)  # fmt: skip
    assert codes(world) == ([] if admitted else ["MINOR"])
