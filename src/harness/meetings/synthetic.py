"""The demo's meetings: drawn from a grammar, written as Zoom exports them.

Each meeting has a random stream of its own, keyed by (seed, series, number). Dates and faults are
dealt afterwards, so meetings of a series are exchangeable: no classifier can tell one random
half of them from the other by their words.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from harness.meetings.model import Modality, Turn
from harness.meetings.phrases import (
    AREA_CODES,
    FIRST_NAMES,
    GRAMMAR,
    SURNAMES,
    TOPICS,
    UNIDENTIFIED,
    Topic,
)
from harness.meetings.readers import (
    zoom_chat,
    zoom_participants,
    zoom_recordings,
    zoom_transcript,
)
from harness.meetings.readers.zoom_participants import Stay
from harness.meetings.readers.zoom_recordings import (
    MODALITY_OF_RECORDING_TYPE,
    RecordedMeeting,
    RecordingFile,
)

FAULTS = (
    "refusal", "withdrawal", "expiry", "recording_only", "host_for_all", "minor",
    "unidentified_guest", "sign_in_click_through", "older_policy", "before_disclosure",
    "excluded_id", "excluded_tag", "excluded_date", "excluded_modality",
)  # fmt: skip
"""What can be wrong with a meeting; two meetings have each fault."""

STUDY_SERIES, STUDY_MEETINGS = 12, 6
VALIDATION_SERIES, VALIDATION_MEETINGS = 2, 4
VALIDATION_TAG, STUDY_TAG, EXCLUDED_TAG = "validation-series", "study-series", "confidential"

SECRET_KINDS = ("passcode", "phone", "amount")
WORDS = range(213, 234)
_FIRST_MONDAY, _WEEKS = date(2026, 1, 5), 34
_LENGTH = timedelta(minutes=30)
_FAULT_STRIDE = 5  # a series' second fault is not its first
_BODY = ("report", "question", "answer", "proposal", "objection", "agreement", "aside")
_WEIGHTS = (7, 4, 4, 4, 3, 3, 2)
_ID_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_SLOT = re.compile(r"\{(\w+)\}")

_FILES = {
    Modality.TRANSCRIPT: "transcript.vtt",
    Modality.CHAT_PUBLIC: "chat.txt",
    Modality.META_PARTICIPANT: "participants.csv",
    Modality.META_MEETING: "recordings.json",
}


@dataclass(frozen=True, slots=True)
class DemoPerson:
    """Somebody in a meeting.

    Attributes:
        subject: stable id, for example ``s03-p2``; empty for a guest nobody identified.
        label: display name; no two people share one, save the unidentified.
        email: empty for the unidentified.
        role: host, participant or guest.
        guest: what Zoom's Guest column says.
        adult: False for minors.
    """

    subject: str
    label: str
    email: str
    role: str
    guest: bool = False
    adult: bool = True


@dataclass(frozen=True, slots=True)
class Secret:
    """A planted value: passcode, phone or amount, and the turn (or message) it stands in."""

    kind: str
    text: str
    turn: int


@dataclass(frozen=True, slots=True)
class DemoMeeting:
    """One generated meeting.

    Attributes:
        id: unique, upper-case letters and digits, as safe in paths as Zoom's uuid is not.
        series: ``s01`` to ``s14``.
        title: topic of the series.
        start: UTC; no two meetings start on the same date.
        end: UTC.
        timezone: IANA name.
        tags: study-series or validation-series, a department, and the fault's tag if it has one.
        people: the host first.
        turns: (index into people, text).
        chat: (index into people, text).
        secrets: planted in turns, one of each kind.
        chat_secrets: planted in chat, one a message.
        fault: one of :data:`FAULTS`, or None.
    """

    id: str
    series: str
    title: str
    start: datetime
    end: datetime
    timezone: str
    tags: tuple[str, ...]
    people: tuple[DemoPerson, ...]
    turns: tuple[tuple[int, str], ...]
    chat: tuple[tuple[int, str], ...]
    secrets: tuple[Secret, ...]
    chat_secrets: tuple[Secret, ...]
    fault: str | None

    @property
    def paths(self) -> dict[Modality, str]:
        """Files of the meeting below the store's root, as POSIX paths."""
        return {kind: f"{self.series}/{self.id}/{name}" for kind, name in _FILES.items()}


class _Vault:
    """Draws secrets and meeting ids that never repeat."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def secret(self, kind: str, rng: random.Random) -> str:
        while (value := _secret(kind, rng)) in self._used:
            pass
        self._used.add(value)
        return value

    def meeting_id(self, rng: random.Random) -> str:
        while (value := "".join(rng.choices(_ID_ALPHABET, k=22))) in self._used:
            pass
        self._used.add(value)
        return value


class _Grammar:
    """Expands symbols; within one meeting, alternatives are dealt like cards before any repeats."""

    def __init__(self, topic: Topic, rng: random.Random) -> None:
        self._tables = GRAMMAR | topic.words
        self._rng = rng
        self._decks: dict[str, list[str]] = {}

    def sentence(self, symbol: str, **fixed: tuple[str, ...]) -> str:
        """One expansion of ``symbol``; ``fixed`` holds further symbols for this sentence."""
        text = self._expand(symbol, fixed)
        return re.sub(r"(^|[.?!] )([a-z])", lambda m: m[1] + m[2].upper(), text)

    def _expand(self, symbol: str, fixed: dict[str, tuple[str, ...]]) -> str:
        drawn = self._rng.choice(fixed[symbol]) if symbol in fixed else self._deal(symbol)
        return _SLOT.sub(lambda match: self._expand(match[1], fixed), drawn)

    def _deal(self, symbol: str) -> str:
        deck = self._decks.setdefault(symbol, [])
        if not deck:
            deck.extend(self._rng.sample(self._tables[symbol], len(self._tables[symbol])))
        return deck.pop()


def generate(seed: int) -> list[DemoMeeting]:
    """The 108 meetings of a seed: 80 without a fault, and two with each of :data:`FAULTS`."""
    rng = random.Random(f"{seed}/plan")
    vault, names = _Vault(), _labels(rng)
    faults = rng.sample(FAULTS, len(FAULTS))
    weeks = [iter(rng.sample(range(_WEEKS), _WEEKS)) for _ in range(5)]
    meetings: list[DemoMeeting] = []
    for number, topic in enumerate(TOPICS):
        series = f"s{number + 1:02d}"
        staff = _staff(series, [next(names) for _ in range(rng.choice((4, 5)))])
        clean = STUDY_MEETINGS if number < STUDY_SERIES else VALIDATION_MEETINGS
        marks: list[str | None] = [faults[number], faults[(number + _FAULT_STRIDE) % len(FAULTS)]]
        for place, fault in enumerate([*[None] * clean, *marks]):
            day = _FIRST_MONDAY + timedelta(days=number % 5, weeks=next(weeks[number % 5]))
            stream = random.Random(f"{seed}/{series}/{place}")
            people = _attendance(series, staff, fault, names, stream)
            meetings.append(_meeting(series, topic, day, people, fault, stream, vault))
    return meetings


def write(meetings: list[DemoMeeting], root: Path) -> None:
    """Write ``SERIES/MEETING/{transcript.vtt,chat.txt,participants.csv,recordings.json}``.

    The same meetings give the same bytes; a file that already holds them is left alone.
    """
    for meeting in meetings:
        for modality, data in exports(meeting).items():
            path = root / meeting.paths[modality]
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.is_file() or path.read_bytes() != data:
                path.write_bytes(data)


def exports(meeting: DemoMeeting) -> dict[Modality, bytes]:
    """The bytes of a meeting's four files."""
    seconds = (meeting.end - meeting.start).total_seconds()
    return {
        Modality.TRANSCRIPT: zoom_transcript.write(_timed(meeting, meeting.turns), seconds),
        Modality.CHAT_PUBLIC: zoom_chat.write(_timed(meeting, meeting.chat)),
        Modality.META_PARTICIPANT: zoom_participants.write(
            _number(meeting), meeting.title, _stays(meeting)
        ),
        Modality.META_MEETING: zoom_recordings.write(_recordings(meeting)),
    }


def _labels(rng: random.Random) -> Iterator[str]:
    first, last = (rng.sample(names, len(names)) for names in (FIRST_NAMES, SURNAMES))
    return (f"{one} {two}" for one, two in zip(first, last, strict=False))


def _staff(series: str, labels: list[str]) -> list[DemoPerson]:
    roles = ["host", *["participant"] * (len(labels) - 2), "guest"]
    return [
        _person(series, number, label, role)
        for number, (label, role) in enumerate(zip(labels, roles, strict=True))
    ]


def _person(series: str, number: int, label: str, role: str, *, adult: bool = True) -> DemoPerson:
    domain = "guest.example" if role == "guest" else "demo.example"
    subject = f"{series}-p{number}"
    return DemoPerson(subject, label, f"{subject}@{domain}", role, role == "guest", adult)


def _attendance(
    series: str,
    staff: list[DemoPerson],
    fault: str | None,
    names: Iterator[str],
    rng: random.Random,
) -> tuple[DemoPerson, ...]:
    """The host, some of the others, and whom the fault brings along: 3 to 5 people."""
    extra: list[DemoPerson] = []
    if fault == "unidentified_guest":
        extra = [DemoPerson("", rng.choice(UNIDENTIFIED), "", "guest", guest=True)]
    elif fault == "minor":
        extra = [_person(series, len(staff), next(names), "participant", adult=False)]
    others = rng.randint(2, min(4, len(staff) - 1) - len(extra))
    return (staff[0], *rng.sample(staff[1:], others), *extra)


def _meeting(
    series: str,
    topic: Topic,
    day: date,
    people: tuple[DemoPerson, ...],
    fault: str | None,
    rng: random.Random,
    vault: _Vault,
) -> DemoMeeting:
    zone = ZoneInfo(topic.timezone)
    local = datetime(day.year, day.month, day.day, rng.randint(11, 14), rng.choice((0, 15, 30)))
    start = local.replace(tzinfo=zone).astimezone(UTC)
    values = [(kind, vault.secret(kind, rng)) for kind in SECRET_KINDS]
    turns, secrets = _talk(topic, people, values, rng)
    chat, chat_secrets = _chat(topic, people, vault, rng)
    tags = [STUDY_TAG if series <= f"s{STUDY_SERIES:02d}" else VALIDATION_TAG, topic.tag]
    tags += [EXCLUDED_TAG] if fault == "excluded_tag" else []
    return DemoMeeting(
        vault.meeting_id(rng), series, topic.title, start, start + _LENGTH, topic.timezone,
        tuple(tags), people, turns, chat, secrets, chat_secrets, fault,
    )  # fmt: skip


_Lines = tuple[tuple[int, str], ...]


def _talk(
    topic: Topic,
    people: tuple[DemoPerson, ...],
    values: list[tuple[str, str]],
    rng: random.Random,
) -> tuple[_Lines, tuple[Secret, ...]]:
    """Draw whole conversations until one has the right length and lets everybody speak."""
    while True:
        count = rng.randint(15, 22)
        planted = dict(zip(rng.sample(range(1, count - 1), len(values)), values, strict=True))
        speakers = _speakers(count, len(people), rng)
        grammar = _Grammar(topic, rng)
        turns = tuple(
            (who, _say(grammar, rng, place, count, planted.get(place), _names(people, who)))
            for place, who in enumerate(speakers)
        )
        words = sum(len(text.split()) for _, text in turns)
        if words in WORDS and len(set(speakers)) == len(people):
            break
    secrets = tuple(Secret(kind, value, at) for at, (kind, value) in sorted(planted.items()))
    return turns, secrets


def _speakers(count: int, people: int, rng: random.Random) -> list[int]:
    """Who speaks: the host opens and closes; only before the close may one speak twice."""
    order = [0]
    while len(order) < count - 1:
        order.append(rng.choice([who for who in range(people) if who != order[-1]]))
    return [*order, 0]


def _say(
    grammar: _Grammar,
    rng: random.Random,
    place: int,
    count: int,
    secret: tuple[str, str] | None,
    names: tuple[str, ...],
) -> str:
    if place in (0, count - 1):
        return grammar.sentence("closing" if place else "greeting", name=names)
    if secret:
        return grammar.sentence(secret[0], name=names, value=(secret[1],))
    kinds = rng.choices(_BODY, _WEIGHTS, k=rng.choice((1, 1, 2)))
    return " ".join(grammar.sentence(kind, name=names) for kind in kinds)


def _names(people: tuple[DemoPerson, ...], speaker: int) -> tuple[str, ...]:
    """First names that the speaker may use."""
    return tuple(
        person.label.split()[0]
        for number, person in enumerate(people)
        if number != speaker and person.subject
    )


def _chat(
    topic: Topic, people: tuple[DemoPerson, ...], vault: _Vault, rng: random.Random
) -> tuple[_Lines, tuple[Secret, ...]]:
    grammar = _Grammar(topic, rng)
    chat: list[tuple[int, str]] = []
    secrets: list[Secret] = []
    for place, kind in enumerate(rng.choices(SECRET_KINDS, k=rng.randint(3, 6))):
        who, value = rng.randrange(len(people)), vault.secret(kind, rng)
        names = _names(people, who)
        chat.append((who, grammar.sentence(f"chat_{kind}", name=names, value=(value,))))
        secrets.append(Secret(kind, value, place))
    return tuple(chat), tuple(secrets)


def _secret(kind: str, rng: random.Random) -> str:
    if kind == "passcode":
        return f"{rng.randrange(100_000, 1_000_000)}"
    if kind == "phone":
        return f"{rng.choice(AREA_CODES)}-555-{rng.randrange(10_000):04d}"
    return f"${rng.randrange(1_000, 1_000_000, 10):,}"


def _timed(meeting: DemoMeeting, said: _Lines) -> list[Turn]:
    """Turns with start times, spread over the meeting by their length in characters."""
    whole = sum(len(text) for _, text in said)
    seconds = (meeting.end - meeting.start).total_seconds()
    turns: list[Turn] = []
    before = 0
    for index, (who, text) in enumerate(said):
        start = 3 + round((seconds - 60) * before / whole, 3)
        turns.append(Turn(index, meeting.people[who].label, text, start))
        before += len(text)
    return turns


def _number(meeting: DemoMeeting) -> str:
    """Zoom's numeric meeting id; like Zoom's own it is the same for a whole series."""
    return f"812 3456 78{meeting.series[1:]}"


def _stays(meeting: DemoMeeting) -> list[Stay]:
    zone = ZoneInfo(meeting.timezone)
    join, leave = (
        moment.astimezone(zone).replace(tzinfo=None) for moment in (meeting.start, meeting.end)
    )
    minutes = round((leave - join).total_seconds() / 60)
    return [
        Stay(person.label, person.email, join, leave, minutes, person.guest, "Y")
        for person in meeting.people
    ]


def _recordings(meeting: DemoMeeting) -> list[RecordingFile]:
    source = RecordedMeeting(
        meeting.id, meeting.people[0].subject, meeting.title, meeting.start, meeting.timezone,
        number=_number(meeting).replace(" ", ""),
        minutes=round((meeting.end - meeting.start).total_seconds() / 60),
    )  # fmt: skip
    return [
        RecordingFile(
            source, f"{meeting.id}-{number}", file_type, kind,
            MODALITY_OF_RECORDING_TYPE[kind], "completed",
        )
        for number, (file_type, kind) in enumerate(
            [("M4A", "audio_only"), ("TRANSCRIPT", "audio_transcript"), ("CHAT", "chat_file")]
        )
    ]  # fmt: skip
