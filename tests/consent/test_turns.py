"""Whose turns are whose, whom they quote, and what is left when somebody is dropped."""

from dataclasses import replace
from typing import Any

import pytest

from harness.consent.head import Defaults, Mode
from harness.consent.records import Alias, ParticipantRow
from harness.consent.turns import Person, TurnVerdicts, Voices, judge
from harness.meetings.model import Turn

World = Any


@pytest.fixture
def people(shared_world: World) -> list[ParticipantRow]:
    """Ada and Bo."""
    return list(shared_world.draft.tables.participants[:2])


@pytest.fixture
def defaults(shared_world: World) -> Defaults:
    found: Defaults = shared_world.draft.defaults
    return replace(found, mode=Mode.PER_SPEAKER, max_dropped_percent=100)


def turns(*said: tuple[str, str]) -> list[Turn]:
    return [Turn(place, who, words) for place, (who, words) in enumerate(said)]


def without_bo(people: list[ParticipantRow], *aliases: Alias) -> Voices:
    return Voices([Person(people[0], False), Person(people[1], True)], aliases)


@pytest.mark.parametrize(
    ("labels", "resolved"),
    [(["Ada", "bo "], True), ([""], False), (["Ada", "Eve"], False), (["\u0410da"], False)],
)
def test_in_mode_unanimous_every_label_is_of_the_roster(
    labels: list[str], resolved: bool, people: list[ParticipantRow], shared_world: World
) -> None:
    voices = Voices([Person(person, False) for person in people], ())
    found = judge(turns(*((label, "words") for label in labels)), voices, {},
                  shared_world.draft.defaults)  # fmt: skip
    assert (found.codes == ()) is resolved


def test_only_the_dropped_persons_turns_are_denied(
    people: list[ParticipantRow], defaults: Defaults
) -> None:
    found = judge(turns(("Ada", "one"), ("Bo", "two"), ("Eve", "three")), without_bo(people), {},
                  defaults)  # fmt: skip
    assert found == TurnVerdicts((), ((), ("SPEAKER_DROPPED",), ("SUBJECT_UNRESOLVED",)))


@pytest.mark.parametrize(
    ("text", "denied"),
    [
        ('Reacted to "my own words" with \N{THUMBS UP SIGN}', True),
        ("Replying to \u201cmy own wo...\u201d\n\nyes", True),
        ('Replying to "hello"\n\nyes', False),
        ('\u2060Reacted\u00ad to "my \u200bown words" with !', True),
        ('Reacted to "never said here" with !', True),  # it may be of anybody
        ("I reacted to that", False),
    ],
)
def test_a_quote_is_as_its_author(
    text: str, denied: bool, people: list[ParticipantRow], defaults: Defaults
) -> None:
    said = turns(
        ("Ada", "hello everybody"), ("Bo", "\ufeffmy own\u200d words, all of them"), ("Ada", text)
    )
    found = judge(said, without_bo(people), {}, defaults)
    assert ("QUOTES_DROPPED" in found.turns[2]) is denied


def test_an_alias_of_two_needs_both(people: list[ParticipantRow], defaults: Defaults) -> None:
    keys = tuple(str(person.subject_key) for person in people)
    said = turns(("Ada + Bo", "together"))
    both = judge(said, without_bo(people, Alias("s", "ada + bo", keys)), {}, defaults)
    one = judge(said, without_bo(people, Alias("s", "ada + bo", keys[:1])), {}, defaults)
    absent = judge(
        said, without_bo(people, Alias("s", "ada + bo", (keys[0], "c" * 32))), {}, defaults
    )
    assert [found.turns[0] for found in (both, one, absent)] == [
        ("SPEAKER_DROPPED",), (), ("SUBJECT_UNRESOLVED",)
    ]  # fmt: skip


def test_too_much_dropped_denies_the_whole(
    people: list[ParticipantRow], defaults: Defaults
) -> None:
    said = turns(("Ada", "one"), ("Bo", "two"))
    for percent, codes in ((50, ()), (49, ("TOO_MUCH_DROPPED",))):
        settings = replace(defaults, max_dropped_percent=percent)
        assert judge(said, without_bo(people), {}, settings).codes == codes


def test_a_percent_is_a_hundredth(people: list[ParticipantRow], defaults: Defaults) -> None:
    settings = replace(defaults, max_dropped_percent=99)
    found = judge(turns(("Bo", "all")), without_bo(people), {}, settings)
    assert found.codes == ("TOO_MUCH_DROPPED",)


def test_a_quote_of_somebody_unknown_is_as_of_the_dropped(
    people: list[ParticipantRow], defaults: Defaults
) -> None:
    said = turns(("Stranger", "my secret is 42"), ("Ada", ' Replying to "my secret is 42"'))
    assert judge(said, without_bo(people), {}, defaults).turns[1] == ("QUOTES_DROPPED",)


def test_two_aliases_of_one_label_mean_all_whom_either_names(
    people: list[ParticipantRow], defaults: Defaults
) -> None:
    ada, bo = (str(person.subject_key) for person in people)
    aliases = (Alias("s", "Room 5", (bo,)), Alias("s", "ROOM 5", (ada,)))
    found = judge(turns(("room 5", "words")), without_bo(people, *aliases), {}, defaults)
    assert found.turns == (("SPEAKER_DROPPED",),)


def test_an_excluded_label_that_only_an_alias_names_is_left_out(
    people: list[ParticipantRow], defaults: Defaults
) -> None:
    willing = [Person(person, False) for person in people]
    alias = Alias("s", "Robert", (str(people[1].subject_key),))
    said = turns(("robert", "my own words"), ("Ada", 'Replying to "my own"'), ("Bo", "words"),
                 ("Ada", 'Reacted to "words of nobody"'))  # fmt: skip
    voices = Voices(willing, [alias], ["ROBERT "])
    found = judge(said, voices, {}, defaults)
    quoted = ("QUOTES_DROPPED",)
    assert found.turns == (("EXCLUDED_LABEL",), quoted, (), quoted)
    whole = judge(said, voices, {}, replace(defaults, mode=Mode.UNANIMOUS))
    assert whole.codes == ("EXCLUDED_LABEL",)
    for other in (Voices(willing, [alias]), Voices(willing, [alias], ["Bobby"])):
        assert judge(said, other, {}, defaults).turns == ((),) * 4


def test_an_alias_of_somebody_who_is_dropped_is_left_out_as_well(
    people: list[ParticipantRow],
) -> None:
    ada, bo = (str(person.subject_key) for person in people)
    aliases = (
        Alias("s", "Robert", (bo,)),
        Alias("s", "Countess", (ada,)),
        Alias("s", "Both", (ada, bo)),
    )
    assert without_bo(people, *aliases).left_out == ["Bo", "Robert", "Both"]


def test_an_excluded_label_of_nobody_here_leaves_nobody_out(people: list[ParticipantRow]) -> None:
    willing = [Person(person, False) for person in people]
    assert Voices(willing, [Alias("s", "Eve", ("e" * 32,))], ["Eve"]).left_out == []
    assert Voices(willing, [], ["Bo"]).left_out == []  # the row is denied or dropped by itself


def test_a_quote_of_a_denied_turn_is_denied(
    people: list[ParticipantRow], defaults: Defaults
) -> None:
    said = turns(("Ada", "bleeped"), ("Bo", "fine words"), ("Bo", 'Reacted to "bleeped" with !'),
                 ("Ada", 'Replying to "Reacted to..."\n\nyes'), ("Ada", 'Replying to "fine"\nyes'),
                 ("Ada", 'Replying to "something else"\nyes'))  # fmt: skip
    voices = Voices([Person(person, False) for person in people], ())
    for mode in Mode:
        settings = replace(defaults, mode=mode)
        found = judge(said, voices, {0: ["EXCLUDED_TURN"]}, settings)
        quotes = ("QUOTES_DROPPED",)
        assert found.turns == (("EXCLUDED_TURN",), (), quotes, quotes, (), ())


@pytest.mark.parametrize("label", ["", " ", "\u3164", "\u200b"])
def test_speech_without_a_name_is_nobodys_whatever_the_roster_holds(
    label: str, people: list[ParticipantRow]
) -> None:
    unseen = replace(people[0], label="\u3164")
    voices = Voices([Person(unseen, False)], [Alias("s", "\u200b", ("a" * 32,))])
    assert voices.of(label) == []
