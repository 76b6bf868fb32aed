"""Small worlds for the gate: a wholly consenting one, and a drawn handful of mutations of it.

Every mutation touches one rule of ``docs/gate.md``, at its edge where it has one, and comes in
variants that just deny and that just still admit. A world is plain JSON, valid under
``docs/manifest.schema.json``. All choices come from two kinds of drawn integers, a seed for the
clean world and one for each mutation, so that generation is quick and a failure shrinks to the few
mutations that matter; they are noted with the failure.
"""

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import note
from hypothesis import strategies as st

from consent.oracle import CODES as CODES

Row = dict[str, Any]
RecordingTypes = Mapping[tuple[str, str], str]

NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
SKEW = 300
EDGE = (-SECOND, timedelta(0), SECOND)

FINE_TUNING = "ai:ModelFineTuning"
TRAINING = "ai:ModelTraining"
OPERATIONS = (
    FINE_TUNING,
    TRAINING,
    "evaluation",
    "leak_test",
    "inference",
    "annotation",
    "recording",
    "transcription",
)
MODALITIES = (
    "audio",
    "video",
    "screen_share",
    "transcript",
    "caption",
    "chat_public",
    "chat_private",
    "reaction",
    "poll",
    "whiteboard",
    "attachment",
    "summary_ai",
    "meta_participant",
    "meta_meeting",
    "timeline",
    "telemetry",
)
USUAL = ("audio", "transcript", "caption", "summary_ai", "timeline", "chat_public", "telemetry")
NATURE = {
    "transcript": "audio",
    "caption": "audio",
    "timeline": "audio",
    "summary_ai": "transcript",
}
PURPOSES = ("research", "product")
RECIPIENTS = ("lab", "vendor")
PLACES = ("DE", "FR", "US-CA")
ARMS = ("train", "heldout", "sentinel", "validation")
SOURCES = ("subject", "controller", "court", "policy", "sentinel")
RESTRICTIVE = (
    "requested",
    "refused",
    "withdrawn",
    "revoked",
    "expired",
    "invalidated",
    "unknown",
)
TYPES = ("implied", "expressed", "explicit")
LABELS = ("Ana Gil", "Bo | Acme", "Zoë", "Sam O'Neil", "Łu Straße", "Ρΐα @ Π")
EQUAL_LABELS = {
    "Ana Gil": ("ANA  GIL", "Ａna Gil", "𝐀na Gil", " ana gil"),
    "Bo | Acme": ("bo|acme", "Bo |ACME", "Bo  |  Acme"),
    "Zoë": ("ZOË", "zoë "),
    "Sam O'Neil": ("Sam O’Neil", "sam o'neil", "SAM O‘NEIL"),
    "Łu Straße": ("ŁU STRASSE", "łu strasse"),
    "Ρΐα @ Π": ("ΡΪ́Α@Π", "ρΐα@ π"),
}
NEAR_LABELS = {
    "Ana Gil": ("Anagil", "Ana-Gil"),
    "Bo | Acme": ("Bo / Acme", "Bo | Ac me"),
    "Zoë": ("Zoe",),
    "Sam O'Neil": ("Sam ONeil", "Sam O′Neil"),
    "Łu Straße": ("Lu Straße",),
    "Ρΐα @ Π": ("Ρία @ Π",),
}
CONFUSABLE = ("Аna Gil", "Ζoe Ω", "Aνa", "Աna", "Ꭺna Gil")
SINGLE_SCRIPT = ("Анна", "Νίκος", "Ана 21", "Ana 花子", "Ａлла", "Գոռ")

RECORDING_TYPES: RecordingTypes = {
    ("zoom", "audio_only"): "audio",
    ("zoom", "audio_transcript"): "transcript",
    ("zoom", "closed_caption"): "caption",
    ("zoom", "chat_file"): "chat_public",
    ("zoom", "timeline"): "timeline",
    ("zoom", "summary"): "summary_ai",
    ("teams", "recording"): "video",
    ("teams", "transcript"): "transcript",
}


@dataclass(frozen=True)
class World:
    """What a decision needs, as JSON."""

    head: Row
    tables: dict[str, list[Row]]
    request: Row
    now: str
    recording_types: dict[tuple[str, str], str]


def stamp(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def digest(*parts: str) -> str:
    return hashlib.sha256("/".join(parts).encode()).hexdigest()


def key(index: int) -> str:
    """A subject key; some share their first half, others their second."""
    return f"{index % 2:016x}{index // 2:016x}"


STRANGER = key(0xFF)


@dataclass
class Draft:
    """A world in the making, its random choices, and ways to pick something of it to change."""

    rng: random.Random
    now: datetime
    recording_types: dict[tuple[str, str], str]
    head: Row = field(default_factory=dict)
    request: Row = field(default_factory=dict)
    tables: dict[str, list[Row]] = field(default_factory=dict)

    def pick(self, *options: Any) -> Any:
        return self.rng.choice(options)

    def chance(self, percent: int) -> bool:
        return self.rng.random() * 100 < percent

    def near(self) -> datetime:
        """Now, a second before or after."""
        return self.now + self.pick(*EDGE)

    def meeting(self) -> Row:
        return self.rng.choice(self.tables["meetings"])

    def roster(self, meeting: Row) -> list[Row]:
        rows = self.tables["participants"]
        return [r for r in rows if r["meeting_id"] == meeting["meeting_id"]]

    def content(self, meeting: Row) -> list[Row]:
        rows = self.tables["content"]
        return [r for r in rows if r["meeting_id"] == meeting["meeting_id"]]

    def row(self) -> Row:
        """A row of a roster; an orphan nobody sees when there is none."""
        return self.rng.choice(self.tables["participants"] or [person("none", None, "none")])

    def subject(self) -> str:
        return self.row()["subject_key"] or key(1)

    def file(self) -> Row:
        """A row of content, rather of one that the request names; or an orphan."""
        rows = self.tables["content"]
        asked = [r for r in rows if r["modality"] in self.request["modalities"]]
        return self.rng.choice(asked or rows or [a_file("none", "audio")])

    def asked_modality(self) -> str:
        return self.rng.choice(self.request["modalities"])

    def asked_operation(self) -> str:
        return self.rng.choice(self.request["operations"])

    def last_permit(self, subject: str) -> Row:
        """The subject's latest permitting event; a detached one when there is none."""
        events = [
            e
            for e in self.tables["consent"]
            if e["subject_key"] == subject and e["state"] in ("given", "renewed")
        ]
        return max(events, key=lambda e: moment(e["event_time"]), default=self.event(subject))

    def event(self, subject: str, **changes: Any) -> Row:
        """A permitting event that covers all that is asked; not yet in the log."""
        policy = self.tables["policies"][-1]
        event_time = changes.pop("event_time", self.now - 60 * DAY)
        return {
            "seq": 0,
            "event_id": "",
            "subject_key": subject,
            "actor_key": subject,
            "delegation": "self",
            "state": "given",
            "consent_type": "explicit",
            "controller": "acme",
            "recipients": list(RECIPIENTS),
            "operations": self.generous_operations(),
            "purposes": list(PURPOSES),
            "modalities": self.used_modalities(),
            "derivatives": [],
            "notice": {
                "policy_id": policy["policy_id"],
                "version": policy["version"],
                "sha256": policy["sha256"],
                "language": "en",
            },
            "scope": {
                "meetings": ["*"],
                "series": [],
                "from": stamp(self.now - 1000 * DAY),
                "until": stamp(self.now + 1000 * DAY),
            },
            "retroactive": False,
            "event_time": stamp(event_time),
            "recorded_time": stamp(event_time),
            "valid_from": stamp(self.now - 1000 * DAY),
            "valid_until": stamp(self.now + 1000 * DAY),
            "retention_until": stamp(self.now + 1000 * DAY),
            "method": "form",
            "evidence_sha256": None,
        } | changes

    def log(self, event: Row) -> None:
        if len(self.tables["consent"]) < 12:
            self.tables["consent"].append(event)

    def generous_operations(self) -> list[str]:
        """What is asked, with training for fine-tuning now and then, and recording."""
        listed = list(self.request["operations"])
        if FINE_TUNING in listed and TRAINING not in listed and self.chance(30):
            listed[listed.index(FINE_TUNING)] = TRAINING
        return listed + [o for o in ("recording",) if o not in listed]

    def used_modalities(self) -> list[str]:
        used = {r["modality"] for r in self.tables["content"]} | set(self.request["modalities"])
        return sorted(used)

    def add_place(self, row: Row) -> None:
        names = ("code", "operation", "modality", "effective_from")
        taken = {tuple(r[n] for n in names) for r in self.tables["jurisdictions"]}
        if tuple(row[n] for n in names) not in taken:
            self.tables["jurisdictions"].append(row)

    def touched_place(self) -> str:
        """A place of somebody, or of the scope."""
        return self.rng.choice(
            [*self.row()["jurisdictions"], *self.head["scope"]["jurisdictions"]] or ["DE"]
        )

    def stricter(self, **changes: Any) -> None:
        """A further row for a touched place, of what is asked, or just beside it."""
        one = self.asked_operation()
        operation = self.pick("*", "*", one, one, TRAINING, "annotation")
        modality = self.pick("*", "*", self.asked_modality(), self.asked_modality(), "whiteboard")
        start = self.now - self.pick(100, 200) * DAY
        row = a_place(self.touched_place(), self.now) | {
            "operation": operation,
            "modality": modality,
            "effective_from": stamp(start),
        }
        self.add_place(row | changes)

    def everywhere(self, **changes: Any) -> None:
        """A change of all rows that there are, of one of them, or a further one."""
        rows = self.tables["jurisdictions"]
        if rows and self.chance(70):
            for row in self.pick(rows, rows, [self.rng.choice(rows)]):
                row.update(changes)
        else:
            self.stricter(**changes)


def person(meeting_id: str, subject: str | None, label: str) -> Row:
    return {
        "meeting_id": meeting_id,
        "subject_key": subject,
        "label": label,
        "role": "participant",
        "age_band": "adult",
        "relation": "other",
        "jurisdictions": ["DE"],
        "domain": "none",
        "shared_device": False,
    }


def a_file(meeting_id: str, modality: str) -> Row:
    return {
        "meeting_id": meeting_id,
        "modality": modality,
        "format": "test",
        "path": f"{meeting_id}/{modality}.txt",
        "sha256": digest(meeting_id, modality),
        "bytes": 1,
        "turns": 1,
        "derived_from": [],
        "recording_type": "none",
        "licence_id": "L1",
    }


def a_place(code: str, now: datetime) -> Row:
    return {
        "code": code,
        "operation": "*",
        "modality": "*",
        "min_consent_type": "implied",
        "guardian_ok": True,
        "employee_ok": True,
        "special_category": "allow",
        "min_age": 0,
        "max_retention_days": 3650,
        "all_party_recording": False,
        "transfer_to": ["*"],
        "effective_from": stamp(now - 1000 * DAY),
        "effective_until": stamp(now + 1000 * DAY),
        "reviewed_on": stamp(now - 1000 * DAY),
    }


def a_policy(version: str, effective_from: datetime) -> Row:
    return {
        "policy_id": "p1",
        "version": version,
        "effective_from": stamp(effective_from),
        "disclosed_at": stamp(effective_from),
        "sha256": digest("p1", version),
        "operations": list(OPERATIONS),
        "purposes": list(PURPOSES),
        "modalities": list(MODALITIES),
        "recipients": list(RECIPIENTS),
    }


def a_change(before: str, after: str, kind: str) -> Row:
    return {
        "policy_id": "p1",
        "from_version": before,
        "to_version": after,
        "kind": kind,
        "operations": [],
        "purposes": [],
        "modalities": [],
    }


def a_rule(kind: str, value: str, now: datetime) -> Row:
    return {
        "rule_id": "",
        "kind": kind,
        "value": value,
        "scope": {
            "meetings": ["*"],
            "modalities": ["*"],
            "operations": ["*"],
            "purposes": ["*"],
        },
        "effective_from": stamp(now - 100 * DAY),
        "effective_until": None,
        "source": "controller",
        "added_at": stamp(now - 100 * DAY),
    }


# The clean world.


def clean(rng: random.Random, recording_types: RecordingTypes) -> Draft:
    now = NOW + timedelta(microseconds=rng.choice((0, 0, 0, 500_000)))
    d = Draft(rng, now, dict(recording_types))
    operations = rng.choice(
        (
            [FINE_TUNING],
            [FINE_TUNING],
            [TRAINING],
            [TRAINING],
            [FINE_TUNING, "evaluation"],
            ["leak_test", "evaluation"],
            [TRAINING, FINE_TUNING],
            ["recording", "transcription"],
            ["inference"],
        )
    )
    pool = rng.sample(USUAL if rng.random() < 0.8 else MODALITIES, rng.randint(1, 3))
    asked = rng.sample(pool, rng.randint(1, len(pool)))
    places = rng.sample(PLACES, rng.randint(1, 2))
    d.head = {
        "scope": {
            "controller": "acme",
            "recipients": list(RECIPIENTS),
            "operations": list(OPERATIONS),
            "purposes": list(PURPOSES),
            "modalities": list(MODALITIES),
            "jurisdictions": places[: rng.choice((0, 1, 1, 2))],
        },
        "defaults": {
            "mode": rng.choice(("unanimous", "per_speaker")),
            "min_consent_type": rng.choice(TYPES),
            "clock_skew_s": rng.choice((0, SKEW, SKEW)),
            "max_consent_age_days": 365,
            "min_speakers": 0,
            "max_dropped_percent": 50,
            "max_withdrawals_age_s": 3600,
            "on_withdrawal": "abort",
        },
    }
    d.request = {
        "controller": "acme",
        "recipients": rng.choice((["lab"], ["vendor", "lab"])),
        "purpose": rng.choice(PURPOSES),
        "operations": operations,
        "modalities": asked,
        "arms": ["train", *rng.sample(ARMS[1:], rng.choice((0, 1, 3)))],
        "set_aside": rng.choice(([], [], ["sentinel"])),
    }
    clean_tables(d, pool, places)
    return d


def clean_tables(d: Draft, pool: list[str], places: list[str]) -> None:
    rng, now = d.rng, d.now
    tables: dict[str, list[Row]] = {
        "meetings": [],
        "participants": [],
        "content": [],
        "consent": [],
        "policies": [a_policy("1", now - 500 * DAY)],
        "policy_changes": [],
        "jurisdictions": [a_place(place, now) for place in places],
        "licences": [
            {"licence_id": "L1", "operations": list(OPERATIONS), "purposes": list(PURPOSES)}
        ],
        "aliases": [],
        "exclusions": [],
        "split": [],
    }
    d.tables = tables
    subjects = [key(i + 1) for i in range(rng.randint(1, 4))]
    platforms = sorted({platform for platform, _ in d.recording_types}) or ["zoom"]
    for number in range(1, rng.choice((1, 2, 2, 3, 4)) + 1):
        clean_meeting(d, f"m{number}", platforms, pool, places, subjects)
    if rng.random() < 0.2:
        series_id = rng.choice(tables["meetings"])["series_id"]
        alias = {"series_id": series_id, "label": "Room", "subject_keys": subjects[:2]}
        tables["aliases"].append(alias)
    smallest = min(len(d.roster(meeting)) for meeting in tables["meetings"])
    d.head["defaults"]["min_speakers"] = min(rng.choice((0, 1, 1, 2)), smallest)
    for subject in subjects:
        method = rng.choice(("platform", "prompt", "form", "spoken"))
        state = rng.choice(("given", "given", "renewed"))
        event = d.event(subject, method=method, state=state)
        if rng.random() < 0.3:
            event["scope"]["meetings"] = [m["meeting_id"] for m in tables["meetings"]]
        elif rng.random() < 0.3:
            event["scope"]["meetings"] = []
            event["scope"]["series"] = sorted({m["series_id"] for m in tables["meetings"]})
        if rng.random() < 0.2:
            event["event_time"] = stamp(now - DAY)
            event["retroactive"] = True
        tables["consent"].append(event)
    if rng.random() < 0.4:
        newer_version(d, now - rng.choice((30, 100)) * DAY, rng.choice(("editorial", "narrowing")))


def clean_meeting(
    d: Draft,
    meeting_id: str,
    platforms: list[str],
    pool: list[str],
    places: list[str],
    subjects: list[str],
) -> None:
    rng = d.rng
    start = d.now - rng.choice((5, 10, 10, 30)) * DAY
    meeting = {
        "meeting_id": meeting_id,
        "series_id": rng.choice(("s1", "s2")),
        "account_id": rng.choice(("a1", "a2")),
        "platform": rng.choice(platforms),
        "start": stamp(start),
        "end": stamp(start + HOUR),
        "tz": rng.choice(("Europe/Berlin", "UTC", "America/Argentina/Ushuaia")),
        "tags": rng.choice(([], [], ["weekly"])),
        "special_category": "no",
    }
    d.tables["meetings"].append(meeting)
    labels = rng.sample(LABELS, 4)
    for subject, label in zip(
        rng.sample(subjects, rng.randint(1, len(subjects))), labels, strict=False
    ):
        row = person(meeting_id, subject, label)
        row["role"] = rng.choice(("host", "participant", "guest"))
        row["jurisdictions"] = rng.sample(places, rng.randint(1, len(places)))
        row["domain"] = rng.choice(("none", "acme.example"))
        d.tables["participants"].append(row)
    asked = rng.choice(d.request["modalities"])
    held = [m for m in pool if m == asked or rng.random() < 0.6]
    for modality in held:
        row = a_file(meeting_id, modality)
        types = [
            t
            for (p, t), m in d.recording_types.items()
            if p == meeting["platform"] and m == modality
        ]
        if types and rng.random() < 0.5:
            row["recording_type"] = types[0]
        if NATURE.get(modality) in held and rng.random() < 0.5:
            row["derived_from"] = [NATURE[modality]]
        d.tables["content"].append(row)
    d.tables["split"].append(
        {
            "meeting_id": meeting_id,
            "series_id": meeting["series_id"],
            "arm": rng.choice(d.request["arms"]),
        }
    )


def newer_version(d: Draft, effective_from: datetime, kind: str | None) -> Row:
    """A copy of the last version that takes effect later, with its row of change or without."""
    policies = d.tables["policies"]
    last = policies[-1]
    version = ("1", "2", "10", "3", "4", "5", "6")[len(policies)]
    policy = a_policy(version, effective_from)
    policies.append(policy)
    if kind is not None:
        d.tables["policy_changes"].append(a_change(last["version"], version, kind))
    return policy


# Mutations. Each takes a draft and changes it in place.

Mutation = Callable[[Draft], None]
MUTATIONS: list[Mutation] = []


def mutation(change: Mutation) -> Mutation:
    MUTATIONS.append(change)
    return change


def often(change: Mutation) -> Mutation:
    """A mutation of many variants, drawn twice as often as others; stacked, four times."""
    MUTATIONS.extend([change] * 2)
    return change


# Section 2.


@mutation
def request_modalities(d: Draft) -> None:
    """One fewer is asked, or another one, with content or without."""
    asked = d.request["modalities"]
    if len(asked) > 1 and d.chance(40):
        asked.remove(d.asked_modality())
    elif d.chance(50):
        other = d.pick(*d.used_modalities(), *MODALITIES)
        d.request["modalities"] = [*asked, other] if other not in asked else asked
    else:
        d.request["modalities"] = [d.pick(*MODALITIES)]


@mutation
def content_gone(d: Draft) -> None:
    gone = d.meeting() if d.chance(50) else None
    victim = d.file()
    d.tables["content"] = [
        r
        for r in d.tables["content"]
        if r is not victim and (gone is None or r["meeting_id"] != gone["meeting_id"])
    ]


@mutation
def content_more(d: Draft) -> None:
    meeting = d.meeting()
    modality = d.pick(*d.used_modalities(), *USUAL)
    if modality not in {r["modality"] for r in d.content(meeting)}:
        d.tables["content"].append(a_file(meeting["meeting_id"], modality))


@mutation
def derived(d: Draft) -> None:
    """One file derives from another of its meeting, in circles too."""
    row = d.file()
    others = [
        r["modality"]
        for r in d.tables["content"]
        if r["meeting_id"] == row["meeting_id"] and r is not row
    ]
    row["derived_from"] = d.rng.sample(others, min(len(others), d.pick(1, 1, 1, 2)))


def derive(d: Draft) -> tuple[str, str]:
    """What is asked derives from something of its meeting; both, the origin first."""
    row = d.file()
    meeting_id, modality = row["meeting_id"], row["modality"]
    source = d.pick(*(m for m in (*USUAL, "video", "whiteboard") if m != modality))
    held = {r["modality"] for r in d.tables["content"] if r["meeting_id"] == meeting_id}
    if source not in held and meeting_id != "none":
        d.tables["content"].append(a_file(meeting_id, source))
    row["derived_from"] = [source]
    return d.pick(source, source, NATURE.get(source, source)), modality


@often
def derived_and(d: Draft) -> None:
    """The origin alone is excluded, restricted or agreed to."""
    origin, modality = derive(d)
    which = d.rng.randrange(4)
    subject = d.subject()
    if which == 0:
        exclude(d, "modality", origin)
    elif which == 1:
        kind, value = d.pick(
            ("meeting", d.meeting()["meeting_id"]),
            ("subject", subject),
            ("file", d.file()["sha256"]),
        )
        exclude(d, kind, value)["scope"]["modalities"] = [origin]
    elif which == 2:
        event = d.event(subject, event_time=d.now - DAY, state=d.pick(*RESTRICTIVE))
        d.log(event | {"modalities": [origin], "derivatives": d.pick([], [modality], [origin])})
    else:
        event = d.last_permit(subject)
        event["modalities"] = [origin]
        event["derivatives"] = d.pick([], d.used_modalities(), [modality])


@mutation
def by_nature(d: Draft) -> None:
    """What is asked derives by nature, and its origin alone is restricted or excluded."""
    modality = d.pick(*NATURE)
    origin = d.pick(NATURE[modality], "audio")
    meeting_id = d.meeting()["meeting_id"]
    held = {r["modality"] for r in d.tables["content"] if r["meeting_id"] == meeting_id}
    if modality not in held:
        d.tables["content"].append(a_file(meeting_id, modality))
    if modality not in d.request["modalities"]:
        d.request["modalities"] = [*d.request["modalities"], modality]
    for event in d.tables["consent"]:
        if event["modalities"] and modality not in event["modalities"]:
            event["modalities"] = [*event["modalities"], modality]
    if d.chance(60):
        event = d.event(d.subject(), event_time=d.now - DAY, state=d.pick(*RESTRICTIVE))
        listed = d.pick([], [modality], ["transcript", "caption"])
        d.log(event | {"modalities": [origin], "derivatives": listed})
    else:
        exclude(d, "file", digest(meeting_id, d.pick(origin, modality)))


@mutation
def mode(d: Draft) -> None:
    d.head["defaults"]["mode"] = d.pick("unanimous", "per_speaker")
    d.head["defaults"]["min_speakers"] = d.pick(0, 1, 2, 3, 4)


@mutation
def one_to_one(d: Draft) -> None:
    meeting = d.meeting()
    meeting["tags"] = d.pick(["one_to_one"], ["weekly", "one_to_one"], ["one_to_ones"])
    d.head["defaults"]["mode"] = "per_speaker"
    if d.chance(60):
        rows = d.roster(meeting)
        if rows:
            d.rng.choice(rows)["shared_device"] = True
        d.head["defaults"]["min_speakers"] = d.pick(0, 1)


@often
def same_subject_twice(d: Draft) -> None:
    """Two rows of one subject, one of which may be dropped."""
    meeting = d.meeting()
    rows = d.roster(meeting)
    taken = {r["label"] for r in rows}
    if rows and len(rows) < 4 and "Second" not in taken:
        twin = dict(d.rng.choice(rows)) | {"label": "Second", "shared_device": d.chance(40)}
        d.tables["participants"].append(twin)
        d.head["defaults"]["mode"] = d.pick("per_speaker", "per_speaker", "unanimous")
        d.head["defaults"]["min_speakers"] = d.pick(1, len(rows), len(rows) + 1)


@mutation
def split_gone(d: Draft) -> None:
    meeting_id = d.meeting()["meeting_id"]
    d.tables["split"] = [r for r in d.tables["split"] if r["meeting_id"] != meeting_id]


@mutation
def split_arm(d: Draft) -> None:
    if d.tables["split"]:
        d.rng.choice(d.tables["split"])["arm"] = d.pick(*ARMS, *ARMS[1:])


@mutation
def request_arms(d: Draft) -> None:
    d.request["arms"] = d.rng.sample(ARMS, d.rng.randint(1, 3))


# Section 3.


def exclude(d: Draft, kind: str, value: str) -> Row:
    rule = a_rule(kind, value, d.now)
    rule["source"] = d.pick(*SOURCES)
    d.tables["exclusions"].append(rule)
    if d.chance(60):
        rule_variant(d, rule)
    return rule


def rule_variant(d: Draft, rule: Row) -> None:
    """What makes a rule hold, concern, reach or be asked; just so, or just not."""
    scope = rule["scope"]
    which = d.rng.choice((0, 1, 2, 3, 4, 5, 6, 6, 7))
    if which == 0:
        rule["effective_from"] = stamp(d.near())
    elif which == 1:
        rule["effective_until"] = stamp(d.near())
    elif which == 2:
        d.request["set_aside"] = d.pick([rule["source"]], list(SOURCES[:2]), ["sentinel"])
    elif which == 3:
        scope["meetings"] = [d.meeting()["meeting_id"]]
    elif which == 4:
        scope["modalities"] = d.rng.sample(MODALITIES, 3)
    elif which == 5:
        source = NATURE.get(d.asked_modality(), d.asked_modality())
        scope["modalities"] = [d.pick(source, NATURE.get(source, "whiteboard"))]
    elif which == 6:
        listed = d.pick(TRAINING, FINE_TUNING, FINE_TUNING, d.asked_operation(), "annotation")
        scope["operations"] = [listed]
    else:
        scope["purposes"] = [d.pick(*PURPOSES)]


@mutation
def exclude_meeting(d: Draft) -> None:
    kind = d.pick("meeting", "series", "account")
    exclude(d, kind, d.meeting()[f"{kind}_id"])


@mutation
def exclude_series(d: Draft) -> None:
    exclude(d, "series", d.meeting()["series_id"])


@mutation
def exclude_account(d: Draft) -> None:
    exclude(d, "account", d.meeting()["account_id"])


@mutation
def exclude_tag(d: Draft) -> None:
    meeting = d.meeting()
    meeting["tags"] = sorted({*meeting["tags"], d.pick("weekly", "privileged")})
    exclude(d, "tag", d.pick("weekly", "privileged"))


@often
def exclude_dates(d: Draft) -> None:
    """A range that ends at the meeting's start, begins at its end, lies inside, or around."""
    meeting = d.meeting()
    start, end = moment(meeting["start"]), moment(meeting["end"])
    edge = d.pick(*EDGE)
    first, last = d.pick(
        (start - DAY, start + edge),
        (end + edge, end + DAY),
        (start + SECOND, start + 2 * SECOND),
        (start - DAY, end + DAY),
    )
    exclude(d, "date_range", f"{stamp(first)}/{stamp(last)}")


@mutation
def exclude_modality(d: Draft) -> None:
    asked = d.asked_modality()
    value = d.pick(asked, NATURE.get(asked, asked), "audio", "whiteboard")
    rule = exclude(d, "modality", value)
    if d.chance(50):
        rule["scope"]["modalities"] = [d.pick(*MODALITIES)]


@mutation
def exclude_place(d: Draft) -> None:
    exclude(d, "jurisdiction", d.pick(*PLACES, "US"))


@mutation
def exclude_file(d: Draft) -> None:
    row = d.file()
    beside = [r for r in d.tables["content"] if r["meeting_id"] == row["meeting_id"]]
    if d.chance(20):
        row["sha256"] = d.file()["sha256"]
    elif d.chance(30) and beside:
        row = d.rng.choice(beside)
    rule = exclude(d, "file", row["sha256"])
    if d.chance(50):
        source = d.pick(*row["derived_from"], NATURE.get(row["modality"], row["modality"]))
        rule["scope"]["modalities"] = [d.pick(source, row["modality"])]


@mutation
def exclude_subject(d: Draft) -> None:
    exclude(d, "subject", d.pick(d.subject(), d.subject(), STRANGER))


@mutation
def exclude_domain(d: Draft) -> None:
    d.row()["domain"] = d.pick("rival.example", "acme.example")
    exclude(d, "domain", d.pick("rival.example", "Rival.EXAMPLE", "acme.example", "example"))


@often
def exclude_label(d: Draft) -> None:
    label = d.row()["label"]
    exclude(d, "label", d.pick(label, *EQUAL_LABELS.get(label, ()), *NEAR_LABELS.get(label, ())))


@often
def exclude_beside(d: Draft) -> None:
    """Rules of one kind and perhaps one value, each for some meetings, one of them unknown."""
    kind, value = d.pick(
        ("series", d.meeting()["series_id"]),
        ("tag", "weekly"),
        ("subject", d.subject()),
        ("label", d.row()["label"]),
        ("domain", d.row()["domain"]),
        ("file", d.file()["sha256"]),
        ("modality", d.asked_modality()),
        ("jurisdiction", d.touched_place()),
        ("date_range", f"{d.meeting()['start']}/{stamp(d.now)}"),
    )
    ids = ["m0", *(m["meeting_id"] for m in d.tables["meetings"])]
    for number in range(d.pick(2, 3)):
        rule = a_rule(kind, value, d.now)
        rule["scope"]["meetings"] = d.rng.sample(ids, d.rng.randint(1, min(2, len(ids))))
        if number and d.chance(60):
            rule["value"] = {"series": "s2", "subject": STRANGER}.get(kind, value)
            rule["scope"]["modalities"] = [d.pick(d.asked_modality(), "whiteboard")]
        d.tables["exclusions"].append(rule)


@mutation
def exclude_turns(d: Draft) -> None:
    """Kinds that the meeting's decision does not look at."""
    kind, value = d.pick(("turn", f"{d.asked_modality()}/0"), ("utterance", digest("words")))
    exclude(d, kind, value)


# Section 4.


@mutation
def zone(d: Draft) -> None:
    d.meeting()["tz"] = d.pick(
        "Mars/Olympus", "Europe", "europe/berlin", "Asia/Kolkata", "UTC+2", "Etc/GMT+2", "../UTC"
    )


@mutation
def roster_gone(d: Draft) -> None:
    meeting_id = d.meeting()["meeting_id"]
    rows = d.tables["participants"]
    d.tables["participants"] = [r for r in rows if r["meeting_id"] != meeting_id]
    d.head["defaults"]["min_speakers"] = d.pick(0, 1)


@mutation
def recording_type(d: Draft) -> None:
    row = d.file()
    names = sorted({name for _, name in d.recording_types})
    row["recording_type"] = d.pick(*names, "never_heard_of", "none")


@mutation
def licence_id(d: Draft) -> None:
    row = d.file()
    row["licence_id"] = d.pick("L2", "L3", "l1")
    if d.chance(40):
        two = {"licence_id": "L2", "operations": list(OPERATIONS), "purposes": list(PURPOSES)}
        if len(d.tables["licences"]) == 1:
            d.tables["licences"].append(two)


@often
def licence_allows(d: Draft) -> None:
    licence = d.rng.choice(d.tables["licences"])
    if d.chance(60):
        licence["operations"] = some_operations(d)
    else:
        licence["purposes"] = d.pick([], ["research"], ["product"])


def some_operations(d: Draft) -> list[str]:
    """Nothing, all that is asked, one of it, or training and fine-tuning for one another."""
    asked, all_of_them = list(d.request["operations"]), list(OPERATIONS)
    return d.pick([], asked, [d.asked_operation()], [TRAINING], [FINE_TUNING], all_of_them)


@mutation
def place_unruled(d: Draft) -> None:
    code = d.touched_place()
    rows = d.tables["jurisdictions"]
    d.tables["jurisdictions"] = [r for r in rows if r["code"] != code]
    if d.chance(60):
        d.add_place(
            a_place(code, d.now)
            | {
                "operation": d.pick("*", TRAINING, *d.request["operations"]),
                "modality": d.pick("*", *d.request["modalities"]),
            }
        )


@often
def nothing_ruled(d: Draft) -> None:
    """No row applies for any place, so that nothing is demanded and nothing is given."""
    if d.chance(50):
        d.tables["jurisdictions"].clear()
    else:
        for row in d.tables["jurisdictions"]:
            d.pick(
                lambda row: row.update(operation="annotation"),
                lambda row: row.update(effective_until=stamp(d.now - d.pick(0, 1) * SECOND)),
                lambda row: row.update(effective_from=stamp(d.now + d.pick(1, 2) * SECOND)),
            )(row)
    person_row = d.row()
    event = d.last_permit(person_row["subject_key"] or key(1))
    which = d.rng.randrange(4)
    if which == 0:
        person_row["age_band"] = "minor_with_guardian"
        event |= {"delegation": "parent", "actor_key": STRANGER}
    elif which == 1:
        person_row["relation"] = d.pick("employee", "unknown")
    elif which == 2:
        person_row["age_band"] = "unknown"
    else:
        event["operations"] = [o for o in event["operations"] if o != "recording"] or [TRAINING]


@often
def many_places(d: Draft) -> None:
    """More places than bits, one of which demands more than all others."""
    codes = [f"Q{number:02}" for number in range(70)]
    changes = d.pick(
        {"min_consent_type": "explicit"},
        {"guardian_ok": False},
        {"employee_ok": False},
        {"min_age": 18},
        {"max_retention_days": 1},
        {"all_party_recording": True},
        {"transfer_to": []},
        {"effective_from": stamp(d.now + SECOND)},
    )
    strict = d.pick(0, 1, 61, 62, 63, 69)
    for number, code in enumerate(codes):
        if code not in {r["code"] for r in d.tables["jurisdictions"]}:
            d.add_place(a_place(code, d.now) | (changes if number == strict else {}))
    rows, chosen = d.tables["participants"], d.pick(*codes, codes[strict], codes[strict])
    for row in rows:
        row["age_band"] = d.pick("adult", "unknown", row["age_band"])
        row["relation"] = d.pick("other", "employee")
        row["jurisdictions"] = d.rng.sample(codes, 10)
    if rows:
        d.rng.choice(rows)["jurisdictions"] = d.rng.sample([c for c in codes if c != chosen], 69)
        d.rng.choice(rows)["jurisdictions"] = [chosen]


@mutation
def place_dates(d: Draft) -> None:
    rows = d.tables["jurisdictions"]
    if rows:
        edge, when = d.pick("effective_from", "effective_until"), stamp(d.near())
        for row in d.pick(rows, [d.rng.choice(rows)]):
            row[edge] = when


@often
def scope_places(d: Draft) -> None:
    d.head["scope"]["jurisdictions"] = d.rng.sample(PLACES, d.rng.randint(0, 2))
    if d.chance(60):
        for code in d.head["scope"]["jurisdictions"]:
            if code not in {r["code"] for r in d.tables["jurisdictions"]}:
                d.add_place(a_place(code, d.now))


@often
def place_type(d: Draft) -> None:
    d.everywhere(min_consent_type=d.pick("expressed", "explicit"))
    if d.chance(50):
        d.last_permit(d.subject())["consent_type"] = d.pick("implied", "expressed")


@often
def special(d: Draft) -> None:
    d.meeting()["special_category"] = d.pick("yes", "unknown", "no")
    demand = d.pick("allow", "explicit", "deny", "deny")
    d.everywhere(special_category=demand)
    if d.chance(50):
        for row in d.tables["jurisdictions"]:
            row["special_category"] = demand
    if d.chance(60):
        for event in d.tables["consent"]:
            event["consent_type"] = d.pick("implied", "expressed")
        d.head["defaults"]["min_consent_type"] = d.pick("implied", "implied", "expressed")


@mutation
def special_strength(d: Draft) -> None:
    """Consent that would do but for a special category under the demand for explicit consent."""
    for meeting in d.tables["meetings"]:
        meeting["special_category"] = d.pick("yes", "yes", "unknown", "no")
    for row in d.tables["jurisdictions"]:
        row["special_category"] = d.pick("explicit", "explicit", "allow")
    d.head["defaults"]["min_consent_type"] = "implied"
    for event in d.tables["consent"]:
        event["consent_type"] = d.pick("implied", "expressed")


@mutation
def meeting_retention(d: Draft) -> None:
    meeting = d.meeting()
    days = d.pick(0, 7, 20)
    end = d.now - days * DAY + d.pick(*EDGE)
    meeting["start"], meeting["end"] = stamp(end - HOUR), stamp(end)
    d.everywhere(max_retention_days=days)


@mutation
def meeting_now(d: Draft) -> None:
    """A meeting that has not ended, or not begun."""
    meeting, start = d.meeting(), d.now + d.pick(-HOUR, SECOND)
    meeting["start"], meeting["end"] = stamp(start), stamp(start + 2 * HOUR)


@often
def transfer(d: Draft) -> None:
    listed = d.rng.sample(PLACES, d.rng.randint(0, 2))
    if d.chance(30):
        d.head["scope"]["jurisdictions"] = list(PLACES)
        for code in PLACES:
            d.add_place(a_place(code, d.now) | {"transfer_to": d.pick(listed, ["*"])})
        return
    d.everywhere(transfer_to=listed)
    if d.chance(50):
        d.head["scope"]["jurisdictions"] = d.rng.sample(
            sorted({r["code"] for r in d.tables["jurisdictions"]}), 1
        )


@often
def transfer_between(d: Draft) -> None:
    """One place of one person, another one of the controller, and whether data may go there."""
    place, there = d.rng.sample(PLACES, 2)
    d.head["scope"]["jurisdictions"] = [there, *d.pick([], [place])]
    d.row()["jurisdictions"] = [place]
    for code in (place, there):
        d.add_place(a_place(code, d.now))
    for row in d.tables["jurisdictions"]:
        if row["code"] == place:
            row["transfer_to"] = d.pick([], [there], [place], ["*"])


# Section 5.


@mutation
def nobody(d: Draft) -> None:
    row = d.row()
    row["subject_key"] = None
    row["role"] = d.pick("guest", "participant", "host")


@mutation
def shared(d: Draft) -> None:
    d.row()["shared_device"] = True


@often
def same_label(d: Draft) -> None:
    """A further row whose label is equal, or nearly so, of the same subject or another."""
    meeting = d.meeting()
    rows = d.roster(meeting)
    if rows and len(rows) < 4:
        one = d.rng.choice(rows)
        label = one["label"]
        label = d.pick(*EQUAL_LABELS.get(label, ("Double",)), *NEAR_LABELS.get(label, ())[:1])
        if label not in {r["label"] for r in rows}:
            subject = d.pick(one["subject_key"], d.subject(), key(1), None)
            d.tables["participants"].append(dict(one) | {"label": label, "subject_key": subject})


@mutation
def confusable(d: Draft) -> None:
    row = d.row()
    label = d.pick(*CONFUSABLE, *SINGLE_SCRIPT)
    rows = d.tables["participants"]
    taken = {r["label"] for r in rows if r["meeting_id"] == row["meeting_id"]}
    if label not in taken:
        row["label"] = label


@often
def minor(d: Draft) -> None:
    """A minor, with a guardian who spoke or not, where guardians may speak or may not."""
    row = d.row()
    row["age_band"] = d.pick("minor", "minor_with_guardian", "minor_with_guardian")
    if d.chance(70):
        event = d.last_permit(d.subject() if row["subject_key"] is None else row["subject_key"])
        event["delegation"] = d.pick(
            "parent", "guardian", "parent", "guardian", "legal_rep", "host"
        )
        event["actor_key"] = d.pick(STRANGER, STRANGER, STRANGER, row["subject_key"] or STRANGER)
    if d.chance(25):
        d.everywhere(guardian_ok=False)
    elif d.chance(15):
        d.add_place(
            a_place(d.pick(*row["jurisdictions"], "DE"), d.now - DAY) | {"guardian_ok": False}
        )
    elif d.chance(10):
        d.tables["jurisdictions"].clear()


@mutation
def age(d: Draft) -> None:
    d.row()["age_band"] = d.pick("unknown", "unknown", "adult")
    d.everywhere(min_age=d.pick(0, 1, 16, 18))


@mutation
def row_places(d: Draft) -> None:
    row = d.row()
    row["jurisdictions"] = d.pick([], list(PLACES), [d.pick(*PLACES)], ["XX"])


@mutation
def employee(d: Draft) -> None:
    d.row()["relation"] = d.pick("employee", "unknown")
    if d.chance(60):
        d.everywhere(employee_ok=False)
    elif d.chance(20):
        d.tables["jurisdictions"].clear()


# Section 6: restrictive events.


@often
def restrict(d: Draft) -> None:
    """A restriction around the latest permission or around now, whole or narrowed on one axis."""
    subject = d.subject()
    given = moment(d.last_permit(subject)["event_time"])
    skew = d.head["defaults"]["clock_skew_s"] * SECOND
    when = d.pick(
        given,
        given,
        given - SECOND,
        given + SECOND,
        d.now - DAY,
        d.now,
        d.now + skew,
        d.now + skew + SECOND,
    )
    event = d.event(subject, event_time=when, state=d.pick(*RESTRICTIVE))
    event |= {"operations": [], "purposes": [], "modalities": []}
    event["scope"]["meetings"] = d.pick([], ["*"], [d.meeting()["meeting_id"]])
    narrow(d, event)
    d.log(event)
    if d.chance(35):
        later = d.pick(when, when + SECOND, when + DAY)
        d.log(d.event(subject, event_time=later, state="renewed", retroactive=True))


def narrow(d: Draft, event: Row) -> None:
    asked = d.asked_modality()
    which = d.rng.randrange(10)
    if which == 0:
        event["operations"] = some_operations(d)
    elif which == 1:
        event["purposes"] = [d.pick(*PURPOSES)]
    elif which in (2, 3):
        event["modalities"] = [d.pick(asked, NATURE.get(asked, asked), "whiteboard", "audio")]
        event["derivatives"] = d.pick([], [], [asked], ["caption"])
    elif which == 4:
        event["scope"] |= {"meetings": [], "series": [d.meeting()["series_id"]]}
    elif which == 5:
        start = moment(d.meeting()["start"]) + d.pick(*EDGE)
        event["scope"][d.pick("from", "until")] = stamp(start)
    elif which == 6:
        event["controller"] = "other"
    elif which == 7:
        listed, of_series = d.pick((["m9"], ["s9"]), ([], ["s9"]), (["m9"], []), (["*"], ["*"]))
        event["scope"] |= {"meetings": listed, "series": of_series}


@mutation
def restrict_tie(d: Draft) -> None:
    """A restriction of everything at the very time of a permission."""
    subject = d.subject()
    event_time = moment(d.last_permit(subject)["event_time"])
    state = d.pick(*RESTRICTIVE)
    event = d.event(subject, event_time=event_time, state=state)
    d.log(event | {"operations": [], "purposes": [], "modalities": [], "method": "spoken"})


@mutation
def restrict_meeting(d: Draft) -> None:
    """One meeting is taken back later, or an unknown one of an unknown series."""
    event = d.event(d.subject(), event_time=d.now - DAY, state=d.pick(*RESTRICTIVE))
    event["scope"] |= d.pick(
        {"meetings": [d.meeting()["meeting_id"]]}, {"meetings": ["m9"], "series": ["s9"]}
    )
    d.log(event)


@mutation
def consent_gone(d: Draft) -> None:
    """No permission of a subject is left, and sometimes no event."""
    subject = d.subject()
    everything = d.chance(60)
    d.tables["consent"] = [
        e
        for e in d.tables["consent"]
        if e["subject_key"] != subject or not (everything or e["state"] in ("given", "renewed"))
    ]


# Section 6: permitting events. A tweak changes one of them; it is a mutation of the latest one of a
# subject, and `further` puts a tweaked one beside it.

Tweak = Callable[[Draft, Row], None]
TWEAKS: list[Tweak] = []


def tweak(change: Tweak) -> Tweak:
    def change_latest(d: Draft) -> None:
        change(d, d.last_permit(d.subject()))

    change_latest.__name__ = change.__name__
    MUTATIONS.append(change_latest)
    TWEAKS.append(change)
    return change


@tweak
def future(d: Draft, event: Row) -> None:
    event["event_time"] = stamp(d.now + d.pick(0, 1, SKEW) * SECOND)
    event["retroactive"] = True


@tweak
def host_spoke(d: Draft, event: Row) -> None:
    event["delegation"] = d.pick("host", "employer")
    event["actor_key"] = d.pick(STRANGER, event["subject_key"])


@tweak
def other_spoke(d: Draft, event: Row) -> None:
    event["delegation"] = d.pick("legal_rep", "legal_rep", "parent", "guardian", "self")
    event["actor_key"] = d.pick(STRANGER, STRANGER, event["subject_key"])


@tweak
def controller(d: Draft, event: Row) -> None:
    event["controller"] = "other"


@tweak
def recipients(d: Draft, event: Row) -> None:
    event["recipients"] = d.pick([], ["lab"], ["vendor"], ["lab", "vendor", "university"])


@tweak
def recording_only(d: Draft, event: Row) -> None:
    event["operations"] = d.pick(
        ["recording"], ["recording", "transcription"], ["recording", d.asked_operation()]
    )
    event["operations"] = list(dict.fromkeys(event["operations"]))


@tweak
def operations(d: Draft, event: Row) -> None:
    event["operations"] = some_operations(d)


@tweak
def purposes(d: Draft, event: Row) -> None:
    event["purposes"] = d.pick([], ["research"], ["product"])


@tweak
def modalities(d: Draft, event: Row) -> None:
    """Without what is asked, or with its origin, and the asked one as a derivative or not."""
    asked = d.asked_modality()
    origin = NATURE.get(asked, d.pick(*MODALITIES))
    event["modalities"] = d.pick([], [origin], [asked], [NATURE.get(origin, origin)], ["poll"])
    event["derivatives"] = d.pick([], [asked], sorted({asked, origin}), d.used_modalities())


@tweak
def derivatives(d: Draft, event: Row) -> None:
    """Only audio is agreed to, and all that is used as its derivative but for one or none."""
    event["modalities"] = ["audio"]
    used = d.used_modalities()
    event["derivatives"] = used if d.chance(50) else [m for m in used if m != d.asked_modality()]


@tweak
def metadata(d: Draft, event: Row) -> None:
    """What is asked is metadata, and the event may name it, its origin, or neither."""
    asked = d.pick("telemetry", "meta_meeting", "timeline", "meta_participant")
    meeting = d.meeting()
    if asked not in {r["modality"] for r in d.content(meeting)}:
        d.tables["content"].append(a_file(meeting["meeting_id"], asked))
    if d.chance(60):
        d.request["modalities"] = [asked]
    elif asked not in d.request["modalities"]:
        d.request["modalities"] = [*d.request["modalities"], asked]
    event["modalities"] = d.pick(["audio"], [asked], ["audio", "transcript"])
    event["derivatives"] = d.pick([], [asked])


@tweak
def scope_meetings(d: Draft, event: Row) -> None:
    meeting = d.meeting()
    one, series = [meeting["meeting_id"]], [meeting["series_id"]]
    listed, of_series = d.pick(
        (one, []), ([], series), ([], []), ([], ["*"]), (one, series), (["*"], ["*"])
    )
    event["scope"] |= {"meetings": listed, "series": of_series}


@tweak
def scope_lists(d: Draft, event: Row) -> None:
    """Lists of several names, known and unknown; the other events have lists as well."""
    known, series = [m["meeting_id"] for m in d.tables["meetings"]], ["s0", "s1", "s2", "s3"]
    alike = d.pick(None, None, ["m0", "m9"], ["m9", known[0]], [known[0], known[-1]], known[:2])
    for other in (event, *d.tables["consent"]):
        if alike is not None:
            other["scope"] |= {"meetings": list(dict.fromkeys(alike)), "series": []}
        elif other is event or d.chance(70):
            ids = ["m0", "m9", *known]
            other["scope"] |= {
                "meetings": d.rng.sample(ids, d.rng.randint(0, len(ids))),
                "series": d.rng.sample(series, d.pick(0, 0, 1, 2, 3)),
            }


@tweak
def scope_dates(d: Draft, event: Row) -> None:
    start = moment(d.meeting()["start"]) + d.pick(*EDGE)
    event["scope"][d.pick("from", "until")] = stamp(start)


@tweak
def retroactive(d: Draft, event: Row) -> None:
    """Said at the meeting's start, just before or after it."""
    event["event_time"] = stamp(moment(d.meeting()["start"]) + d.pick(*EDGE))
    event["retroactive"] = d.chance(30)


@tweak
def bundled(d: Draft, event: Row) -> None:
    event["method"] = d.pick("terms", "terms", "prompt")


@tweak
def strength(d: Draft, event: Row) -> None:
    event["consent_type"] = d.pick("implied", "expressed")
    if d.chance(60):
        d.head["defaults"]["min_consent_type"] = d.pick("implied", "expressed", "explicit")


@tweak
def valid_from(d: Draft, event: Row) -> None:
    event["valid_from"] = stamp(d.near())
    if d.chance(10):
        event["valid_until"] = event["valid_from"]


@tweak
def valid_until(d: Draft, event: Row) -> None:
    event["valid_until"] = stamp(d.near())


@tweak
def too_old(d: Draft, event: Row) -> None:
    days = d.head["defaults"]["max_consent_age_days"]
    event["event_time"] = stamp(d.now - days * DAY + d.pick(*EDGE))


@tweak
def retention(d: Draft, event: Row) -> None:
    event["retention_until"] = stamp(d.near())


@tweak
def unknown_policy(d: Draft, event: Row) -> None:
    event["notice"][d.pick("policy_id", "version")] = d.pick("p9", "v0")


@tweak
def policy_of_others(d: Draft, event: Row) -> None:
    """A second policy with the same versions, which discloses less, or what another event names."""
    if any(p["policy_id"] == "p2" for p in d.tables["policies"]):
        event["notice"]["policy_id"] = "p2"
        return
    for version in d.pick(("1",), ("1", "2"), ("0", "1")):
        other = a_policy(version, d.now - d.pick(2, 400) * DAY) | {"policy_id": "p2"}
        other |= d.pick({}, {"purposes": []}, {"disclosed_at": stamp(d.now)})
        d.tables["policies"].insert(0, other)
    for one in (event, *d.tables["consent"]):
        if one is event or d.chance(30):
            policy = d.rng.choice(d.tables["policies"])
            one["notice"] |= {n: policy[n] for n in ("policy_id", "version")}
            one["notice"]["sha256"] = d.pick(policy["sha256"], digest("p1", "1"))


@tweak
def policy_hash(d: Draft, event: Row) -> None:
    event["notice"]["sha256"] = digest("p1", d.pick("1", "other"))


@tweak
def policy_version(d: Draft, event: Row) -> None:
    """The event names another version that there is, truly or with the first one's digest."""
    policy = d.rng.choice(d.tables["policies"])
    event["notice"]["version"] = policy["version"]
    if d.chance(90):
        event["notice"]["sha256"] = policy["sha256"]


@tweak
def disclosed(d: Draft, event: Row) -> None:
    for policy in d.tables["policies"]:
        if policy["version"] == event["notice"]["version"]:
            policy["disclosed_at"] = stamp(moment(event["event_time"]) + d.pick(*EDGE))


@mutation
def further(d: Draft) -> None:
    """Another permission, tweaked or clean: before, after, or at the time of the latest."""
    subject = d.subject()
    given = moment(d.last_permit(subject)["event_time"])
    event_time = d.pick(given, given, given - SECOND, given + SECOND, given + DAY)
    event = d.event(subject, event_time=event_time, retroactive=d.chance(50))
    if d.chance(30):
        event["scope"]["meetings"] = [d.meeting()["meeting_id"]]
    for _ in range(d.pick(0, 1, 1, 2)):
        d.pick(*TWEAKS)(d, event)
    d.log(event)


@mutation
def long_log(d: Draft) -> None:
    """Many later events that say nothing here, or one that does among them, some at one time."""
    subject = d.subject()
    begin = d.now - d.pick(20, 40) * DAY
    for number in range(d.pick(3, 4, 5, 6)):
        event = d.event(subject, event_time=begin + number // 2 * SECOND, retroactive=True)
        d.pick(
            lambda event: event.update(controller="other"),
            lambda event: event.update(state="withdrawn", modalities=["poll"], operations=[]),
            lambda event: event.update(delegation="host", actor_key=STRANGER),
            lambda event: event["scope"].update(meetings=["m9"], series=[]),
            lambda event: d.pick(*TWEAKS)(d, event),
        )(event)
        d.log(event)


@mutation
def again(d: Draft) -> None:
    """Everything is agreed to once more, today."""
    event_time = d.now - d.pick(0, 1) * SECOND
    d.log(d.event(d.subject(), event_time=event_time, retroactive=True, state="renewed"))


# Section 6: policies.


@mutation
def policy_start(d: Draft) -> None:
    policy = d.rng.choice(d.tables["policies"])
    policy["effective_from"] = stamp(d.near())


@mutation
def policy_covers(d: Draft) -> None:
    policy = d.rng.choice(d.tables["policies"])
    which = d.rng.randrange(4)
    if which == 0:
        policy["operations"] = some_operations(d)
    elif which == 1:
        policy["purposes"] = d.pick(["research"], ["product"])
    elif which == 2:
        policy["modalities"] = d.pick(d.used_modalities(), [d.asked_modality()], ["audio"])
    else:
        policy["recipients"] = d.pick(["lab"], list(RECIPIENTS), ["vendor"])


@often
@often
def policy_newer(d: Draft) -> None:
    """One more version, or two, in force or just not, with what changed or nothing of it."""
    if len(d.tables["policies"]) > 3:
        return
    for _ in range(d.pick(1, 1, 2)):
        last = moment(d.tables["policies"][-1]["effective_from"])
        start = d.pick(d.now - DAY, d.now, d.now, d.now + SECOND, last, last - DAY)
        kind = d.pick("editorial", "narrowing", "widening", "widening", "widening", None)
        policy = newer_version(d, start, kind)
        if d.chance(30):
            policy["disclosed_at"] = stamp(d.now - 200 * DAY)
        if kind is not None:
            change = d.tables["policy_changes"][-1]
            widen(d, change)
            if start < last and d.chance(60):
                ends = ("from_version", "to_version")
                change["from_version"], change["to_version"] = (change[e] for e in reversed(ends))


@often
def policy_later(d: Draft) -> None:
    """Two harmless versions in force, and one or two that are not yet, which ask anew."""
    if len(d.tables["policies"]) > 2:
        return
    for days in (20, 10):
        newer_version(d, d.now - days * DAY, d.pick("editorial", "narrowing"))
    for seconds in d.pick((1,), (1, 2)):
        newer_version(d, d.now + seconds * SECOND, d.pick("widening", None))
    policies = d.tables["policies"]
    for event in d.tables["consent"]:
        policy = d.pick(*policies[:-1])
        event["notice"] |= {"version": policy["version"], "sha256": policy["sha256"]}


def widen(d: Draft, change: Row) -> None:
    """The change lists nothing, what is asked, or only what is not."""
    which = d.rng.choice((0, 0, 1, 2, 3, 4))
    if which == 0:
        change["operations"] = [d.pick(TRAINING, TRAINING, FINE_TUNING, d.asked_operation())]
    elif which == 1:
        change["purposes"] = [d.pick(*PURPOSES)]
    elif which == 2:
        change["modalities"] = [d.pick(d.asked_modality(), "whiteboard")]
    elif which == 3:
        change["operations"] = ["annotation"]
        change["modalities"] = ["whiteboard"]


@mutation
def policy_change_gone(d: Draft) -> None:
    """Neighbours without a row, or with one that leaps over a version or goes back."""
    changes = d.tables["policy_changes"]
    if changes:
        changes.remove(d.rng.choice(changes))
    versions = [p["version"] for p in d.tables["policies"]]
    before, after = d.pick(*versions), d.pick(*versions)
    taken = {(c["from_version"], c["to_version"]) for c in changes}
    if before != after and (before, after) not in taken:
        changes.append(a_change(before, after, "editorial"))


@often
def policy_change_kind(d: Draft) -> None:
    if d.tables["policy_changes"]:
        change = d.rng.choice(d.tables["policy_changes"])
        change["kind"] = d.pick("editorial", "narrowing", "widening")
        widen(d, change)


# Section 6: the recording.


@often
def all_party(d: Draft) -> None:
    """Recording must be agreed to; somebody did not, took it back, or in another way."""
    if d.chance(50):
        d.everywhere(all_party_recording=True)
    else:
        for row in d.tables["jurisdictions"]:
            row["all_party_recording"] = True
    subject = d.subject()
    event = d.last_permit(subject)
    which = d.rng.randrange(6)
    if which == 0 and "recording" not in d.request["operations"]:
        event["operations"] = [o for o in event["operations"] if o != "recording"]
    elif which == 1:
        taken_back = d.event(subject, event_time=moment(event["event_time"]) + d.pick(*EDGE))
        taken_back |= {"state": "withdrawn", "operations": ["recording"]}
        d.log(taken_back | d.pick({"modalities": ["poll"]}, {"purposes": ["product"]}, {}))
    elif which == 2:
        event["operations"] = [o for o in event["operations"] if o != "recording"] or [TRAINING]
        agreed = d.event(subject, event_time=d.now - 3 * DAY)
        d.log(agreed | {"operations": ["recording"], "purposes": [], "recipients": []})
    elif which == 3:
        event["operations"] = [o for o in event["operations"] if o != "recording"] or [TRAINING]
        event["scope"]["meetings"] = [m["meeting_id"] for m in d.tables["meetings"]]


# What is asked.


@mutation
def request_operations(d: Draft) -> None:
    asked = d.request["operations"]
    more = d.pick(FINE_TUNING, TRAINING, "evaluation", "recording", "leak_test")
    if d.chance(50):
        d.request["operations"] = [more]
    elif more not in asked:
        d.request["operations"] = [*asked, more]


@mutation
def request_purpose(d: Draft) -> None:
    d.request["purpose"] = d.pick(*PURPOSES)


@mutation
def request_recipients(d: Draft) -> None:
    d.request["recipients"] = d.pick(["lab"], ["vendor"], ["lab", "vendor"], [])


@mutation
def meeting_start(d: Draft) -> None:
    """A meeting begins when somebody spoke, or just beside it."""
    meeting = d.meeting()
    start = moment(d.last_permit(d.subject())["event_time"]) + d.pick(*EDGE)
    meeting["start"], meeting["end"] = stamp(start), stamp(start + d.pick(SECOND, HOUR))


@mutation
def defaults(d: Draft) -> None:
    d.head["defaults"]["max_consent_age_days"] = d.pick(0, 1, 60, 59, 365)
    d.head["defaults"]["clock_skew_s"] = d.pick(0, SKEW)


# The strategy.


def finish(d: Draft) -> World:
    """Shuffles the rows, numbers what has a number, and mends what only order can break."""
    for name in ("consent", "meetings", "participants", "content", "split", "policies"):
        d.rng.shuffle(d.tables[name])
    for seq, event in enumerate(d.tables["consent"]):
        event["seq"], event["event_id"] = seq, f"e{seq}"
        event["recorded_time"] = max(event["recorded_time"], event["event_time"], key=moment)
        event["valid_until"] = max(event["valid_until"], event["valid_from"], key=moment)
        scope = event["scope"]
        if moment(scope["from"]) >= moment(scope["until"]):
            scope["until"] = stamp(moment(scope["from"]) + SECOND)
    for number, rule in enumerate(d.tables["exclusions"]):
        rule["rule_id"] = f"x{number}"
        until = rule["effective_until"]
        if until is not None and moment(rule["effective_from"]) >= moment(until):
            rule["effective_until"] = stamp(moment(rule["effective_from"]) + SECOND)
    for row in d.tables["jurisdictions"]:
        if moment(row["effective_from"]) >= moment(row["effective_until"]):
            row["effective_until"] = stamp(moment(row["effective_from"]) + SECOND)
    mend_derivations(d)
    return World(d.head, d.tables, d.request, stamp(d.now), d.recording_types)


def mend_derivations(d: Draft) -> None:
    """A file derives from another file of its meeting or from none."""
    held = {(r["meeting_id"], r["modality"]) for r in d.tables["content"]}
    for row in d.tables["content"]:
        row["derived_from"] = [
            source
            for source in row["derived_from"]
            if source != row["modality"] and (row["meeting_id"], source) in held
        ]


def singles(count: int, recording_types: RecordingTypes | None = None) -> Iterator[World]:
    """Each mutation alone, on so many clean worlds, so that nothing else hides what it does.

    Args:
        count: of worlds for each mutation.
        recording_types: the platforms' table.
    """
    table = RECORDING_TYPES if recording_types is None else recording_types
    for change in dict.fromkeys(MUTATIONS):
        for number in range(count):
            draft = clean(random.Random(f"{change.__name__} {number}"), table)
            change(draft)
            yield finish(draft)


def last_words(world: World) -> Iterator[World]:
    """The world with one or two more events of everybody, which lie on an edge of the page.

    Two at one time, in either order, one of which restricts; one as far ahead of the clock as
    clocks may differ, and one a microsecond further.
    """
    skew = timedelta(seconds=world.head["defaults"]["clock_skew_s"])
    ahead = [stamp(moment(world.now) + skew + timedelta(microseconds=n)) for n in (0, 1)]
    for states in (("withdrawn", "renewed"), ("renewed", "withdrawn")):
        yield _with_events(world, states, world.now)
    for time in ahead:
        yield _with_events(world, ("withdrawn",), time)


def edges(world: World, seed: int) -> Iterator[World]:
    """The world with everybody's last event changed in one thing that lies on an edge of the page.

    Args:
        world: any.
        seed: which four of the edges.
    """
    now, tick = moment(world.now), TICK
    oldest = now - timedelta(days=world.head["defaults"]["max_consent_age_days"])
    starts = [row["start"] for row in world.tables["meetings"]]
    first = moment(starts[seed % len(starts)]) if starts else now
    times = [
        (name, stamp(edge + tick * n))
        for name, edge in (("valid_from", now), ("valid_until", now), ("retention_until", now),
                           ("event_time", oldest), ("event_time", first), ("event_time", now))
        for n in (-1, 0, 1)
    ]  # fmt: skip
    asked, used = world.request["purpose"], world.request["modalities"]
    restrict = [{"state": state, "purposes": purposes, "modalities": kinds}
                for state in ("withdrawn", "refused")
                for purposes in ([], ["other"], [asked])
                for kinds in ([], used[:1], ["poll"])]  # fmt: skip
    listed: list[Row] = [
        *({name: value} for name, value in times),
        *restrict,
        *({"operations": ["recording"], "purposes": p} for p in ([], [asked], ["other"])),
        *({"scope": {"from": stamp(first + tick * n)}} for n in (0, 1)),
        *({"scope": {"until": stamp(first + tick * n)}} for n in (0, 1)),
        {"recipients": []}, {"method": "terms"}, {"consent_type": "implied"},
        {"modalities": ["poll"], "derivatives": used}, {"derivatives": used},
        {"notice": {"version": "none"}}, {"notice": {"sha256": digest("other")}},
        {"notice": {"sha256": "0000000000000080" * 4}},  # below and above every other number
        {"notice": {"sha256": "ffffffffffffff7f" * 4}},
    ]  # fmt: skip
    for place in range(4):
        yield _with_last(world, listed[(seed * 4 + place) % len(listed)])
    yield replace(world, request=world.request | {"recipients": []})
    given_at = [event["event_time"] for event in world.tables["consent"]]
    told = moment(given_at[seed % len(given_at)]) if given_at else now
    dates = {
        "disclosed_at": stamp(told + (seed % 3 - 1) * TICK),
        "effective_from": stamp(now + (seed % 3 - 1) * TICK if seed % 2 else told),
    }
    policies = [policy | dates for policy in world.tables["policies"]]
    yield replace(world, tables=world.tables | {"policies": policies})
    yield _all_derived(world, seed)
    yield _of_minors(world, seed)
    yield _kept_long(world, seed)
    yield _licensed(world, seed)


def _all_derived(world: World, seed: int) -> World:
    """All content of a meeting made from all other; events list one kind, and others as made."""
    held: dict[str, list[str]] = {}
    for row in world.tables["content"]:
        held.setdefault(row["meeting_id"], []).append(row["modality"])
    content = [row | {"derived_from": [m for m in held[row["meeting_id"]] if m != row["modality"]]}
               for row in world.tables["content"]]  # fmt: skip
    kinds = sorted({row["modality"] for row in content} | {"audio"})
    some = kinds[seed % len(kinds) :][: 1 + seed % 2]
    said = {"modalities": some, "derivatives": kinds[seed // 2 % 3 :]}
    return _with_last(replace(world, tables=world.tables | {"content": content}), said)


def _of_minors(world: World, seed: int) -> World:
    """Everybody under age, with or without a guardian, who or somebody else spoke last."""
    band = ("minor_with_guardian", "minor_with_guardian", "minor", "unknown")[seed % 4]
    people = [row | {"age_band": band} for row in world.tables["participants"]]
    spoke: Row = {"delegation": ("parent", "guardian", "self", "legal_rep")[seed // 3 % 4]}
    if seed // 12 % 2:
        spoke["actor_key"] = STRANGER
    says = {"guardian_ok": True, "min_age": seed // 4 % 2}
    places = [row | says for row in world.tables["jurisdictions"]]
    tables = world.tables | {"participants": people, "jurisdictions": places}
    return _with_last(replace(world, tables=tables), spoke)


def _licensed(world: World, seed: int) -> World:
    """All content under a licence that lacks the purpose, an operation or itself, of one kind."""
    kinds = ("audio_only", "chat_file", "summary", "none", "unheard_of")
    content = [
        row | {"recording_type": kinds[seed % 5]} | ({"licence_id": "L9"} if seed % 4 == 3 else {})
        for row in world.tables["content"]
    ]
    lacks: Row = ({"purposes": ["other"]}, {"operations": ["annotation"]}, {}, {})[seed % 4]
    licences = [row | lacks for row in world.tables["licences"]]
    return replace(world, tables=world.tables | {"content": content, "licences": licences})


def _kept_long(world: World, seed: int) -> World:
    """Meetings that ended as long ago as places allow to keep them, or a tick beside that."""
    end = moment(world.now) - 10 * DAY + (seed % 3 - 1) * TICK
    meetings = [row | {"start": stamp(end - HOUR), "end": stamp(end)}
                for row in world.tables["meetings"]]  # fmt: skip
    places = [row | {"max_retention_days": 10} for row in world.tables["jurisdictions"]]
    return replace(world, tables=world.tables | {"meetings": meetings, "jurisdictions": places})


def _with_last(world: World, changes: Row) -> World:
    """The world with the last event of everybody changed."""
    log = world.tables["consent"]
    last = {event["subject_key"]: event["seq"] for event in log}
    changed = [
        _mended({**event, **{name: {**event[name], **value} if isinstance(value, dict) else value
                             for name, value in changes.items()}})
        if last[event["subject_key"]] == event["seq"] else event
        for event in log
    ]  # fmt: skip
    return replace(world, tables=world.tables | {"consent": changed})


def _mended(event: Row) -> Row:
    """What only order can break."""
    late = {
        name: max(event[name], event[before], key=moment)
        for name, before in (("recorded_time", "event_time"), ("valid_until", "valid_from"))
    }
    scope = dict(event["scope"])
    if moment(scope["from"]) >= moment(scope["until"]):
        scope["until"] = stamp(moment(scope["from"]) + SECOND)
    return event | late | {"scope": scope}


TICK = timedelta(microseconds=1)
LISTED = (["*"], ["*"], [TRAINING], [FINE_TUNING], ["annotation"], ["evaluation", "inference"])
"""Operations that a rule is about."""
SPANS = ((-9, 9), (-9, 1), (-9, 0), (-9, -1), (0, 9), (1, 9))
"""From when to when a rule holds, in ticks beside the clock."""


def many_rules(world: World, seed: int) -> World:
    """The world with two rules of each kind about it, whose scopes name some meetings or all.

    Args:
        world: any.
        seed: of what the rules name.
    """
    rng, tables = random.Random(f"rules {seed}"), world.tables
    ids = [row["meeting_id"] for row in tables["meetings"]]
    kinds = sorted({row["modality"] for row in tables["content"]} | {"audio"})
    rules = []
    for kind, values in _excludable(tables).items():
        for value in rng.sample(values, min(3, len(values))):
            rule = a_rule(kind, value, moment(world.now)) | {"rule_id": f"y{len(rules)}"}
            some = rng.sample([*ids, "m9"], rng.randint(1, len(ids) + 1))
            rule["scope"]["meetings"] = rng.choice((["*"], some, some, ["*", *some]))
            rule["scope"]["modalities"] = rng.choice((["*"], [rng.choice(kinds)]))
            rule["scope"]["operations"] = rng.choice(LISTED)
            begin, end = (moment(world.now) + n * TICK for n in rng.choice(SPANS))
            rule["effective_from"] = stamp(begin)
            rule["effective_until"] = rng.choice((None, stamp(end)))
            rules.append(rule)
    rng.shuffle(rules)
    return replace(world, tables=tables | {"exclusions": [*tables["exclusions"], *rules]})


def _excludable(tables: dict[str, list[Row]]) -> dict[str, list[str]]:
    """What rules may name, by their kind."""
    found = {kind: [row[f"{kind}_id"] for row in tables["meetings"]]
             for kind in ("meeting", "series", "account")}  # fmt: skip
    found |= {
        "tag": [tag for row in tables["meetings"] for tag in row["tags"]],
        "date_range": [
            f"{stamp(first)}/{stamp(last)}"
            for start, end in ((moment(r["start"]), moment(r["end"])) for r in tables["meetings"])
            for first, last in (
                (start - DAY, start),
                (end, end + DAY),
                (start - DAY, start + TICK),
                (end + TICK, end + DAY),
            )
        ],
        "modality": [row["modality"] for row in tables["content"]],
        "jurisdiction": [place for row in tables["participants"] for place in row["jurisdictions"]],
        "file": [row["sha256"] for row in tables["content"]],
        "subject": [row["subject_key"] for row in tables["participants"] if row["subject_key"]],
        "domain": [row["domain"] for row in tables["participants"]],
        "label": [row["label"] for row in tables["participants"]],
    }
    return {kind: sorted({*values}) for kind, values in found.items()}


def _with_events(world: World, states: tuple[str, ...], time: str) -> World:
    log = world.tables["consent"]
    latest = {event["subject_key"]: event for event in log}
    more = [
        event | {"event_id": f"more-{n}-{state}", "seq": len(log) + len(states) * n + place,
                 "state": state, "event_time": time, "recorded_time": time}
        for n, event in enumerate(latest.values())
        for place, state in enumerate(states)
    ]  # fmt: skip
    return replace(world, tables=world.tables | {"consent": [*log, *more]})


@st.composite
def worlds(draw: st.DrawFn, recording_types: RecordingTypes | None = None) -> World:
    """Worlds, on the platforms' table given; about a third of the meetings are admitted."""
    seed = draw(st.integers(0, 2**20))
    table = RECORDING_TYPES if recording_types is None else recording_types
    draft = clean(random.Random(seed), table)
    steps = st.tuples(st.sampled_from(MUTATIONS), st.integers(0, 2**16 - 1))
    plan = draw(st.lists(steps, max_size=9))
    for change, choice in plan:
        draft.rng = random.Random(seed << 16 | choice)
        change(draft)
    note("mutations: " + ", ".join(f"{change.__name__}({choice})" for change, choice in plan))
    return finish(draft)
