"""Consent: what the events of a person say about one use of one meeting.

Every rule of ``docs/gate.md``, section 6, is one line of a table here: the code, and when it
holds. Conditions that depend on the event alone are worked out once for each event; the others for
each pair of a roster row and an event of its subject.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from harness.consent.attendance import Attendance
from harness.consent.bits import PERSON, Codes, Mask
from harness.consent.columns import (
    DAY,
    Columns,
    Numbers,
    blocks,
    coupled,
    fixed_numbers,
    microseconds,
    numbered,
    ranges,
    uncoupled,
)
from harness.consent.events import Events
from harness.consent.jurisdiction import STRENGTH
from harness.consent.modality import BIT, METADATA, OPERATION_BIT, covering_mask
from harness.consent.policy import Policies
from harness.consent.records import Method, Operation
from harness.consent.request import Use

_STEPS = 4
PAIRS_AT_ONCE = 1 << 17  # so that a block stays in the processor's cache
_RECORDING = {Operation.RECORDING, Operation.TRANSCRIPTION}


@dataclass(frozen=True)
class Spoken:
    """What events say of a use before it is known whose meeting it is.

    Attributes:
        reaches: whether it reaches the use, modalities and scope apart.
        gaps: of a permitting event, those of the use alone.
        faults: of a permitting event, those of the use alone.
        recording_only: whether its recording-only gap stands for those about modalities.
    """

    reaches: Mask
    gaps: Codes
    faults: Codes
    recording_only: Mask


@dataclass(frozen=True)
class Terms:
    """What meetings ask of consent to one use, by the number of the meeting.

    Attributes:
        origins: what the modality derives from there, as bits.
        strength: of the weakest consent that will do, as a place in ``STRENGTH``.
        employee_ok: whether an employee may agree to the employer's use.
        all_party_recording: whether everybody has to agree to the recording.
    """

    origins: Numbers
    strength: Numbers
    employee_ok: Mask
    all_party_recording: Mask


def consent_codes(
    attendance: Attendance,
    uses: Iterable[Use],
    policies: Policies,
    terms: Mapping[Operation, Terms],
) -> Codes:
    """Codes of each row of an attendance for some uses of one modality.

    Args:
        attendance: who was where.
        uses: of one request, each with another operation.
        policies: versions of the manifest.
        terms: by operation.
    """
    rows = np.arange(len(attendance.meeting))
    codes = np.zeros(len(rows), np.uint64)
    for use in uses:
        codes |= Agreement(attendance, use, policies, terms[use.operation]).codes(rows)
        asked = np.flatnonzero(terms[use.operation].all_party_recording[attendance.meeting])
        if len(asked):
            recording = replace(use, operation=Operation.RECORDING)
            axis = Agreement(
                attendance, recording, policies, terms[use.operation], recording_axis=True
            )
            missing = axis.codes(asked) > 0
            codes[asked] |= PERSON.where(len(asked), {"RECORDING_NOT_AGREED": missing})
    return codes


class Agreement:
    """The consent codes of roster rows for one use.

    Args:
        attendance: who was where.
        use: operation, modality, request and time.
        policies: versions of the manifest.
        terms: of each meeting.
        recording_axis: look only at who, when and where, as for the recording of a meeting.
    """

    def __init__(
        self, attendance: Attendance, use: Use, policies: Policies, terms: Terms,
        recording_axis: bool = False,
    ) -> None:  # fmt: skip
        self.attendance, self.use, self.policies, self.terms = attendance, use, policies, terms
        self.recording_axis = recording_axis
        self.now = microseconds(use.now)

    def codes(self, rows: Numbers) -> Codes:
        """Codes of some roster rows, all of which have a subject.

        Args:
            rows: numbers of roster rows.
        """
        found, open_ = self._by_latest(rows)
        left = np.flatnonzero(open_)
        sizes = self.attendance.last[rows[left]] - self.attendance.first[rows[left]]
        for start, end in blocks(sizes, PAIRS_AT_ONCE):
            found[left[start:end]] = Pairs.of(self, rows[left[start:end]]).codes()
        return found

    def _by_latest(self, rows: Numbers) -> tuple[Codes, Mask]:
        """Codes where one event is heard that is later than all others that are heard.

        A person's events are gone through from the latest on, for all rows at once; most rows
        are decided by the first or second. Rows whose latest heard event may have a tie, or of
        whose events none is heard in some steps, stay open.
        """
        codes, open_ = np.zeros(len(rows), np.uint64), np.ones(len(rows), bool)
        first, time = self.attendance.first[rows], self.log.time
        event = self.attendance.last[rows] - 1
        left = np.flatnonzero(event >= first)
        for _ in range(_STEPS):
            one = np.arange(len(left))
            pairs = Pairs(self, rows[left], one, event[left])
            heard = pairs.heard()
            before = np.maximum(event[left] - 1, first[left])
            alone = (before == event[left]) | (time[before] < time[event[left]])
            done = heard & alone
            codes[left[done]], open_[left[done]] = pairs.only(done).said()[done], False
            left = left[~heard]
            event[left] -= 1
            left = left[event[left] >= first[left]]
        return codes, open_

    def decisive(self, rows: Numbers) -> Numbers:
        """The events, as rows of the frame, that the codes of some roster rows come from."""
        pairs = Pairs.of(self, rows)
        return np.unique(pairs.event[pairs.decisive()])

    @property
    def log(self) -> Events:
        """The events."""
        return self.attendance.events

    @cached_property
    def spoken(self) -> Spoken:
        """What each event says of the use alone."""
        only = self._recording_only
        gaps = self._gaps(only)
        reaches = np.where(self.log.permits, gaps == 0, self._restricts)
        return Spoken(reaches, gaps, self._faults, only)

    @property
    def _events(self) -> Columns:
        return self.log.columns

    @cached_property
    def _covered(self) -> Mask:
        return np.asarray((self.log.operations & covering_mask(self.use.operation)) > 0)

    @cached_property
    def _restricts(self) -> Mask:
        """Whether a restrictive event reaches the use; of other events it says nothing."""
        events, request = self._events, self.use.request
        skew = self.use.head.defaults.clock_skew_s * 10**6
        reach = (
            (self.log.time <= self.now + skew)
            & events.equal("controller", request.controller)
            & (self._covered | (self.log.operations == 0))
        )
        if not self.recording_axis:
            silent = events.lengths("purposes") == 0
            reach &= silent | events.has("purposes", request.purpose)
        return np.asarray(reach)

    @cached_property
    def _recording_only(self) -> Mask:
        listed, recording = self.log.operations, sum(OPERATION_BIT[o] for o in _RECORDING)
        only = (listed > 0) & ((listed & ~recording) == 0)
        return np.asarray(only & (self.use.operation not in _RECORDING))

    @cached_property
    def _spares_a_recipient(self) -> Mask:
        """Whether somebody who is to receive is not among the recipients that it lists."""
        spares = np.zeros(self._events.size, bool)
        for name in self.use.request.recipients:
            spares |= ~self._events.has("recipients", name)
        return spares

    def _gaps(self, only: Mask) -> Codes:
        events, request = self._events, self.use.request
        found = {
            "CONSENT_NOT_YET_VALID": self.log.time > self.now,
            "CONTROLLER_NOT_COVERED": ~events.equal("controller", request.controller),
            "OPERATION_NOT_COVERED": ~self._covered & ~only,
        }
        if not self.recording_axis:
            found |= {
                "RECIPIENT_NOT_COVERED": self._spares_a_recipient,
                "PURPOSE_RECORDING_ONLY": only,
                "PURPOSE_NOT_COVERED": ~events.has("purposes", request.purpose) & ~only,
            }
        return PERSON.where(events.size, found)

    @cached_property
    def _faults(self) -> Codes:
        events = self._events
        oldest = self.now - self.use.head.defaults.max_consent_age_days * DAY
        found = {
            "CONSENT_BUNDLED": events.equal("method", Method.TERMS),
            "CONSENT_NOT_YET_VALID": self.now < events.times("valid_from"),
            "CONSENT_EXPIRED": self.now >= events.times("valid_until"),
            "CONSENT_TOO_OLD": self.log.time < oldest,
            "RETENTION_PASSED": self.now >= events.times("retention_until"),
        }
        return PERSON.where(events.size, found) | self._policy_faults

    @cached_property
    def _policy_faults(self) -> Codes:
        """Faults of the notice; policies are few, so each that is named is judged once."""
        events = self._events
        names, ids = events.coded("notice.policy_id")
        numbers, versions = events.coded("notice.version")
        which, kinds = numbered(coupled(names, numbers, len(versions)))
        faults, disclosed, digests = [], [], []
        for name, number in zip(*uncoupled(kinds.to_numpy(), len(versions)), strict=True):
            policy = self.policies.find(ids[name], versions[number])
            found = ["POLICY_UNKNOWN"] if policy is None else self.policies.faults(policy, self.use)
            faults.append(PERSON.of(found))
            disclosed.append(microseconds(policy.disclosed_at) if policy else -(2**62))
            digests.append(bytes.fromhex(policy.sha256) if policy else None)
        if not len(kinds):
            return np.zeros(events.size, np.uint64)
        other = self._other_text(digests, which)
        late = self.log.time < np.array(disclosed)[which]
        return np.array(faults, np.uint64)[which] | PERSON.where(
            events.size,
            {"POLICY_HASH_MISMATCH": other, "CONSENT_BEFORE_DISCLOSURE": late},
        )  # fmt: skip

    def _other_text(self, digests: Sequence[bytes | None], which: Numbers) -> Mask:
        """Whether the text that was shown is not that of the policy; where there is a policy."""
        known = np.array([digest is not None for digest in digests])
        recorded = fixed_numbers(pa.array([d or bytes(32) for d in digests], pa.binary(32)), 4)
        stated = self.log.notice_digests
        other = np.zeros(len(which), bool)
        for place, words in enumerate(recorded.T):
            other |= stated[:, place] != words[which]
        return np.asarray(other & known[which])


class Pairs:
    """Roster rows beside events of their subjects.

    Args:
        agreement: what is asked.
        rows: roster rows.
        place: of each pair, the place of its row among ``rows``; rising.
        event: of each pair, the event.
    """

    def __init__(self, agreement: Agreement, rows: Numbers, place: Numbers, event: Numbers) -> None:
        self.ask, self.rows, self.place, self.event = agreement, rows, place, event
        self.log, self.scopes = agreement.log, agreement.attendance.scopes
        self.row = rows[place]
        self.meeting = agreement.attendance.meeting[self.row]

    @cached_property
    def time(self) -> Numbers:
        """When each event happened, in microseconds."""
        return np.asarray(self.log.time[self.event])

    @cached_property
    def permits(self) -> Mask:
        """Whether each event permits."""
        return np.asarray(self.log.permits[self.event])

    @classmethod
    def of(cls, agreement: Agreement, rows: Numbers) -> "Pairs":
        """Each row with all events of its subject."""
        first = agreement.attendance.first[rows]
        size = agreement.attendance.last[rows] - first
        return cls(agreement, rows, np.repeat(np.arange(len(rows)), size), ranges(first, size))

    def codes(self) -> Codes:
        """Codes of each roster row."""
        decisive, is_heard = self._latest(self.heard())
        found = np.full(len(self.rows), PERSON.bit("NO_CONSENT_RECORD"))
        unheard = np.flatnonzero(~is_heard & self._any(self.permits))
        near = Pairs.of(self.ask, self.rows[unheard])
        found[unheard] = near._join(near._gap_codes(), near._nearest())
        return np.where(is_heard, self.only(decisive).said(), found)

    def decisive(self) -> Mask:
        """The pairs that decide: the latest that are heard, else the nearest that permit."""
        decisive, is_heard = self._latest(self.heard())
        return np.asarray(np.where(is_heard[self.place], decisive, self._nearest()))

    def only(self, chosen: Mask) -> "Pairs":
        """Some of the pairs."""
        pairs = np.flatnonzero(chosen)
        return Pairs(self.ask, self.rows, self.place[pairs], self.event[pairs])

    def said(self) -> Codes:
        """Codes of each row, if all pairs are decisive."""
        restricted, permitted = self._any(~self.permits), self._any(self.permits)
        codes = np.where(self.permits, self._faults(), self.log.state_codes[self.event])
        codes = self._join(codes, ~(self.permits & restricted[self.place]))
        tied = {"TIE_RESTRICTIVE": restricted & permitted}
        return codes | PERSON.where(len(self.rows), tied)

    def heard(self) -> Mask:
        """Whether the event says something of the use of this meeting."""
        heard = self.ask.spoken.reaches[self.event]
        for kind, hears in ((self.permits, Pairs._permits_here), (~self.permits, Pairs._reached)):
            these = heard & kind
            heard[these] = hears(self.only(these))
        return np.asarray(heard)

    def _permits_here(self) -> Mask:
        """Whether permitting events that reach the use have no gap for the meeting either."""
        return np.asarray(~np.logical_or.reduce([*self._gaps().values()]))

    @cached_property
    def names(self) -> Mask:
        """Whether the event names the meeting."""
        return self.scopes.names(self.event, self.meeting)

    @cached_property
    def _start(self) -> Numbers:
        return np.asarray(self.ask.attendance.start[self.meeting])

    @cached_property
    def _in_time(self) -> Mask:
        scopes = self.scopes
        return np.asarray(
            (scopes.start[self.event] <= self._start) & (self._start < scopes.end[self.event])
        )

    @cached_property
    def _lists(self) -> tuple[Mask, Mask, Mask]:
        """Whether the event lists the modality, an origin of it, and it as a derivative."""
        bit, listed = BIT[self.ask.use.modality], self.log.modalities[self.event]
        derived = self.log.derivatives[self.event]
        origins = self.ask.terms.origins[self.meeting]
        return (listed & bit) > 0, (listed & origins) > 0, (derived & bit) > 0

    def _reached(self) -> Mask:
        """Whether restrictive events that reach the use reach the meeting."""
        ask, event = self.ask, self.event
        reached = self._in_time & (self.scopes.none[event] | self.names)
        if ask.recording_axis:
            return np.asarray(reached)
        own, origin, derivative = self._lists
        silent = self.log.modalities[event] == 0
        return np.asarray(reached & (silent | own | (origin & ~derivative)))

    def _gap_codes(self) -> Codes:
        return self.ask.spoken.gaps[self.event] | PERSON.where(len(self.event), self._gaps())

    def _gaps(self) -> dict[str, Mask]:
        """Gaps of permitting events that not the event alone decides."""
        found = {"SCOPE_MEETING": ~self.names, "SCOPE_TIME": ~self._in_time, **self._actor()}
        if not self.ask.recording_axis:
            late = ~self.log.retroactive[self.event] & (self._start < self.time)
            found |= {"RETROACTIVE_NOT_GIVEN": late, **self._modality_gaps()}
        return found

    def _modality_gaps(self) -> dict[str, Mask]:
        own, origin, derivative = self._lists
        judged = ~self.ask.spoken.recording_only[self.event]
        missing = judged & ~own & ~origin
        metadata = self.ask.use.modality in METADATA
        return {
            "DERIVATIVE_NOT_COVERED": judged & ~own & origin & ~derivative,
            "METADATA_NOT_COVERED": missing & metadata,
            "MODALITY_NOT_COVERED": missing & (not metadata),
        }

    def _actor(self) -> dict[str, Mask]:
        """Why the one who spoke could not speak for this person."""
        log, event = self.log, self.event
        others, guardian, own = log.by_others[event], log.by_guardian[event], log.by_self[event]
        minor = self.ask.attendance.guarded[self.row]
        return {
            "HOST_CONSENT_NOT_PARTICIPANT": others,
            "MINOR": minor & ~(guardian & ~own),
            "DELEGATION_NOT_ALLOWED": ~minor & (guardian | (own != log.as_self[event])),
        }

    def _faults(self) -> Codes:
        ask, terms, meeting = self.ask, self.ask.terms, self.meeting
        if ask.recording_axis:
            return np.zeros(len(self.event), np.uint64)
        shown = self.log.strength[self.event]
        least = STRENGTH[ask.use.head.defaults.min_consent_type]
        employee = ask.attendance.employed[self.row]
        found = {
            "NOT_EXPLICIT": shown < np.maximum(terms.strength[meeting], least),
            "EMPLOYEE_CONSENT": employee & ~terms.employee_ok[meeting],
        }
        return ask.spoken.faults[self.event] | PERSON.where(len(self.event), found)

    def _latest(self, heard: Mask) -> tuple[Mask, Mask]:
        """The latest of the heard pairs of each row, ties together; and which rows have any."""
        latest = self._greatest(np.where(heard, self.time, _NEVER))
        return heard & (self.time == latest[self.place]), latest > _NEVER

    def _nearest(self) -> Mask:
        """Permitting events that name the meeting if any does, of them the latest."""
        named = self._any(self.permits & self.names)
        near = self.permits & (self.names | ~named[self.place])
        return self._latest(near)[0]

    def _greatest(self, values: Numbers) -> Numbers:
        return np.asarray(self._reduce(np.maximum, values, _NEVER))

    def _any(self, condition: Mask) -> Mask:
        return np.asarray(self._reduce(np.maximum, condition.astype(np.int8), np.int8(0)) > 0)

    def _join(self, codes: Codes, chosen: Mask) -> Codes:
        found: Codes = self._reduce(
            np.bitwise_or, np.where(chosen, codes, np.uint64(0)), np.uint64(0)
        )
        return found

    def _reduce(self, operation: np.ufunc, values: Any, empty: Any) -> Any:
        """Reduce the pairs of each row; rows without pairs get ``empty``."""
        out = np.full(len(self.rows), empty, values.dtype)
        if len(self.place):
            out[self.place[self._starts]] = operation.reduceat(values, self._starts)
        return out

    @cached_property
    def _starts(self) -> Numbers:
        """Where the pairs of each row begin."""
        return np.flatnonzero(np.diff(self.place, prepend=-1))


_NEVER = -(2**62)
