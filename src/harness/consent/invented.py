"""Invented consent for data that comes without any: the demo's meetings and public corpora.

Clean people agree explicitly to fine-tuning, evaluation and the leak test, for research, on the
transcript only unless more kinds are named; a policy rule keeps chat out. A *fault* is one thing
that is wrong with a meeting.
"""

import hashlib
import hmac
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from harness.consent.authoring import Draft
from harness.consent.head import Defaults, Draw, Mode, OnWithdrawal, Scope, Tables
from harness.consent.records import (
    ALL,
    NONE,
    AgeBand,
    Arm,
    ChangeKind,
    ConsentEvent,
    ConsentType,
    ContentRow,
    ContentScope,
    Delegation,
    ExclusionRule,
    Jurisdiction,
    Licence,
    MeetingRow,
    Method,
    Notice,
    Operation,
    ParticipantRow,
    Policy,
    PolicyChange,
    Relation,
    Role,
    RuleKind,
    RuleScope,
    RuleSource,
    SpecialCategory,
    SplitRow,
    State,
    format_time,
)
from harness.consent.split import draw
from harness.digest import sha256_hex
from harness.meetings.model import Modality

CONTROLLER = "https://demo.example"
PURPOSE = "dpv:ResearchAndDevelopment"
SERVICE = "dpv:RequestedServiceProvision"
OPERATIONS = (Operation.FINE_TUNING, Operation.EVALUATION, Operation.LEAK_TEST)
RECORDING = (Operation.RECORDING, Operation.TRANSCRIPTION)
BEGINNING = datetime(2025, 1, 1, tzinfo=UTC)
DISCLOSED = datetime(2025, 8, 7, tzinfo=UTC)
END = datetime(2126, 1, 1, tzinfo=UTC)
LICENCE = "research"
PLACE = "XA"  # a code that ISO 3166 leaves to its users
IN_FORCE = DISCLOSED - timedelta(days=11)  # terms that applied before they were told, as in 2023
OLD_POLICY = Policy("terms", "2025-03", BEGINNING, BEGINNING, sha256_hex(b"terms 1"), RECORDING,
                    (SERVICE,), (Modality.AUDIO, Modality.TRANSCRIPT), ())  # fmt: skip
POLICY = Policy("terms", "2025-08", IN_FORCE, DISCLOSED, sha256_hex(b"terms 2"),
                (*OPERATIONS, *RECORDING), (PURPOSE, SERVICE),
                (Modality.AUDIO, Modality.TRANSCRIPT), ())  # fmt: skip
CHANGE = PolicyChange("terms", "2025-03", "2025-08", ChangeKind.WIDENING, OPERATIONS, (PURPOSE,),
                      ())  # fmt: skip
RULE_OF_PLACE = Jurisdiction(
    PLACE, ALL, ALL, ConsentType.EXPLICIT, guardian_ok=False, employee_ok=False,
    special_category=SpecialCategory.DENY, min_age=16, max_retention_days=36500,
    all_party_recording=False, transfer_to=(PLACE,), effective_from=BEGINNING,
    effective_until=END, reviewed_on=BEGINNING,
)  # fmt: skip
DEFAULTS = Defaults(
    Mode.UNANIMOUS, ConsentType.EXPLICIT, clock_skew_s=300, max_consent_age_days=36500,
    min_speakers=3, max_dropped_percent=50, max_withdrawals_age_s=86400,
    on_withdrawal=OnWithdrawal.ABORT,
)  # fmt: skip
_EXCLUSIONS = {
    "excluded_id": (RuleKind.MEETING, RuleSource.COURT),
    "excluded_tag": (RuleKind.TAG, RuleSource.CONTROLLER),
    "excluded_date": (RuleKind.DATE_RANGE, RuleSource.CONTROLLER),
    "excluded_modality": (RuleKind.MODALITY, RuleSource.SUBJECT),
}
_SENTINEL_KINDS = (RuleKind.MEETING, RuleKind.TAG, RuleKind.DATE_RANGE, RuleKind.MODALITY)


@dataclass(frozen=True)
class Person:
    """Somebody on a meeting's roster; ``name`` is what the subject key is made from."""

    name: str
    label: str
    role: Role
    adult: bool = True
    identified: bool = True


@dataclass(frozen=True)
class Gathering:
    """A meeting, who took part, what was kept of it, and what is wrong with it."""

    row: MeetingRow
    people: Sequence[Person]
    content: Sequence[ContentRow]
    fault: str | None = None


@dataclass
class _Register:
    """Rows in the making."""

    seed: str
    modalities: tuple[Modality, ...]
    participants: list[ParticipantRow] = field(default_factory=list)
    consent: list[ConsentEvent] = field(default_factory=list)
    exclusions: list[ExclusionRule] = field(default_factory=list)

    def key(self, name: str) -> str:
        """Keyed pseudonym of a person."""
        return hmac.new(self.seed.encode(), name.encode(), hashlib.sha256).hexdigest()[:32]

    def record(self, event: ConsentEvent) -> None:
        """Append to the consent log."""
        seq = len(self.consent)
        self.consent.append(replace(event, seq=seq, event_id=f"event-{seq:06d}"))

    def exclude(self, rule_id: str, kind: RuleKind, source: RuleSource, row: MeetingRow) -> None:
        """Exclude one meeting by a rule of some kind."""
        value = {
            RuleKind.MEETING: row.meeting_id,
            RuleKind.TAG: withheld_tag(source),
            RuleKind.DATE_RANGE: _day(row.start),
            RuleKind.MODALITY: Modality.TRANSCRIPT.value,
        }[kind]
        self.exclusions.append(_rule(rule_id, kind, value, (row.meeting_id,), source))


def invented_draft(
    gatherings: Sequence[Gathering],
    seed: str,
    validation: Iterable[str],
    modalities: tuple[Modality, ...] = (Modality.TRANSCRIPT,),
) -> Draft:
    """Build a manifest's tables from meetings and their faults.

    Args:
        gatherings: all meetings.
        seed: of the subject keys and of the random split.
        validation: series that are kept for validation as a whole.
        modalities: what clean people agree to, by name.
    """
    policy = replace(POLICY, modalities=tuple(dict.fromkeys([*POLICY.modalities, *modalities])))
    register = _Register(seed, modalities)
    register.exclusions.append(
        _rule("no-chat", RuleKind.MODALITY, Modality.CHAT_PUBLIC, (ALL,), RuleSource.POLICY)
    )
    split = _split(gatherings, seed, {*validation})
    tags: dict[str, tuple[str, ...]] = defaultdict(tuple)
    for gathering in gatherings:
        _register(register, gathering)
        if gathering.fault == "excluded_tag":
            tags[gathering.row.meeting_id] = (withheld_tag(RuleSource.CONTROLLER),)
    rows = {gathering.row.meeting_id: gathering.row for gathering in gatherings}
    sentinels = [row.meeting_id for row in split if row.arm is Arm.SENTINEL]
    for place, name in enumerate(sentinels):
        kind = _SENTINEL_KINDS[place % len(_SENTINEL_KINDS)]
        register.exclude(f"sentinel-{name}", kind, RuleSource.SENTINEL, rows[name])
        if kind is RuleKind.TAG:
            tags[name] = (withheld_tag(RuleSource.SENTINEL),)
    meetings = tuple(
        replace(row, tags=tuple(dict.fromkeys([*row.tags, *tags[name]])))
        for name, row in rows.items()
    )
    content = tuple(row for gathering in gatherings for row in gathering.content)
    tables = Tables(
        (OLD_POLICY, policy), (CHANGE,), (RULE_OF_PLACE,),
        (Licence(LICENCE, OPERATIONS, (PURPOSE,)),), (), meetings, tuple(register.participants),
        content, tuple(register.consent), tuple(register.exclusions), tuple(split),
    )  # fmt: skip
    scope = Scope(CONTROLLER, (), OPERATIONS, (PURPOSE,), modalities, (PLACE,))
    return Draft(f"{CONTROLLER}/privacy", scope, DEFAULTS, Draw(seed, True), tables)


def withheld_tag(source: RuleSource) -> str:
    """Tag that marks a meeting as excluded by somebody."""
    return f"withheld-by-{source}"


def _split(gatherings: Sequence[Gathering], seed: str, validation: set[str]) -> list[SplitRow]:
    pool: dict[str, list[str]] = defaultdict(list)
    for gathering in gatherings:
        if gathering.fault is None:
            pool[gathering.row.series_id].append(gathering.row.meeting_id)
    arms = draw(seed, pool, validation)
    return [SplitRow(name, series, arms[name]) for series, names in pool.items() for name in names]


def _register(register: _Register, gathering: Gathering) -> None:
    """Roster, consent and exclusions of one meeting; the last person bears a personal fault."""
    host = register.key(gathering.people[0].name)
    last = len(gathering.people) - 1
    for place, person in enumerate(gathering.people):
        key = register.key(person.name)
        shown = key if person.identified else None
        age = AgeBand.ADULT if person.adult else AgeBand.MINOR
        register.participants.append(
            ParticipantRow(
                gathering.row.meeting_id,
                shown,
                person.label,
                person.role,
                age,
                Relation.OTHER,
                (PLACE,),
                NONE,
                False,
            )
        )
        given = replace(_given(gathering.row, key), modalities=register.modalities)
        if shown is None:
            continue
        concerned = place != 0 if gathering.fault == "host_for_all" else place == last
        for event in _faulty(given, gathering.fault, host) if concerned else [given]:
            register.record(event)
    if gathering.fault in _EXCLUSIONS:
        kind, source = _EXCLUSIONS[gathering.fault]
        register.exclude(f"rule-{gathering.row.meeting_id}", kind, source, gathering.row)


def _given(row: MeetingRow, key: str) -> ConsentEvent:
    """Explicit consent to the use of one meeting's transcript, given the day before it."""
    time = max(row.start - timedelta(days=1), DISCLOSED)
    return ConsentEvent(
        0, "-", key, key, Delegation.SELF, State.GIVEN, ConsentType.EXPLICIT, CONTROLLER,
        (), OPERATIONS, (PURPOSE,), (Modality.TRANSCRIPT,), (), _notice(POLICY),
        ContentScope((row.meeting_id,), (), BEGINNING, END), row.start < time, time, time, time,
        END, END, Method.FORM, None,
    )  # fmt: skip


def _faulty(given: ConsentEvent, fault: str | None, host: str) -> list[ConsentEvent]:
    """The events of the person that a fault concerns."""
    later = given.event_time + timedelta(days=2)
    before = DISCLOSED - timedelta(days=30)
    match fault:
        case "refusal":
            return [replace(given, state=State.REFUSED)]
        case "withdrawal":
            withdrawn = replace(given, state=State.WITHDRAWN)
            return [given, replace(withdrawn, event_time=later, recorded_time=later)]
        case "expiry":
            return [replace(given, valid_until=later)]
        case "recording_only":
            return [replace(given, operations=RECORDING, purposes=(SERVICE,))]
        case "host_for_all":
            return [replace(given, actor_key=host, delegation=Delegation.HOST)]
        case "sign_in_click_through":
            return [replace(given, consent_type=ConsentType.IMPLIED, method=Method.TERMS)]
        case "older_policy":
            return [replace(given, notice=_notice(OLD_POLICY))]
        case "before_disclosure":
            return [replace(given, event_time=before, recorded_time=before, valid_from=before)]
    return [given]


def _notice(policy: Policy) -> Notice:
    return Notice(policy.policy_id, policy.version, policy.sha256, "en")


def _rule(
    rule_id: str, kind: RuleKind, value: str, meetings: tuple[str, ...], source: RuleSource
) -> ExclusionRule:
    scope = RuleScope(meetings, (ALL,), (ALL,), (ALL,))
    return ExclusionRule(rule_id, kind, value, scope, BEGINNING, None, source, BEGINNING)


def _day(start: datetime) -> str:
    midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
    return f"{format_time(midnight)}/{format_time(midnight + timedelta(days=1))}"
