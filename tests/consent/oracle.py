"""A second gate, written from ``docs/gate.md`` alone, on plain JSON values.

It shares no line with the engine and is slow on purpose: one function per rule of the page, in the
page's order. The section that a function speaks for opens its docstring. Where the page can be read
in two ways the more restrictive one is taken; such places are marked ``Reading:``.
"""

import functools
import itertools
import unicodedata
import zoneinfo
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

Row = dict[str, Any]
RecordingTypes = dict[tuple[str, str], str]

METADATA = frozenset({"meta_participant", "meta_meeting", "timeline", "telemetry"})
TRAINING = "ai:ModelTraining"
FINE_TUNING = "ai:ModelFineTuning"
PERMITTING = frozenset({"given", "renewed"})
STRENGTH = {"implied": 0, "expressed": 1, "explicit": 2}
SEVERITY = {"allow": 0, "explicit": 1, "deny": 2}
SECOND = 1_000_000
DAY = 86_400 * SECOND

BY_NATURE = {
    "transcript": "audio",
    "caption": "audio",
    "timeline": "audio",
    "summary_ai": "transcript",
}
STATE_CODES = {
    "requested": "CONSENT_REQUESTED_ONLY",
    "refused": "CONSENT_REFUSED",
    "withdrawn": "CONSENT_WITHDRAWN",
    "revoked": "CONSENT_REVOKED",
    "expired": "CONSENT_EXPIRED",
    "invalidated": "CONSENT_INVALIDATED",
    "unknown": "CONSENT_UNKNOWN",
}
ARM_CODES = {
    "train": "TRAIN_ARM",
    "heldout": "HELDOUT_ARM",
    "sentinel": "SENTINEL_ARM",
    "validation": "VALIDATION_ARM",
}
EXCLUSION_CODES = {
    "meeting": "EXCLUDED_MEETING",
    "series": "EXCLUDED_SERIES",
    "account": "EXCLUDED_ACCOUNT",
    "tag": "EXCLUDED_TAG",
    "date_range": "EXCLUDED_DATE_RANGE",
    "modality": "EXCLUDED_MODALITY",
    "jurisdiction": "EXCLUDED_JURISDICTION",
    "file": "EXCLUDED_FILE",
    "subject": "EXCLUDED_SUBJECT",
    "domain": "EXCLUDED_DOMAIN",
    "label": "EXCLUDED_LABEL",
}

CODES = frozenset(
    {
        # section 2
        "TOO_FEW_CONSENTING",
        "ONE_TO_ONE",
        "MEETING_NO_CONTENT",
        "SPLIT_UNASSIGNED",
        *ARM_CODES.values(),
        # section 3
        "EXCLUDED_DERIVED_FROM",
        *EXCLUSION_CODES.values(),
        # section 4
        "MEETING_TZ_INVALID",
        "MEETING_ROSTER_EMPTY",
        "MODALITY_NOT_REQUESTED",
        "MODALITY_UNMAPPED",
        "LICENCE_MISSING",
        "LICENCE_FORBIDS",
        "JURISDICTION_NO_RULE",
        "PLACE_NO_RULE",
        "SPECIAL_CATEGORY",
        "MEETING_RETENTION_PASSED",
        "TRANSFER_BLOCKED",
        # section 5
        "GUEST_UNIDENTIFIED",
        "SUBJECT_UNRESOLVED",
        "SHARED_DEVICE",
        "SUBJECT_AMBIGUOUS",
        "SUBJECT_CONFUSABLE",
        "MINOR",
        "AGE_UNKNOWN",
        "JURISDICTION_UNKNOWN",
        # section 6, gaps
        "CONSENT_NOT_YET_VALID",
        "HOST_CONSENT_NOT_PARTICIPANT",
        "DELEGATION_NOT_ALLOWED",
        "CONTROLLER_NOT_COVERED",
        "RECIPIENT_NOT_COVERED",
        "PURPOSE_RECORDING_ONLY",
        "OPERATION_NOT_COVERED",
        "PURPOSE_NOT_COVERED",
        "DERIVATIVE_NOT_COVERED",
        "METADATA_NOT_COVERED",
        "MODALITY_NOT_COVERED",
        "SCOPE_MEETING",
        "SCOPE_TIME",
        "RETROACTIVE_NOT_GIVEN",
        # section 6, the latest events
        *STATE_CODES.values(),
        "TIE_RESTRICTIVE",
        "NO_CONSENT_RECORD",
        "RECORDING_NOT_AGREED",
        # section 6, faults
        "CONSENT_BUNDLED",
        "NOT_EXPLICIT",
        "CONSENT_TOO_OLD",
        "RETENTION_PASSED",
        "EMPLOYEE_CONSENT",
        "POLICY_UNKNOWN",
        "POLICY_HASH_MISMATCH",
        "CONSENT_BEFORE_DISCLOSURE",
        "POLICY_NOT_IN_FORCE",
        "POLICY_NOT_COVERING",
        "POLICY_VERSION_SUPERSEDED",
    }
)


@dataclass(frozen=True)
class Decision:
    """What was decided about one meeting."""

    codes: frozenset[str]
    """Of the meeting as a whole; empty means admitted."""

    modalities: dict[str, frozenset[str]]
    """Modality -> codes, with the person codes joined as the mode says."""

    people: dict[str, dict[str, frozenset[str]]]
    """Modality -> label of the roster -> person codes."""


@dataclass(frozen=True)
class Case:
    """One meeting, with everything that is looked at to decide it."""

    scope: Row
    defaults: Row
    tables: dict[str, list[Row]]
    request: Row
    now: int
    recording_types: RecordingTypes
    meeting: Row
    roster: list[Row]
    content: dict[str, Row]


@dataclass(frozen=True)
class Demands:
    """What the places of a meeting demand together."""

    min_consent_type: str = "implied"
    guardian_ok: bool = False
    employee_ok: bool = False
    special_category: str = "allow"
    min_age: int = 0
    max_retention_days: int | None = None
    all_party_recording: bool = False


# Section 1: times, ranges, lists.


@functools.cache
def at(text: str) -> int:
    """Section 1: a time in microseconds, so that no sum of times overflows."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def within(moment: int, start: str, end: str) -> bool:
    """Section 1: a range of times holds its start and not its end."""
    return at(start) <= moment < at(end)


def covers(operations: Iterable[str], operation: str) -> bool:
    """Sections 3, 4 and 6: training includes fine-tuning, not the reverse."""
    listed = set(operations)
    return operation in listed or (operation == FINE_TUNING and TRAINING in listed)


# Section 2: what is decided.


def decide(
    head: Row,
    tables: dict[str, list[Row]],
    request: Row,
    now: str,
    recording_types: RecordingTypes,
) -> dict[str, Decision]:
    """Section 2: every meeting of the tables, by its id."""
    decisions = {}
    for meeting in tables["meetings"]:
        meeting_id = meeting["meeting_id"]
        case = Case(
            scope=head["scope"],
            defaults=head["defaults"],
            tables=tables,
            request=request,
            now=at(now),
            recording_types=recording_types,
            meeting=meeting,
            roster=[r for r in tables["participants"] if r["meeting_id"] == meeting_id],
            content={r["modality"]: r for r in tables["content"] if r["meeting_id"] == meeting_id},
        )
        decisions[meeting_id] = decide_meeting(case)
    return decisions


def decide_meeting(case: Case) -> Decision:
    """Section 2: the modalities of a meeting, then the meeting as a whole."""
    named = sorted({*case.content, *case.request["modalities"]})
    people = {
        m: {row["label"]: frozenset(person_codes(case, row, m)) for row in case.roster}
        for m in named
    }
    modalities = {m: frozenset(modality_codes(case, m, people[m])) for m in named}
    codes = whole_meeting_codes(case, modalities)
    return Decision(frozenset(codes | split_codes(case, codes)), modalities, people)


def modality_codes(case: Case, m: str, people: dict[str, frozenset[str]]) -> set[str]:
    """Section 2: the meeting codes, and what the mode lets join of the person codes."""
    codes = meeting_codes(case, m)
    if case.defaults["mode"] == "unanimous":
        return codes.union(*people.values())
    dropped = [row for row in case.roster if people[row["label"]]]
    remaining = [row for row in case.roster if not people[row["label"]]]
    if len({row["subject_key"] for row in remaining}) < case.defaults["min_speakers"]:
        codes.add("TOO_FEW_CONSENTING")
    if dropped and "one_to_one" in case.meeting["tags"]:
        codes.add("ONE_TO_ONE")
    return codes


def meeting_codes(case: Case, m: str) -> set[str]:
    """Section 2: the codes that deny the modality of the meeting (sections 3 and 4)."""
    return excluded_meeting_codes(case, m) | meeting_rule_codes(case, m)


def person_codes(case: Case, row: Row, m: str) -> set[str]:
    """Section 2: the codes of one row of the roster for one modality (sections 3, 5 and 6)."""
    codes = excluded_row_codes(case, row, m) | row_codes(case, row, m)
    if row["subject_key"] is not None:
        for o in case.request["operations"]:
            codes |= consent_codes(case, row, m, o)
            if recording_not_agreed(case, row, m, o):
                codes.add("RECORDING_NOT_AGREED")
    return codes


def whole_meeting_codes(case: Case, modalities: dict[str, frozenset[str]]) -> set[str]:
    """Section 2: none when a requested modality has content and is admitted."""
    requested = case.request["modalities"]
    if any(m in case.content and not modalities[m] for m in requested):
        return set()
    codes = set().union(*(modalities[m] for m in requested))
    if not any(m in case.content for m in requested):
        codes.add("MEETING_NO_CONTENT")
    return codes


def split_codes(case: Case, codes: set[str]) -> set[str]:
    """Section 2: the arm comes last; a missing arm is named only if nothing else denied."""
    meeting_id = case.meeting["meeting_id"]
    arms = [row["arm"] for row in case.tables["split"] if row["meeting_id"] == meeting_id]
    if not arms:
        return set() if codes else {"SPLIT_UNASSIGNED"}
    return {ARM_CODES[arm] for arm in arms if arm not in case.request["arms"]}


def origins(case: Case, m: str) -> set[str]:
    """Section 2, origins: all that is reached by rows and by nature, without ``m``.

    Reading: what derives by nature does so whether or not the meeting has a row of it.
    """
    reached: set[str] = set()
    waiting = [m]
    while waiting:
        modality = waiting.pop()
        steps = [BY_NATURE.get(modality)]
        if modality in case.content:
            steps += case.content[modality]["derived_from"]
        for step in steps:
            if step is not None and step not in reached:
                reached.add(step)
                waiting.append(step)
    return reached - {m}


# Section 3: exclusions.


def rule_holds(case: Case, rule: Row) -> bool:
    """Section 3: in its time, and not of a source that the request sets aside."""
    if rule["source"] in case.request["set_aside"]:
        return False
    if case.now < at(rule["effective_from"]):
        return False
    return rule["effective_until"] is None or case.now < at(rule["effective_until"])


def rule_concerns(case: Case, rule: Row) -> bool:
    """Section 3: ``scope.meetings`` is ``*`` or names the meeting."""
    meetings = rule["scope"]["meetings"]
    return "*" in meetings or case.meeting["meeting_id"] in meetings


def rule_reach(case: Case, rule: Row, m: str) -> str | None:
    """Section 3: ``direct``, ``derived`` or not at all; kind ``modality`` goes by its value."""
    reached = [rule["value"]] if rule["kind"] == "modality" else rule["scope"]["modalities"]
    if "*" in reached or m in reached:
        return "direct"
    return "derived" if origins(case, m) & set(reached) else None


def rule_asked(case: Case, rule: Row) -> bool:
    """Section 3: operations and purposes each have ``*`` or one that the request names."""
    training = {"ai:ModelTraining", "ai:ModelFineTuning"}
    operations = {*rule["scope"]["operations"]}
    purposes = rule["scope"]["purposes"]
    asked = {*case.request["operations"]}
    hit = operations & asked or (operations & training and asked & training)
    return bool("*" in operations or hit) and (
        "*" in purposes or case.request["purpose"] in purposes
    )


def rule_applies(case: Case, rule: Row) -> bool:
    """Section 3: everything about a rule but its kind and its modalities."""
    return rule_holds(case, rule) and rule_concerns(case, rule) and rule_asked(case, rule)


def matches_meeting(case: Case, rule: Row, m: str) -> bool:
    """Section 3, the table: kinds of the meeting."""
    kind, value = rule["kind"], rule["value"]
    if kind in ("meeting", "series", "account"):
        return bool(case.meeting[f"{kind}_id"] == value)
    if kind == "tag":
        return value in case.meeting["tags"]
    if kind == "date_range":
        return in_date_range(case, value)
    if kind == "modality":
        return True
    if kind == "jurisdiction":
        places = [place for row in case.roster for place in row["jurisdictions"]]
        return any(place == value or place.startswith(value + "-") for place in places)
    if kind == "file":
        return any(is_file(case, rule, kind) for kind in {m} | origins(case, m))
    return False


def is_file(case: Case, rule: Row, m: str) -> bool:
    """Section 3, ``file``: whether the content row of one modality has the digest."""
    return m in case.content and bool(case.content[m]["sha256"] == rule["value"])


def in_date_range(case: Case, value: str) -> bool:
    """Section 3, ``date_range``: the meeting holds its end, the range does not hold its own."""
    start, end = value.split("/")
    return at(case.meeting["start"]) < at(end) and at(case.meeting["end"]) >= at(start)


def matches_row(row: Row, rule: Row) -> bool:
    """Section 3, the table: kinds of the row."""
    kind, value = rule["kind"], rule["value"]
    if kind == "subject":
        return bool(row["subject_key"] == value)
    if kind == "domain":
        return bool(row["domain"].lower() == value.lower())
    if kind == "label":
        return label_key(row["label"]) == label_key(value)
    return False


def excluded_meeting_codes(case: Case, m: str) -> set[str]:
    """Section 3: codes of the meeting."""
    codes = set()
    for rule in case.tables["exclusions"]:
        reach = rule_reach(case, rule, m)
        if reach and rule_applies(case, rule) and matches_meeting(case, rule, m):
            own = rule["kind"] != "file" or is_file(case, rule, m)
            far = rule["kind"] == "file" and any(is_file(case, rule, o) for o in origins(case, m))
            if own and reach == "direct":
                codes.add(EXCLUSION_CODES[rule["kind"]])
            if far or reach == "derived":
                codes.add("EXCLUDED_DERIVED_FROM")
    return codes


def excluded_row_codes(case: Case, row: Row, m: str) -> set[str]:
    """Section 3: codes of a row."""
    codes = set()
    for rule in case.tables["exclusions"]:
        if rule_reach(case, rule, m) and rule_applies(case, rule) and matches_row(row, rule):
            codes.add(EXCLUSION_CODES[rule["kind"]])
    return codes


DEFAULT_IGNORABLE = """
    00AD 034F 061C 115F-1160 17B4-17B5 180B-180F 200B-200F 202A-202E 2060-206F 3164 FE00-FE0F
    FEFF FFA0 FFF0-FFF8 1BCA0-1BCA3 1D173-1D17A E0000-E0FFF
"""
INVISIBLE = frozenset(
    chr(code)
    for span in DEFAULT_IGNORABLE.split()
    for first, _, last in [span.partition("-")]
    for code in range(int(first, 16), int(last or first, 16) + 1)
)
APOSTROPHES = "‘’‛ʼ"


@functools.cache
def label_key(label: str) -> str:
    """Section 3, label key, step by step."""
    text = unicodedata.normalize("NFKC", label)
    text = "".join(c for c in text if c not in INVISIBLE)
    text = text.casefold()
    text = unicodedata.normalize("NFKC", text)
    for apostrophe in APOSTROPHES:
        text = text.replace(apostrophe, "'")
    text = " ".join(text.split())
    for mark in "|@":
        text = mark.join(part.strip() for part in text.split(mark))
    return text


# Section 4: the meeting.


def meeting_rule_codes(case: Case, m: str) -> set[str]:
    """Section 4: all codes of the section for one modality."""
    codes = set()
    if tz_invalid(case):
        codes.add("MEETING_TZ_INVALID")
    if not case.roster:
        codes.add("MEETING_ROSTER_EMPTY")
    if m not in case.request["modalities"]:
        codes.add("MODALITY_NOT_REQUESTED")
    if modality_unmapped(case, m):
        codes.add("MODALITY_UNMAPPED")
    if licence_missing(case, m):
        codes.add("LICENCE_MISSING")
    if licence_forbids(case, m):
        codes.add("LICENCE_FORBIDS")
    for o in case.request["operations"]:
        if scope_has_no_rule(case, m, o):
            codes.add("JURISDICTION_NO_RULE")
        if special_category_denied(case, m, o):
            codes.add("SPECIAL_CATEGORY")
        if meeting_retention_passed(case, m, o):
            codes.add("MEETING_RETENTION_PASSED")
        if transfer_blocked(case, m, o):
            codes.add("TRANSFER_BLOCKED")
    return codes


@functools.cache
def zones() -> frozenset[str]:
    """Section 4: the zones of the IANA database."""
    return frozenset(zoneinfo.available_timezones())


def tz_invalid(case: Case) -> bool:
    """Section 4, ``MEETING_TZ_INVALID``."""
    return case.meeting["tz"] not in zones()


def modality_unmapped(case: Case, m: str) -> bool:
    """Section 4, ``MODALITY_UNMAPPED``."""
    row = case.content.get(m)
    if row is None or row["recording_type"] == "none":
        return False
    return case.recording_types.get((case.meeting["platform"], row["recording_type"])) != m


def licences_of(case: Case, m: str) -> list[Row]:
    """Section 4: the licence of the content row, none or one."""
    wanted = case.content[m]["licence_id"]
    return [licence for licence in case.tables["licences"] if licence["licence_id"] == wanted]


def licence_missing(case: Case, m: str) -> bool:
    """Section 4, ``LICENCE_MISSING``."""
    return m in case.content and not licences_of(case, m)


def licence_forbids(case: Case, m: str) -> bool:
    """Section 4, ``LICENCE_FORBIDS``."""
    if m not in case.content:
        return False
    return any(
        case.request["purpose"] not in licence["purposes"]
        or not all(covers(licence["operations"], o) for o in case.request["operations"])
        for licence in licences_of(case, m)
    )


def rules_for(case: Case, code: str, m: str, o: str) -> list[Row]:
    """Section 4: the rows of ``jurisdictions`` that apply for a code.

    Reading: the page says "``*`` or ``o``", so a row for training is none for fine-tuning.
    """
    return [
        rule
        for rule in case.tables["jurisdictions"]
        if rule["code"] == code
        and rule["operation"] in ("*", o)
        and rule["modality"] in ("*", m)
        and within(case.now, rule["effective_from"], rule["effective_until"])
    ]


def roster_places(case: Case) -> set[str]:
    """Section 4: the places on the roster."""
    return {code for row in case.roster for code in row["jurisdictions"]}


def demands(case: Case, m: str, o: str) -> Demands:
    """Section 4: the most restrictive of all rows that apply for any place of the meeting."""
    places = roster_places(case) | set(case.scope["jurisdictions"])
    rules = [rule for code in places for rule in rules_for(case, code, m, o)]
    if not rules:
        return Demands()
    return Demands(
        min_consent_type=max((r["min_consent_type"] for r in rules), key=lambda v: STRENGTH[v]),
        guardian_ok=all(r["guardian_ok"] for r in rules),
        employee_ok=all(r["employee_ok"] for r in rules),
        special_category=max((r["special_category"] for r in rules), key=lambda v: SEVERITY[v]),
        min_age=max(r["min_age"] for r in rules),
        max_retention_days=min(r["max_retention_days"] for r in rules),
        all_party_recording=any(r["all_party_recording"] for r in rules),
    )


def scope_has_no_rule(case: Case, m: str, o: str) -> bool:
    """Section 4, ``JURISDICTION_NO_RULE``, of the meeting."""
    seat = case.scope["jurisdictions"]
    return not seat or any(not rules_for(case, code, m, o) for code in seat)


def is_special(case: Case) -> bool:
    """Section 4: the meeting's ``special_category`` is not ``no``."""
    return bool(case.meeting["special_category"] != "no")


def special_category_denied(case: Case, m: str, o: str) -> bool:
    """Section 4, ``SPECIAL_CATEGORY``."""
    return is_special(case) and demands(case, m, o).special_category == "deny"


def meeting_retention_passed(case: Case, m: str, o: str) -> bool:
    """Section 4, ``MEETING_RETENTION_PASSED``."""
    days = demands(case, m, o).max_retention_days
    return days is not None and case.now > at(case.meeting["end"]) + days * DAY


def transfer_blocked(case: Case, m: str, o: str) -> bool:
    """Section 4, ``TRANSFER_BLOCKED``."""
    return any(
        target != place and "*" not in rule["transfer_to"] and target not in rule["transfer_to"]
        for place in roster_places(case)
        for rule in rules_for(case, place, m, o)
        for target in case.scope["jurisdictions"]
    )


# Section 5: the person.


def row_codes(case: Case, row: Row, m: str) -> set[str]:
    """Section 5: all codes of the section for one row and one modality."""
    codes = set()
    if row["subject_key"] is None:
        guest = row["role"] == "guest"
        codes.add("GUEST_UNIDENTIFIED" if guest else "SUBJECT_UNRESOLVED")
    if row["shared_device"]:
        codes.add("SHARED_DEVICE")
    if subject_ambiguous(case, row):
        codes.add("SUBJECT_AMBIGUOUS")
    if subject_confusable(row):
        codes.add("SUBJECT_CONFUSABLE")
    if not row["jurisdictions"]:
        codes.add("JURISDICTION_UNKNOWN")
    for o in case.request["operations"]:
        if minor(case, row, m, o):
            codes.add("MINOR")
        if age_unknown(case, row, m, o):
            codes.add("AGE_UNKNOWN")
        if any(not rules_for(case, code, m, o) for code in row["jurisdictions"]):
            codes.add("PLACE_NO_RULE")
    return codes


def subject_ambiguous(case: Case, row: Row) -> bool:
    """Section 5, ``SUBJECT_AMBIGUOUS``."""
    return any(
        label_key(other["label"]) == label_key(row["label"])
        and other["subject_key"] != row["subject_key"]
        for other in case.roster
        if other["label"] != row["label"]
    )


SCRIPTS = frozenset({"LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "CHEROKEE"})


def subject_confusable(row: Row) -> bool:
    """Section 5, ``SUBJECT_CONFUSABLE``; of the label as it stands."""
    letters = [c for c in row["label"] if unicodedata.category(c).startswith("L")]
    first_words = {unicodedata.name(c, "?").split()[0] for c in letters}
    return len(first_words & SCRIPTS) >= 2


def minor(case: Case, row: Row, m: str, o: str) -> bool:
    """Section 5, ``MINOR``."""
    if row["age_band"] == "minor":
        return True
    return row["age_band"] == "minor_with_guardian" and not demands(case, m, o).guardian_ok


def age_unknown(case: Case, row: Row, m: str, o: str) -> bool:
    """Section 5, ``AGE_UNKNOWN``."""
    return row["age_band"] == "unknown" and demands(case, m, o).min_age > 0


# Section 6: consent.


def names(case: Case, event: Row) -> bool:
    """Section 6: an event names a meeting."""
    meetings, series = event["scope"]["meetings"], event["scope"]["series"]
    if "*" in meetings or "*" in series:
        return True
    return case.meeting["meeting_id"] in meetings or case.meeting["series_id"] in series


def reaches_in_time(case: Case, event: Row) -> bool:
    """Section 6: the meeting's start lies in the scope's range."""
    return within(at(case.meeting["start"]), event["scope"]["from"], event["scope"]["until"])


def is_permitting(event: Row) -> bool:
    """Section 6: given and renewed."""
    return event["state"] in PERMITTING


def events_of(case: Case, row: Row) -> list[Row]:
    """Section 6: the events of the row's subject."""
    return [e for e in case.tables["consent"] if e["subject_key"] == row["subject_key"]]


def restriction_reaches(case: Case, event: Row, m: str) -> bool:
    """Section 6: a restrictive event reaches ``m``."""
    if m in event["modalities"]:
        return True
    return bool(origins(case, m) & set(event["modalities"])) and m not in event["derivatives"]


def restriction_about(case: Case, event: Row, o: str) -> bool:
    """Section 6: what a restrictive event must meet whatever its purposes and modalities are."""
    scope = event["scope"]
    return (
        at(event["event_time"]) <= case.now + case.defaults["clock_skew_s"] * SECOND
        and event["controller"] == case.request["controller"]
        and (not event["operations"] or covers(event["operations"], o))
        and ((not scope["meetings"] and not scope["series"]) or names(case, event))
        and reaches_in_time(case, event)
    )


def restriction_heard(case: Case, event: Row, m: str, o: str) -> bool:
    """Section 6, restrictive events: all of the conditions."""
    return (
        restriction_about(case, event, o)
        and (not event["purposes"] or case.request["purpose"] in event["purposes"])
        and (not event["modalities"] or restriction_reaches(case, event, m))
    )


def guardian_spoke(event: Row) -> bool:
    """Section 6: a parent or guardian, with another key than the subject."""
    return (
        event["delegation"] in ("parent", "guardian") and event["actor_key"] != event["subject_key"]
    )


def delegation_not_allowed(event: Row) -> bool:
    """Section 6, ``DELEGATION_NOT_ALLOWED``, for rows other than minor_with_guardian."""
    if event["delegation"] in ("parent", "guardian"):
        return True
    if event["actor_key"] == event["subject_key"]:
        return bool(event["delegation"] != "self")
    return bool(event["delegation"] == "self")


def speaker_gaps(row: Row, event: Row) -> set[str]:
    """Section 6, gaps: who spoke."""
    codes = set()
    if event["delegation"] in ("host", "employer"):
        codes.add("HOST_CONSENT_NOT_PARTICIPANT")
    if row["age_band"] == "minor_with_guardian":
        if not guardian_spoke(event):
            codes.add("MINOR")
    elif delegation_not_allowed(event):
        codes.add("DELEGATION_NOT_ALLOWED")
    return codes


def is_recording_only(event: Row, o: str) -> bool:
    """Section 6, ``PURPOSE_RECORDING_ONLY``."""
    recording = {"recording", "transcription"}
    listed = set(event["operations"])
    return bool(listed) and listed <= recording and o not in recording


def modality_gap(case: Case, event: Row, m: str) -> set[str]:
    """Section 6, the three gaps about modalities; at most one of them is true."""
    if m in event["modalities"]:
        return set()
    if origins(case, m) & set(event["modalities"]):
        return set() if m in event["derivatives"] else {"DERIVATIVE_NOT_COVERED"}
    return {"METADATA_NOT_COVERED"} if m in METADATA else {"MODALITY_NOT_COVERED"}


def asked_gaps(case: Case, event: Row, m: str, o: str) -> set[str]:
    """Section 6, gaps: operation, purpose and modality."""
    if is_recording_only(event, o):
        return {"PURPOSE_RECORDING_ONLY"}
    codes = modality_gap(case, event, m)
    if not covers(event["operations"], o):
        codes.add("OPERATION_NOT_COVERED")
    if case.request["purpose"] not in event["purposes"]:
        codes.add("PURPOSE_NOT_COVERED")
    return codes


def gaps(case: Case, row: Row, event: Row, m: str, o: str) -> set[str]:
    """Section 6, the table of gaps."""
    codes = speaker_gaps(row, event) | asked_gaps(case, event, m, o)
    if at(event["event_time"]) > case.now:
        codes.add("CONSENT_NOT_YET_VALID")
    if event["controller"] != case.request["controller"]:
        codes.add("CONTROLLER_NOT_COVERED")
    if not set(case.request["recipients"]) <= set(event["recipients"]):
        codes.add("RECIPIENT_NOT_COVERED")
    if not names(case, event):
        codes.add("SCOPE_MEETING")
    if not reaches_in_time(case, event):
        codes.add("SCOPE_TIME")
    if at(case.meeting["start"]) < at(event["event_time"]) and not event["retroactive"]:
        codes.add("RETROACTIVE_NOT_GIVEN")
    return codes


def latest(events: list[Row]) -> list[Row]:
    """Section 6: the events of the greatest event_time; equal ones tie."""
    if not events:
        return []
    last = max(at(e["event_time"]) for e in events)
    return [e for e in events if at(e["event_time"]) == last]


def consent_codes(case: Case, row: Row, m: str, o: str) -> set[str]:
    """Section 6: the codes of the latest heard events."""
    events = events_of(case, row)
    heard = [
        e
        for e in events
        if (not gaps(case, row, e, m, o) if is_permitting(e) else restriction_heard(case, e, m, o))
    ]
    last = latest(heard)
    if any(not is_permitting(e) for e in last):
        codes = {STATE_CODES[e["state"]] for e in last if not is_permitting(e)}
        return codes | ({"TIE_RESTRICTIVE"} if any(is_permitting(e) for e in last) else set())
    if last:
        return set().union(*(faults(case, row, e, m, o) for e in last))
    return nearest_gaps(case, row, [e for e in events if is_permitting(e)], m, o)


def nearest_gaps(case: Case, row: Row, permitting: list[Row], m: str, o: str) -> set[str]:
    """Section 6: the gaps of the nearest permitting events."""
    if not permitting:
        return {"NO_CONSENT_RECORD"}
    naming = [e for e in permitting if names(case, e)]
    return set().union(*(gaps(case, row, e, m, o) for e in latest(naming or permitting)))


def not_explicit(case: Case, event: Row, m: str, o: str) -> bool:
    """Section 6, ``NOT_EXPLICIT``."""
    demanded = demands(case, m, o)
    needed = [case.defaults["min_consent_type"], demanded.min_consent_type]
    if is_special(case) and demanded.special_category == "explicit":
        needed.append("explicit")
    return any(STRENGTH[event["consent_type"]] < STRENGTH[need] for need in needed)


def faults(case: Case, row: Row, event: Row, m: str, o: str) -> set[str]:
    """Section 6, the table of faults."""
    codes = policy_faults(case, event, m, o)
    if event["method"] == "terms":
        codes.add("CONSENT_BUNDLED")
    if not_explicit(case, event, m, o):
        codes.add("NOT_EXPLICIT")
    if case.now < at(event["valid_from"]):
        codes.add("CONSENT_NOT_YET_VALID")
    if case.now >= at(event["valid_until"]):
        codes.add("CONSENT_EXPIRED")
    if case.now - at(event["event_time"]) > case.defaults["max_consent_age_days"] * DAY:
        codes.add("CONSENT_TOO_OLD")
    if case.now >= at(event["retention_until"]):
        codes.add("RETENTION_PASSED")
    if row["relation"] != "other" and not demands(case, m, o).employee_ok:
        codes.add("EMPLOYEE_CONSENT")
    return codes


def versions_of(case: Case, policy_id: str) -> list[Row]:
    """Section 6: the versions of a policy in their order."""
    versions = [p for p in case.tables["policies"] if p["policy_id"] == policy_id]
    return sorted(versions, key=lambda p: (at(p["effective_from"]), p["version"]))


def version_in_force(case: Case, policy_id: str) -> Row | None:
    """Section 6: the last version with ``effective_from`` ≤ now."""
    begun = [p for p in versions_of(case, policy_id) if at(p["effective_from"]) <= case.now]
    return begun[-1] if begun else None


def policy_faults(case: Case, event: Row, m: str, o: str) -> set[str]:
    """Section 6, the faults about the policy.

    Reading: "the next six are then left out" means all that follow, of which there are five.
    """
    notice = event["notice"]
    named = [p for p in versions_of(case, notice["policy_id"]) if p["version"] == notice["version"]]
    if not named:
        return {"POLICY_UNKNOWN"}
    policy = named[0]
    codes = set()
    if notice["sha256"] != policy["sha256"]:
        codes.add("POLICY_HASH_MISMATCH")
    if at(event["event_time"]) < at(policy["disclosed_at"]):
        codes.add("CONSENT_BEFORE_DISCLOSURE")
    if case.now < at(policy["effective_from"]):
        codes.add("POLICY_NOT_IN_FORCE")
    if policy_not_covering(case, policy, m, o):
        codes.add("POLICY_NOT_COVERING")
    if policy_superseded(case, policy, m, o):
        codes.add("POLICY_VERSION_SUPERSEDED")
    return codes


def policy_covers(case: Case, policy: Row, m: str, o: str) -> bool:
    """Section 6: a version lists all that is asked."""
    return (
        covers(policy["operations"], o)
        and case.request["purpose"] in policy["purposes"]
        and m in policy["modalities"]
        and set(case.request["recipients"]) <= set(policy["recipients"])
    )


def policy_not_covering(case: Case, policy: Row, m: str, o: str) -> bool:
    """Section 6, ``POLICY_NOT_COVERING``: the named version, or the one in force."""
    in_force = version_in_force(case, policy["policy_id"])
    looked_at = [policy] if in_force is None else [policy, in_force]
    return not all(policy_covers(case, version, m, o) for version in looked_at)


def change_widens(case: Case, change: Row, m: str, o: str) -> bool:
    """Section 6: a widening that adds what is asked.

    Reading: training includes fine-tuning here too.
    """
    if change["kind"] != "widening":
        return False
    if not change["operations"] and not change["purposes"] and not change["modalities"]:
        return True
    return (
        covers(change["operations"], o)
        or case.request["purpose"] in change["purposes"]
        or m in change["modalities"]
    )


def policy_superseded(case: Case, policy: Row, m: str, o: str) -> bool:
    """Section 6, ``POLICY_VERSION_SUPERSEDED``."""
    in_force = version_in_force(case, policy["policy_id"])
    if in_force is None:
        return False
    order = [p["version"] for p in versions_of(case, policy["policy_id"])]
    way = order[order.index(policy["version"]) : order.index(in_force["version"]) + 1]
    for before, after in itertools.pairwise(way):
        changes = [
            c
            for c in case.tables["policy_changes"]
            if c["policy_id"] == policy["policy_id"]
            and c["from_version"] == before
            and c["to_version"] == after
        ]
        if not changes or any(change_widens(case, c, m, o) for c in changes):
            return True
    return False


NOT_LOOKED_AT_FOR_RECORDING = frozenset(
    {
        "RECIPIENT_NOT_COVERED",
        "PURPOSE_NOT_COVERED",
        "DERIVATIVE_NOT_COVERED",
        "METADATA_NOT_COVERED",
        "MODALITY_NOT_COVERED",
        "RETROACTIVE_NOT_GIVEN",
    }
)


def recording_not_agreed(case: Case, row: Row, m: str, o: str) -> bool:
    """Section 6, ``RECORDING_NOT_AGREED``.

    Reading: "by the same rule" a restrictive event that ties with a permitting one wins.
    """
    if not demands(case, m, o).all_party_recording:
        return False
    heard = [
        e
        for e in events_of(case, row)
        if (
            not gaps(case, row, e, m, "recording") - NOT_LOOKED_AT_FOR_RECORDING
            if is_permitting(e)
            else restriction_about(case, e, "recording")
        )
    ]
    last = latest(heard)
    return not last or any(not is_permitting(e) for e in last)
