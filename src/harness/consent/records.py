"""Rows of a manifest: frozen dataclasses, and a strict reader of JSON objects into them.

Field names follow ISO/IEC TS 27560 and the W3C Data Privacy Vocabulary where these have a name.
An empty list never means "all"; the word for all is :data:`ALL`.
"""

import functools
import re
import types
import typing
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass as _dataclass
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, NoReturn, TypeVar, dataclass_transform

from harness.digest import strict_json
from harness.errors import Refused
from harness.meetings.model import Modality

ALL: Final = "*"
"""Names every member of an axis; it has to be written out."""

NONE: Final = "none"
"""Where a column of names has nothing to name; a null would hide what a rule looks for."""

All = Literal["*"]
Id = Annotated[str, r"[!-~]{1,128}"]
Key = Annotated[str, r"[0-9a-f]{32}"]
Sha256 = Annotated[str, r"[0-9a-f]{64}"]

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def record(kind: type[T]) -> type[T]:
    """A frozen dataclass that :func:`parse` can read and :func:`to_json` can write."""
    return _dataclass(frozen=True, slots=True)(kind)


class Operation(StrEnum):
    """What is done with the data; a processing operation, apart from the purpose it serves."""

    FINE_TUNING = "ai:ModelFineTuning"
    TRAINING = "ai:ModelTraining"
    EVALUATION = "evaluation"
    LEAK_TEST = "leak_test"
    INFERENCE = "inference"
    ANNOTATION = "annotation"
    RECORDING = "recording"
    TRANSCRIPTION = "transcription"


class State(StrEnum):
    """State that a consent event brings about (DPV consent status)."""

    REQUESTED = "requested"
    GIVEN = "given"
    RENEWED = "renewed"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"
    REVOKED = "revoked"
    EXPIRED = "expired"
    INVALIDATED = "invalidated"
    UNKNOWN = "unknown"


class ConsentType(StrEnum):
    """How consent was shown; staying in a meeting or signing in is ``implied``."""

    IMPLIED = "implied"
    EXPRESSED = "expressed"
    EXPLICIT = "explicit"


class Method(StrEnum):
    """Through what a person expressed a state; ``terms`` are accepted as a whole, at sign-in."""

    TERMS = "terms"
    PLATFORM = "platform"
    PROMPT = "prompt"
    FORM = "form"
    SPOKEN = "spoken"


class Delegation(StrEnum):
    """In what capacity the one spoke who did."""

    SELF = "self"
    PARENT = "parent"
    GUARDIAN = "guardian"
    LEGAL_REP = "legal_rep"
    EMPLOYER = "employer"
    HOST = "host"


class Role(StrEnum):
    """Part that a person had in a meeting."""

    HOST = "host"
    PARTICIPANT = "participant"
    GUEST = "guest"


class AgeBand(StrEnum):
    """What is known of a person's age."""

    ADULT = "adult"
    MINOR = "minor"
    MINOR_WITH_GUARDIAN = "minor_with_guardian"
    UNKNOWN = "unknown"


class Relation(StrEnum):
    """What a person is to the controller; an employee is rarely free to refuse."""

    EMPLOYEE = "employee"
    OTHER = "other"
    UNKNOWN = "unknown"


class Declared(StrEnum):
    """Whether a meeting holds special categories of data (GDPR Art. 9), as its owner says."""

    NO = "no"
    YES = "yes"
    UNKNOWN = "unknown"


class SpecialCategory(StrEnum):
    """What a place demands where special categories of data are not ruled out."""

    ALLOW = "allow"
    EXPLICIT = "explicit"
    DENY = "deny"


class ChangeKind(StrEnum):
    """How a policy version differs from the one before; only a widening needs new consent."""

    EDITORIAL = "editorial"
    NARROWING = "narrowing"
    WIDENING = "widening"


class Arm(StrEnum):
    """Where the draw put a meeting."""

    TRAIN = "train"
    HELDOUT = "heldout"
    SENTINEL = "sentinel"
    VALIDATION = "validation"


class RuleKind(StrEnum):
    """What an exclusion rule matches on."""

    MEETING = "meeting"
    SERIES = "series"
    ACCOUNT = "account"
    TAG = "tag"
    DATE_RANGE = "date_range"
    MODALITY = "modality"
    JURISDICTION = "jurisdiction"
    FILE = "file"
    SUBJECT = "subject"
    DOMAIN = "domain"
    LABEL = "label"
    TURN = "turn"
    UTTERANCE = "utterance"


class RuleSource(StrEnum):
    """Who asked for an exclusion."""

    SUBJECT = "subject"
    CONTROLLER = "controller"
    COURT = "court"
    POLICY = "policy"
    SENTINEL = "sentinel"


@record
class MeetingRow:
    """A meeting; ``tz`` is the IANA zone that its local times were in."""

    meeting_id: Id
    series_id: Id
    account_id: Id
    platform: Id
    start: datetime
    end: datetime
    tz: Id
    tags: tuple[Id, ...]
    special_category: Declared

    def __post_init__(self) -> None:
        _check_order(self)


@record
class ParticipantRow:
    """One label of a meeting's roster; ``subject_key`` is null while nobody is identified.

    ``jurisdictions`` are the places (ISO 3166) that the person is known to be of; ``domain`` is
    that of the person's organisation.
    """

    meeting_id: Id
    subject_key: Key | None
    label: str
    role: Role
    age_band: AgeBand
    relation: Relation
    jurisdictions: tuple[Id, ...]
    domain: Id
    shared_device: bool


@record
class ContentRow:
    """One file: what it holds, its digest, and how many turns a reader must find in it."""

    meeting_id: Id
    modality: Modality
    format: Id
    path: str
    sha256: Sha256
    bytes: int
    turns: int
    derived_from: tuple[Modality, ...]
    recording_type: Id
    licence_id: Id


@record
class Notice:
    """The policy text that a person saw."""

    policy_id: Id
    version: Id
    sha256: Sha256
    language: Id


@record
class ContentScope:
    """Meetings that an event speaks of: named, or of a named series, begun within the dates."""

    meetings: tuple[Id, ...]
    series: tuple[Id, ...]
    from_: datetime
    until: datetime


@record
class ConsentEvent:
    """One entry of the consent log; a person's status is derived from it, never stored.

    ``derivatives`` names modalities made from others: under consent they are named too, under a
    restriction they are spared. ``retroactive`` says that meetings before the event were meant.
    """

    seq: int
    event_id: Id
    subject_key: Key
    actor_key: Key
    delegation: Delegation
    state: State
    consent_type: ConsentType
    controller: Id
    recipients: tuple[Id, ...]
    operations: tuple[Operation, ...]
    purposes: tuple[Id, ...]
    modalities: tuple[Modality, ...]
    derivatives: tuple[Modality, ...]
    notice: Notice
    scope: ContentScope
    retroactive: bool
    event_time: datetime
    recorded_time: datetime
    valid_from: datetime
    valid_until: datetime
    retention_until: datetime
    method: Method
    evidence_sha256: Sha256 | None

    def __post_init__(self) -> None:
        _check_order(self)


@record
class Policy:
    """A version of a policy: what it discloses, since when it applies, and when people were told.

    The two dates differ: in the 2023 case the terms applied from 28 July and were told on 8 August.
    """

    policy_id: Id
    version: Id
    effective_from: datetime
    disclosed_at: datetime
    sha256: Sha256
    operations: tuple[Operation, ...]
    purposes: tuple[Id, ...]
    modalities: tuple[Modality, ...]
    recipients: tuple[Id, ...]


@record
class PolicyChange:
    """What changed between two versions of a policy; a change without a row is a widening.

    A widening lists what it adds; one that lists nothing adds everything.
    """

    policy_id: Id
    from_version: Id
    to_version: Id
    kind: ChangeKind
    operations: tuple[Operation, ...]
    purposes: tuple[Id, ...]
    modalities: tuple[Modality, ...]


@record
class Jurisdiction:
    """What a place demands of an operation on a kind of content; the values are the operator's."""

    code: Id
    operation: Operation | All
    modality: Modality | All
    min_consent_type: ConsentType
    guardian_ok: bool
    employee_ok: bool
    special_category: SpecialCategory
    min_age: int
    max_retention_days: int
    all_party_recording: bool
    transfer_to: tuple[Id, ...]
    effective_from: datetime
    effective_until: datetime
    reviewed_on: datetime

    def __post_init__(self) -> None:
        if self.effective_until <= self.effective_from:
            raise ValueError("it ends before it begins")
        if self.max_retention_days > 10**6:
            raise ValueError("max_retention_days above 10^6")


@record
class Licence:
    """What the licence of content allows."""

    licence_id: Id
    operations: tuple[Operation, ...]
    purposes: tuple[Id, ...]


@record
class Alias:
    """A label of a series that stands for the people named, who may be two at one device."""

    series_id: Id
    label: str
    subject_keys: tuple[Key, ...]

    def __post_init__(self) -> None:
        if not self.subject_keys:
            raise ValueError("an alias of nobody")


@record
class RuleScope:
    """Where an exclusion holds; :data:`ALL` must be written out."""

    meetings: tuple[Id, ...]
    modalities: tuple[Modality | All, ...]
    operations: tuple[Operation | All, ...]
    purposes: tuple[Id, ...]

    def __post_init__(self) -> None:
        if not (self.meetings and self.modalities and self.operations and self.purposes):
            raise ValueError("an exclusion that holds nowhere; write * for everywhere")


@record
class ExclusionRule:
    """What may not be used; what each kind matches on is in ``docs/gate.md``, section 3."""

    rule_id: Id
    kind: RuleKind
    value: str
    scope: RuleScope
    effective_from: datetime
    effective_until: datetime | None
    source: RuleSource
    added_at: datetime

    def __post_init__(self) -> None:
        if not _RULE_VALUES.get(self.kind, re.compile(".+")).fullmatch(self.value):
            raise ValueError("value is not of the rule's kind")
        if self.kind is RuleKind.MODALITY:
            Modality(self.value)
        if self.kind is RuleKind.TURN:
            Modality(self.value.partition("/")[0])
        if self.kind is RuleKind.DATE_RANGE and self.dates[1] <= self.dates[0]:
            raise ValueError("the range is empty")

    @property
    def dates(self) -> tuple[datetime, datetime]:
        """Start and end of a ``date_range`` rule."""
        start, _, end = self.value.partition("/")
        return parse_time(start), parse_time(end)


@record
class SplitRow:
    """The arm that the draw gave a meeting."""

    meeting_id: Id
    series_id: Id
    arm: Arm


ORDERED: dict[type[Any], tuple[tuple[str, str, str], ...]] = {
    MeetingRow: (("start", "end", "end lies before start"),),
    ConsentEvent: (
        ("valid_from", "valid_until", "its validity ends before it begins"),
        ("event_time", "recorded_time", "it was recorded before it happened"),
    ),
}
"""Times of a record that follow each other: the earlier, the later, and what is wrong if not."""

_RULE_VALUES = {
    RuleKind.SUBJECT: re.compile(r"[0-9a-f]{32}"),
    RuleKind.FILE: re.compile(r"[0-9a-f]{64}"),
    RuleKind.UTTERANCE: re.compile(r"[0-9a-f]{64}"),
    RuleKind.TURN: re.compile(r"[a-z_]{1,32}/(0|[1-9][0-9]{0,8})"),
    RuleKind.DATE_RANGE: re.compile(r"[^/]+/[^/]+"),
}


def parse_time(text: str) -> datetime:
    """Read an RFC 3339 time in UTC, written with ``Z``.

    Raises:
        ValueError: for other zones, naive times and impossible dates.
    """
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", text, re.ASCII):
        raise ValueError("not a time in UTC written with Z")
    return datetime.fromisoformat(text)


def format_time(time: datetime) -> str:
    """Write an aware time as RFC 3339 in UTC with ``Z``."""
    if time.utcoffset() is None:
        raise ValueError("a time without zone")
    return time.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def parse(kind: type[T], value: Any, where: str) -> T:
    """Read one JSON object into a row, refusing whatever the row does not define.

    Args:
        kind: a dataclass made by :func:`record`.
        value: the parsed JSON.
        where: file and row, for the refusal.

    Raises:
        Refused: ``UNKNOWN_FIELD`` or ``SCHEMA_INVALID`` naming file, row and key.
    """
    if not isinstance(value, dict):
        _invalid("not a JSON object", where)
    known = hints(typing.cast("Any", kind))
    for key in value:
        if key not in known:
            raise Refused("UNKNOWN_FIELD", "a field that the schema does not have",
                          f"{where} key {_shown(key)}", "remove or correct it")  # fmt: skip
    arguments = {}
    for key, (name, hint) in known.items():
        if key not in value:
            _invalid("a field is missing", f"{where} key {key}")
        arguments[name] = _convert(hint, value[key], f"{where} key {key}")
    try:
        return kind(**arguments)
    except ValueError as error:
        # an enum's own message repeats the value; ours are fixed sentences
        _invalid("an unknown word" if "is not a valid" in str(error) else str(error), where)


def parse_lines(kind: type[T], data: bytes, file: str) -> tuple[T, ...]:
    """Read JSON lines; each line ends with a line feed and holds one row.

    Raises:
        Refused: as :func:`parse`, or ``JSON_INVALID``.
    """
    lines = data.split(b"\n")
    if lines.pop() != b"":
        _invalid("the last line has no end", file)
    return tuple(
        parse(kind, strict_json(line, f"{file} row {n}"), f"{file} row {n}")
        for n, line in enumerate(lines, 1)
    )


def to_json(value: Any) -> Any:
    """The JSON form of a row; the inverse of :func:`parse`."""
    if is_dataclass(value):
        return {f.name.rstrip("_"): to_json(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, StrEnum):
        return str(value)
    return [to_json(item) for item in value] if isinstance(value, tuple) else value


def unique(rows: Iterable[Any], key: tuple[str, ...], file: str) -> None:
    """Refuse two rows with the same key.

    Raises:
        Refused: ``DUPLICATE_ID`` naming file, row and key.
    """
    seen = set()
    for n, row in enumerate(rows, 1):
        identity = tuple(getattr(row, name) for name in key)
        if identity in seen:
            raise Refused("DUPLICATE_ID", "two rows carry the same id",
                          f"{file} row {n} key {'+'.join(key)}", "keep one")  # fmt: skip
        seen.add(identity)


def is_plain_text(text: str) -> bool:
    """Whether text is not empty and has no control character and no mark of direction."""
    return re.fullmatch(_PLAIN_TEXT, text) is not None


def _check_order(row: Any) -> None:
    for first, second, problem in ORDERED[type(row)]:
        if getattr(row, second) < getattr(row, first):
            raise ValueError(problem)


_PLAIN_TEXT = r"[^\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]+"


@functools.cache
def hints(kind: Any) -> dict[str, tuple[str, Any]]:
    """JSON key of each field to its Python name and type."""
    found = typing.get_type_hints(kind, include_extras=True)
    return {f.name.rstrip("_"): (f.name, found[f.name]) for f in fields(kind)}


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _text(value, arguments[1], where)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(arguments, value, where)
    if origin is tuple:
        return _convert_list(arguments[0], value, where)
    if is_dataclass(hint):
        return parse(typing.cast("type[Any]", hint), value, where)
    return _convert_plain(hint, value, where)


def _convert_plain(hint: Any, value: Any, where: str) -> Any:
    if hint is str:
        if isinstance(value, str) and not unicodedata.is_normalized("NFC", value):
            _invalid("text that is not in form NFC", where)
        return _text(value, _PLAIN_TEXT, where)
    if hint in (int, bool):
        if type(value) is not hint or (hint is int and not 0 <= value < 2**53):
            _invalid(f"not a valid {hint.__name__}", where)
        return value
    try:
        if not isinstance(value, str):
            raise ValueError
        return parse_time(value) if hint is datetime else hint(value)
    except ValueError:
        _invalid("no RFC 3339 time in UTC" if hint is datetime else "an unknown word", where)


def _convert_union(options: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None:
        if type(None) not in options:
            _invalid("null is not allowed", where)
        return None
    if All in options and value == ALL:
        return ALL
    (chosen,) = [option for option in options if option not in (type(None), All)]
    return _convert(chosen, value, where)


def _convert_list(hint: Any, value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        _invalid("not a list", where)
    items = tuple(_convert(hint, item, where) for item in value)
    if all(isinstance(item, str) for item in items) and len(set(items)) != len(items):
        _invalid("a list names something twice", where)
    return items


def _text(value: Any, pattern: str, where: str) -> str:
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        _invalid("not text of the required form", where)
    return value


def _shown(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_]{1,40}", key) else "(unprintable)"


def _invalid(what: str, where: str) -> NoReturn:
    raise Refused("SCHEMA_INVALID", what, where, "correct the row and sign again")
