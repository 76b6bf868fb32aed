"""The withdrawals log: append-only, chained, signed, and served apart from the manifest.

A manifest is made once a day or so, a withdrawal counts at once. The log is therefore read again at
the start of a run, at each checkpoint and at the end. An envelope by ``log`` keys binds how many
entries there are, the digest of the last one, and the time at which that was all.
"""

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from harness.consent.reading import read_present
from harness.consent.records import (
    ALL,
    ConsentEvent,
    ConsentType,
    ContentScope,
    Delegation,
    Id,
    Key,
    Method,
    Notice,
    Operation,
    Sha256,
    State,
    parse,
    parse_lines,
    record,
    to_json,
)
from harness.consent.signing import KeyRole, TrustRoot, sign, verify
from harness.consent.state import exclusive, sync_folder, unwritable, write_durably
from harness.digest import canonical_json, sha256_hex, strict_json
from harness.errors import Refused
from harness.meetings.model import Modality

SCHEMA = "harness/withdrawals/v1"
LOG = "withdrawals.jsonl"
SIGNATURE = "withdrawals.dsse.json"
PREDICATE = "https://meeting-harness.dev/withdrawals-log/v1"
LOG_LIMIT = 512 * 1024 * 1024
SIGNATURE_LIMIT = 64 * 1024

READS = 5
SETTLE_S = 0.05
"""How often a log is read that does not fit its envelope, and the seconds between: a writer, or a
copy over the network, may be at work between the two files."""

EARLIEST = datetime.min.replace(tzinfo=UTC)
LATEST = datetime.max.replace(tzinfo=UTC)

_PENDING = ".withdrawals.dsse.json.next"
_UNSETTLED = ("WITHDRAWALS_TRUNCATED", "WITHDRAWALS_HASH_MISMATCH")


@record
class Withdrawal:
    """What a person takes back; an empty list means everything, as this is a restriction.

    Where ``meetings`` or ``series`` names something, what either of them names is meant.
    ``verify_erasure`` says that the person asks for proof that a model kept nothing.
    """

    subject_key: Key
    controller: Id
    operations: tuple[Operation, ...]
    purposes: tuple[Id, ...]
    modalities: tuple[Modality, ...]
    meetings: tuple[Id, ...]
    series: tuple[Id, ...]
    event_time: datetime
    recorded_time: datetime
    verify_erasure: bool

    def __post_init__(self) -> None:
        if self.recorded_time < self.event_time:
            raise ValueError("it was recorded before it happened")
        if ALL in (*self.purposes, *self.meetings, *self.series):
            raise ValueError("everything is written as an empty list here")


@record
class Entry(Withdrawal):
    """A withdrawal in its place: numbers from 0 without gaps, digest of the line before."""

    n: int
    prev: Sha256 | None


@record
class Bound:
    """What the envelope binds: number of entries, digest of the last, and when that was all."""

    schema: str
    entries: int
    head: Sha256 | None
    as_of: datetime


@dataclass(frozen=True)
class Log:
    """A verified log.

    Attributes:
        entries: in order.
        heads: digest of each entry's line.
        as_of: time at which these were all the entries.
    """

    entries: tuple[Entry, ...]
    heads: tuple[str, ...]
    as_of: datetime

    @property
    def sha256(self) -> str | None:
        """Digest of the last entry's line; None for a log without entries."""
        return self.heads[-1] if self.heads else None

    def extends(self, entries: int, sha256: str | None) -> bool:
        """Whether it begins with a log of so many entries and that head, itself included."""
        if entries == 0:
            return sha256 is None
        return 0 < entries <= len(self.heads) and self.heads[entries - 1] == sha256

    def since(self, n: int) -> tuple[Entry, ...]:
        """Entries from number ``n`` on: what is new to whom has seen ``n`` entries."""
        return tuple(entry for entry in self.entries if entry.n >= n)


def load(folder: Path, trust: TrustRoot, now: datetime, skew_s: int, max_age_s: int) -> Log:
    """Verify the log in a folder and read it.

    Args:
        folder: that holds :data:`LOG` and :data:`SIGNATURE`.
        trust: pinned keys.
        now: clock of the decision, aware.
        skew_s: by how many seconds clocks may differ.
        max_age_s: seconds after ``as_of`` from which on a log is too old to say what is withdrawn.

    Raises:
        Refused: a ``WITHDRAWALS_*`` code, or what :func:`records.parse` raises for entries.
    """
    log = read_at_any_time(folder, trust, now)
    age = (now - log.as_of).total_seconds()
    if age < -skew_s:
        raise Refused("WITHDRAWALS_NOT_YET_VALID", "signed for a time after this machine's",
                      SIGNATURE, "check the clock")  # fmt: skip
    if age > max_age_s:
        raise Refused("WITHDRAWALS_STALE", f"{age:.0f} s old, at most {max_age_s} s are allowed",
                      SIGNATURE, "fetch the newest log, or have it signed again")  # fmt: skip
    return log


def append(
    folder: Path,
    withdrawals: Iterable[Withdrawal],
    keys: Sequence[Ed25519PrivateKey],
    trust: TrustRoot,
    as_of: datetime,
) -> Log:
    """Add withdrawals and sign; with none, say anew that these are all.

    Nothing is signed on top of a log that does not verify. A log begins where neither file is.
    An append that was cut short either counts as a whole at the next one, or not at all.

    Args:
        folder: of the log, made when it is not there.
        withdrawals: in order; number and chain are given here.
        keys: private keys of the role ``log``.
        trust: pinned keys, so that nothing is written that no reader would take.
        as_of: clock of the writer, aware.

    Raises:
        Refused: what :func:`load` raises, without regard to age; ``WITHDRAWALS_NOT_YET_VALID``
            when ``as_of`` lies before the log's own or before an entry was recorded;
            ``WITHDRAWALS_LOCKED``, ``WITHDRAWALS_UNWRITABLE``.
    """
    with exclusive(folder / LOG, "WITHDRAWALS"):
        _finish(folder, trust, as_of)
        begins = not any(os.path.lexists(folder / name) for name in (LOG, SIGNATURE))
        old = b"" if begins else _present(folder, trust, as_of)
        data = old + _chained(old, withdrawals)
        envelope = sign(_statement(data, as_of), keys)
        log = _verified(envelope, data, trust, as_of)
        write_durably(folder / _PENDING, envelope, "WITHDRAWALS")
        write_durably(folder / LOG, data, "WITHDRAWALS")
        _publish(folder)
    return log


def as_events(log: Log) -> tuple[ConsentEvent, ...]:
    """The log as events of state withdrawn, to be judged like any other of a consent log."""
    return tuple(
        _event(entry, digest) for entry, digest in zip(log.entries, log.heads, strict=True)
    )


def _event(entry: Entry, digest: str) -> ConsentEvent:
    return ConsentEvent(
        seq=entry.n,
        event_id=f"withdrawal-{entry.n:06d}",
        subject_key=entry.subject_key,
        actor_key=entry.subject_key,
        delegation=Delegation.SELF,
        state=State.WITHDRAWN,
        consent_type=ConsentType.EXPLICIT,
        controller=entry.controller,
        recipients=(),
        operations=entry.operations,
        purposes=entry.purposes,
        modalities=entry.modalities,
        derivatives=(),  # a restriction spares what it lists here
        notice=Notice("none", "none", "0" * 64, "und"),
        scope=ContentScope(entry.meetings, entry.series, EARLIEST, LATEST),
        retroactive=True,
        event_time=entry.event_time,
        recorded_time=entry.recorded_time,
        valid_from=EARLIEST,
        valid_until=LATEST,
        retention_until=LATEST,
        method=Method.PLATFORM,
        evidence_sha256=digest,
    )


def read_at_any_time(folder: Path, trust: TrustRoot, at: datetime) -> Log:
    """As :func:`load` without regard to its age: to explain or go on, not to permit."""
    for _ in range(READS - 1):
        try:
            return _verified(*_both(folder), trust, at)
        except Refused as error:
            if error.code not in _UNSETTLED:
                raise
        time.sleep(SETTLE_S)
    return _verified(*_both(folder), trust, at)


def _both(folder: Path) -> tuple[bytes, bytes]:
    """The bytes of envelope and log."""
    return _file(folder, SIGNATURE, SIGNATURE_LIMIT), _file(folder, LOG, LOG_LIMIT)


def _file(folder: Path, name: str, limit: int) -> bytes:
    missing = Refused("WITHDRAWALS_MISSING", "no signed withdrawals log", name,
                      "fetch it, or correct its place")  # fmt: skip
    return read_present(folder, name, limit, "WITHDRAWALS", missing)


def _verified(envelope: bytes, data: bytes, trust: TrustRoot, at: datetime) -> Log:
    payload = verify(envelope, KeyRole.LOG, trust, "WITHDRAWALS", SIGNATURE, at)
    bound = _bound(payload)
    lines = _lines(data)
    if not data.endswith(b"\n" if lines else b"") or len(lines) < bound.entries:
        raise Refused("WITHDRAWALS_TRUNCATED", f"fewer than the {bound.entries} entries that were "
                      "signed", LOG, "fetch the whole log")  # fmt: skip
    # every field of the statement but its time follows from the data
    if len(lines) > bound.entries or _statement(data, bound.as_of) != payload:
        raise Refused("WITHDRAWALS_HASH_MISMATCH", "it is not the log that was signed", LOG,
                      "fetch both files again")  # fmt: skip
    heads = tuple(sha256_hex(line) for line in lines)
    entries = parse_lines(Entry, data, LOG)
    for n, entry in enumerate(entries):
        _check_entry(n, entry, heads, lines[n], bound.as_of)
    return Log(entries, heads, bound.as_of)


def _check_entry(n: int, entry: Entry, heads: Sequence[str], line: bytes, as_of: datetime) -> None:
    where = f"{LOG} row {n + 1}"
    if entry.n != n or entry.prev != (heads[n - 1] if n else None):
        raise Refused("WITHDRAWALS_CHAIN_BROKEN", "an entry does not follow the one before it",
                      where, "restore the log from before it was changed")  # fmt: skip
    if canonical_json(to_json(entry)) != line:
        raise Refused("WITHDRAWALS_NONCANONICAL", "not in canonical form", where,
                      "write the log with `append`")  # fmt: skip
    if entry.recorded_time > as_of:
        raise Refused("WITHDRAWALS_NOT_YET_VALID", "an entry was recorded after the log's own time",
                      where, "check the writer's clock")  # fmt: skip


def _lines(data: bytes) -> list[bytes]:
    """Lines by line feeds alone, without their ends."""
    lines = data.split(b"\n")
    return lines[:-1] if lines[-1] == b"" else lines


def _bound(payload: bytes) -> Bound:
    value = strict_json(payload, SIGNATURE)
    predicate = value.get("predicate") if isinstance(value, dict) else None
    return parse(Bound, predicate, f"{SIGNATURE} key predicate")


def _statement(data: bytes, as_of: datetime) -> bytes:
    """The in-toto statement that is signed over the bytes of a log."""
    lines = _lines(data)
    head = sha256_hex(lines[-1]) if lines else None
    return canonical_json(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": LOG, "digest": {"sha256": sha256_hex(data)}}],
            "predicateType": PREDICATE,
            "predicate": to_json(Bound(SCHEMA, len(lines), head, as_of)),
        }
    )


def _chained(old: bytes, withdrawals: Iterable[Withdrawal]) -> bytes:
    lines = _lines(old)
    prev, first = (sha256_hex(lines[-1]) if lines else None), len(lines)
    added = []
    for n, withdrawal in enumerate(withdrawals, first):
        content: dict[str, Any] = {f.name: getattr(withdrawal, f.name) for f in fields(Withdrawal)}
        line = canonical_json(to_json(Entry(**content, n=n, prev=prev)))
        prev = sha256_hex(line)
        added.append(line + b"\n")
    return b"".join(added)


def _present(folder: Path, trust: TrustRoot, as_of: datetime) -> bytes:
    """The bytes of the log as it stands, verified."""
    envelope, data = _both(folder)
    if _verified(envelope, data, trust, as_of).as_of > as_of:
        raise Refused("WITHDRAWALS_NOT_YET_VALID", "the log was signed for a later time", SIGNATURE,
                      "check the writer's clock")  # fmt: skip
    return data


def _finish(folder: Path, trust: TrustRoot, as_of: datetime) -> None:
    """Publish the envelope that waits, if it is the one of the log as it stands.

    The log is replaced first. Where its writer stopped between the two files, the envelope that
    waits is what proves that the new entries are the writer's.
    """
    try:
        envelope = _file(folder, _PENDING, SIGNATURE_LIMIT)
        _verified(envelope, _file(folder, LOG, LOG_LIMIT), trust, as_of)
    except Refused:
        return  # nothing waits, or what waits is of a log that was never written
    _publish(folder)


def _publish(folder: Path) -> None:
    try:
        os.replace(folder / _PENDING, folder / SIGNATURE)
        sync_folder(folder)
    except OSError as error:
        unwritable("WITHDRAWALS", folder / SIGNATURE, error)
