"""One fault at a time: each code denies by its fault, and without the fault all is admitted."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from harness.config import Config
from harness.consent import gate, reasons
from harness.consent.head import Mode
from harness.consent.records import (
    AgeBand,
    Arm,
    ConsentType,
    ContentRow,
    Declared,
    Delegation,
    ExclusionRule,
    Method,
    Operation,
    Policy,
    Relation,
    Role,
    RuleKind,
    RuleScope,
    RuleSource,
    State,
)
from harness.errors import Refused
from harness.meetings.model import Modality

World = Any
Fault = Callable[[World, Config], None]
HOUR = timedelta(hours=1)


def of_bo(row: Any) -> bool:
    """Bo's rows in the train meeting."""
    key = getattr(row, "subject_key", None)
    meeting = row.scope.meetings if hasattr(row, "scope") else (row.meeting_id,)
    return key == "b" * 32 and meeting == ("m0",)


def event(**changes: Any) -> Fault:
    return lambda world, config: world.edit("consent", of_bo, **changes)


def person(**changes: Any) -> Fault:
    return lambda world, config: world.edit("participants", of_bo, **changes)


def is_m0(row: Any) -> bool:
    return row.meeting_id == "m0"


def exclude(kind: RuleKind, value: str) -> Fault:
    def apply(world: World, config: Config) -> None:
        scope = RuleScope(("m0",), ("*",), ("*",), ("*",))
        world.append("exclusions", ExclusionRule("r", kind, value, scope, world.start, None,
                                                 RuleSource.COURT, world.start))  # fmt: skip

    return apply


def content(**changes: Any) -> Fault:
    return lambda world, config: world.edit("content", is_m0, **changes)


def file_of_m0(world: World, config: Config) -> None:
    row: ContentRow = world.draft.tables.content[0]
    exclude(RuleKind.FILE, row.sha256)(world, config)


def place(**changes: Any) -> Fault:
    return lambda world, config: world.edit("jurisdictions", lambda row: True, **changes)


def defaults(**changes: Any) -> Fault:
    def apply(world: World, config: Config) -> None:
        world.draft = replace(world.draft, defaults=replace(world.draft.defaults, **changes))

    return apply


def scope_of_manifest(**changes: Any) -> Fault:
    def apply(world: World, config: Config) -> None:
        world.draft = replace(world.draft, scope=replace(world.draft.scope, **changes))

    return apply


def both(*faults: Fault) -> Fault:
    def apply(world: World, config: Config) -> None:
        for fault in faults:
            fault(world, config)

    return apply


def recipient(world: World, config: Config) -> None:
    vendor = "https://vendor.example"
    config.job.recipients = [vendor]
    scope_of_manifest(recipients=(vendor,))(world, config)
    world.edit("policies", lambda row: True, recipients=(vendor,))
    world.edit("consent", lambda row: not of_bo(row), recipients=(vendor,))


def metadata(world: World, config: Config) -> None:
    """The same file as a timeline, which nobody named."""
    config.job.modalities = ["timeline"]
    scope_of_manifest(modalities=(Modality.TIMELINE,))(world, config)
    world.edit("policies", lambda row: True, modalities=(Modality.TIMELINE,))
    world.edit("consent", lambda row: not of_bo(row), modalities=(Modality.TIMELINE,))
    world.edit("content", is_m0, modality=Modality.TIMELINE)


def namesake(world: World, config: Config) -> None:
    (ada,) = [r for r in world.draft.tables.participants if is_m0(r) and r.label == "Ada"]
    world.append("participants", replace(ada, label="bo"))


def employee(world: World, config: Config) -> None:
    person(relation=Relation.EMPLOYEE)(world, config)


def later_consent(world: World, config: Config) -> None:
    after = world.start + HOUR
    event(event_time=after, recorded_time=after, valid_from=after)(world, config)


def newer_policy_of_the_future(world: World, config: Config) -> None:
    (old,) = world.draft.tables.policies
    world.append("policies", replace(old, policy_id="other", effective_from=world.now + HOUR))
    notice(policy_id="other")(world, config)


def drop(table: str, where: Callable[[Any], bool]) -> Fault:
    def apply(world: World, config: Config) -> None:
        rows = getattr(world.draft.tables, table)
        world.table(table, [row for row in rows if not where(row)])

    return apply


def arm(arm: Arm) -> Fault:
    return lambda world, config: world.edit("split", is_m0, arm=arm)


def scope_event(**changes: Any) -> Fault:
    def apply(world: World, config: Config) -> None:
        (old,) = [row for row in world.draft.tables.consent if of_bo(row)]
        world.edit("consent", of_bo, scope=replace(old.scope, **changes))

    return apply


def newer_policy(world: World, config: Config) -> None:
    (old,) = world.draft.tables.policies
    world.append("policies", replace(old, version="2", effective_from=world.start))


def poorer_policy(world: World, config: Config) -> None:
    (old,) = world.draft.tables.policies
    poor: Policy = replace(old, policy_id="other", operations=(Operation.EVALUATION,))
    world.append("policies", poor)
    (bo,) = [row for row in world.draft.tables.consent if of_bo(row)]
    world.edit("consent", of_bo, notice=replace(bo.notice, policy_id="other"))


def notice(**changes: Any) -> Fault:
    def apply(world: World, config: Config) -> None:
        (bo,) = [row for row in world.draft.tables.consent if of_bo(row)]
        world.edit("consent", of_bo, notice=replace(bo.notice, **changes))

    return apply


def tie(world: World, config: Config) -> None:
    (bo,) = [row for row in world.draft.tables.consent if of_bo(row)]
    seq = len(world.draft.tables.consent)
    world.append("consent", replace(bo, seq=seq, event_id="e90", state=State.WITHDRAWN))


def silent_bo(world: World, config: Config) -> None:
    rest = [row for row in world.draft.tables.consent if row.subject_key != "b" * 32]
    world.table("consent", [replace(row, seq=seq) for seq, row in enumerate(rest)])


def too_old(world: World, config: Config) -> None:
    world.draft = replace(
        world.draft, defaults=replace(world.draft.defaults, max_consent_age_days=10)
    )


def unknown_label(world: World, config: Config) -> None:
    world.edit("participants", of_bo, label="Somebody else")


def chat(world: World, config: Config) -> None:
    row: ContentRow = world.draft.tables.content[0]
    world.append("content", replace(row, modality=Modality.CHAT_PUBLIC, path="m0/none"))


def no_disclosure_yet(world: World, config: Config) -> None:
    world.edit("policies", lambda row: True, disclosed_at=world.start)


DENIES: dict[str, Fault] = {
    "EXCLUDED_MEETING": exclude(RuleKind.MEETING, "m0"),
    "EXCLUDED_SERIES": exclude(RuleKind.SERIES, "s"),
    "EXCLUDED_SUBJECT": exclude(RuleKind.SUBJECT, "b" * 32),
    "EXCLUDED_ACCOUNT": exclude(RuleKind.ACCOUNT, "account"),
    "EXCLUDED_JURISDICTION": exclude(RuleKind.JURISDICTION, "XA"),
    "EXCLUDED_FILE": file_of_m0,
    "EXCLUDED_DOMAIN": both(person(domain="bo.example"), exclude(RuleKind.DOMAIN, "bo.example")),
    "EXCLUDED_LABEL": exclude(RuleKind.LABEL, " BO "),
    "EXCLUDED_TAG": exclude(RuleKind.TAG, "x"),
    "EXCLUDED_DATE_RANGE": exclude(
        RuleKind.DATE_RANGE, "2026-03-02T00:00:00Z/2026-03-03T00:00:00Z"
    ),
    "EXCLUDED_MODALITY": exclude(RuleKind.MODALITY, "transcript"),
    "EXCLUDED_DERIVED_FROM": exclude(RuleKind.MODALITY, "audio"),
    "MEETING_TZ_INVALID": lambda w, c: w.edit("meetings", is_m0, tz="Europe/Atlantis"),
    "MEETING_ROSTER_EMPTY": drop("participants", is_m0),
    "MEETING_NO_CONTENT": drop("content", is_m0),
    "MODALITY_NOT_REQUESTED": chat,
    "GUEST_UNIDENTIFIED": person(subject_key=None, role=Role.GUEST),
    "SUBJECT_UNRESOLVED": person(subject_key=None),
    "MINOR": person(age_band=AgeBand.MINOR),
    "AGE_UNKNOWN": person(age_band=AgeBand.UNKNOWN),
    "SUBJECT_AMBIGUOUS": namesake,
    "SUBJECT_CONFUSABLE": person(label="B\u043e"),
    "SHARED_DEVICE": person(shared_device=True),
    "JURISDICTION_UNKNOWN": person(jurisdictions=()),
    "PLACE_NO_RULE": person(jurisdictions=("XB",)),
    "JURISDICTION_NO_RULE": both(
        scope_of_manifest(jurisdictions=("XA", "XC")), place(transfer_to=("*",))
    ),
    "TRANSFER_BLOCKED": both(
        scope_of_manifest(jurisdictions=("XC",)),
        lambda w, c: w.append("jurisdictions", replace(w.draft.tables.jurisdictions[0], code="XC")),
    ),
    "SPECIAL_CATEGORY": lambda w, c: w.edit("meetings", is_m0, special_category=Declared.UNKNOWN),
    "MEETING_RETENTION_PASSED": place(max_retention_days=30),
    "LICENCE_MISSING": content(licence_id="none"),
    "LICENCE_FORBIDS": lambda w, c: w.edit("licences", lambda row: True, purposes=()),
    "MODALITY_UNMAPPED": content(recording_type="chat_file"),
    "EMPLOYEE_CONSENT": employee,
    "RECORDING_NOT_AGREED": place(all_party_recording=True),
    "CONSENT_BUNDLED": event(method=Method.TERMS),
    "RETENTION_PASSED": lambda w, c: w.edit("consent", of_bo, retention_until=w.now),
    "RECIPIENT_NOT_COVERED": recipient,
    "DERIVATIVE_NOT_COVERED": event(modalities=(Modality.AUDIO,)),
    "METADATA_NOT_COVERED": metadata,
    "RETROACTIVE_NOT_GIVEN": later_consent,
    "POLICY_NOT_IN_FORCE": newer_policy_of_the_future,
    "TOO_FEW_CONSENTING": both(defaults(mode=Mode.PER_SPEAKER), event(state=State.REFUSED)),
    "ONE_TO_ONE": both(
        defaults(mode=Mode.PER_SPEAKER, min_speakers=1),
        event(state=State.REFUSED),
        lambda w, c: w.edit("meetings", is_m0, tags=("one_to_one",)),
    ),
    "TOO_MUCH_DROPPED": both(
        defaults(mode=Mode.PER_SPEAKER, min_speakers=1, max_dropped_percent=49),
        event(state=State.REFUSED),
    ),
    "NO_CONSENT_RECORD": silent_bo,
    "CONSENT_REQUESTED_ONLY": event(state=State.REQUESTED),
    "CONSENT_REFUSED": event(state=State.REFUSED),
    "CONSENT_WITHDRAWN": event(state=State.WITHDRAWN),
    "CONSENT_REVOKED": event(state=State.REVOKED),
    "CONSENT_EXPIRED": lambda w, c: w.edit("consent", of_bo, valid_until=w.now),
    "CONSENT_INVALIDATED": event(state=State.INVALIDATED),
    "CONSENT_UNKNOWN": event(state=State.UNKNOWN),
    "CONSENT_NOT_YET_VALID": lambda w, c: w.edit("consent", of_bo, valid_from=w.now + HOUR),
    "CONSENT_TOO_OLD": too_old,
    "CONSENT_BEFORE_DISCLOSURE": no_disclosure_yet,
    "TIE_RESTRICTIVE": tie,
    "NOT_EXPLICIT": event(consent_type=ConsentType.IMPLIED),
    "HOST_CONSENT_NOT_PARTICIPANT": event(actor_key="a" * 32, delegation=Delegation.HOST),
    "DELEGATION_NOT_ALLOWED": event(actor_key="a" * 32),
    "CONTROLLER_NOT_COVERED": event(controller="https://other.example"),
    "OPERATION_NOT_COVERED": event(operations=(Operation.EVALUATION,)),
    "PURPOSE_NOT_COVERED": event(purposes=()),
    "PURPOSE_RECORDING_ONLY": event(operations=(Operation.RECORDING, Operation.TRANSCRIPTION)),
    "MODALITY_NOT_COVERED": event(modalities=(Modality.POLL,)),
    "SCOPE_MEETING": scope_event(meetings=("m1",)),
    "SCOPE_TIME": lambda w, c: scope_event(until=w.start)(w, c),
    "POLICY_UNKNOWN": notice(version="9"),
    "POLICY_HASH_MISMATCH": notice(sha256="d" * 64),
    "POLICY_VERSION_SUPERSEDED": newer_policy,
    "POLICY_NOT_COVERING": poorer_policy,
    "SPLIT_UNASSIGNED": drop("split", is_m0),
    "HELDOUT_ARM": arm(Arm.HELDOUT),
    "SENTINEL_ARM": arm(Arm.SENTINEL),
}
TURNS_ONLY = {code for code, reason in reasons.DENIALS.items() if reason.about == "turn"}
EVALUATION_ONLY = {"TRAIN_ARM", "VALIDATION_ARM"}


def codes_of(world: World, config: Config, meeting: str = "m0") -> set[str]:
    table = gate.decide(world.sign(), config, world.now).rows.to_pylist()
    return {code for row in table if row["meeting_id"] == meeting for code in row["codes"]}


def test_without_a_fault_all_is_admitted(world: World, config: Config) -> None:
    assert codes_of(world, config) == set()
    assert [m.id for m in gate.admit(world.source, config, world.now).train] == ["m0"]


@pytest.mark.parametrize("code", DENIES)
def test_denies_by_its_fault(code: str, world: World, config: Config) -> None:
    DENIES[code](world, config)
    assert codes_of(world, config) >= {code}


@pytest.mark.parametrize("code", sorted({*DENIES} - {"MODALITY_NOT_REQUESTED"}))
def test_what_has_a_fault_is_not_trained_on(code: str, world: World, config: Config) -> None:
    DENIES[code](world, config)
    with pytest.raises(Refused, match="NOTHING_ADMITTED"):
        gate.admit(world.sign(), config, world.now)


@pytest.mark.parametrize("code", sorted({*DENIES} - {"TIE_RESTRICTIVE", "MODALITY_NOT_REQUESTED"}))
def test_one_fault_gives_one_code(code: str, world: World, config: Config) -> None:
    DENIES[code](world, config)
    assert codes_of(world, config) == {code}


def test_a_speaker_who_is_not_on_the_roster_denies(world: World, config: Config) -> None:
    unknown_label(world, config)
    assert codes_of(world, config) == {"SUBJECT_UNRESOLVED"}


def test_every_denial_has_a_case() -> None:
    assert {*DENIES} | EVALUATION_ONLY | TURNS_ONLY == {*reasons.DENIALS}


@pytest.mark.parametrize("code", [*reasons.DENIALS, *reasons.REFUSALS])
def test_every_code_has_one_sentence(code: str) -> None:
    text = reasons.sentence(code)
    assert text.endswith(".")
    assert text.count(".") == 1


def test_every_code_that_the_gate_raises_has_a_sentence() -> None:
    """Settings and flags apart, which are not about meetings; warnings neither."""
    other = {"CONFIG_VALUE", "FLAG", "INDEX_INCOMPLETE", "MATCHES_NOTHING",
             "NOTHING_CAN_BE_ADMITTED", "REVIEW_DUE"}  # fmt: skip
    folder = Path(gate.__file__).parent
    raised = {
        code
        for path in folder.glob("*.py")
        for code in re.findall(
            r'(?:Refused|Withdrawn|UsageError)\(\s*"([A-Z_]+)"', path.read_text()
        )
    }
    assert raised - other <= {*reasons.REASONS}
