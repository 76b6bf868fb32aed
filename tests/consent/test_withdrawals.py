"""The withdrawals log is taken whole, as it was signed, and fresh; and it never forgets."""

import os
import threading
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from harness.consent import withdrawals
from harness.consent.records import ConsentEvent, Operation, State, parse, to_json
from harness.consent.signing import KeyRole, TrustRoot, sign, trust_root
from harness.consent.state import Observation, check_and_advance, exclusive, trust_first
from harness.consent.withdrawals import (
    LOG,
    SIGNATURE,
    Bound,
    Entry,
    Log,
    Withdrawal,
    append,
    as_events,
    load,
)
from harness.digest import canonical_json, sha256_hex
from harness.errors import Refused
from harness.meetings.model import Modality

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
SKEW_S, MAX_AGE_S = 300, 3600
KEY, GATE = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2))
TRUST = trust_root([(KEY, (KeyRole.LOG,)), (GATE, (KeyRole.GATE,))])
CONTROLLER = "https://demo.example"
ANY_DATA = settings(max_examples=150, deadline=None, suppress_health_check=[*HealthCheck])
ANY_LOG = settings(ANY_DATA, max_examples=30)  # each example syncs files

times = st.datetimes(datetime(2020, 1, 1), NOW.replace(tzinfo=None), timezones=st.just(UTC))
ids = st.from_regex(r"[!-)+-~]{1,12}", fullmatch=True)


def lists(items: Any) -> st.SearchStrategy[tuple[Any, ...]]:
    """Short tuples without repetition."""
    return st.lists(items, max_size=3, unique=True).map(tuple)


@st.composite
def any_withdrawal(draw: st.DrawFn) -> Withdrawal:
    """Whatever a person may take back."""
    happened, recorded = sorted((draw(times), draw(times)))
    key = draw(st.from_regex(r"[0-9a-f]{32}", fullmatch=True))
    kinds = (st.sampled_from(Operation), ids, st.sampled_from(Modality), ids, ids)
    lists_of = [draw(lists(kind)) for kind in kinds]
    return Withdrawal(key, CONTROLLER, *lists_of, happened, recorded, draw(st.booleans()))


def withdrawal(person: int = 1, **changes: Any) -> Withdrawal:
    """A person takes back everything."""
    made = Withdrawal(f"{person:032x}", CONTROLLER, (), (), (), (), (), NOW - HOUR, NOW - HOUR,
                      False)  # fmt: skip
    return replace(made, **changes)


def add(folder: Path, *entries: Withdrawal, as_of: datetime = NOW, **changes: Any) -> Log:
    settings: dict[str, Any] = {"keys": [KEY], "trust": TRUST} | changes
    return append(folder, entries, as_of=as_of, **settings)


def taken(folder: Path, now: datetime = NOW, trust: TrustRoot = TRUST) -> Log:
    return load(folder, trust, now, SKEW_S, MAX_AGE_S)


def refuses(code: str, action: Callable[[], Any]) -> None:
    with pytest.raises(Refused, match=f"^{code}: ") as caught:
        action()
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting for a writer that is not there."""
    monkeypatch.setattr(withdrawals, "SETTLE_S", 0.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A log of three entries, made by two appends."""
    place = tmp_path / "withdrawals"
    add(place, withdrawal(1), withdrawal(2, meetings=("m0",)), as_of=NOW - HOUR)
    add(place, withdrawal(3, series=("s",), verify_erasure=True))
    return place


def resigned(folder: Path, lines: list[bytes], **changes: Any) -> None:
    """Put other lines in the log and sign them with the right key, as a thief of it would."""
    data = b"".join(line + b"\n" for line in lines)
    head = sha256_hex(lines[-1]) if lines else None
    bound = to_json(Bound(withdrawals.SCHEMA, len(lines), head, NOW)) | changes
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": LOG, "digest": {"sha256": sha256_hex(data)}}],
        "predicateType": withdrawals.PREDICATE,
        "predicate": bound,
    }
    (folder / LOG).write_bytes(data)
    (folder / SIGNATURE).write_bytes(sign(canonical_json(statement), [KEY]))


def lines_of(folder: Path) -> list[bytes]:
    return (folder / LOG).read_bytes().splitlines()


def edited(line: bytes, **changes: Any) -> bytes:
    """A line with other fields."""
    value = to_json(parse(Entry, withdrawals.strict_json(line, LOG), LOG)) | changes
    return canonical_json(value)


@ANY_LOG
@given(parts=st.lists(st.lists(any_withdrawal(), max_size=4), min_size=1, max_size=4))
def test_what_was_appended_comes_back(
    parts: list[list[Withdrawal]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("log")
    for part in parts:
        written = add(folder, *part)
    log, flat = taken(folder), [entry for part in parts for entry in part]
    assert log == written
    assert [entry.n for entry in log.entries] == [*range(len(flat))]
    names = [field.name for field in fields(Withdrawal)]
    assert [[getattr(entry, name) for name in names] for entry in log.entries] == [
        [getattr(entry, name) for name in names] for entry in flat
    ]
    assert [entry.prev for entry in log.entries] == [None, *log.heads][: len(flat)]


@ANY_LOG
@given(parts=st.lists(st.lists(any_withdrawal(), max_size=3), min_size=1, max_size=4))
def test_every_earlier_log_is_a_prefix_and_no_other_is(
    parts: list[list[Withdrawal]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("log")
    logs = [add(folder, *part) for part in parts]
    last = logs[-1]
    for log in logs:
        count = len(log.entries)
        assert last.extends(count, log.sha256)
        assert log.entries + last.since(count) == last.entries
        assert log.extends(len(last.entries), last.sha256) == (
            len(log.entries) == len(last.entries)
        )
    for n in (*range(-2, 1), len(last.entries) + 1):
        assert not last.extends(n, "0" * 64)
    assert last.extends(0, None)
    assert not last.extends(1, None)
    assert last.since(-1) == last.entries


def test_one_bit_of_an_earlier_entry_is_another_log(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    add(other, withdrawal(1), withdrawal(2, meetings=("m1",)), withdrawal(3), withdrawal(4))
    log = taken(other)
    assert log.extends(1, taken(folder).heads[0])
    assert not log.extends(3, taken(folder).sha256)


@ANY_DATA
@example(cut=0, flip=0, name=LOG)
@given(cut=st.integers(0, 10**6), flip=st.integers(0, 255), name=st.sampled_from([LOG, SIGNATURE]))
def test_no_byte_changes_and_no_end_is_cut(
    cut: int, flip: int, name: str, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    copy = tmp_path_factory.mktemp("copy")
    for file in (LOG, SIGNATURE):
        (copy / file).write_bytes((folder / file).read_bytes())
    content = bytearray((copy / name).read_bytes())
    cut %= len(content)
    if flip:
        content[cut] ^= flip
    else:
        del content[cut:]
    (copy / name).write_bytes(content)
    with pytest.raises(Refused) as caught:
        taken(copy)
    assert caught.value.exit_code == 4
    if name == LOG:
        # an end that is cut off, or a line feed that is none any more
        shorter = not flip or len(content.split(b"\n")) < 4 or not content.endswith(b"\n")
        assert (caught.value.code == "WITHDRAWALS_TRUNCATED") is shorter
    with pytest.raises(Refused):
        add(copy, withdrawal(4))
    assert (copy / name).read_bytes() == content


@ANY_DATA
@given(order=st.lists(st.integers(0, 2), max_size=5).filter(lambda order: order != [0, 1, 2]))
def test_lines_neither_move_nor_vanish_nor_repeat(order: list[int], folder: Path) -> None:
    original, whole = lines_of(folder), (folder / LOG).read_bytes()
    lines = [original[n] for n in order]
    (folder / LOG).write_bytes(b"".join(line + b"\n" for line in lines))
    code = "WITHDRAWALS_TRUNCATED" if len(order) < 3 else "WITHDRAWALS_HASH_MISMATCH"
    refuses(code, lambda: taken(folder))
    (folder / LOG).write_bytes(whole)


@pytest.mark.parametrize("order", [[0, 2], [1, 2], [2, 1, 0], [0, 0, 1, 2], [1], [0, 1, 1]])
def test_a_log_that_forgets_an_entry_is_refused_though_it_is_signed(
    order: list[int], folder: Path
) -> None:
    original = lines_of(folder)
    resigned(folder, [original[n] for n in order])
    refuses("WITHDRAWALS_CHAIN_BROKEN", lambda: taken(folder))


def test_a_log_that_forgets_and_chains_anew_is_refused_by_who_saw_more(
    folder: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state.json"

    def observe(log: Log) -> Observation:
        return Observation("issuer", 1, "a" * 64, None, 0, 0, len(log.entries), log.sha256)

    full = taken(folder)
    trust_first(state, observe(full), NOW)
    rewritten = tmp_path / "rewritten"
    forgetful = add(rewritten, withdrawal(1), withdrawal(3), withdrawal(4), withdrawal(5))
    assert taken(rewritten) == forgetful
    assert not forgetful.extends(len(full.entries), full.sha256)
    for log in (forgetful, Log(full.entries[:2], full.heads[:2], NOW)):
        refuses(
            "WITHDRAWALS_ROLLED_BACK",
            lambda log=log: check_and_advance(state, observe(log), NOW, SKEW_S, log.extends),
        )
    longer = add(folder, withdrawal(4))
    seen = check_and_advance(state, observe(longer), NOW, SKEW_S, longer.extends)
    assert (seen.withdrawals_entries, seen.withdrawals_sha256) == (4, longer.sha256)


def test_restoring_the_lines_by_hand_gives_the_same_log(folder: Path, tmp_path: Path) -> None:
    entries = taken(folder).entries
    assert add(tmp_path / "again", *entries).heads == taken(folder).heads


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"entries": 2}, "WITHDRAWALS_HASH_MISMATCH"),
        ({"entries": 4}, "WITHDRAWALS_TRUNCATED"),
        ({"head": None}, "WITHDRAWALS_HASH_MISMATCH"),
        ({"head": "0" * 64}, "WITHDRAWALS_HASH_MISMATCH"),
        ({"schema": "harness/withdrawals/v2"}, "WITHDRAWALS_HASH_MISMATCH"),
        ({"as_of": "2026-06-01T12:00:00.0Z"}, "WITHDRAWALS_HASH_MISMATCH"),
        ({"as_of": "2026-06-01T12:00:00"}, "SCHEMA_INVALID"),
        ({"as_of": "2026-06-01T10:00:00Z"}, "WITHDRAWALS_NOT_YET_VALID"),
        ({"note": "x"}, "UNKNOWN_FIELD"),
    ],
)
def test_the_envelope_binds_what_is_there(changes: dict[str, Any], code: str, folder: Path) -> None:
    resigned(folder, lines_of(folder), **changes)
    refuses(code, lambda: taken(folder))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"reason": "x"}, "UNKNOWN_FIELD"),
        ({"n": 3}, "WITHDRAWALS_CHAIN_BROKEN"),
        ({"prev": None}, "WITHDRAWALS_CHAIN_BROKEN"),
        ({"subject_key": "ada@example.org"}, "SCHEMA_INVALID"),
        ({"purposes": ["*"]}, "SCHEMA_INVALID"),
        ({"meetings": ["*"]}, "SCHEMA_INVALID"),
        ({"series": ["m", "*"]}, "SCHEMA_INVALID"),
        ({"modalities": ["*"]}, "SCHEMA_INVALID"),
        ({"modalities": None}, "SCHEMA_INVALID"),
        ({"operations": ["training"]}, "SCHEMA_INVALID"),
        ({"recorded_time": "2020-01-01T00:00:00Z"}, "SCHEMA_INVALID"),
        ({"recorded_time": "2026-06-02T00:00:00Z"}, "WITHDRAWALS_NOT_YET_VALID"),
        ({"event_time": "2026-06-01T11:00:00.000Z"}, "WITHDRAWALS_NONCANONICAL"),
        ({"verify_erasure": 1}, "SCHEMA_INVALID"),
    ],
)
def test_a_signed_entry_is_read_strictly(changes: dict[str, Any], code: str, folder: Path) -> None:
    *lines, last = lines_of(folder)
    resigned(folder, [*lines, edited(last, **changes)])
    refuses(code, lambda: taken(folder))


@pytest.mark.parametrize("name", [LOG, SIGNATURE])
def test_one_file_alone_is_no_log(name: str, folder: Path) -> None:
    other = (folder / ({LOG: SIGNATURE, SIGNATURE: LOG}[name])).read_bytes()
    (folder / name).unlink()
    refuses("WITHDRAWALS_MISSING", lambda: taken(folder))
    refuses("WITHDRAWALS_MISSING", lambda: add(folder, withdrawal(4)))
    assert other in [path.read_bytes() for path in folder.iterdir()]


def test_no_folder_is_no_log(tmp_path: Path) -> None:
    refuses("WITHDRAWALS_MISSING", lambda: taken(tmp_path / "none"))
    (tmp_path / "file").touch()
    refuses("WITHDRAWALS_NOT_REGULAR", lambda: taken(tmp_path / "file"))
    refuses("WITHDRAWALS_UNWRITABLE", lambda: add(tmp_path / "file/log", withdrawal()))


def test_a_link_is_no_log(folder: Path) -> None:
    (folder / LOG).rename(folder / "elsewhere")
    (folder / LOG).symlink_to(folder / "elsewhere")
    refuses("WITHDRAWALS_NOT_REGULAR", lambda: taken(folder))


def test_a_log_without_entries_says_that_nobody_withdrew(tmp_path: Path) -> None:
    log = add(tmp_path / "log")
    assert taken(tmp_path / "log") == log == Log((), (), NOW)
    assert (log.sha256, as_events(log)) == (None, ())
    assert log.extends(0, None)
    (tmp_path / "log" / LOG).unlink()
    refuses("WITHDRAWALS_MISSING", lambda: taken(tmp_path / "log"))


@pytest.mark.parametrize(
    ("now", "code"),
    [
        (NOW - (SKEW_S + 1) * SECOND, "WITHDRAWALS_NOT_YET_VALID"),
        (NOW - SKEW_S * SECOND, None),
        (NOW + MAX_AGE_S * SECOND, None),
        (NOW + (MAX_AGE_S + 1) * SECOND, "WITHDRAWALS_STALE"),
    ],
)
def test_only_a_fresh_log_says_who_withdrew(now: datetime, code: str | None, folder: Path) -> None:
    if code is None:
        assert len(taken(folder, now).entries) == 3
    else:
        refuses(code, lambda: taken(folder, now))


def test_a_log_that_is_signed_again_is_fresh_again(folder: Path) -> None:
    late = NOW + timedelta(days=3)
    refuses("WITHDRAWALS_STALE", lambda: taken(folder, late))
    before = (folder / LOG).read_bytes()
    add(folder, as_of=late)
    assert taken(folder, late).as_of == late
    assert (folder / LOG).read_bytes() == before


def test_the_writers_clock_does_not_go_back(folder: Path) -> None:
    refuses("WITHDRAWALS_NOT_YET_VALID", lambda: add(folder, as_of=NOW - SECOND))
    early = withdrawal(4, recorded_time=NOW + HOUR)
    refuses("WITHDRAWALS_NOT_YET_VALID", lambda: add(folder, early))
    assert len(taken(folder).entries) == 3


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"keys": [GATE]}, "WITHDRAWALS_KEY_UNKNOWN"),
        ({"keys": []}, "WITHDRAWALS_SIG_THRESHOLD"),
        ({"keys": [KEY, KEY]}, "WITHDRAWALS_SIG_THRESHOLD"),
        ({"trust": replace(TRUST, thresholds=())}, "TRUST_INVALID"),
    ],
)
def test_nothing_is_written_that_no_reader_would_take(
    changes: dict[str, Any], code: str, folder: Path
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    refuses(code, lambda: add(folder, withdrawal(4), **changes))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_withdrawal_that_no_reader_would_take_is_not_written(folder: Path) -> None:
    for changes in ({"subject_key": "Ada"}, {"meetings": ("a b",)}, {"purposes": ("p", "p")}):
        refuses("SCHEMA_INVALID", lambda changes=changes: add(folder, withdrawal(4, **changes)))
    assert len(taken(folder).entries) == 3


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"not_after": NOW}, "WITHDRAWALS_KEY_EXPIRED"),
        ({"not_before": NOW + SECOND}, "WITHDRAWALS_KEY_NOT_YET_VALID"),
        ({"revoked_at": NOW + HOUR}, "WITHDRAWALS_KEY_REVOKED"),
    ],
)
def test_the_keys_lifetime_is_judged_by_the_readers_clock(
    changes: dict[str, Any], code: str, folder: Path
) -> None:
    keys = tuple(replace(key, **changes) for key in TRUST.keys)
    refuses(code, lambda: taken(folder, trust=replace(TRUST, keys=keys)))


def test_the_envelope_of_something_else_is_not_taken(folder: Path) -> None:
    for payload in (b"[]", b"{}", b'{"predicate":{}}'):
        (folder / SIGNATURE).write_bytes(sign(payload, [KEY]))
        refuses("SCHEMA_INVALID", lambda: taken(folder))


class Stopped(BaseException):
    """The writer was killed here."""


@pytest.mark.parametrize("entries", [0, 1])
@pytest.mark.parametrize("begins", [True, False])
@pytest.mark.parametrize("step", range(3))
def test_a_writer_that_stops_anywhere_wrote_all_or_nothing(
    step: int, begins: bool, entries: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = folder.with_name("new") if begins else folder
    before, count, move = 0 if begins else 3, 0, os.replace

    def stop(*places: Any) -> None:
        nonlocal count
        if count == step:
            raise Stopped
        count += 1
        move(*places)

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(Stopped):
        add(place, *[withdrawal(8)] * entries)
    monkeypatch.undo()
    log = add(place, withdrawal(9), as_of=NOW + SECOND)
    kept = entries if step == 2 else 0  # the envelope waits beside the log that it signs
    assert [entry.subject_key[-1] for entry in log.entries[before:]] == ["8"] * kept + ["9"]
    assert taken(place) == log


def test_an_entry_that_only_somebody_else_wrote_is_never_signed(folder: Path) -> None:
    forged = edited(lines_of(folder)[-1], n=3, prev=taken(folder).sha256)
    with (folder / LOG).open("ab") as file:
        file.write(forged + b"\n")
    refuses("WITHDRAWALS_HASH_MISMATCH", lambda: taken(folder))
    refuses("WITHDRAWALS_HASH_MISMATCH", lambda: add(folder, withdrawal(4)))


def test_readers_beside_a_writer_see_whole_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(withdrawals, "SETTLE_S", 0.02)
    folder = tmp_path / "log"
    logs, over = [add(folder)], threading.Event()

    def write() -> None:
        for person in range(25):
            logs.append(add(folder, withdrawal(person)))
        over.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = [taken(folder)]
    while not over.is_set():
        seen.append(taken(folder))
        assert seen[-1].extends(len(seen[-2].entries), seen[-2].sha256)
    writer.join()
    assert taken(folder) == logs[-1]
    assert len(logs) == 26


def test_writers_wait_for_each_other(folder: Path) -> None:
    with exclusive(folder / LOG, "WITHDRAWALS"):
        writers = [
            threading.Thread(target=add, args=(folder, withdrawal(person))) for person in (4, 5)
        ]
        for writer in writers:
            writer.start()
    for writer in writers:
        writer.join(30)
    assert {entry.subject_key[-1] for entry in taken(folder).entries} == {*"12345"}


@ANY_LOG
@given(entries=st.lists(any_withdrawal(), max_size=5))
def test_as_events_of_the_consent_log(
    entries: list[Withdrawal], tmp_path_factory: pytest.TempPathFactory
) -> None:
    log = add(tmp_path_factory.mktemp("log"), *entries)
    events = as_events(log)
    assert [event.event_id for event in events] == [
        f"withdrawal-{n:06d}" for n in range(len(events))
    ]
    for event, entry, line_digest in zip(events, log.entries, log.heads, strict=True):
        assert parse(ConsentEvent, to_json(event), "event") == event
        assert event.state is State.WITHDRAWN
        assert (event.subject_key, event.controller) == (entry.subject_key, entry.controller)
        assert (event.operations, event.purposes, event.modalities) == (
            entry.operations, entry.purposes, entry.modalities
        )  # fmt: skip
        assert (event.scope.meetings, event.scope.series) == (entry.meetings, entry.series)
        assert event.scope.from_ < NOW - timedelta(days=9999) < NOW < event.scope.until
        assert (event.event_time, event.recorded_time) == (entry.event_time, entry.recorded_time)
        assert event.derivatives == ()
        assert event.evidence_sha256 == line_digest
