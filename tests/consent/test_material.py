"""What the index of copies is made of: whose words, in which mode, and when they are read."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from consent.test_opening import EVERYWHERE, SECRET, exclude, with_summaries
from harness.config import Config
from harness.consent.authoring import describe
from harness.consent.copies import CopyIndex
from harness.consent.head import Mode
from harness.consent.material import excerpts, index_of, unreadable
from harness.consent.records import (
    Alias,
    Operation,
    RuleKind,
    RuleSource,
    State,
)
from harness.consent.signing import load_trust
from harness.consent.withdrawals import Log, Withdrawal, read_at_any_time
from harness.errors import Refused
from harness.meetings.model import Modality, Turn
from harness.meetings.readers import jsonl

World = Any
KEY = bytes(range(32))
IN_M2 = (("m2",), *EVERYWHERE[1:])
OPEN = ("we should look at how the old remote controls were made and then talk about what the new "
        "ones need to do better for people at home")  # fmt: skip
ANSWER = ("that is a fine thing to hear since all of us have been waiting for such news and the "
          "weather was rather poor for weeks")  # fmt: skip
NO: list[State] = [State.REFUSED, State.WITHDRAWN, State.REVOKED]


def say(world: World, meeting: str, *said: tuple[str, str]) -> None:
    """Put other turns into a meeting's transcript."""
    data = jsonl.write([Turn(place, *turn) for place, turn in enumerate(said)])
    path = f"{meeting}/turns.jsonl"
    (world.source.store / path).write_bytes(data)
    row = describe(data, meeting, Modality.TRANSCRIPT, "turns-jsonl", path, "own")
    world.edit("content", lambda r: r.path == path, sha256=row.sha256, bytes=row.bytes,
               turns=row.turns)  # fmt: skip


def choose(world: World, mode: Mode) -> None:
    world.draft = replace(world.draft, defaults=replace(world.draft.defaults, mode=mode))


def index(world: World, log: Log | None = None, old: bytes | None = None) -> bytes:
    found = excerpts(world.draft, world.now, log)
    return index_of(found, world.draft.defaults, world.source.store, KEY, old)


def flags(world: World, *texts: str, log: Log | None = None) -> list[bool]:
    """Which of some texts, each for itself, the index takes for copies."""
    made = CopyIndex.parse(index(world, log), KEY, "copies.index")
    return [bool(made.flag([text]).any()) for text in texts]


def log_of(world: World, *entries: Withdrawal) -> Log:
    world.sign()
    world.withdraw(*entries)
    return read_at_any_time(world.source.withdrawals, load_trust(world.source.trust), world.now)


def event_of_bo(row: Any) -> bool:
    return row.subject_key == "b" * 32 and row.scope.meetings == ("m2",)


@pytest.fixture
def spoken(world: World) -> World:
    """Bo told a secret in m2; Ada spoke too, and answered."""
    say(
        world,
        "m2",
        ("Ada", OPEN),
        ("Bo", SECRET),
        ("Ada", f'Replying to "{SECRET[:20]}"\n{ANSWER}'),
    )
    choose(world, Mode.PER_SPEAKER)
    return world


@pytest.mark.parametrize(
    ("kind", "value"),
    [(RuleKind.SUBJECT, "b" * 32), (RuleKind.DOMAIN, "acme.example"), (RuleKind.LABEL, "BO")],
)
def test_per_speaker_the_others_words_are_no_excluded_copy(
    kind: RuleKind, value: str, spoken: World
) -> None:
    spoken.edit("participants", lambda row: row.label == "Bo", domain="acme.example")
    assert flags(spoken, SECRET, OPEN, ANSWER) == [False, False, False]
    exclude(spoken, kind, value, *IN_M2)
    assert flags(spoken, SECRET, OPEN, ANSWER) == [True, False, True]
    choose(spoken, Mode.UNANIMOUS)
    assert flags(spoken, SECRET, OPEN, ANSWER) == [True, True, True]


@pytest.mark.parametrize("mode", Mode)
def test_a_rule_about_a_meeting_is_about_all_of_it(mode: Mode, spoken: World) -> None:
    choose(spoken, mode)
    exclude(spoken, RuleKind.MEETING, "m2")
    assert flags(spoken, SECRET, OPEN) == [True, True]


@pytest.mark.parametrize(
    ("kind", "value", "found"),
    [
        (RuleKind.SUBJECT, "b" * 32, [True, False]),
        (RuleKind.LABEL, "robert", [True, False]),
        (RuleKind.LABEL, "Bo", [False, False]),
    ],
)
def test_aliases_say_whose_turns_are_meant(
    kind: RuleKind, value: str, found: list[bool], spoken: World
) -> None:
    spoken.edit("participants", lambda row: row.label == "Bo", label="Bo the Second")
    spoken.append("aliases", Alias("s", "Robert", ("b" * 32,)))
    say(spoken, "m2", ("Ada", OPEN), ("Robert", SECRET))
    exclude(spoken, kind, value, *IN_M2)
    assert flags(spoken, SECRET, OPEN) == found
    choose(spoken, Mode.UNANIMOUS)
    assert flags(spoken, SECRET, OPEN) == [found[0]] * 2


@pytest.mark.parametrize("mode", Mode)
def test_an_excluded_turn_is_indexed_with_what_quotes_it(mode: Mode, spoken: World) -> None:
    choose(spoken, mode)
    exclude(spoken, RuleKind.TURN, "transcript/1", *IN_M2)
    assert flags(spoken, SECRET, OPEN, ANSWER) == [True, False, True]


def test_what_is_denied_anyhow_is_no_excluded_copy(spoken: World) -> None:
    say(spoken, "m2", ("Eve", OPEN), ("Bo", SECRET), ("Ada", f'Replying to "{OPEN}"\n{ANSWER}'))
    exclude(spoken, RuleKind.SUBJECT, "b" * 32, *IN_M2)
    assert flags(spoken, SECRET, OPEN, ANSWER) == [True, False, False]


def test_what_retells_somebody_is_indexed_whole(spoken: World, config: Config) -> None:
    with_summaries(spoken, config)
    spoken.table("content", [r for r in spoken.draft.tables.content if r.modality != "transcript"])
    exclude(spoken, RuleKind.SUBJECT, "b" * 32, *IN_M2)
    assert flags(spoken, SECRET, OPEN) == [True, True]


@pytest.mark.parametrize("state", State)
def test_what_people_refused_is_indexed_where_it_is_asked_for(state: State, spoken: World) -> None:
    spoken.edit("consent", event_of_bo, state=state)
    assert flags(spoken, SECRET, OPEN) == [False, False]
    log = log_of(spoken)
    assert flags(spoken, SECRET, OPEN, log=log) == [state in NO, False]
    choose(spoken, Mode.UNANIMOUS)
    assert flags(spoken, SECRET, OPEN, log=log) == [state in NO] * 2


def test_what_was_withdrawn_since_counts(spoken: World) -> None:
    day = spoken.now - timedelta(days=1)
    entry = Withdrawal("b" * 32, spoken.draft.scope.controller, (), (), (), ("m2",), (), day, day,
                       False)  # fmt: skip
    assert flags(spoken, SECRET, OPEN, log=log_of(spoken, entry)) == [True, False]


@pytest.mark.parametrize("changes", [
    {"operations": (Operation.EVALUATION,)}, {"purposes": ("dpv:Marketing",)},
    {"controller": "https://other.example"},
])  # fmt: skip
def test_who_refused_something_else_is_not_indexed(changes: dict[str, Any], spoken: World) -> None:
    spoken.draft = replace(spoken.draft, scope=replace(
        spoken.draft.scope, purposes=(*spoken.draft.scope.purposes, "dpv:Marketing")))  # fmt: skip
    (given,) = filter(event_of_bo, spoken.draft.tables.consent)
    seq = len(spoken.draft.tables.consent)
    later = given.event_time + timedelta(hours=1)
    spoken.append("consent", replace(given, seq=seq, event_id="e99", state=State.REFUSED,
                                     event_time=later, recorded_time=later, **changes))  # fmt: skip
    assert flags(spoken, SECRET, OPEN, log=log_of(spoken)) == [False, False]


@pytest.mark.parametrize("source", [RuleSource.SENTINEL, RuleSource.POLICY])
def test_sentinels_are_nobodys_refusal(source: RuleSource, spoken: World) -> None:
    for kind, value in ((RuleKind.SUBJECT, "b" * 32), (RuleKind.TURN, "transcript/1")):
        exclude(spoken, kind, value, *IN_M2)
    spoken.edit("exclusions", lambda rule: True, source=source)
    assert flags(spoken, SECRET, OPEN, log=log_of(spoken)) == [False, False]


def test_content_that_nothing_reads_is_named_by_its_row(spoken: World) -> None:
    exclude(spoken, RuleKind.MEETING, "m2")
    spoken.edit("content", lambda row: row.meeting_id in ("m0", "m2"), format="docx")
    (problem,) = unreadable(excerpts(spoken.draft, spoken.now))
    assert (problem.code, problem.where) == ("INDEX_INCOMPLETE", "content.jsonl row 3")
    assert flags(spoken, SECRET) == [False]


def rule(world: World) -> None:
    exclude(world, RuleKind.TURN, "transcript/0", *IN_M2)


def alias(world: World) -> None:
    world.append("aliases", Alias("s", "Ada", ("b" * 32,)))


def relabel(world: World) -> None:
    world.edit("participants", lambda row: row.label == "Bo", label="Bob")


def other_words(world: World) -> None:
    say(world, "m2", ("Bo", "other words"))


@pytest.mark.parametrize(
    "change", [rule, alias, relabel, other_words, lambda world: choose(world, Mode.UNANIMOUS)]
)
def test_what_is_indexed_already_is_not_read_again(
    change: Callable[[World], None], spoken: World
) -> None:
    exclude(spoken, RuleKind.SUBJECT, "b" * 32, *IN_M2)
    old = index(spoken)
    folder: Path = spoken.source.store / "m2"
    folder.rename(spoken.folder / "away")
    assert index(spoken, old=old) == old
    with pytest.raises(Refused, match="CONTENT_FILE_MISSING"):
        index(spoken, old=old[:-1])
    (spoken.folder / "away").rename(folder)
    change(spoken)
    assert index(spoken, old=old) == index(spoken) != old
    shutil.rmtree(folder)
    with pytest.raises(Refused, match="CONTENT_FILE_MISSING"):
        index(spoken, old=old)
