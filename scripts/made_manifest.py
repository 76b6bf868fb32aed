"""Make a signed manifest of any size, with consent of every kind, for benchmarks of the gate.

A meeting has five people of a population twice as large as there are meetings, and the log has ten
events for each meeting: 10 million meetings are 50 million participations and 100 million events.
"""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from harness.consent.authoring import lines
from harness.consent.columns import DAY, TIME, Numbers, schema_of
from harness.consent.events import KEY
from harness.consent.head import (
    HEAD,
    SCHEMA,
    SIGNATURE,
    TABLES,
    Counts,
    Defaults,
    Draw,
    FileEntry,
    Head,
    LogHead,
    Mode,
    OnWithdrawal,
    Scope,
)
from harness.consent.layout import EVENTS_A_PART, MEETINGS_A_PART
from harness.consent.manifest import statement
from harness.consent.parquet import write_part
from harness.consent.parts import part_name, part_of
from harness.consent.records import (
    ALL,
    Arm,
    ChangeKind,
    ConsentType,
    ExclusionRule,
    Jurisdiction,
    Licence,
    Operation,
    Policy,
    PolicyChange,
    RuleKind,
    RuleScope,
    RuleSource,
    SpecialCategory,
    to_json,
)
from harness.consent.signing import KeyRole, save_trust, sign, trust_root
from harness.digest import canonical_json, sha256_hex
from harness.meetings.model import Modality

NOW = datetime(2026, 6, 1, tzinfo=UTC)
CONTROLLER, PURPOSE = "https://controller.example", "dpv:ResearchAndDevelopment"
PEOPLE_A_MEETING, EVENTS_A_MEETING, SUBJECTS_A_MEETING = 5, 10, 2
_START = 1_735_689_600 * 10**6  # 2025-01-01 in microseconds
_LONG_AGO, _FAR_OFF = datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)
_EVERYWHERE = RuleScope((ALL,), (ALL,), (ALL,), (ALL,))
_PLACES = ("DE", "US-CA", "FR")


def make(folder: Path, meetings: int, processes: int = 2) -> None:
    """Write a manifest directory ``manifest`` and a trust root ``trust.json`` into a folder.

    Args:
        folder: made, if it is not there.
        meetings: how many.
        processes: how many write at once.
    """
    manifest = folder / "manifest"
    manifest.mkdir(parents=True)
    parts = -(-meetings // MEETINGS_A_PART)
    logs = max(1, meetings * EVENTS_A_MEETING // EVENTS_A_PART)
    tasks = [(manifest, meetings, True, n, parts) for n in range(parts)]
    tasks += [(manifest, meetings, False, n, logs) for n in range(logs)]
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        entries = [entry for made in pool.map(_write_part, tasks) for entry in made]
    small = _small_tables(meetings)
    for table, rows in small.items():
        data = lines(rows)
        (manifest / f"{table}.jsonl").write_bytes(data)
        entries.append(FileEntry(f"{table}.jsonl", sha256_hex(data), len(data), len(rows)))
    rows_of = {
        t: sum(e.rows for e in entries if e.path.startswith((f"{t}-", f"{t}."))) for t in TABLES
    }
    scope = Scope(CONTROLLER, (), tuple(Operation), (PURPOSE, "dpv:RequestedServiceProvision"),
                  tuple(Modality), ("DE",))  # fmt: skip
    defaults = Defaults(Mode.UNANIMOUS, ConsentType.EXPLICIT, 300, 3650, 3, 50, 86_400,
                        OnWithdrawal.ABORT)  # fmt: skip
    head = Head(SCHEMA, 1, None, NOW - timedelta(days=1), NOW + timedelta(days=1), "made", scope,
                defaults, Draw("made", False), LogHead(0, None), None, tuple(entries),
                Counts(**rows_of))  # fmt: skip
    data, key = canonical_json(to_json(head)), Ed25519PrivateKey.generate()
    (manifest / HEAD).write_bytes(data)
    (manifest / SIGNATURE).write_bytes(sign(statement(data), [key]))
    save_trust(folder / "trust.json", trust_root([(key, (KeyRole.MANIFEST, KeyRole.LOG))]))


def _write_part(task: tuple[Path, int, bool, int, int]) -> list[FileEntry]:
    folder, meetings, by_meeting, part, parts = task
    make_tables = _meetings_part if by_meeting else _consent_part
    entries = []
    for table, columns in make_tables(meetings, part, parts).items():
        kind = TABLES[table][0]
        rows = pa.Table.from_arrays(
            [columns[field.name].cast(field.type) for field in schema_of(kind)],
            schema=schema_of(kind),
        )
        data, name = write_part(kind, rows), part_name(table, part)
        (folder / name).write_bytes(data)
        entries.append(FileEntry(name, sha256_hex(data), len(data), rows.num_rows))
    return entries


def _meetings_part(meetings: int, part: int, parts: int) -> dict[str, dict[str, pa.Array]]:
    draw = np.random.default_rng((1, part))
    numbers = np.arange(part * MEETINGS_A_PART, min((part + 1) * MEETINGS_A_PART, meetings))
    n, people = len(numbers), len(numbers) * PEOPLE_A_MEETING
    ids, series = _ids("meeting-", numbers), _ids("series-", numbers // 8)
    start = _START + draw.integers(30 * DAY, 400 * DAY, n)
    subjects = draw.integers(0, meetings * SUBJECTS_A_MEETING, people)
    nobody = draw.random(people) < 0.002
    place = np.arange(people) % PEOPLE_A_MEETING
    of = pa.array(np.repeat(np.arange(n), PEOPLE_A_MEETING))
    return {
        "meetings": {
            "meeting_id": ids, "series_id": series,
            "account_id": _ids("account-", numbers // 1000), "platform": _same("zoom", n),
            "start": _times(start), "end": _times(start + 3600 * 10**6),
            "tz": _pick(["UTC", "Europe/Berlin", "America/New_York"], draw.integers(0, 3, n)),
            "tags": _lists([[], ["all_hands"], ["hr"]], draw.choice(3, n, p=[0.9, 0.08, 0.02])),
            "special_category": _pick(["no", "yes", "unknown"],
                                      draw.choice(3, n, p=[0.98, 0.01, 0.01])),
        },
        "participants": {
            "meeting_id": ids.take(of),
            "subject_key": pc.if_else(pa.array(nobody), pa.scalar(None, KEY),
                                      _keys(subjects, meetings)),
            "label": pc.binary_join_element_wise(
                _ids("Person ", subjects), _pick([*"ABCDE"], place), " "),
            "role": _pick(["participant", "host", "guest"],
                          np.where(place == 0, 1, np.where(nobody, 2, 0))),
            "age_band": _pick(["adult", "unknown", "minor"],
                              draw.choice(3, people, p=[0.995, 0.003, 0.002])),
            "relation": _pick(["other", "employee", "unknown"],
                              draw.choice(3, people, p=[0.97, 0.02, 0.01])),
            "jurisdictions": _lists([["DE"], ["US-CA"], ["FR"], ["DE", "US-CA"], []],
                                    draw.choice(5, people, p=[0.4, 0.3, 0.2, 0.099, 0.001])),
            "domain": _pick(["none", *(f"org{i}.example" for i in range(50))],
                            draw.integers(0, 51, people)),
            "shared_device": pa.array(draw.random(people) < 0.001),
        },
        "content": {
            "meeting_id": ids, "modality": _same("transcript", n), "format": _same("zoom-vtt", n),
            "path": pc.binary_join_element_wise(ids, _same("vtt", n), "."),
            "sha256": _random_bytes(draw, n, 32), "bytes": pa.array(np.full(n, 20_000)),
            "turns": pa.array(np.full(n, 300)),
            "derived_from": _lists([["audio"]], np.zeros(n, int)),
            "recording_type": _same("audio_transcript", n), "licence_id": _same("own", n),
        },
        "split": {
            "meeting_id": ids, "series_id": series,
            "arm": _pick([str(arm) for arm in Arm], draw.integers(0, len(Arm), n)),
        },
    }  # fmt: skip


def _consent_part(meetings: int, part: int, parts: int) -> dict[str, dict[str, pa.Array]]:
    draw, events = np.random.default_rng((2, part)), meetings * EVENTS_A_MEETING
    n = events // parts + (part < events % parts)
    before = part * (events // parts) + min(part, events % parts)
    first, last = (_first_subject(k, parts, meetings) for k in (part, part + 1))
    subjects = np.sort(draw.integers(first, last, n))
    time = _START + draw.integers(0, 500 * DAY, n)
    time = time[np.lexsort((time, subjects))]
    step = next(s for s in (7919, 7927, 7933) if np.gcd(s, events) == 1)
    seq = (before + np.arange(n, dtype=np.int64)) * step % events
    kind, about = draw.choice(3, n, p=[0.7, 0.2, 0.1]), draw.integers(0, meetings, n)
    keys = _keys(subjects, meetings)
    assert (part_of(keys, parts) == part).all()
    return {"consent": {
        "seq": pa.array(seq), "event_id": _ids("e", seq), "subject_key": keys, "actor_key": keys,
        "delegation": _same("self", n),
        "state": _pick(["given", "renewed", "refused", "withdrawn", "requested", "expired"],
                       draw.choice(6, n, p=[0.86, 0.05, 0.02, 0.05, 0.01, 0.01])),
        "consent_type": _pick(["explicit", "expressed", "implied"],
                              draw.choice(3, n, p=[0.94, 0.03, 0.03])),
        "controller": _pick([CONTROLLER, "https://other.example"],
                            draw.choice(2, n, p=[0.99, 0.01])),
        "recipients": _lists([[]], np.zeros(n, int)),
        "operations": _lists(
            [["ai:ModelFineTuning", "evaluation"], ["ai:ModelTraining"],
             ["recording", "transcription"], ["evaluation"]],
            draw.choice(4, n, p=[0.7, 0.2, 0.08, 0.02])),
        "purposes": _lists([[PURPOSE], ["dpv:RequestedServiceProvision"]],
                           draw.choice(2, n, p=[0.95, 0.05])),
        "modalities": _lists([["transcript", "audio"], ["transcript"], ["audio"]],
                             draw.choice(3, n, p=[0.6, 0.38, 0.02])),
        "derivatives": _lists([[]], np.zeros(n, int)),
        "notice.policy_id": _same("terms", n),
        "notice.version": _pick(["1", "2"], draw.choice(2, n, p=[0.1, 0.9])),
        "notice.sha256": _zeros(n, 32),
        "notice.language": _pick(["en", "de"], draw.integers(0, 2, n)),
        "scope.meetings": _one_list(kind != 1, pc.if_else(
            pa.array(kind == 0), _same(ALL, n), _ids("meeting-", about))),
        "scope.series": _one_list(kind == 1, _ids("series-", about // 8)),
        "scope.from": _times(np.full(n, _START)),
        "scope.until": _times(np.full(n, _START + 3000 * DAY)),
        "retroactive": pa.array(draw.random(n) < 0.9),
        "event_time": _times(time), "recorded_time": _times(time), "valid_from": _times(time),
        "valid_until": _times(time + draw.integers(300 * DAY, 900 * DAY, n)),
        "retention_until": _times(time + 2000 * DAY),
        "method": _pick(["form", "prompt", "terms"], draw.choice(3, n, p=[0.5, 0.47, 0.03])),
        "evidence_sha256": pa.nulls(n, pa.binary(32)),
    }}  # fmt: skip


def _small_tables(meetings: int) -> dict[str, list[Any]]:
    def policy(version: str, since: datetime) -> Policy:
        purposes = (PURPOSE, "dpv:RequestedServiceProvision")
        return Policy("terms", version, since, since, "0" * 64, tuple(Operation), purposes,
                      tuple(Modality), ())  # fmt: skip

    def place(code: str) -> Jurisdiction:
        return Jurisdiction(code, ALL, ALL, ConsentType.EXPLICIT, False, False,
                            SpecialCategory.DENY, 16, 3650, False, (ALL,), _LONG_AGO, _FAR_OFF,
                            NOW)  # fmt: skip

    second = datetime(2025, 3, 1, tzinfo=UTC)
    return {
        "policies": [policy("1", _LONG_AGO), policy("2", second)],
        "policy_changes": [PolicyChange("terms", "1", "2", ChangeKind.EDITORIAL, (), (), ())],
        "jurisdictions": [place(code) for code in _PLACES],
        "licences": [Licence("own", tuple(Operation), (PURPOSE,))],
        "aliases": [],
        "exclusions": _exclusions(meetings),
    }


def _exclusions(meetings: int) -> list[ExclusionRule]:
    """Rules of every kind that rows decide."""
    keys = _keys(np.arange(0, 1000) * 13 % (meetings * SUBJECTS_A_MEETING), meetings)
    values: list[tuple[RuleKind, str]] = [
        *((RuleKind.MEETING, f"meeting-{n * 97 % meetings:012d}") for n in range(1000)),
        *((RuleKind.SUBJECT, key.hex()) for key in dict.fromkeys(keys.to_pylist())),
        *((RuleKind.LABEL, f"person {n:012d} a") for n in range(100)),
        *((RuleKind.SERIES, f"series-{n:012d}") for n in range(20)),
        *((RuleKind.FILE, f"{n:064x}") for n in range(20)),
        (RuleKind.ACCOUNT, "account-000000000003"), (RuleKind.TAG, "hr"),
        (RuleKind.DOMAIN, "org7.example"), (RuleKind.JURISDICTION, "FR-20R"),
        (RuleKind.DATE_RANGE, "2025-05-01T00:00:00Z/2025-05-02T00:00:00Z"),
    ]  # fmt: skip
    return [
        ExclusionRule(f"rule-{n}", kind, value, _EVERYWHERE, _LONG_AGO, None, RuleSource.COURT, NOW)
        for n, (kind, value) in enumerate(dict.fromkeys(values))
    ]


def _first_subject(part: int, parts: int, meetings: int) -> int:
    """The first subject whose events are in a part of the log."""
    total = meetings * SUBJECTS_A_MEETING
    near = np.arange(max(0, part * total // parts - 50), min(total, part * total // parts + 50))
    at_least = part_of(_keys(near, meetings), parts) >= part if part < parts else near < 0
    return int(near[np.argmax(at_least)]) if at_least.any() else total


def _keys(subjects: Numbers, meetings: int) -> pa.Array:
    """Keys that rise with the number of the subject, as those of sorted pseudonyms do."""
    raw = np.zeros((len(subjects), 2), ">u8")
    raw[:, 0] = (subjects / (meetings * SUBJECTS_A_MEETING) * 2.0**64).astype(np.uint64)
    raw[:, 1] = subjects.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return pa.FixedSizeBinaryArray.from_buffers(KEY, len(raw), [None, pa.py_buffer(raw.tobytes())])


def _ids(prefix: str, numbers: Numbers) -> pa.Array:
    digits = pc.utf8_lpad(pa.array(numbers).cast(pa.string()), 12, "0")
    return pc.binary_join_element_wise(pa.scalar(prefix), digits, "")


def _pick(words: Sequence[str], numbers: Numbers) -> pa.Array:
    return pa.array(words).take(pa.array(numbers))


def _same(word: str, rows: int) -> pa.Array:
    return _pick([word], np.zeros(rows, np.int8))


def _lists(options: Sequence[Sequence[str]], numbers: Numbers) -> pa.Array:
    return pa.array(options, pa.list_(pa.string())).take(pa.array(numbers))


def _one_list(filled: "np.typing.NDArray[np.bool_]", words: pa.Array) -> pa.Array:
    ends = pa.array(np.concatenate([[0], np.cumsum(filled)]).astype(np.int32))
    return pa.ListArray.from_arrays(ends, words.filter(pa.array(filled)))


def _times(microseconds: Numbers) -> pa.Array:
    return pa.array(np.asarray(microseconds, np.int64)).cast(TIME)


def _zeros(rows: int, size: int) -> pa.Array:
    data = pa.py_buffer(bytes(rows * size))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(size), rows, [None, data])


def _random_bytes(draw: np.random.Generator, rows: int, size: int) -> pa.Array:
    data = pa.py_buffer(draw.bytes(rows * size))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(size), rows, [None, data])
