"""What a manifest consists of: its head, its tables, and how they are named."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from harness.consent.records import (
    Alias,
    ConsentEvent,
    ConsentType,
    ContentRow,
    ExclusionRule,
    Id,
    Jurisdiction,
    Licence,
    MeetingRow,
    Operation,
    ParticipantRow,
    Policy,
    PolicyChange,
    Sha256,
    SplitRow,
    record,
)
from harness.meetings.model import Modality

SCHEMA = "harness/manifest/v1"
HEAD = "MANIFEST.json"
SIGNATURE = "MANIFEST.dsse.json"
PREDICATE = "https://meeting-harness.dev/consent-manifest/v1"
HEAD_LIMIT = 4 * 1024 * 1024
TABLE_LIMIT = 512 * 1024 * 1024
COPIES = "copies.index"
INDEX_LIMIT = 4 * 1024 * 1024 * 1024

TABLES: dict[str, tuple[type[Any], tuple[str, ...]]] = {
    "policies": (Policy, ("policy_id", "version")),
    "policy_changes": (PolicyChange, ("policy_id", "from_version", "to_version")),
    "jurisdictions": (Jurisdiction, ("code", "operation", "modality", "effective_from")),
    "licences": (Licence, ("licence_id",)),
    "aliases": (Alias, ("series_id", "label")),
    "meetings": (MeetingRow, ("meeting_id",)),
    "participants": (ParticipantRow, ("meeting_id", "label")),
    "content": (ContentRow, ("meeting_id", "modality")),
    "consent": (ConsentEvent, ("event_id",)),
    "exclusions": (ExclusionRule, ("rule_id",)),
    "split": (SplitRow, ("meeting_id",)),
}
"""Table name to row type and the fields that identify a row."""


class Mode(StrEnum):
    """Whose consent a meeting needs."""

    UNANIMOUS = "unanimous"
    PER_SPEAKER = "per_speaker"


class OnWithdrawal(StrEnum):
    """What a training does when something that it trains on is withdrawn meanwhile."""

    ABORT = "abort"
    RESTART_WITHOUT = "restart_without"


@record
class Scope:
    """What the manifest can give permission for at all."""

    controller: Id
    recipients: tuple[Id, ...]
    operations: tuple[Operation, ...]
    purposes: tuple[Id, ...]
    modalities: tuple[Modality, ...]
    jurisdictions: tuple[Id, ...]


@record
class Defaults:
    """Settings that could admit more; they are signed, configuration cannot loosen them."""

    mode: Mode
    min_consent_type: ConsentType
    clock_skew_s: int
    max_consent_age_days: int
    min_speakers: int
    max_dropped_percent: int
    max_withdrawals_age_s: int
    on_withdrawal: OnWithdrawal

    def __post_init__(self) -> None:
        if self.clock_skew_s > 86_400 or self.max_consent_age_days > 10**6:
            raise ValueError("clock_skew_s above a day, or max_consent_age_days above 10^6")
        if self.max_withdrawals_age_s > 10**10 or self.max_dropped_percent > 100:
            raise ValueError("max_withdrawals_age_s or max_dropped_percent out of range")


@record
class Draw:
    """Seed of the random split, and whether the arms are that draw."""

    seed: str
    randomised: bool


@record
class FileEntry:
    """Digest and size of a table's file."""

    path: Id
    sha256: Sha256
    bytes: int
    rows: int


@record
class Counts:
    """Rows of each table."""

    policies: int
    policy_changes: int
    jurisdictions: int
    licences: int
    aliases: int
    meetings: int
    participants: int
    content: int
    consent: int
    exclusions: int
    split: int


@record
class LogHead:
    """How far the withdrawals log went when the manifest was signed."""

    entries: int
    sha256: Sha256 | None


@record
class IndexEntry:
    """Digest and size of the index of excluded content."""

    sha256: Sha256
    bytes: int


@record
class Head:
    """MANIFEST.json."""

    schema: Id
    epoch: int
    prev: Sha256 | None
    issued: datetime
    expires: datetime
    issuer: Id
    scope: Scope
    defaults: Defaults
    split: Draw
    withdrawals: LogHead
    copies: IndexEntry | None
    files: tuple[FileEntry, ...]
    counts: Counts

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ValueError("another schema")
        if self.expires <= self.issued:
            raise ValueError("it expires before it is issued")


@dataclass(frozen=True)
class Tables:
    """Rows of every table, in file order."""

    policies: Sequence[Policy]
    policy_changes: Sequence[PolicyChange]
    jurisdictions: Sequence[Jurisdiction]
    licences: Sequence[Licence]
    aliases: Sequence[Alias]
    meetings: Sequence[MeetingRow]
    participants: Sequence[ParticipantRow]
    content: Sequence[ContentRow]
    consent: Sequence[ConsentEvent]
    exclusions: Sequence[ExclusionRule]
    split: Sequence[SplitRow]
