"""The decision: a pure function of manifest rows, the request and the clock; default deny.

Order: exclusions, meeting, roster, consent of every person who took part, split. All codes are
kept, the first one tells most. Content is never looked at here.
"""

import zoneinfo
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from harness.consent.exclusion import exclusion_codes, sources
from harness.consent.manifest import Defaults, Manifest, Tables
from harness.consent.records import (
    ALL,
    AgeBand,
    Arm,
    ConsentEvent,
    ConsentType,
    ContentRow,
    ContentScope,
    Delegation,
    MeetingRow,
    Operation,
    ParticipantRow,
    Policy,
    Role,
    RuleSource,
    State,
)
from harness.meetings.model import Modality

_RECORDING = {Operation.RECORDING, Operation.TRANSCRIPTION}


@dataclass(frozen=True)
class Request:
    """What a job asks permission for; every operation must be covered.

    Attributes:
        controller: who processes.
        purpose: what for.
        operations: what is done.
        modalities: kinds of content, in the order in which they are read.
        arms: arms of the split that the job may read.
        set_aside: sources of exclusion rules that do not count here.
    """

    controller: str
    purpose: str
    operations: tuple[Operation, ...]
    modalities: tuple[Modality, ...]
    arms: frozenset[Arm]
    set_aside: frozenset[RuleSource] = frozenset()


@dataclass(frozen=True)
class Ruling:
    """The decision about one meeting.

    Attributes:
        meeting: its row.
        arm: of the split, None where it has none.
        codes: why it is denied as a whole; empty when it is admitted.
        modalities: codes of each kind of content that the meeting has; empty means admitted.
    """

    meeting: MeetingRow
    arm: Arm | None
    codes: tuple[str, ...]
    modalities: Mapping[Modality, tuple[str, ...]]

    @property
    def admitted(self) -> bool:
        """Whether at least one kind of its content may be used."""
        return not self.codes


class Index:
    """Rows of a manifest by what they belong to."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.roster: dict[str, list[ParticipantRow]] = defaultdict(list)
        self.content: dict[str, dict[Modality, ContentRow]] = defaultdict(dict)
        self.events: dict[str, list[ConsentEvent]] = defaultdict(list)
        for person in tables.participants:
            self.roster[person.meeting_id].append(person)
        for row in tables.content:
            self.content[row.meeting_id][row.modality] = row
        for event in tables.consent:
            self.events[event.subject_key].append(event)
        self.arms = {row.meeting_id: row.arm for row in tables.split}

    @cached_property
    def policies(self) -> dict[tuple[str, str], Policy]:
        """Policies by id and version."""
        return {(policy.policy_id, policy.version): policy for policy in self.tables.policies}


@dataclass(frozen=True)
class _Case:
    """A meeting and a use of one kind of its content, to be judged at one time."""

    index: Index
    defaults: Defaults
    request: Request
    now: datetime
    meeting: MeetingRow
    modality: Modality

    @cached_property
    def origins(self) -> frozenset[Modality]:
        rows = self.index.content.get(self.meeting.meeting_id, {})
        return sources(self.modality, rows.values())


def rule(manifest: Manifest, request: Request, now: datetime) -> list[Ruling]:
    """Decide every meeting of a manifest, in the order of its rows."""
    index = Index(manifest.tables)
    return [
        _rule_meeting(index, manifest.head.defaults, request, now, meeting)
        for meeting in manifest.tables.meetings
    ]


def _rule_meeting(
    index: Index, defaults: Defaults, request: Request, now: datetime, meeting: MeetingRow
) -> Ruling:
    present = index.content.get(meeting.meeting_id, {})
    verdicts = {
        modality: _unique(_content_codes(_Case(index, defaults, request, now, meeting, modality)))
        for modality in [*request.modalities, *(m for m in present if m not in request.modalities)]
    }
    arm = index.arms.get(meeting.meeting_id)
    asked = [verdicts[m] for m in request.modalities if m in present]
    missing = ["MEETING_NO_CONTENT"] if not asked else []
    codes = [] if () in asked else [code for m in request.modalities for code in verdicts[m]]
    whole = _unique([*codes, *missing, *_arm_codes(arm, request, bool(codes or missing))])
    return Ruling(meeting, arm, whole, {m: verdicts[m] for m in present})


def _arm_codes(arm: Arm | None, request: Request, denied: bool) -> list[str]:
    if arm is None:
        return [] if denied else ["SPLIT_UNASSIGNED"]
    return [] if arm in request.arms else [f"{arm.upper()}_ARM"]


def _content_codes(case: _Case) -> list[str]:
    people = case.index.roster.get(case.meeting.meeting_id, [])
    rules = [r for r in case.index.tables.exclusions if r.source not in case.request.set_aside]
    subjects = {person.subject_key for person in people if person.subject_key}
    codes = exclusion_codes(rules, case.meeting, subjects, case.modality, case.origins, case.now)
    codes += _meeting_codes(case.meeting, people)
    for person in people:
        codes += _person_codes(case, person)
    if case.modality not in case.request.modalities:
        codes.append("MODALITY_NOT_REQUESTED")
    return codes


def _meeting_codes(meeting: MeetingRow, people: Sequence[ParticipantRow]) -> list[str]:
    codes = [] if people else ["MEETING_ROSTER_EMPTY"]
    try:
        zoneinfo.ZoneInfo(meeting.tz)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        codes.append("MEETING_TZ_INVALID")
    return codes


def _person_codes(case: _Case, person: ParticipantRow) -> list[str]:
    if person.subject_key is None:
        return ["GUEST_UNIDENTIFIED" if person.role is Role.GUEST else "SUBJECT_UNRESOLVED"]
    if person.age_band is AgeBand.MINOR:
        return ["MINOR"]
    if person.age_band is AgeBand.UNKNOWN:
        return ["AGE_UNKNOWN"]
    events = case.index.events.get(person.subject_key, [])
    return [
        code
        for operation in case.request.operations or [None]
        for code in _consent_codes(case, person, operation, events)
    ]


def _consent_codes(
    case: _Case,
    person: ParticipantRow,
    operation: Operation | None,
    events: Iterable[ConsentEvent],
) -> list[str]:
    """Judge by the latest events that speak of this use; say what is missing when none does."""
    if operation is None:
        return ["OPERATION_NOT_COVERED"]
    heard: list[ConsentEvent] = []
    near: list[tuple[bool, datetime, list[str]]] = []
    for event in events:
        gaps = _gaps(case, person, operation, event)
        if not gaps:
            heard.append(event)
        elif gaps != _SILENT:
            near.append(("SCOPE_MEETING" not in gaps, event.event_time, gaps))
    if heard:
        return _latest_codes(case, operation, heard)
    # nothing covers it: the latest event, of those that name this meeting if any does, tells why
    nearest = max((entry[:2] for entry in near), default=None)
    return [c for *rank, gaps in near if tuple(rank) == nearest for c in gaps] or _SILENT


def _latest_codes(case: _Case, operation: Operation, events: Sequence[ConsentEvent]) -> list[str]:
    latest = max(event.event_time for event in events)
    tied = [event for event in events if event.event_time == latest]
    denials = [_STATE_CODES[event.state] for event in tied if not event.state.permits]
    if denials:
        tie = len(denials) < len(tied)
        return [*denials, *(["TIE_RESTRICTIVE"] if tie else [])]
    return [code for event in tied for code in _faults(case, operation, event)]


def _gaps(
    case: _Case, person: ParticipantRow, operation: Operation, event: ConsentEvent
) -> list[str]:
    """Why an event does not speak of this use; empty when it does."""
    if not event.state.permits:
        return [] if _forbids(case, operation, event) else _SILENT
    codes = ["CONSENT_NOT_YET_VALID"] if event.event_time > case.now else []
    actor = _actor_code(person, event)
    return codes + ([actor] if actor else []) + _coverage_gaps(case, operation, event)


def _forbids(case: _Case, operation: Operation, event: ConsentEvent) -> bool:
    """Whether a refusal or withdrawal reaches this use; one that names nothing reaches all."""
    skew = timedelta(seconds=case.defaults.clock_skew_s)
    kinds = {case.modality, *case.origins}
    scope = event.scope
    return (
        event.event_time <= case.now + skew
        and event.controller == case.request.controller
        and (not event.operations or _covers(event.operations, operation))
        and (not event.purposes or case.request.purpose in event.purposes)
        and (not event.modalities or bool(kinds & {*event.modalities}))
        and (not (scope.meetings or scope.series) or _names(scope, case.meeting))
        and _in_time(scope, case.meeting)
    )


def _coverage_gaps(case: _Case, operation: Operation, event: ConsentEvent) -> list[str]:
    codes = []
    if event.controller != case.request.controller:
        codes.append("CONTROLLER_NOT_COVERED")
    if event.operations and {*event.operations} <= _RECORDING and operation not in _RECORDING:
        codes.append("PURPOSE_RECORDING_ONLY")  # says it all: other axes would only add noise
    else:
        codes += _use_gaps(case, operation, event)
    if not _names(event.scope, case.meeting):
        codes.append("SCOPE_MEETING")
    if not _in_time(event.scope, case.meeting):
        codes.append("SCOPE_TIME")
    return codes


def _use_gaps(case: _Case, operation: Operation, event: ConsentEvent) -> list[str]:
    found = {
        "OPERATION_NOT_COVERED": not _covers(event.operations, operation),
        "PURPOSE_NOT_COVERED": case.request.purpose not in event.purposes,
        "MODALITY_NOT_COVERED": case.modality not in event.modalities,
    }
    return [code for code, missing in found.items() if missing]


def _actor_code(person: ParticipantRow, event: ConsentEvent) -> str | None:
    """Why the one who spoke could not speak for this person."""
    by_guardian = event.delegation in (Delegation.PARENT, Delegation.GUARDIAN)
    own = event.actor_key == event.subject_key
    if event.delegation in (Delegation.HOST, Delegation.EMPLOYER):
        return "HOST_CONSENT_NOT_PARTICIPANT"
    if person.age_band is AgeBand.MINOR_WITH_GUARDIAN:
        return None if by_guardian and not own else "MINOR"
    if own != (event.delegation is None) or by_guardian:
        return "DELEGATION_NOT_ALLOWED"
    return None


def _faults(case: _Case, operation: Operation, event: ConsentEvent) -> list[str]:
    """What is wrong with a consent that speaks of this use."""
    codes = _notice_codes(case, operation, event)
    if event.consent_type is not ConsentType.EXPLICIT:
        codes.insert(0, "NOT_EXPLICIT")
    if case.now < event.valid_from:
        codes.append("CONSENT_NOT_YET_VALID")
    if case.now >= event.valid_until:
        codes.append("CONSENT_EXPIRED")
    if case.now - event.event_time > timedelta(days=case.defaults.max_consent_age_days):
        codes.append("CONSENT_TOO_OLD")
    return codes


def _notice_codes(case: _Case, operation: Operation, event: ConsentEvent) -> list[str]:
    policy = case.index.policies.get((event.notice.policy_id, event.notice.version))
    if policy is None:
        return ["POLICY_UNKNOWN"]
    codes = []
    if policy.sha256 != event.notice.sha256:
        codes.append("POLICY_HASH_MISMATCH")
    if event.event_time < policy.effective_from:
        codes.append("CONSENT_BEFORE_DISCLOSURE")
    if _is_superseded(policy, case.index.tables.policies, case.now):
        codes.append("POLICY_VERSION_SUPERSEDED")
    if not (
        _covers(policy.operations, operation)
        and case.request.purpose in policy.purposes
        and case.modality in policy.modalities
    ):
        codes.append("POLICY_NOT_COVERING")
    return codes


def _is_superseded(policy: Policy, policies: Iterable[Policy], now: datetime) -> bool:
    """An undeclared change may widen, so any newer version in force asks for new consent."""
    return any(
        other.policy_id == policy.policy_id
        and other.version != policy.version
        and policy.effective_from <= other.effective_from <= now
        for other in policies
    )


def _covers(operations: Collection[Operation], operation: Operation) -> bool:
    """Training includes fine-tuning; nothing includes anything else (DPV)."""
    return operation in operations or (
        operation is Operation.FINE_TUNING and Operation.TRAINING in operations
    )


def _names(scope: ContentScope, meeting: MeetingRow) -> bool:
    return (
        ALL in scope.meetings
        or ALL in scope.series
        or meeting.meeting_id in scope.meetings
        or meeting.series_id in scope.series
    )


def _in_time(scope: ContentScope, meeting: MeetingRow) -> bool:
    return scope.from_ <= meeting.start < scope.until


def _unique(codes: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(codes))


_SILENT = ["NO_CONSENT_RECORD"]

_STATE_CODES = {
    State.REQUESTED: "CONSENT_REQUESTED_ONLY",
    State.REFUSED: "CONSENT_REFUSED",
    State.WITHDRAWN: "CONSENT_WITHDRAWN",
    State.REVOKED: "CONSENT_REVOKED",
    State.EXPIRED: "CONSENT_EXPIRED",
    State.INVALIDATED: "CONSENT_INVALIDATED",
    State.UNKNOWN: "CONSENT_UNKNOWN",
}
