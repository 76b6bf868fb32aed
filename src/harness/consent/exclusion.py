"""Exclusion rules: they override every consent and reach everything derived from what they name.

Rules are matched all at once, by looking their values up in the tables, so that a hundred thousand
rules on ten million meetings cost one pass for each kind of rule.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from harness.consent.bits import MEETING, PERSON, Alphabet, Codes, Mask
from harness.consent.columns import Numbers, coupled, microseconds, numbered, ranges
from harness.consent.frame import Frame
from harness.consent.labels import label_key
from harness.consent.modality import BIT, ORDER
from harness.consent.records import ALL, ExclusionRule, Operation, RuleKind
from harness.consent.request import Request, concerns
from harness.meetings.model import Modality

Matches = tuple[Numbers, Numbers]
"""Numbers of rules, and of the rows that they match: meetings, or roster rows."""

_ABOUT_PEOPLE = (RuleKind.SUBJECT, RuleKind.DOMAIN, RuleKind.LABEL)
OF_TURNS = frozenset({RuleKind.TURN, RuleKind.UTTERANCE, RuleKind.LABEL})
"""Kinds of rules that are matched when content is opened; labels are then those of aliases."""
_BY_ID = (RuleKind.MEETING, RuleKind.SERIES, RuleKind.ACCOUNT)
_BY_CONDITION = (RuleKind.DATE_RANGE, RuleKind.MODALITY, RuleKind.JURISDICTION)


class Exclusions:
    """Rules that count, and what they match.

    Args:
        frame: the tables.
        rules: see :func:`that_count`.
    """

    def __init__(self, frame: Frame, rules: "Counting") -> None:
        self.frame, self.rules = frame, rules
        self._places: dict[str, Numbers] = {}

    def meetings(self, modality: Modality) -> Codes:
        """Codes of each meeting for one modality, by rules that are not about people."""
        kinds = (*_BY_ID, RuleKind.TAG, *_BY_CONDITION, RuleKind.FILE)
        size, origins = self.frame.meetings.size, self.frame.origins(modality)
        return self._codes(kinds, size, origins, modality, MEETING)

    def concerning(self, modality: Modality) -> list[ExclusionRule]:
        """The rules that exclude one modality of any meeting of the frame, or somebody in one."""
        every, found = self.rules, []
        for rule in every:
            self.rules = Counting([rule])
            if self.meetings(modality).any() or self.people(modality).any():
                found.append(rule)
        self.rules = every
        return found

    def people(self, modality: Modality) -> Codes:
        """Codes of each roster row for one modality, by rules about people."""
        origins = self.frame.origins(modality)[self.frame.meeting]
        return self._codes(_ABOUT_PEOPLE, self.frame.roster.size, origins, modality, PERSON)

    def _codes(
        self, kinds: Sequence[RuleKind], size: int, origins: Numbers, modality: Modality,
        alphabet: Alphabet,
    ) -> Codes:  # fmt: skip
        codes = np.zeros(size, np.uint64)
        for kind in kinds:
            rules = self.rules.of_kind(kind)
            if rules is not None:
                own = alphabet.bit(f"EXCLUDED_{kind.upper()}")
                far = own if alphabet is PERSON else alphabet.bit("EXCLUDED_DERIVED_FROM")
                rule, row = self._match(kind, rules, modality)
                found = _reached(rules, rule, modality, origins[row], own, far)
                np.bitwise_or.at(codes, row, found)
                if kind is RuleKind.FILE:
                    codes |= self._made_from(rules, modality, origins, far)
        return codes

    def _made_from(
        self, rules: "_Group", modality: Modality, origins: Numbers, far: np.uint64
    ) -> Codes:
        """Codes of meetings whose content of a modality is made from an excluded file."""
        codes, present = np.zeros(len(origins), np.uint64), self.frame.content.coded("modality")[1]
        for source in (kind for kind in ORDER if kind in present):
            rule, row = self._match(RuleKind.FILE, rules, source)
            made = (origins[row] & BIT[source]) > 0
            found = _reached(rules, rule, modality, origins[row], far, far)
            np.bitwise_or.at(codes, row[made], found[made])
        return codes

    def _match(self, kind: RuleKind, rules: "_Group", modality: Modality) -> Matches:
        named_rule, named = self._named(rules)
        if kind in _BY_CONDITION:
            return self._match_by_condition(rules, named_rule, named)
        rule, row = self._match_by_value(kind, rules, modality)
        meeting = self.frame.meeting[row] if kind in _ABOUT_PEOPLE else row
        size = self.frame.meetings.size
        listed = np.isin(coupled(rule, meeting, size), coupled(named_rule, named, size))
        kept = rules.everywhere[rule] | listed
        return rule[kept], row[kept]

    def _named(self, rules: "_Group") -> Matches:
        """The meetings that the scopes of rules name."""
        numbers, names = rules.named
        meetings = self.frame.find_meetings(names)
        return numbers[meetings >= 0], meetings[meetings >= 0]

    def _match_by_value(self, kind: RuleKind, rules: "_Group", modality: Modality) -> Matches:
        items, owners = self._column(kind, modality)
        codes: Any = slice(None)
        if pa.types.is_dictionary(items.type):
            codes, items = numbered(items)
        order, count = rules.by_value
        found = pc.index_in(items, rules.values).fill_null(-1).to_numpy()[codes]
        hits = np.flatnonzero(found >= 0)
        begins, lengths = (np.cumsum(count) - count)[found[hits]], count[found[hits]]
        return order[ranges(begins, lengths)], np.repeat(owners[hits], lengths)

    def _column(self, kind: RuleKind, modality: Modality) -> tuple[pa.Array, Numbers]:
        """What values of rules are compared with, and the row of each of its items."""
        frame = self.frame
        match kind:
            case RuleKind.TAG:
                return frame.meetings.array("tags").flatten(), frame.meetings.owners("tags")
            case RuleKind.FILE:
                rows = np.flatnonzero(frame.content.equal("modality", modality))
                digests = frame.content.array("sha256").take(pa.array(rows))
                return digests, frame.content_meeting[rows]
            case RuleKind.SUBJECT:
                return frame.roster.array("subject_key"), np.arange(frame.roster.size)
            case RuleKind.DOMAIN:
                numbers, domains = frame.roster.coded("domain")
                lower = pa.array([str(domain).lower() for domain in domains], pa.string())
                return lower.take(pa.array(numbers)), np.arange(frame.roster.size)
            case RuleKind.LABEL:
                return frame.keys_of_labels, np.arange(frame.roster.size)
        return frame.meetings.array(f"{kind}_id"), np.arange(frame.meetings.size)

    def _match_by_condition(self, rules: "_Group", named_rule: Numbers, named: Numbers) -> Matches:
        matches = []
        every = np.arange(self.frame.meetings.size)
        ends = np.searchsorted(named_rule, np.arange(len(rules.rules) + 1))
        for number, rule in enumerate(rules.rules):
            rows = named[ends[number] : ends[number + 1]]
            rows = every if ALL in rule.scope.meetings else rows
            rows = rows[_CONDITIONS[rule.kind](self, rule, rows)]
            matches.append((np.full(len(rows), number), rows))
        return np.concatenate([m[0] for m in matches]), np.concatenate([m[1] for m in matches])

    def _touches(self, rule: ExclusionRule, rows: Numbers) -> Mask:
        start, end = map(microseconds, rule.dates)
        return np.asarray((self.frame.start[rows] < end) & (start <= self.frame.end[rows]))

    def _is_from(self, rule: ExclusionRule, rows: Numbers) -> Mask:
        if rule.value not in self._places:
            _, places = self.frame.roster.items("jurisdictions")
            within = {
                p: 1 for p in places if p == rule.value or f"{p}".startswith(f"{rule.value}-")
            }
            people = self.frame.roster.bits("jurisdictions", within) > 0
            self._places[rule.value] = np.unique(self.frame.meeting[people])
        return np.isin(rows, self._places[rule.value])


class Counting(list[ExclusionRule]):
    """Rules that count, and what is worked out from them once for any number of frames."""

    def of_kind(self, kind: RuleKind) -> "_Group | None":
        """The rules of one kind; None where there is none."""
        return self._groups.get(kind)

    @cached_property
    def _groups(self) -> dict[RuleKind, "_Group"]:
        kinds: dict[RuleKind, list[ExclusionRule]] = {}
        for rule in self:
            kinds.setdefault(rule.kind, []).append(rule)
        return {kind: _Group(kind, rules) for kind, rules in kinds.items()}


class _Group:
    """Rules of one kind, as columns."""

    def __init__(self, kind: RuleKind, rules: Sequence[ExclusionRule]) -> None:
        self.kind, self.rules = kind, rules
        self.everywhere = np.array([ALL in rule.scope.meetings for rule in rules], bool)
        self.reach = np.array([_reach(rule) for rule in rules], np.int64)
        self._direct: dict[Modality, Mask] = {}

    def lists(self, modality: Modality) -> Mask:
        """Which rules list a modality."""
        if modality not in self._direct:
            self._direct[modality] = np.array([_lists(r, modality) for r in self.rules], bool)
        return self._direct[modality]

    @cached_property
    def named(self) -> tuple[Numbers, pa.Array]:
        """Numbers of rules, and the meetings that their scopes name."""
        pairs = [
            (n, name) for n, r in enumerate(self.rules) for name in r.scope.meetings if name != ALL
        ]
        numbers = np.array([number for number, _ in pairs], np.int64)
        return numbers, pa.array([name for _, name in pairs], pa.string())

    @cached_property
    def values(self) -> pa.Array:
        """The different values, as columns hold them."""
        return pa.array(list(dict.fromkeys(self._held)), _HELD.get(self.kind, pa.string()))

    @cached_property
    def by_value(self) -> tuple[Numbers, Numbers]:
        """Rules in the order of their values, and how many have each value."""
        number = pc.index_in(pa.array(self._held, self.values.type), self.values).to_numpy()
        return np.argsort(number, kind="stable"), np.bincount(number, minlength=len(self.values))

    @property
    def _held(self) -> list[str | bytes]:
        words = [rule.value for rule in self.rules]
        match self.kind:
            case RuleKind.SUBJECT | RuleKind.FILE:
                return [bytes.fromhex(word) for word in words]
            case RuleKind.DOMAIN:
                return [word.lower() for word in words]
            case RuleKind.LABEL:
                return [label_key(word) for word in words]
        return [*words]


_HELD = {RuleKind.SUBJECT: pa.binary(16), RuleKind.FILE: pa.binary(32)}


def that_count(rules: Iterable[ExclusionRule], request: Request, now: int) -> Counting:
    """The rules that count for a request.

    Args:
        rules: of the exclusions table.
        request: what is asked for.
        now: microseconds.
    """
    return Counting(rule for rule in rules if _counts(rule, request, now))


_TRAINING = frozenset({Operation.TRAINING, Operation.FINE_TUNING})
_CONDITIONS: dict[RuleKind, Callable[[Exclusions, ExclusionRule, Numbers], Mask]] = {
    RuleKind.DATE_RANGE: Exclusions._touches,
    RuleKind.JURISDICTION: Exclusions._is_from,
    RuleKind.MODALITY: lambda _, rule, rows: np.ones(len(rows), bool),
}


def _reached(
    rules: _Group, rule: Numbers, modality: Modality, origins: Numbers,
    own: np.uint64, far: np.uint64,
) -> Codes:  # fmt: skip
    """The code of each match: ``own`` where the rule lists the modality, ``far`` for an origin."""
    derived = np.where((rules.reach[rule] & origins) > 0, far, np.uint64(0))
    return np.where(rules.lists(modality)[rule], own, derived)


def _counts(rule: ExclusionRule, request: Request, now: int) -> bool:
    until = rule.effective_until
    return (
        rule.source not in request.set_aside
        and microseconds(rule.effective_from) <= now
        and (until is None or now < microseconds(until))
        and concerns(rule.scope.purposes, request.purpose)
        and any(_concerns_operation(rule, operation) for operation in request.operations)
    )


def _concerns_operation(rule: ExclusionRule, operation: Operation) -> bool:
    listed = rule.scope.operations
    together = operation in _TRAINING and not _TRAINING.isdisjoint(listed)
    return concerns(tuple(listed), operation) or together


def _targets(rule: ExclusionRule) -> tuple[str, ...]:
    return (rule.value,) if rule.kind is RuleKind.MODALITY else tuple(rule.scope.modalities)


def _lists(rule: ExclusionRule, modality: Modality) -> bool:
    return concerns(_targets(rule), modality)


def _reach(rule: ExclusionRule) -> int:
    return sum(BIT[Modality(name)] for name in _targets(rule) if name != ALL)
