"""Versions of policies beside plain loops: which is in force, what it discloses, what asks anew."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent.conftest import NOW, POLICY
from harness.consent.policy import Policies
from harness.consent.records import Arm, ChangeKind, Operation, Policy, PolicyChange
from harness.consent.request import Request, Use
from harness.meetings.model import Modality

OPERATIONS = [Operation.FINE_TUNING, Operation.TRAINING, Operation.EVALUATION]
PURPOSES, RECIPIENTS = ["research", "product"], ["lab", "vendor"]
MODALITIES = [Modality.TRANSCRIPT, Modality.AUDIO]
HEAD: Any = None


def some(words: list[Any]) -> Any:
    return st.lists(st.sampled_from(words), unique=True).map(tuple)


def asked(operation: Operation, recipients: list[str]) -> Use:
    request = Request("c", "research", (operation,), (Modality.TRANSCRIPT,), frozenset(Arm),
                      tuple(recipients))  # fmt: skip
    return Use(request, operation, Modality.TRANSCRIPT, NOW, HEAD)


USES = st.builds(asked, st.sampled_from(OPERATIONS), st.sampled_from([[], ["lab"], RECIPIENTS]))
DATES = st.lists(st.integers(-3, 2), min_size=1, max_size=3, unique=True).map(sorted)
"""When versions come into force, in ticks beside the clock, which is at 0."""


def at(ticks: int) -> datetime:
    return NOW + timedelta(microseconds=ticks)


@st.composite
def chains(draw: st.DrawFn) -> tuple[list[Policy], list[PolicyChange]]:
    """Versions in the order of their dates, and what is declared about neighbours."""
    dates = draw(DATES)
    versions = [
        replace(POLICY, version=f"{n}", effective_from=at(date), operations=draw(some(OPERATIONS)),
                purposes=draw(some(PURPOSES)), modalities=draw(some(MODALITIES)),
                recipients=draw(some(RECIPIENTS)))
        for n, date in enumerate(dates)
    ]  # fmt: skip
    changes = [
        PolicyChange(POLICY.policy_id, f"{n}", f"{n + 1}", draw(st.sampled_from(ChangeKind)),
                     draw(some(OPERATIONS)), draw(some(PURPOSES)), draw(some(MODALITIES)))
        for n in range(len(dates) - 1)
        if draw(st.integers(0, 3))
    ]  # fmt: skip
    return versions, changes


def covered(listed: tuple[Operation, ...], operation: Operation) -> bool:
    by_training = operation == "ai:ModelFineTuning" and "ai:ModelTraining" in listed
    return operation in listed or by_training


def discloses(policy: Policy, use: Use) -> bool:
    return (
        covered(policy.operations, use.operation)
        and "research" in policy.purposes
        and "transcript" in policy.modalities
        and all(name in policy.recipients for name in use.request.recipients)
    )


def widens(change: PolicyChange | None, use: Use) -> bool:
    if change is None:
        return True
    if change.kind != "widening":
        return False
    lists = [*change.operations, *change.purposes, *change.modalities]
    return not lists or (
        covered(change.operations, use.operation)
        or "research" in change.purposes
        or "transcript" in change.modalities
    )


@settings(max_examples=300, deadline=None)
@given(chains(), USES, st.randoms(use_true_random=False))
def test_a_version_is_judged_by_itself_and_by_the_one_in_force(
    chain: tuple[list[Policy], list[PolicyChange]], use: Use, rng: Any
) -> None:
    versions, changes = chain
    mixed = [*versions]
    rng.shuffle(mixed)
    policies = Policies(mixed, changes)
    in_force = [n for n, version in enumerate(versions) if version.effective_from <= NOW]
    for place, version in enumerate(versions):
        current = in_force[-1] if in_force else place
        between = {(c.from_version, c.to_version): c for c in changes}
        wanted = {
            "POLICY_NOT_IN_FORCE": version.effective_from > NOW,
            "POLICY_NOT_COVERING": not (
                discloses(version, use) and discloses(versions[current], use)
            ),
            "POLICY_VERSION_SUPERSEDED": any(
                widens(between.get((f"{n}", f"{n + 1}")), use) for n in range(place, current)
            ),
        }
        assert policies.faults(version, use) == [code for code, holds in wanted.items() if holds]
        assert policies.find(POLICY.policy_id, version.version) == version
    assert policies.find(POLICY.policy_id, "9") is policies.find("other", "0") is None
    assert policies.find(None, None) is None


def test_versions_of_one_date_stand_in_the_order_of_their_names() -> None:
    versions = [replace(POLICY, version=name, effective_from=at(-1)) for name in ("b", "a")]
    change = PolicyChange(POLICY.policy_id, "a", "b", ChangeKind.WIDENING, (), (), ())
    use = asked(Operation.FINE_TUNING, [])
    found = {p.version: Policies(versions, [change]).faults(p, use) for p in versions}
    assert "POLICY_VERSION_SUPERSEDED" in found["a"]
    assert "POLICY_VERSION_SUPERSEDED" not in found["b"]


@pytest.mark.parametrize(
    ("lists", "asks"),
    [
        ({}, True),
        ({"operations": (Operation.EVALUATION,)}, False),
        ({"operations": (Operation.TRAINING,)}, True),
        ({"purposes": ("product",)}, False),
        ({"purposes": ("research",)}, True),
        ({"modalities": (Modality.AUDIO,)}, False),
        ({"modalities": (Modality.TRANSCRIPT,)}, True),
        ({"operations": (Operation.EVALUATION,), "purposes": ("product",)}, False),
        ({"purposes": ("product",), "modalities": (Modality.AUDIO,)}, False),
    ],
)
def test_a_widening_asks_anew_who_is_to_do_what_it_adds(lists: dict[str, Any], asks: bool) -> None:
    versions = [
        replace(POLICY, version=f"{n}", effective_from=at(n - 3), operations=tuple(OPERATIONS),
                purposes=("research",), modalities=(Modality.TRANSCRIPT,))
        for n in (1, 2)
    ]  # fmt: skip
    change = replace(
        PolicyChange(POLICY.policy_id, "1", "2", ChangeKind.WIDENING, (), (), ()), **lists
    )
    found = Policies(versions, [change]).faults(versions[0], asked(Operation.FINE_TUNING, []))
    assert ("POLICY_VERSION_SUPERSEDED" in found) is asks
