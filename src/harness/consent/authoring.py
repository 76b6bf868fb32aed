"""Write manifest directories: tables, digests, signature; whole or not at all."""

import ctypes
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from harness.consent.columns import to_arrow
from harness.consent.content import parse_turns
from harness.consent.head import (
    COPIES,
    HEAD,
    SCHEMA,
    SIGNATURE,
    TABLES,
    Counts,
    Defaults,
    Draw,
    FileEntry,
    Head,
    IndexEntry,
    LogHead,
    Scope,
    Tables,
)
from harness.consent.layout import lay_out
from harness.consent.manifest import Manifest, statement
from harness.consent.parts import LARGE, PartRows, Parts, parts_of
from harness.consent.reading import read_once
from harness.consent.records import NONE, ContentRow, to_json
from harness.consent.signing import sign
from harness.digest import canonical_json, sha256_hex
from harness.meetings.model import Modality

NO_WITHDRAWALS = LogHead(0, None)
CONTENT_LIMIT = 64 * 1024 * 1024
JSONL_ROWS = 100_000
_ROWS_AT_ONCE = 100_000


@dataclass(frozen=True)
class Draft:
    """Everything of a manifest that does not depend on when it is signed."""

    issuer: str
    scope: Scope
    defaults: Defaults
    split: Draw
    tables: Tables

    def says_the_same_as(self, head: Head) -> bool:
        """Whether a signed manifest has the same terms, and the same tables beside content.

        A changed content file is for the gate to refuse, never a reason to sign again.
        """
        entries = {e.path: e.sha256 for e in head.files if e.path != "content.jsonl"}
        mine = {
            f"{name}.jsonl": sha256_hex(lines(getattr(self.tables, name)))
            for name in TABLES
            if name != "content"
        }
        terms = (self.issuer, self.scope, self.defaults, self.split)
        return mine == entries and terms == (head.issuer, head.scope, head.defaults, head.split)


def draft_of(manifest: Manifest) -> Draft:
    """The draft that a manifest was signed from, to change and sign again."""
    head = manifest.head
    return Draft(head.issuer, head.scope, head.defaults, head.split, manifest.tables)


def trial_manifest(draft: Draft, now: datetime) -> Manifest:
    """A manifest as if a draft had been signed: to decide by, never to permit."""
    head = Head(SCHEMA, 1, None, now, now + timedelta(days=1), draft.issuer, draft.scope,
                draft.defaults, draft.split, NO_WITHDRAWALS, None, (),
                Counts(**dict.fromkeys(TABLES, 0)))  # fmt: skip
    return Manifest(head, "", "", draft.tables, parts_of(draft.tables))


def write_manifest(
    folder: Path,
    draft: Draft,
    keys: Iterable[Ed25519PrivateKey],
    issued: datetime,
    expires: datetime,
    epoch: int = 1,
    prev: str | None = None,
    log: LogHead = NO_WITHDRAWALS,
    copies: bytes | None = None,
) -> Head:
    """Write and sign a manifest directory; one that stands there is replaced as a whole.

    Args:
        folder: the manifest directory.
        draft: tables and terms.
        keys: private keys that sign.
        issued: when it begins to hold, aware.
        expires: when it ends to hold, aware.
        epoch: number of this manifest, rising.
        prev: SHA-256 of the MANIFEST.json before it.
        log: head of the withdrawals log that the tables take in, at least.
        copies: index of excluded content, see :mod:`harness.consent.material`.
    """
    rows = {name: len(getattr(draft.tables, name)) for name in TABLES}
    made: list[Head] = []

    def fill(target: Path) -> None:
        entries = _write_tables(target, draft.tables, rows)
        head = Head(SCHEMA, epoch, prev, issued, expires, draft.issuer, draft.scope,
                    draft.defaults, draft.split, log, _index_entry(copies), entries,
                    Counts(**rows))  # fmt: skip
        data = canonical_json(to_json(head))
        if copies is not None:
            (target / COPIES).write_bytes(copies)
        (target / HEAD).write_bytes(data)
        (target / SIGNATURE).write_bytes(sign(statement(data), keys))
        made.append(head)

    replace_folder(folder, fill)
    return made[0]


def _write_tables(target: Path, tables: Tables, rows: Mapping[str, int]) -> tuple[FileEntry, ...]:
    """Write all tables: lines of JSON, or the large ones in parts where one of them is long.

    Those that are in parts already are taken as they are.
    """
    parts = parts_of(tables)
    long = parts is not None or any(rows[name] > JSONL_ROWS for name in LARGE)
    entries = [
        _write_lines(target, name, getattr(tables, name))
        for name in TABLES
        if not (long and name in LARGE)
    ]
    if parts is not None:
        entries += _take(parts, target)
    elif long:
        sources = {name: partial(batches, name, getattr(tables, name)) for name in LARGE}
        entries += [entry for files in lay_out(sources, target).values() for entry in files]
    return tuple(entries)


def _take(parts: Parts, target: Path) -> Iterator[FileEntry]:
    for entry in (entry for files in parts.files.values() for entry in files):
        try:
            os.link(parts.folder / entry.path, target / entry.path)
        except OSError:  # on another file system, or one without links
            shutil.copyfile(parts.folder / entry.path, target / entry.path)
        yield entry


def batches(table: str, rows: Iterable[Any]) -> Iterator[pa.Table]:
    """The rows of a table as columns, some at a time."""
    if isinstance(rows, PartRows):
        yield from rows.batches()
        return
    left = iter(rows)
    while batch := [*islice(left, _ROWS_AT_ONCE)]:
        yield to_arrow(TABLES[table][0], batch)


def _write_lines(target: Path, table: str, rows: Iterable[Any]) -> FileEntry:
    data, name = lines(rows), f"{table}.jsonl"
    (target / name).write_bytes(data)
    return FileEntry(name, sha256_hex(data), len(data), data.count(b"\n"))


def lines(rows: Iterable[Any]) -> bytes:
    """Rows as the bytes of a JSONL file."""
    return b"".join(canonical_json(to_json(row)) + b"\n" for row in rows)


def _index_entry(copies: bytes | None) -> IndexEntry | None:
    return None if copies is None else IndexEntry(sha256_hex(copies), len(copies))


def replace_folder(folder: Path, fill: Callable[[Path], Any]) -> None:
    """Put a folder in place of another, so that no reader sees half of it or, on Linux, none.

    Args:
        folder: the place.
        fill: writes the content into the new folder that it is given.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    target = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        target.chmod(0o755)
        fill(target)
        if not folder.exists():
            os.rename(target, folder)
        elif not _exchange(target, folder):
            _rename_both(target, folder)
    finally:
        shutil.rmtree(target, ignore_errors=True)


_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of renameat2(2)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; False where kernel, C library or file system cannot."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    paths = map(os.fsencode, (one, other))
    names = [argument for path in paths for argument in (_AT_FDCWD, path)]
    return rename is not None and bool(rename(*names, _RENAME_EXCHANGE) == 0)


def _rename_both(new: Path, folder: Path) -> None:
    """Exchange two folders in two steps, between which none stands in the place."""
    old = new.with_name(f"{new.name}.old")
    os.rename(folder, old)
    os.rename(new, folder)
    shutil.rmtree(old)


def content_row(
    store: Path,
    meeting: str,
    modality: Modality,
    format_name: str,
    path: str,
    licence_id: str,
    derived_from: tuple[Modality, ...] = (),
    recording_type: str = NONE,
) -> ContentRow:
    """Describe a content file: size, digest and number of turns.

    Raises:
        Refused: when it cannot be read or parsed.
    """
    data = read_once(store, path, CONTENT_LIMIT, "CONTENT")
    return describe(
        data, meeting, modality, format_name, path, licence_id, derived_from, recording_type
    )


def describe(
    data: bytes,
    meeting: str,
    modality: Modality,
    format_name: str,
    path: str,
    licence_id: str,
    derived_from: tuple[Modality, ...] = (),
    recording_type: str = NONE,
) -> ContentRow:
    """The row of a content file from its bytes.

    Raises:
        Refused: when they cannot be parsed.
    """
    turns = len(parse_turns(format_name, data, path))
    return ContentRow(
        meeting, modality, format_name, path, sha256_hex(data), len(data), turns, derived_from,
        recording_type, licence_id,
    )  # fmt: skip


def with_present_content(draft: Draft, store: Path) -> Draft:
    """The draft with its content rows described again; rows of files that are gone are dropped."""
    rows = tuple(
        content_row(
            store,
            row.meeting_id,
            row.modality,
            row.format,
            row.path,
            row.licence_id,
            row.derived_from,
            row.recording_type,
        )
        for row in draft.tables.content
        if (store / row.path).is_file()
    )
    return replace(draft, tables=replace(draft.tables, content=rows))


def resign(
    folder: Path, manifest: Manifest, store: Path, keys: Iterable[Ed25519PrivateKey]
) -> Head:
    """Sign a manifest again after content was changed or deleted, as the next epoch.

    Args:
        folder: the manifest directory, replaced.
        manifest: as it was verified before.
        store: the content store as it is now.
        keys: private keys that sign.
    """
    head = manifest.head
    draft = with_present_content(draft_of(manifest), store)
    return write_manifest(
        folder, draft, keys, head.issued, head.expires, head.epoch + 1, manifest.sha256,
        head.withdrawals, manifest.copies,
    )  # fmt: skip
