"""Load a manifest directory: signature, freshness, digests, then rows; anything off refuses."""

import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

from harness.consent.head import (
    COPIES,
    HEAD,
    HEAD_LIMIT,
    INDEX_LIMIT,
    PREDICATE,
    SCHEMA,
    SIGNATURE,
    TABLE_LIMIT,
    TABLES,
    FileEntry,
    Head,
    Tables,
)
from harness.consent.parts import (
    LARGE,
    PartRows,
    Parts,
    check_layout,
    tables_of_parts,
    unknown_name,
)
from harness.consent.reading import read_bound, read_present
from harness.consent.records import ALL, ExclusionRule, RuleKind, parse, parse_lines, unique
from harness.consent.signing import KeyRole, TrustRoot, verify
from harness.digest import canonical_json, sha256_hex, strict_json
from harness.errors import Refused


@dataclass(frozen=True)
class SignedHead:
    """What is signed of a manifest: it binds the rest by digests.

    Attributes:
        head: MANIFEST.json.
        sha256: digest of its bytes.
        trust_sha256: digest of the trust root that it was verified with.
    """

    head: Head
    sha256: str
    trust_sha256: str


@dataclass(frozen=True)
class Manifest(SignedHead):
    """A verified manifest.

    Attributes:
        tables: the rows.
        parts: the large tables, where they are Parquet; ``tables`` then reads them from there.
        copies: bytes of the index of excluded content, if there is one.
    """

    tables: Tables
    parts: Parts | None = None
    copies: bytes | None = None


def load(folder: Path, trust: TrustRoot, now: datetime) -> Manifest:
    """Verify a manifest directory and read it. Every file is opened once.

    Args:
        folder: the manifest directory.
        trust: pinned keys.
        now: clock of the decision, aware.

    Raises:
        Refused: a ``MANIFEST_*`` code of :mod:`harness.consent.reasons`, or what
            :func:`records.parse` raises for rows.
    """
    manifest = load_at_any_time(folder, trust, now)
    _check_clock(manifest.head, now)
    return manifest


def load_at_any_time(folder: Path, trust: TrustRoot, now: datetime) -> Manifest:
    """As :func:`load`, also where it has expired: to compare, renew or explain, not to permit."""
    signed = _signed_head(folder, trust, now)
    head = signed.head
    tables, parts = _read_tables(folder, head)
    if parts is None:
        check_references(head.scope.purposes, tables)
    else:  # the rest is checked when parts are decided
        check_rule_purposes(head.scope.purposes, tables)
    index = _read_index(folder, head)
    return Manifest(head, signed.sha256, trust.sha256, tables, parts, index)


def load_head(folder: Path, trust: TrustRoot, now: datetime) -> SignedHead:
    """As :func:`load`, the head alone: to see whether a manifest is still the one that was loaded.

    Raises:
        Refused: as :func:`load`, for what is signed.
    """
    signed = _signed_head(folder, trust, now)
    _check_clock(signed.head, now)
    return signed


def _signed_head(folder: Path, trust: TrustRoot, now: datetime) -> SignedHead:
    data = _read_signed(folder, HEAD, HEAD_LIMIT)
    _check_signature(data, _read_signed(folder, SIGNATURE, 2 * HEAD_LIMIT), trust, now)
    return SignedHead(_read_head(data), sha256_hex(data), trust.sha256)


def _read_signed(folder: Path, name: str, limit: int) -> bytes:
    missing = Refused("MANIFEST_MISSING", "no signed manifest", name,
                      "make and sign one, or correct data.manifest")  # fmt: skip
    return read_present(folder, name, limit, "MANIFEST", missing)


def statement(data: bytes) -> bytes:
    """The in-toto statement that is signed: it names the digest of MANIFEST.json."""
    return canonical_json(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": HEAD, "digest": {"sha256": sha256_hex(data)}}],
            "predicateType": PREDICATE,
            "predicate": {"schema": SCHEMA},
        }
    )


def _check_signature(data: bytes, envelope: bytes, trust: TrustRoot, now: datetime) -> None:
    if verify(envelope, KeyRole.MANIFEST, trust, "MANIFEST", SIGNATURE, now) != statement(data):
        raise Refused("MANIFEST_HASH_MISMATCH", "it is not the file that was signed", HEAD,
                      "restore it or have it signed again")  # fmt: skip


def _read_head(data: bytes) -> Head:
    value = strict_json(data, HEAD)
    head = parse(Head, value, HEAD)
    if canonical_json(value) != data:
        raise Refused("MANIFEST_NONCANONICAL", "not in canonical form (RFC 8785)", HEAD)
    return head


def _check_clock(head: Head, now: datetime) -> None:
    if now + timedelta(seconds=head.defaults.clock_skew_s) < head.issued:
        raise Refused("MANIFEST_NOT_YET_VALID", "issued after this machine's time", HEAD,
                      "check the clock")  # fmt: skip
    if now >= head.expires:
        raise Refused("MANIFEST_EXPIRED", "its time is over", HEAD, "have a new epoch signed")


def _read_tables(folder: Path, head: Head) -> tuple[Tables, Parts | None]:
    """The tables; the large ones are read later, part by part, where they are Parquet."""
    listed = {entry.path: entry for entry in head.files}
    of_parts = tables_of_parts(listed)
    names = {f"{table}.jsonl": table for table in TABLES if table not in of_parts}
    known = {*names, *(name for files in of_parts.values() for name in files)}
    bound = {HEAD, SIGNATURE, *([COPIES] if head.copies else [])}
    present = set(os.listdir(folder)) - bound
    for name in sorted((present | listed.keys()) - known) + sorted(present - listed.keys()):
        raise Refused("MANIFEST_FILE_EXTRA", "a file that the manifest does not bind",
                      name.encode("unicode_escape").decode(), "remove it")  # fmt: skip
    for name in sorted(known):
        if name not in listed or name not in present:
            raise Refused("MANIFEST_FILE_MISSING", "a table is missing", name, "restore it")
    unique(head.files, ("path",), HEAD)
    rows = {table: _read_table(folder, listed[name], table, head) for name, table in names.items()}
    if not of_parts:
        return Tables(**rows), None
    files = {table: tuple(listed[name] for name in paths) for table, paths in of_parts.items()}
    parts = Parts(folder, files)
    check_layout(parts, head.counts)
    return Tables(**rows, **{table: PartRows(parts, table) for table in LARGE}), parts


def _read_index(folder: Path, head: Head) -> bytes | None:
    if head.copies is None:
        return None
    if head.copies.bytes > INDEX_LIMIT:
        raise Refused("MANIFEST_TOO_LARGE", f"more than {INDEX_LIMIT} bytes", COPIES)
    return read_bound(folder, COPIES, head.copies.bytes, head.copies.sha256)


def _read_table(folder: Path, entry: FileEntry, table: str, head: Head) -> tuple[Any, ...]:
    if entry.bytes > TABLE_LIMIT:
        raise Refused("MANIFEST_TOO_LARGE", f"more than {TABLE_LIMIT} bytes", entry.path)
    data = read_bound(folder, entry.path, entry.bytes, entry.sha256)
    kind, key = TABLES[table]
    rows = parse_lines(kind, data, entry.path)
    if not len(rows) == entry.rows == getattr(head.counts, table):
        raise Refused("MANIFEST_COUNT_MISMATCH", f"{len(rows)} rows, another number was signed",
                      entry.path, "sign again")  # fmt: skip
    unique(rows, key, entry.path)
    return rows


def check_references(purposes: tuple[str, ...], tables: Tables) -> None:
    """Refuse names that resolve to nothing: a mistyped withdrawal would withdraw nothing.

    Args:
        purposes: of the scope, beside those of the policies.
        tables: all of a manifest.

    Raises:
        Refused: ``UNKNOWN_REFERENCE``, ``EVENT_SEQUENCE_GAP``.
    """
    series = {row.meeting_id: row.series_id for row in tables.meetings}
    for file in ("participants", "content", "split"):
        for n, row in enumerate(getattr(tables, file), 1):
            if row.meeting_id not in series:
                _dangling(file, n, "meeting_id")
    for n, split_row in enumerate(tables.split, 1):
        if split_row.series_id != series[split_row.meeting_id]:
            _dangling("split", n, "series_id")
    _check_event_references(purposes, tables, series)
    check_rule_purposes(purposes, tables)
    turns = {(row.meeting_id, str(row.modality)): row.turns for row in tables.content}
    for n, rule in enumerate(tables.exclusions, 1):
        if not {*rule.scope.meetings} <= {*series, ALL}:
            _dangling("exclusions", n, "scope")
        if rule.kind is RuleKind.TURN and not _finds_turn(rule, turns):
            _dangling("exclusions", n, "value")


def check_rule_purposes(scope: tuple[str, ...], tables: Tables) -> None:
    """Refuse a rule about a purpose that neither scope nor policy names.

    Raises:
        Refused: ``UNKNOWN_REFERENCE``.
    """
    known = {name for policy in tables.policies for name in policy.purposes} | {*scope, ALL}
    for n, rule in enumerate(tables.exclusions, 1):
        if not {*rule.scope.purposes} <= known:
            _dangling("exclusions", n, "scope.purposes")


def _finds_turn(rule: ExclusionRule, turns: dict[tuple[str, str], int]) -> bool:
    """Whether the turn that a rule names is there in each meeting that it names."""
    modality, _, place = rule.value.partition("/")
    named = [name for name in rule.scope.meetings if name != ALL]
    return all(turns.get((name, modality), 2**62) > int(place) for name in named)


def _check_event_references(scope: tuple[str, ...], tables: Tables, series: dict[str, str]) -> None:
    purposes = {name for policy in tables.policies for name in policy.purposes} | {*scope}
    meetings, names = {*series, ALL}, {*series.values(), ALL}
    for n, event in enumerate(tables.consent, 1):
        if not {*event.purposes} <= purposes:
            _dangling("consent", n, "purposes")
        if not ({*event.scope.meetings} <= meetings and {*event.scope.series} <= names):
            _dangling("consent", n, "scope")
        if event.seq != n - 1:  # an event that is left out shows, whatever its file says
            raise Refused("EVENT_SEQUENCE_GAP", "the log's numbers are not 0, 1, 2 and so on",
                          f"consent.jsonl row {n} key seq", "restore the whole log")  # fmt: skip


def _dangling(file: str, n: int, key: str) -> NoReturn:
    unknown_name(f"{file}.jsonl row {n} key {key}")
