"""Turns of admitted content: whose they are, whom they quote, and which of them may be used.

See ``docs/gate.md``, section 7. Only content that the rows admit comes this far.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.consent.head import Defaults, Mode
from harness.consent.invisible import visible
from harness.consent.labels import label_key
from harness.consent.reasons import in_order
from harness.consent.records import Alias, ParticipantRow
from harness.meetings.model import Turn

_OF_SPEAKERS = frozenset({"SUBJECT_UNRESOLVED", "EXCLUDED_LABEL"})
"""Codes about a turn's speaker that no row of the roster has shown: in mode unanimous of all."""
_QUOTE = re.compile(
    r"\A(?:Reacted to|Replying to|Removed an? .{1,40} reaction from) [\"\u201c](?P<words>.*?)"
    r"(?:\.\.\.|\u2026)?[\"\u201d]",
    re.DOTALL,
)


@dataclass(frozen=True)
class Person:
    """A roster row as turns see it.

    Attributes:
        row: of the roster.
        dropped: whether its turns may not be used.
    """

    row: ParticipantRow
    dropped: bool


@dataclass(frozen=True)
class TurnVerdicts:
    """What is decided about the turns of one kind of content of one meeting.

    Attributes:
        codes: why the whole is denied; empty when it is not.
        turns: codes of each turn.
    """

    codes: tuple[str, ...]
    turns: tuple[tuple[str, ...], ...]


class Voices:
    """Who is meant by the labels of one meeting.

    Args:
        people: its roster.
        aliases: of its series.
        excluded: labels that exclusion rules name.

    Attributes:
        left_out: labels of those whose turns may not be used: of dropped rows, of aliases that name
            one of these, and excluded ones that stand by an alias for somebody on the roster.
    """

    def __init__(
        self, people: Sequence[Person], aliases: Iterable[Alias], excluded: Iterable[str] = ()
    ) -> None:
        self.people, self._excluded = people, frozenset(map(label_key, excluded))
        self.left_out = [person.row.label for person in people if person.dropped]
        self._by_label: dict[str, list[Person]] = defaultdict(list)
        by_subject: dict[str, list[Person]] = defaultdict(list)
        for person in people:
            self._by_label[label_key(person.row.label)].append(person)
            by_subject[person.row.subject_key or ""].append(person)
        self._aliases: dict[str, list[list[Person]]] = defaultdict(list)
        for alias in aliases:  # two of one label mean all whom either names
            groups = [by_subject.get(key, []) for key in alias.subject_keys]
            self._aliases[label_key(alias.label)] += groups
            named = [person for group in groups for person in group]
            is_left_out = self.excludes(alias.label) or any(person.dropped for person in named)
            if named and is_left_out:
                self.left_out.append(alias.label)

    def excludes(self, label: str) -> bool:
        """Whether a label is excluded; one of a row is not, as the row is denied or dropped."""
        key = label_key(label)
        return key in self._excluded and key not in self._by_label

    def behind(self, turn: Turn) -> Sequence[Person]:
        """The people behind a turn; everybody for a pair, whose answer tells what all said."""
        return self.people if turn.query is not None else self.of(turn.speaker)

    def of(self, label: str) -> Sequence[Person]:
        """The people behind a label; nobody where one of them is not on the roster."""
        key = label_key(label)
        if not key:  # a name that nobody sees would stand for all speech without one
            return []
        if key in self._by_label:
            return self._by_label[key]
        groups = self._aliases.get(key, [])
        return [person for group in groups for person in group] if all(groups) else []


def judge(
    turns: Sequence[Turn], voices: Voices, excluded: Mapping[int, Iterable[str]], defaults: Defaults
) -> TurnVerdicts:
    """Decide the turns of one kind of content.

    Args:
        turns: as they were read.
        voices: of the meeting.
        excluded: codes of turns that are excluded by their place, their words or as copies.
        defaults: of the manifest; in mode unanimous an unresolved or excluded speaker denies all.
    """
    codes = [{*excluded.get(place, ())} for place in range(len(turns))]
    for found, turn, quoted in zip(codes, turns, _quoted(turns), strict=True):
        people = voices.behind(turn)
        if not people or any(person.row.subject_key is None for person in people):
            found.add("SUBJECT_UNRESOLVED")
        if any(person.dropped for person in people):
            found.add("SPEAKER_DROPPED")
        if voices.excludes(turn.speaker):
            found.add("EXCLUDED_LABEL")
        if voices.left_out if quoted is None else any(codes[place] for place in quoted):
            found.add("QUOTES_DROPPED")
    return TurnVerdicts(_whole(codes, defaults), tuple(map(in_order, codes)))


def _whole(codes: Sequence[set[str]], defaults: Defaults) -> tuple[str, ...]:
    if defaults.mode is Mode.UNANIMOUS:
        return in_order({code for found in codes for code in found & _OF_SPEAKERS})
    denied = sum(bool(found) for found in codes)
    return ("TOO_MUCH_DROPPED",) if denied * 100 > defaults.max_dropped_percent * len(codes) else ()


def _quoted(turns: Sequence[Turn]) -> list[list[int] | None]:
    """Places of the earlier turns that each turn may quote; None for a quote of nobody known."""
    found: list[list[int] | None] = []
    texts = [visible(turn.text).strip() for turn in turns]
    for place, text in enumerate(texts):
        quote = _QUOTE.match(text)
        if quote is None:
            found.append([])
            continue
        words = quote["words"].strip()
        earlier = [n for n in range(place) if words and texts[n].startswith(words)]
        found.append(earlier or None)
    return found
