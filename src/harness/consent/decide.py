"""The decision: a pure function of manifest rows, the request and the clock; default deny.

``docs/gate.md`` is its meaning. The order is: exclusions, the meeting, its places, the people,
their consent, the split. All codes are kept. Content is never looked at here.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache

import numpy as np
import pyarrow as pa

from harness.consent.agreement import Terms, consent_codes
from harness.consent.attendance import Attendance
from harness.consent.bits import MEETING, PERSON, Codes, Mask
from harness.consent.columns import Numbers, coupled, microseconds, numbered, uncoupled
from harness.consent.demands import DemandColumns
from harness.consent.events import Events
from harness.consent.exclusion import Counting, Exclusions, that_count
from harness.consent.frame import ARMS, Frame
from harness.consent.head import Defaults, Head, Mode, Tables
from harness.consent.modality import BIT, ORDER, RECORDING_TYPES, covers
from harness.consent.policy import Policies
from harness.consent.reasons import in_order
from harness.consent.records import NONE, Arm, Operation, Role
from harness.consent.request import Request, Use
from harness.meetings.model import Modality

ONE_TO_ONE = "one_to_one"
_ARM_CODES = [MEETING.bit(f"{arm.upper()}_ARM") for arm in ARMS] + [MEETING.bit("SPLIT_UNASSIGNED")]


@dataclass(frozen=True)
class Verdict:
    """The codes of one modality.

    Attributes:
        meeting: codes of each meeting.
        people: codes of each roster row, whatever the mode makes of them.
        joined: person codes that deny each meeting, as the mode says.
    """

    meeting: Codes
    people: Codes
    joined: Codes

    def admits(self) -> Mask:
        """Whether each meeting's content of the modality is admitted, where it has any."""
        return np.asarray((self.meeting | self.joined) == 0)

    def codes(self, meeting: int) -> tuple[str, ...]:
        """Codes of one meeting in order."""
        return (*MEETING.names(self.meeting[meeting]), *PERSON.names(self.joined[meeting]))


class Verdicts:
    """The decisions about some meetings.

    Args:
        request: what was asked.
        verdicts: of each modality that a meeting has or the request names.
        has: whether each meeting has content, by modality.
        arm: of each meeting, a place in ``ARMS``, or one more where it has none.
    """

    def __init__(
        self, request: Request, verdicts: Mapping[Modality, Verdict],
        has: Mapping[Modality, Mask], arm: Numbers,
    ) -> None:  # fmt: skip
        self.request, self.verdicts, self.has, self.arm = request, verdicts, has, arm

    @cached_property
    def usable(self) -> Mask:
        """Whether a meeting has content that is admitted, of a modality that is asked for."""
        found = [self.verdicts[m].admits() & self.has[m] for m in self.request.modalities]
        return np.asarray(np.logical_or.reduce(found))

    @cached_property
    def admitted(self) -> Mask:
        """Whether each meeting is admitted, its arm included."""
        allowed = np.array([arm in self.request.arms for arm in ARMS] + [False])
        return np.asarray(self.usable & allowed[self.arm])

    def codes(self, meeting: int) -> tuple[str, ...]:
        """Why a meeting is denied as a whole; empty when it is admitted."""
        bits, of_people = (found[meeting] for found in self.denials)
        return _names(int(bits), int(of_people))

    @cached_property
    def denials(self) -> tuple[Codes, Codes]:
        """Meeting codes and person codes of each meeting as a whole; none where it is admitted."""
        meeting, people = np.zeros(len(self.arm), np.uint64), np.zeros(len(self.arm), np.uint64)
        for modality in self.request.modalities:
            meeting |= self.verdicts[modality].meeting
            people |= self.verdicts[modality].joined
        nothing = ~np.logical_or.reduce([self.has[m] for m in self.request.modalities])
        meeting |= MEETING.where(len(meeting), {"MEETING_NO_CONTENT": nothing})
        meeting[self.usable], people[self.usable] = 0, 0
        denied = (meeting | people) > 0
        allowed = [arm in self.request.arms for arm in ARMS] + [False]
        arms = np.array([0 if ok else code for code, ok in zip(_ARM_CODES, allowed, strict=True)])
        of_arm = arms.astype(np.uint64)[self.arm]
        meeting |= np.where((self.arm == len(ARMS)) & denied, np.uint64(0), of_arm)
        return meeting, people

    def code_lists(self) -> pa.Array:
        """As :meth:`codes`, of all meetings as a column of lists."""
        (meeting, bits), (people, of_people) = (numbered(found) for found in self.denials)
        which, pairs = numbered(coupled(meeting, people, len(of_people)))
        of_meeting, of_person = (np.array(found.to_pylist(), object) for found in (bits, of_people))
        places = uncoupled(pairs.to_numpy(), len(of_people))
        lists = [*map(_names, of_meeting[places[0]], of_person[places[1]])]
        return pa.array(lists, pa.list_(pa.string())).take(pa.array(which))

    def of_arm(self, arm: Arm) -> Numbers:
        """Meetings of an arm that nothing but their arm denies."""
        return np.flatnonzero(self.usable & (self.arm == ARMS.index(arm)))

    def modality_codes(self, meeting: int, modality: Modality) -> tuple[str, ...]:
        """Why one kind of content of a meeting is denied; empty when it is admitted."""
        return self.verdicts[modality].codes(meeting)


@lru_cache(maxsize=1 << 16)
def _names(meeting: int, people: int) -> tuple[str, ...]:
    """The codes of a meeting and of its people, in order; few sets come again and again."""
    return in_order([*MEETING.names(meeting), *PERSON.names(people)])


class Rulings(Verdicts):
    """The decisions about the meetings of a frame.

    Attributes:
        frame: the tables, whose row numbers stand for meetings and people.
        rules: exclusion rules that count.
    """

    def __init__(
        self, frame: Frame, request: Request, verdicts: Mapping[Modality, Verdict],
        rules: Counting,
    ) -> None:  # fmt: skip
        has = {modality: frame.content_rows(modality) >= 0 for modality in verdicts}
        super().__init__(request, verdicts, has, frame.arm)
        self.frame, self.rules = frame, rules

    def with_origins(self, meeting: int, modality: Modality) -> frozenset[Modality]:
        """A modality of a meeting, and all that it derives from."""
        bits = int(self.frame.origins(modality)[meeting])
        return frozenset({modality, *(m for m in ORDER if BIT[m] & bits)})

    def dropped_labels(self, meeting: int, modality: Modality) -> frozenset[str]:
        """Labels of the people of a meeting whose turns may not be used."""
        first, last = np.searchsorted(self.frame.meeting, [meeting, meeting + 1])
        dropped = np.flatnonzero(self.verdicts[modality].people[first:last]) + first
        codes, labels = self.frame.roster.coded("label")
        return frozenset(str(labels[codes[row]]) for row in dropped)


@dataclass(frozen=True)
class Question:
    """What is decided: a request, under a manifest's terms, at a time.

    Attributes:
        head: scope and defaults.
        tables: the small tables.
        request: what is asked for.
        now: clock of the decision, aware.
        modalities: those that are decided, in ``ORDER``.
    """

    head: Head
    tables: Tables
    request: Request
    now: datetime
    modalities: tuple[Modality, ...]

    def uses(self, modality: Modality) -> list[Use]:
        """Each operation of the request on a modality."""
        operations = self.request.operations
        return [Use(self.request, o, modality, self.now, self.head) for o in operations]

    @cached_property
    def rules(self) -> Counting:
        """Exclusion rules that count."""
        return that_count(self.tables.exclusions, self.request, microseconds(self.now))

    @cached_property
    def policies(self) -> Policies:
        """Versions of the manifest."""
        return Policies(self.tables.policies, self.tables.policy_changes)


def rule_tables(
    head: Head, tables: Tables, frame: Frame, events: Events, request: Request, now: datetime
) -> Rulings:
    """Decide every meeting of a frame.

    Args:
        head: scope and defaults.
        tables: the small tables.
        frame: meetings, rosters and content.
        events: of the people on the rosters.
        request: what is asked for.
        now: clock of the decision, aware.
    """
    present = frame.content.coded("modality")[1]
    judged = tuple(m for m in ORDER if m in request.modalities or m in present)
    question = Question(head, tables, request, now, judged)
    bench = Bench(question, frame)
    attendance = Attendance.of(frame, events)
    nobody = frame.roster.null("subject_key")
    consent = {}
    for modality in judged:
        uses = question.uses(modality)
        codes = consent_codes(attendance, uses, question.policies, bench.terms(modality))
        consent[modality] = np.where(nobody, np.uint64(0), codes)
    return bench.rulings(consent)


class Bench:
    """The rules about the meetings of one frame, consent apart.

    Args:
        question: what is decided.
        frame: meetings, rosters and content.
    """

    def __init__(self, question: Question, frame: Frame) -> None:
        self.question, self.frame = question, frame
        self.exclusions = Exclusions(frame, question.rules)

    def terms(self, modality: Modality) -> dict[Operation, Terms]:
        """What each meeting asks of consent to each operation on a modality."""
        origins = self.frame.origins(modality)
        return {
            operation: Terms(origins, d.strength, d.employee_ok, d.all_party_recording)
            for operation, d in self._demands(modality).items()
        }

    def codes(self, modality: Modality) -> tuple[Codes, Codes]:
        """Codes of each meeting and of each roster row for a modality, those of consent apart."""
        demands = self._demands(modality).values()
        judge = _Judge(self.question, self.frame, self.exclusions, modality, demands)
        return judge.meeting(), judge.people()

    def rulings(self, consent: Mapping[Modality, Codes]) -> Rulings:
        """The decisions, with the consent codes of each roster row by modality."""
        defaults, verdicts = self.question.head.defaults, {}
        roll = Roll.of(self.frame, defaults.mode)
        for modality in self.question.modalities:
            meeting, people = self.codes(modality)
            verdicts[modality] = roll.join(meeting, people | consent[modality], defaults)
        return Rulings(self.frame, self.question.request, verdicts, self.exclusions.rules)

    def _demands(self, modality: Modality) -> dict[Operation, DemandColumns]:
        if modality not in self._of_modality:
            rows, uses = self.question.tables.jurisdictions, self.question.uses(modality)
            self._of_modality[modality] = {
                use.operation: DemandColumns(self.frame, rows, use) for use in uses
            }
        return self._of_modality[modality]

    @cached_property
    def _of_modality(self) -> dict[Modality, dict[Operation, DemandColumns]]:
        return {}


class _Judge:
    """The rules for one modality."""

    def __init__(
        self, question: Question, frame: Frame, exclusions: Exclusions, modality: Modality,
        demands: Collection[DemandColumns],
    ) -> None:  # fmt: skip
        self.tables, self.request = question.tables, question.request
        self.frame, self.exclusions, self.modality = frame, exclusions, modality
        self.demands = demands

    def meeting(self) -> Codes:
        """Codes of each meeting."""
        codes = self.exclusions.meetings(self.modality) | self._meeting() | self._content()
        for demands in self.demands:
            codes |= demands.meeting_codes()
        return codes

    def people(self) -> Codes:
        """Codes of each roster row, those of consent apart."""
        codes = self.exclusions.people(self.modality) | self._identity()
        for demands in self.demands:
            codes |= demands.person_codes()
        return codes

    def _meeting(self) -> Codes:
        frame = self.frame
        present = np.bincount(frame.meeting, minlength=frame.meetings.size) > 0
        return MEETING.where(
            frame.meetings.size,
            {
                "MEETING_TZ_INVALID": ~frame.timezone_exists,
                "MEETING_ROSTER_EMPTY": ~present,
                "MODALITY_NOT_REQUESTED": self.modality not in self.request.modalities,
            },
        )

    def _content(self) -> Codes:
        """Codes that the content row of each meeting gives."""
        frame, rows = self.frame, self.frame.content_rows(self.modality)
        has = rows >= 0
        if not has.any():
            return np.zeros(len(rows), np.uint64)
        licences = {licence.licence_id: licence for licence in self.tables.licences}
        forbidding = {
            name: True
            for name, licence in licences.items()
            if self.request.purpose not in licence.purposes
            or not all(covers(licence.operations, o) for o in self.request.operations)
        }
        missing = ~np.asarray(
            frame.content.mapped("licence_id", dict.fromkeys(licences, True), False, bool)
        )
        forbidden = frame.content.mapped("licence_id", forbidding, False, bool)
        found = {
            "LICENCE_MISSING": has & missing[rows],
            "LICENCE_FORBIDS": has & forbidden[rows],
            "MODALITY_UNMAPPED": has & self._unmapped(rows),
        }
        return MEETING.where(len(rows), found)

    def _unmapped(self, rows: Numbers) -> Mask:
        kinds, names = self.frame.content.coded("recording_type")
        platforms, words = self.frame.meetings.coded("platform")
        right = np.array(
            [
                [
                    kind == NONE or RECORDING_TYPES.get((str(p), str(kind))) is self.modality
                    for kind in names
                ]
                for p in words
            ]
        )
        return ~right[platforms, kinds[rows]]

    def _identity(self) -> Codes:
        """Codes of each roster row for who it may be."""
        roster = self.frame.roster
        nobody, guest = roster.null("subject_key"), roster.equal("role", Role.GUEST)
        return PERSON.where(
            roster.size,
            {
                "GUEST_UNIDENTIFIED": nobody & guest,
                "SUBJECT_UNRESOLVED": nobody & ~guest,
                "SHARED_DEVICE": roster.flags("shared_device"),
                "SUBJECT_AMBIGUOUS": self.frame.ambiguous,
                "SUBJECT_CONFUSABLE": self.frame.confusable,
            },
        )


@dataclass(frozen=True)
class Roll:
    """Who is in which meeting, as far as it matters whom a code of a person denies.

    Attributes:
        meeting: of each roster row, the meeting.
        subject: of each roster row, a number for the person; in mode unanimous nobody asks.
        one_to_one: whether each meeting is a talk of two.
    """

    meeting: Numbers
    subject: Numbers
    one_to_one: Mask

    @classmethod
    def of(cls, frame: Frame, mode: Mode) -> "Roll":
        """Of all meetings of a frame."""
        subject = np.zeros(0, np.int64)
        if mode is Mode.PER_SPEAKER:
            subject, _ = numbered(frame.roster.array("subject_key"))
        return cls(frame.meeting, subject, frame.meetings.has("tags", ONE_TO_ONE))

    def join(self, meeting: Codes, people: Codes, defaults: Defaults) -> Verdict:
        """What codes of meetings and of people deny, as the mode says."""
        nothing = np.zeros_like(meeting)
        if defaults.mode is Mode.PER_SPEAKER:
            return Verdict(meeting | self._too_few(people, defaults), people, nothing)
        np.bitwise_or.at(nothing, self.meeting, people)
        return Verdict(meeting, people, nothing)

    def _too_few(self, people: Codes, defaults: Defaults) -> Codes:
        """Whether too few people remain in mode per_speaker."""
        size, number, dropped = len(self.one_to_one), len(self.subject), people > 0
        kept = np.unique(coupled(self.meeting, self.subject, number)[~dropped])
        remaining = np.bincount(uncoupled(kept, number)[0], minlength=size)
        some = np.bincount(self.meeting[dropped], minlength=size) > 0
        return MEETING.where(
            size,
            {
                "TOO_FEW_CONSENTING": remaining < defaults.min_speakers,
                "ONE_TO_ONE": some & self.one_to_one,
            },
        )
