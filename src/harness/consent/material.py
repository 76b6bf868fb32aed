"""What the index of copies is made of: content that is excluded, or that people refused.

``docs/copies.md`` says what goes in, in each mode, and why. Which turns these are follows from the
rows and, where only some people's turns are meant, from the same reading as at the gate.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from harness.consent.authoring import Draft, trial_manifest
from harness.consent.bits import PERSON, Mask
from harness.consent.columns import microseconds
from harness.consent.content import read_turns
from harness.consent.copies import build_index, is_made_from
from harness.consent.exclusion import Counting, Exclusions, that_count
from harness.consent.frame import Frame
from harness.consent.head import Defaults, Mode
from harness.consent.modality import BIT
from harness.consent.opening import RETELLING, MeetingRows
from harness.consent.parquet import to_rows
from harness.consent.parts import part_name, parts_of
from harness.consent.records import (
    ALL,
    Alias,
    Arm,
    ContentRow,
    ExclusionRule,
    Operation,
    RuleKind,
    RuleSource,
)
from harness.consent.request import Request, concerns
from harness.consent.ruling import Ruler
from harness.consent.turns import Person, Voices, judge
from harness.consent.withdrawals import Log
from harness.digest import digest_of
from harness.errors import Refused
from harness.meetings.formats import READERS
from harness.meetings.model import Modality, Turn

_REFUSED = PERSON.of(["CONSENT_REFUSED", "CONSENT_WITHDRAWN", "CONSENT_REVOKED"])


@dataclass(frozen=True)
class Speakers:
    """Who speaks in a meeting: its roster, the aliases of its series, and excluded labels."""

    people: tuple[Person, ...]
    aliases: tuple[Alias, ...]
    labels: tuple[str, ...]

    @property
    def voices(self) -> Voices:
        """As the gate hears them."""
        return Voices(self.people, self.aliases, self.labels)

    @property
    def all_used(self) -> Voices:
        """As the gate would hear them if nobody were left out."""
        return Voices([replace(p, dropped=False) for p in self.people], self.aliases)


@dataclass(frozen=True)
class Excerpt:
    """What is indexed of one content file.

    Attributes:
        where: file and number of its row, from 1.
        row: the content row.
        whole: whether all of it is; nothing below counts then.
        places: turns that rules of kind ``turn`` name.
        speakers: of the meeting; those are dropped whose turns are indexed.
    """

    where: str
    row: ContentRow
    whole: bool
    places: frozenset[int]
    speakers: Speakers

    def read(self, store: Path, defaults: Defaults) -> list[str]:
        """The texts, in order.

        Raises:
            Refused: a ``CONTENT_*`` code, or ``PARSE_REFUSED``.
        """
        turns = read_turns(store, self.row)
        places = range(len(turns)) if self.whole else self._places(turns, defaults)
        return [text for place in places for text in turns[place].texts]

    def _places(self, turns: Sequence[Turn], defaults: Defaults) -> Sequence[int]:
        """Which turns are indexed; in mode unanimous an excluded speaker gives all."""
        named = dict.fromkeys(self.places, ("EXCLUDED_TURN",))
        found = judge(turns, self.speakers.voices, named, defaults)
        if "EXCLUDED_LABEL" in found.codes:
            return range(len(turns))
        anyway = judge(turns, self.speakers.all_used, {}, defaults)
        both = enumerate(zip(found.turns, anyway.turns, strict=True))
        return [place for place, (codes, others) in both if {*codes} - {*others}]

    def described(self) -> list[Any]:
        """All that the texts follow from, beside the mode."""
        file = [self.row.sha256, self.row.format]
        if self.whole:
            return file
        people = [[p.row.label, p.row.subject_key, p.dropped] for p in self.speakers.people]
        aliases = [[alias.label, *alias.subject_keys] for alias in self.speakers.aliases]
        return [*file, sorted(self.places), people, aliases, sorted(self.speakers.labels)]


def excerpts(
    draft: Draft, now: datetime, log: Log | None = None, without: Collection[str] = ()
) -> list[Excerpt]:
    """What is indexed of each content file, by the rows alone; files of which nothing is left out.

    Args:
        draft: tables and terms.
        now: clock.
        log: withdrawals; where it is given, what people refused or withdrew is indexed too.
        without: formats whose files are not looked at.
    """
    rules = _rules(draft, now)
    refused = [] if log is None else _refused(draft, log, now)
    found = []
    for number, (file, frame) in enumerate(_frames(draft)):
        finder = _Finder(draft, file, frame, rules, refused[number] if refused else {})
        of_frame = finder.excerpts(without)
        found += [e for e in of_frame if e.whole or e.places or e.speakers.voices.left_out]
    return found


def _frames(draft: Draft) -> Iterator[tuple[str, Frame]]:
    """The rows of all meetings, some meetings at a time, and where their content rows stand."""
    parts = parts_of(draft.tables)
    if parts is None:
        yield "content.jsonl", Frame.of(draft.tables)
        return
    for part in range(parts.count("meetings")):
        yield part_name("content", part), parts.read_frame(part)


def unreadable(found: Iterable[Excerpt]) -> list[Refused]:
    """A warning for each content row that would be indexed if anything could read it."""
    return [
        Refused("INDEX_INCOMPLETE", "excluded, and no reader for its format: copies of it will not "
                "be found", excerpt.where,
                "put the same words into the store in a format that is read")
        for excerpt in found
        if excerpt.row.format not in READERS
    ]  # fmt: skip


def index_of(
    found: Iterable[Excerpt], defaults: Defaults, store: Path, key: bytes, old: bytes | None = None
) -> bytes:
    """The index of excluded content; this is the one time that such content is read.

    Args:
        found: what is indexed; without a reader for its format nothing is.
        defaults: of the manifest.
        store: content store.
        key: of the index, 32 bytes or more, kept outside manifest and run.
        old: index of the epoch before; taken again, and nothing read, where it is of the same.

    Raises:
        Refused: ``CONTENT_*``, ``PARSE_REFUSED``, ``INDEX_KEY_SHORT``, ``INDEX_TOO_LARGE``.
    """
    readable = [excerpt for excerpt in found if excerpt.row.format in READERS]
    described = sorted((excerpt.described() for excerpt in readable), key=str)
    same = digest_of([str(defaults.mode), described])
    if old is not None and is_made_from(old, key, same):
        return old
    texts = (excerpt.read(store, defaults) for excerpt in readable)
    return build_index(texts, key, made_from=same)


class _Finder:
    """What is excluded or refused in each meeting."""

    def __init__(
        self, draft: Draft, file: str, frame: Frame, rules: Sequence[ExclusionRule],
        refused: Mapping[Modality, Mask],
    ) -> None:  # fmt: skip
        self.file, self.frame = file, frame
        self.rows = MeetingRows(frame, draft.tables.aliases)
        self.unanimous = draft.defaults.mode is Mode.UNANIMOUS
        self.turns, self.labels = (_by_meeting(rules, k) for k in (RuleKind.TURN, RuleKind.LABEL))
        exclusions = Exclusions(frame, Counting(rules))
        self.meetings, self.dropped, self.origins = {}, {}, {}
        for modality in (Modality(str(word)) for word in frame.content.coded("modality")[1]):
            self.meetings[modality] = exclusions.meetings(modality) > 0
            people = (exclusions.people(modality) > 0) | refused.get(modality, np.False_)
            self.dropped[modality] = _labels_of(frame, people)
            self.origins[modality] = frame.origins(modality)

    def excerpts(self, without: Collection[str]) -> Iterator[Excerpt]:
        """What may be indexed, in the order of content rows; of most there is nothing."""
        content, meetings = self.frame.content, self.frame.content_meeting
        left_out = content.mapped("format", dict.fromkeys(without, True), False, bool)
        rows = np.flatnonzero(self._reached() & ~left_out)
        read = to_rows(ContentRow, content.table.take(pa.array(rows)))
        for number, row in zip(rows.tolist(), read, strict=True):
            found = self.excerpt(number, int(meetings[number]), row)
            if found:
                yield found

    def _reached(self) -> Mask:
        """Content rows of meetings that a rule or refusal may reach, whatever their modality."""
        found = np.zeros(self.frame.meetings.size, bool)
        for excluded in self.meetings.values():
            found |= excluded
        for dropped in self.dropped.values():
            found[np.array([*dropped], np.int64)] = True
        for named in (self.turns, self.labels):
            found |= np.array([len(named(meeting)) > 0 for meeting in self.rows.ids], bool)
        return np.asarray(found[self.frame.content_meeting])

    def excerpt(self, number: int, meeting: int, row: ContentRow) -> Excerpt | None:
        """What may be indexed of one content row; None where no rule and no refusal reaches it."""
        turns = (rule.value.split("/") for rule in self.turns(row.meeting_id))
        places = frozenset(int(place) for kind, place in turns if kind == row.modality)
        dropped = self.dropped[row.modality].get(meeting, set())
        labels = tuple(self._excluded_labels(meeting, row))
        if not (places or dropped or labels or self.meetings[row.modality][meeting]):
            return None
        people = tuple(Person(p, p.label in dropped) for p in self.rows.roster(meeting))
        aliases = self.rows.aliases(self.rows.meeting(meeting).series_id)
        speakers = Speakers(people, tuple(aliases), labels)
        whole, where = self._whole(meeting, row, speakers), f"{self.file} row {number + 1}"
        return Excerpt(where, row, whole, places, speakers)

    def _whole(self, meeting: int, row: ContentRow, speakers: Speakers) -> bool:
        """Whether all of a content file is left out because of what the rows say."""
        if self.meetings[row.modality][meeting]:
            return True
        if self.unanimous and any(person.dropped for person in speakers.people):
            return True
        return row.modality in RETELLING and bool(speakers.voices.left_out)

    def _excluded_labels(self, meeting: int, row: ContentRow) -> Iterator[str]:
        """Labels of rules that reach a content row, itself or by an origin."""
        origins = int(self.origins[row.modality][meeting])
        kinds = {row.modality, *(m for m in Modality if BIT[m] & origins)}
        for rule in self.labels(row.meeting_id):
            if any(concerns(tuple(map(str, rule.scope.modalities)), kind) for kind in kinds):
                yield rule.value


def _rules(draft: Draft, now: datetime) -> list[ExclusionRule]:
    """The rules whose content is indexed, for whatever operation and purpose.

    Left out are the sentinels of the random split and rules of policy, which exclude kinds of
    content and nobody's words.
    """
    asked = Request(draft.scope.controller, "", tuple(Operation), tuple(Modality), frozenset(Arm),
                    set_aside=frozenset({RuleSource.SENTINEL, RuleSource.POLICY}))  # fmt: skip
    every = (replace(r, scope=replace(r.scope, purposes=(ALL,))) for r in draft.tables.exclusions)
    return that_count(every, asked, microseconds(now))


def _by_meeting(
    rules: Iterable[ExclusionRule], kind: RuleKind
) -> Callable[[str], list[ExclusionRule]]:
    """A way to ask for the rules of a kind that concern a meeting."""
    found: dict[str, list[ExclusionRule]] = defaultdict(list)
    for rule in rules:
        for name in rule.scope.meetings if rule.kind is kind else ():
            found[name].append(rule)
    return lambda meeting: found.get(ALL, []) + found.get(meeting, [])


def _refused(draft: Draft, log: Log, now: datetime) -> list[dict[Modality, Mask]]:
    """Roster rows whose latest word on training is no, for every purpose; as :func:`_frames`.

    Who agreed to one of the purposes, or refuses something else than training, has turns that
    may be trained on, and an index of them would deny these.
    """
    ruler, scope = Ruler(trial_manifest(draft, now), log, now), draft.scope
    found: list[dict[Modality, Mask]] = []
    for purpose in scope.purposes if Operation.FINE_TUNING in scope.operations else ():
        asked = Request(scope.controller, purpose, (Operation.FINE_TUNING,), scope.modalities,
                        frozenset(Arm), set_aside=frozenset(RuleSource))  # fmt: skip
        here = [
            {m: (verdict.people & _REFUSED) > 0 for m, verdict in rulings.verdicts.items()}
            for rulings in ruler.rule(asked)
        ]
        found = [
            {m: refused & before[m] for m, refused in of_purpose.items()}
            for before, of_purpose in zip(found or here, here, strict=True)
        ]
    return found


def _labels_of(frame: Frame, people: Mask) -> dict[int, set[str]]:
    """Labels of some rows of the roster, by meeting."""
    found: dict[int, set[str]] = defaultdict(set)
    codes, labels = frame.roster.coded("label")
    for row in np.flatnonzero(people):
        found[int(frame.meeting[row])].add(str(labels[codes[row]]))
    return found
