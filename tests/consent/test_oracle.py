"""The engine against a program that was written from docs/gate.md alone, without reading it.

Three things are shown on generated manifests: both decide the same; whatever takes permission away
admits no more than before; and a defect put into the engine is seen.
"""

import copy
import random
from collections.abc import Callable
from datetime import datetime

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as fixed_seed
from hypothesis import strategies as st

from consent import oracle
from consent.worlds import World, worlds
from harness.consent.bits import PERSON
from harness.consent.decide import Rulings, rule_tables
from harness.consent.events import Events
from harness.consent.frame import Frame
from harness.consent.head import TABLES, Counts, Defaults, Draw, Head, LogHead, Scope, Tables
from harness.consent.modality import RECORDING_TYPES
from harness.consent.reasons import DENIALS
from harness.consent.records import Arm, Operation, RuleSource, parse, parse_time
from harness.consent.request import Request
from harness.errors import Refused
from harness.meetings.model import Modality

LONG_AGO, FAR_OFF = parse_time("2000-01-01T00:00:00Z"), parse_time("2100-01-01T00:00:00Z")
KINDS_OF_RECORDING = {key: str(modality) for key, modality in RECORDING_TYPES.items()}
QUICK = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
WHOLE = settings(QUICK, max_examples=5000, phases=[Phase.generate])


def asked(world: World) -> tuple[Tables, Head, Request, datetime]:
    """The world's JSON as the engine takes it."""
    tables = Tables(**{
        name: tuple(parse(kind, row, f"{name} row {n}") for n, row in enumerate(world.tables[name]))
        for name, (kind, _) in TABLES.items()
    })  # fmt: skip
    asked = world.request
    request = Request(
        asked["controller"], asked["purpose"], tuple(map(Operation, asked["operations"])),
        tuple(map(Modality, asked["modalities"])), frozenset(map(Arm, asked["arms"])),
        tuple(asked["recipients"]), frozenset(map(RuleSource, asked["set_aside"])),
    )  # fmt: skip
    scope = parse(Scope, world.head["scope"], "scope")
    defaults = parse(Defaults, world.head["defaults"], "defaults")
    counts = Counts(**{name: len(rows) for name, rows in world.tables.items()})
    head = Head("harness/manifest/v1", 1, None, LONG_AGO, FAR_OFF, "issuer", scope, defaults,
                Draw("seed", False), LogHead(0, None), None, (), counts)  # fmt: skip
    return tables, head, request, parse_time(world.now)


def rule(world: World) -> tuple[Tables, Rulings]:
    """The engine's decisions about the world's JSON."""
    tables, head, request, now = asked(world)
    return tables, rule_tables(
        head, tables, Frame.of(tables), Events.from_rows(tables.consent), request, now
    )


def decisions(world: World) -> dict[str, oracle.Decision]:
    """The engine's decisions in the oracle's words."""
    tables, rulings = rule(world)
    lists = rulings.code_lists().to_pylist()
    return {
        row.meeting_id: _decision(rulings, n, lists[n]) for n, row in enumerate(tables.meetings)
    }


def _decision(rulings: Rulings, number: int, codes_of_meeting: list[str]) -> oracle.Decision:
    frame = rulings.frame
    codes, labels = frame.roster.coded("label")
    rows = np.flatnonzero(frame.meeting == number)
    judged = [
        m for m in rulings.verdicts
        if m in rulings.request.modalities or rulings.has[m][number]
    ]  # fmt: skip
    return oracle.Decision(
        frozenset(codes_of_meeting),
        {str(m): frozenset(rulings.modality_codes(number, m)) for m in judged},
        {
            str(m): {
                str(labels[codes[row]]): frozenset(PERSON.names(rulings.verdicts[m].people[row]))
                for row in rows
            }
            for m in judged
        },
    )


def expected(world: World) -> dict[str, oracle.Decision]:
    return oracle.decide(world.head, world.tables, world.request, world.now, KINDS_OF_RECORDING)


@QUICK
@given(worlds(KINDS_OF_RECORDING))
def test_the_engine_decides_as_the_page_says(world: World) -> None:
    assert decisions(world) == expected(world)


@pytest.mark.slow
@fixed_seed(20261124)
@WHOLE
@given(worlds(KINDS_OF_RECORDING))
def test_the_engine_decides_as_the_page_says_on_five_thousand(world: World) -> None:
    assert decisions(world) == expected(world)


def test_the_oracle_knows_every_code_of_the_rows() -> None:
    turns = {code for code, reason in DENIALS.items() if reason.about == "turn"}
    assert {*DENIALS} - turns - {"TOO_MUCH_DROPPED"} == oracle.CODES


# Monotone denial


def null_a_cell(draw: random.Random, world: World) -> None:
    table = draw.choice([name for name, rows in world.tables.items() if rows])
    row = draw.choice(world.tables[table])
    row[draw.choice([*row])] = None


def remove_consent(draw: random.Random, world: World) -> None:
    """Take out a permitting event with the earlier ones of its person.

    The latest consent replaces the earlier ones, also where it is worth less, as one by accepting
    terms is (docs/gate.md, section 6). It cannot be taken out alone: the log's numbers show it.
    """
    given_ = [e for e in world.tables["consent"] if e["state"] in ("given", "renewed")]
    if given_:
        last = draw.choice(given_)
        world.tables["consent"] = [
            e for e in world.tables["consent"]
            if e not in given_ or e["subject_key"] != last["subject_key"]
            or e["event_time"] > last["event_time"]
        ]  # fmt: skip
        for seq, event in enumerate(world.tables["consent"]):
            event["seq"] = seq


def add_a_restrictive_event(draw: random.Random, world: World) -> None:
    if world.tables["consent"]:
        event = copy.deepcopy(draw.choice(world.tables["consent"]))
        state = draw.choice(
            ["refused", "withdrawn", "revoked", "expired", "invalidated", "unknown"]
        )
        seq = len(world.tables["consent"])
        event |= {"state": state, "seq": seq, "event_id": f"added-{seq}"}
        for axis in ("operations", "purposes", "modalities"):
            if draw.random() < 0.3:
                event[axis] = []
        world.tables["consent"].append(event)


def add_an_exclusion(draw: random.Random, world: World) -> None:
    if not world.tables["meetings"]:
        return
    meeting = draw.choice(world.tables["meetings"])
    kind, value = draw.choice([
        ("meeting", meeting["meeting_id"]), ("series", meeting["series_id"]),
        ("modality", draw.choice(["audio", "transcript"])), ("label", "Ada"),
        ("date_range", f"{meeting['start']}/2100-01-01T00:00:00Z"),
    ])  # fmt: skip
    world.tables["exclusions"].append({
        "rule_id": "added", "kind": kind, "value": value, "source": "court",
        "scope": {"meetings": ["*"], "modalities": ["*"], "operations": ["*"], "purposes": ["*"]},
        "effective_from": "2000-01-01T00:00:00Z", "effective_until": None,
        "added_at": "2000-01-01T00:00:00Z",
    })  # fmt: skip


TAKE_AWAY: list[Callable[[random.Random, World], None]] = [
    null_a_cell, remove_consent, add_a_restrictive_event, add_an_exclusion,
]  # fmt: skip


def admitted(world: World) -> set[tuple[str, str]]:
    """(meeting, modality or roster label within it) that may be used."""
    tables, rulings = rule(world)
    found = set()
    for number, row in enumerate(tables.meetings):
        for modality in rulings.request.modalities:
            if rulings.admitted[number] and not rulings.modality_codes(number, modality):
                found.add((row.meeting_id, str(modality)))
                dropped = rulings.dropped_labels(number, modality)
                people = {p.label for p in tables.participants if p.meeting_id == row.meeting_id}
                found |= {(row.meeting_id, f"{modality} {label}") for label in people - dropped}
    return found


def check_monotone(world: World, seed: int) -> None:
    draw, poorer = random.Random(seed), copy.deepcopy(world)
    before = admitted(world)
    draw.choice(TAKE_AWAY)(draw, poorer)
    try:
        after = admitted(poorer)
    except Refused:
        return
    assert after <= before


@QUICK
@given(worlds(KINDS_OF_RECORDING), st.integers(0, 2**32))
def test_taking_permission_away_admits_no_more(world: World, seed: int) -> None:
    check_monotone(world, seed)


@pytest.mark.slow
@fixed_seed(20261124)
@WHOLE
@given(worlds(KINDS_OF_RECORDING), st.integers(0, 2**32))
def test_taking_permission_away_admits_no_more_on_five_thousand(world: World, seed: int) -> None:
    check_monotone(world, seed)
