"""Exclusion rules: they override every consent and reach everything derived from what they name."""

from collections.abc import Collection, Iterable
from datetime import datetime

from harness.consent.records import ALL, ContentRow, ExclusionRule, MeetingRow, RuleKind
from harness.meetings.model import Modality

DERIVED: dict[Modality, Modality] = {
    Modality.TRANSCRIPT: Modality.AUDIO,
    Modality.CAPTION: Modality.AUDIO,
    Modality.TIMELINE: Modality.AUDIO,
    Modality.SUMMARY_AI: Modality.TRANSCRIPT,
}
"""What a kind of content is made from, also where a content row does not say so."""


def sources(modality: Modality, rows: Iterable[ContentRow]) -> frozenset[Modality]:
    """Every modality that ``modality`` of one meeting derives from, without itself.

    Args:
        modality: the derived kind.
        rows: the content rows of the meeting.
    """
    stated = {row.modality: row.derived_from for row in rows}
    found: set[Modality] = set()
    due = [modality]
    while due:
        current = due.pop()
        for source in (stated.get(current), DERIVED.get(current)):
            if source is not None and source not in found:
                found.add(source)
                due.append(source)
    return frozenset(found - {modality})


def exclusion_codes(
    rules: Iterable[ExclusionRule],
    meeting: MeetingRow,
    subjects: Collection[str],
    modality: Modality,
    origins: Collection[Modality],
    now: datetime,
) -> list[str]:
    """Codes of the rules that forbid one kind of content of a meeting, in the rules' order.

    Args:
        rules: those that are not set aside.
        meeting: its row.
        subjects: subject keys of all who took part.
        modality: kind of content.
        origins: what it derives from, see :func:`sources`.
        now: rules that hold from a later time on do not hold yet.
    """
    codes = []
    for rule in rules:
        if rule.effective_from <= now and _matches(rule, meeting, subjects):
            reach = _reach(rule)
            if ALL in reach or modality in reach:
                codes.append(f"EXCLUDED_{rule.kind.upper()}")
            elif reach & {*origins}:
                codes.append("EXCLUDED_DERIVED_FROM")
    return codes


def _matches(rule: ExclusionRule, meeting: MeetingRow, subjects: Collection[str]) -> bool:
    if ALL not in rule.scope.meetings and meeting.meeting_id not in rule.scope.meetings:
        return False
    match rule.kind:
        case RuleKind.MEETING:
            return rule.value == meeting.meeting_id
        case RuleKind.SERIES:
            return rule.value == meeting.series_id
        case RuleKind.SUBJECT:
            return rule.value in subjects
        case RuleKind.TAG:
            return rule.value in meeting.tags
        case RuleKind.DATE_RANGE:
            start, end = rule.dates
            return meeting.start < end and start <= meeting.end
        case RuleKind.MODALITY:
            return True


def _reach(rule: ExclusionRule) -> set[str]:
    return {rule.value} if rule.kind is RuleKind.MODALITY else {*rule.scope.modalities}
