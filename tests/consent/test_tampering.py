"""Whatever is done to a file of a signed manifest, the gate refuses in one line, content unopened.

Most tests break one thing in a copy of a whole manifest. Where a defect could also be signed, by an
issuer's mistake or by a thief of the key, it is signed again with the right key, so that what is
seen is the reader and not the digest.
"""

import builtins
import gzip
import io
import json
import os
import re
import shutil
import signal
import socket
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from harness.config import Config
from harness.consent import gate, manifest, withdrawals
from harness.consent.authoring import content_row, write_manifest
from harness.consent.head import COPIES, HEAD, SIGNATURE, TABLES, LogHead
from harness.consent.manifest import statement
from harness.consent.material import excerpts, index_of
from harness.consent.present import Source, trust_first, verify_present
from harness.consent.records import (
    ALL,
    Alias,
    ChangeKind,
    ExclusionRule,
    PolicyChange,
    RuleKind,
    RuleScope,
    RuleSource,
)
from harness.consent.signing import load_trust, sign
from harness.consent.withdrawals import LOG, Withdrawal
from harness.consent.withdrawals import SIGNATURE as LOG_SIGNATURE
from harness.digest import canonical_json, sha256_hex
from harness.errors import Refused
from harness.meetings.model import Modality

World = Any
Change = Callable[[bytes], bytes]

INDEX_KEY = bytes(range(32))
SAID = "the merger with the northern plant will be announced on the ninth of may"
WORDS = re.compile(r"merger|northern|announced|\bAda\b|\bBo\b")
"""What stands in content, and how its speakers are called: none of it belongs in a message."""

SECOND = timedelta(seconds=1)
TURNS_OF_STORE = "m0/turns.jsonl"


@dataclass(frozen=True)
class Signed:
    """A copy of the whole world: where it lies, and who signs in it."""

    world: World
    source: Source

    @property
    def now(self) -> datetime:
        found: datetime = self.world.now
        return found

    def path(self, name: str) -> Path:
        """Where a file lies that a run is permitted by."""
        places = {"trust.json": self.source.trust, "last-seen.json": self.source.seen}
        folder = self.source.withdrawals if name.startswith("withdrawals") else self.source.manifest
        return places.get(name, folder / name)

    def sign_head(self, data: bytes) -> None:
        """Sign any bytes as the head."""
        (self.source.manifest / HEAD).write_bytes(data)
        envelope = sign(statement(data), [self.world.key])
        (self.source.manifest / SIGNATURE).write_bytes(envelope)

    def sign_edited_head(self, edit: Callable[[dict[str, Any]], object]) -> None:
        """Sign the head with something in it changed."""
        head = json.loads((self.source.manifest / HEAD).read_bytes())
        edit(head)
        self.sign_head(canonical_json(head))

    def sign_table(self, name: str, data: bytes) -> None:
        """Sign any bytes as a table, with as many rows as it has line feeds."""
        (self.source.manifest / f"{name}.jsonl").write_bytes(data)

        def edit(head: dict[str, Any]) -> None:
            (entry,) = [e for e in head["files"] if e["path"] == f"{name}.jsonl"]
            rows = data.count(b"\n")
            entry |= {"sha256": sha256_hex(data), "bytes": len(data), "rows": rows}
            head["counts"][name] = rows

        self.sign_edited_head(edit)

    def sign_row(self, table: str, **fields: Any) -> None:
        """Sign a table whose first row has other fields."""
        first, *rest = self.lines(table)
        self.sign_table(table, b"\n".join([encoded(json.loads(first) | fields), *rest, b""]))

    def sign_log(self, line: bytes) -> None:
        """Sign any line as a log of one entry."""
        data = line + b"\n"
        as_of = self.now.replace(tzinfo=None).isoformat() + "Z"
        bound = {"schema": withdrawals.SCHEMA, "entries": 1, "head": sha256_hex(line),
                 "as_of": as_of}  # fmt: skip
        payload = {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": LOG, "digest": {"sha256": sha256_hex(data)}}],
            "predicateType": withdrawals.PREDICATE,
            "predicate": bound,
        }
        (self.source.withdrawals / LOG).write_bytes(data)
        envelope = sign(canonical_json(payload), [self.world.log_key])
        (self.source.withdrawals / LOG_SIGNATURE).write_bytes(envelope)

    def lines(self, table: str) -> list[bytes]:
        return (self.source.manifest / f"{table}.jsonl").read_bytes().splitlines()


Refuses = Callable[..., Refused]
"""Called with what is signed and the codes that are expected: the gate refuses by one of them."""


def encoded(value: Any) -> bytes:
    """JSON that nobody normalises, but for characters, which stand as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def say(world: World, meeting: str, *texts: str) -> None:
    """Put turns into a meeting, by Ada and Bo in turn."""
    store, path = world.source.store, f"{meeting}/turns.jsonl"
    rows = [{"speaker": ("Ada", "Bo")[n % 2], "text": text} for n, text in enumerate(texts)]
    (store / path).write_bytes(b"".join(encoded(row) + b"\n" for row in rows))
    row = content_row(store, meeting, Modality.TRANSCRIPT, "turns-jsonl", path, "own")
    world.edit("content", lambda r: r.meeting_id == meeting, sha256=row.sha256, bytes=row.bytes,
               turns=row.turns)  # fmt: skip


def withdrawal(world: World, n: int, **changes: Any) -> Withdrawal:
    """Somebody who is in none of the meetings takes everything back."""
    taken = Withdrawal(f"{n:032x}", world.draft.issuer, (), (), (), (), (), world.now, world.now,
                       False)  # fmt: skip
    return replace(taken, **changes)


def fill(world: World) -> None:
    """Content with words worth keeping, and a row in every table."""
    say(world, "m0", "good day", "we talk of something else", "goodbye")
    say(world, "m1", "good day", "and of something else again")
    say(world, "m2", "good day", f"{SAID} and nobody may hear of it")
    everywhere = RuleScope((ALL,), (ALL,), (ALL,), (ALL,))
    world.append("exclusions", ExclusionRule("r", RuleKind.MEETING, "m2", everywhere, world.start,
                                             None, RuleSource.COURT, world.start))  # fmt: skip
    world.append("aliases", Alias("s", "Room 1", ("a" * 32,)))
    (licence,) = world.draft.tables.licences
    world.append("licences", replace(licence, licence_id="own-1"))
    world.append("policy_changes", PolicyChange("terms", "0", "1", ChangeKind.EDITORIAL,
                                                (), (), ()))  # fmt: skip


def sign_epoch(world: World, folder: Path, epoch: int, prev: str | None, **changes: Any) -> str:
    """Sign an epoch with the index, bound to the log as it stands; its digest."""
    source = world.source
    log = withdrawals.read_at_any_time(source.withdrawals, load_trust(source.trust), world.now)
    found = excerpts(world.draft, world.now)
    copies = index_of(found, world.draft.defaults, source.store, INDEX_KEY)
    options: dict[str, Any] = {"log": LogHead(len(log.entries), log.sha256), "copies": copies}
    write_manifest(folder, world.draft, [world.key], world.issued, world.expires, epoch, prev,
                   **options | changes)  # fmt: skip
    return sha256_hex((folder / HEAD).read_bytes())


@pytest.fixture(scope="module")
def original(shared_world: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world with every file that a manifest can have, which no test changes."""
    folder = tmp_path_factory.mktemp("whole") / "world"
    shutil.copytree(shared_world.folder, folder)
    world = replace(shared_world, folder=folder)
    fill(world)
    world.withdraw(withdrawal(world, 1), withdrawal(world, 2), withdrawal(world, 3))
    sign_epoch(world, world.source.manifest, 1, None)
    (folder / "copies.key").write_text(INDEX_KEY.hex())
    world.source.seen.unlink()
    trust_first(world.source, world.now)
    return world


@pytest.fixture
def signed(original: World, tmp_path: Path) -> Signed:
    """A copy of it to break."""
    folder = tmp_path / "world"
    shutil.copytree(original.folder, folder)
    world = replace(original, folder=folder)
    return Signed(world, replace(world.source, copies_key=folder / "copies.key"))


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting for a writer of the log that is not there."""
    monkeypatch.setattr(withdrawals, "SETTLE_S", 0.0)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths that anything opens from now on."""
    found: list[str] = []

    def spied(real: Callable[..., Any]) -> Callable[..., Any]:
        def spy(path: Any, *rest: Any, **more: Any) -> Any:
            found.append(str(path))
            return real(path, *rest, **more)

        return spy

    for module, name in ((os, "open"), (io, "open"), (builtins, "open")):
        monkeypatch.setattr(module, name, spied(getattr(module, name)))
    return found


class Waited(BaseException):
    """No ``OSError``, as ``TimeoutError`` is one, which a reader may take for a missing file."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Whether something ends in time; opening or reading a pipe would wait for ever."""

    def late(*_: object) -> None:
        raise Waited

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def identity(path: Path) -> tuple[int, ...] | None:
    """What changes when a file is written again."""
    if not os.path.lexists(path):
        return None
    found = path.lstat()
    return found.st_ino, found.st_size, found.st_mtime_ns


@pytest.fixture
def refuses(opened: list[str]) -> Refuses:
    """The gate refuses by a code, in one line without a word of content, and opens no content."""

    def check(
        signed: Signed, *codes: str, later: timedelta = timedelta(0), store: bool = False
    ) -> Refused:
        seen = identity(signed.source.seen)
        opened.clear()
        with pytest.raises(Refused) as caught, at_most(20):
            gate.admit(signed.source, Config(), signed.now + later)
        error = caught.value
        assert error.code in codes, str(error)
        assert error.exit_code == 4
        assert len(str(error).splitlines()) == 1
        assert str(error).startswith(f"{error.code}: ")
        assert not WORDS.search(str(error))
        if not store:
            assert opened  # the spy sees something
            assert not [path for path in opened if path.startswith(str(signed.source.store))]
        assert identity(signed.source.seen) == seen  # what is refused is not remembered
        return error

    return check


def test_what_nobody_broke_is_taken(signed: Signed, opened: list[str]) -> None:
    admitted = gate.admit(signed.source, Config(), signed.now)
    assert [meeting.id for meeting in admitted.train] == ["m0"]
    assert [path for path in opened if path.startswith(str(signed.source.store))]
    assert {path.name for path in signed.source.manifest.iterdir()} == {*MANIFEST_FILES}
    assert all(path.stat().st_size for path in signed.source.manifest.iterdir())


# Bytes.


def inside(pattern: bytes) -> Callable[[bytes], int]:
    """The middle of what the last match of a pattern captures."""

    def find(data: bytes) -> int:
        *_, last = re.finditer(pattern, data)
        return (last.start(1) + last.end(1) - 1) // 2

    return find


def replaced(find: Callable[[bytes], int], other: bytes = b"") -> Change:
    """Another byte in a place: a given one, or one of the same class where there is such."""

    def change(data: bytes) -> bytes:
        place = find(data)
        byte = data[place : place + 1]
        new = other or OF_ITS_CLASS.get(byte, bytes([byte[0] ^ 1]))
        return data[:place] + new + data[place + 1 :]

    return change


def escaped(letter: re.Match[bytes]) -> bytes:
    return b"\\u%04x" % ord(letter[0])


OF_ITS_CLASS = {b"{": b"[", b"}": b"]", b":": b",", b",": b":", b"9": b"8", b"\n": b" "}
PUNCTUATION = inside(rb'[\w"}\]]([,:])[\w"{\[]')
DIGIT = inside(rb"([0-9])")
KEY = inside(rb'[{,]"([A-Za-z_]{2,})":')
VALUE = inside(rb'"([^"]{4,})"[,}\]]')

ANY_FILE: dict[str, Change] = {
    "first byte": replaced(lambda data: 0),
    "last byte": replaced(lambda data: len(data) - 1),
    "middle byte": replaced(lambda data: len(data) // 2),
    "top bit": lambda data: data[:9] + bytes([data[9] ^ 128]) + data[10:],
    "byte inserted": lambda data: data[:5] + b"x" + data[5:],
    "byte deleted": lambda data: data[:5] + data[6:],
    "byte appended": lambda data: data + b"x",
    "nul appended": lambda data: data + b"\0",
    "line feed appended": lambda data: data + b"\n",
    "byte order mark": lambda data: b"\xef\xbb\xbf" + data,
    "truncated by one": lambda data: data[:-1],
    "truncated by half": lambda data: data[: len(data) // 2],
    "truncated to one": lambda data: data[:1],
    "emptied": lambda data: b"",
    "doubled": lambda data: data + data,
}
OF_JSON: dict[str, Change] = {
    "inside a key": replaced(KEY),
    "inside a value": replaced(VALUE),
    "a digit": replaced(DIGIT),
    "punctuation": replaced(PUNCTUATION),
    "a quote": replaced(inside(rb'[{,](")'), b"'"),
    "white space": lambda data: data.replace(b'":', b'": ', 1),
    "white space before": lambda data: b" " + data,
    "a tabulator": lambda data: data.replace(b",", b",\t", 1),
    "an escape": lambda data: re.sub(rb'(?<=")[a-z](?=\w*":)', escaped, data, count=1),
}
OF_LINES: dict[str, Change] = {
    "a line feed": lambda data: data.replace(b"\n", b" ", 1),
    "line feeds as of DOS": lambda data: data.replace(b"\n", b"\r\n"),
    "an empty line": lambda data: data.replace(b"\n", b"\n\n", 1),
    "a line deleted": lambda data: data[data.index(b"\n") + 1 :],
    "a line repeated": lambda data: data[: data.index(b"\n") + 1] + data,
    "no last line feed": lambda data: data.removesuffix(b"\n"),
}
TABLE_FILES = [f"{name}.jsonl" for name in TABLES]
MANIFEST_FILES = [HEAD, SIGNATURE, COPIES, *TABLE_FILES]
ALL_FILES = [*MANIFEST_FILES, LOG, LOG_SIGNATURE, "last-seen.json", "trust.json"]
LINES = {*TABLE_FILES, LOG}


def envelope_codes(family: str) -> set[str]:
    """What an envelope can be refused by whose bytes were changed by somebody without a key."""
    return {"JSON_INVALID", "SCHEMA_INVALID", "UNKNOWN_FIELD", f"{family}_NONCANONICAL",
            f"{family}_KEY_UNKNOWN", f"{family}_SIG_INVALID"}  # fmt: skip


EXPECTED: dict[str, set[str]] = {
    **{name: {"MANIFEST_HASH_MISMATCH"} for name in MANIFEST_FILES},
    SIGNATURE: envelope_codes("MANIFEST"),
    LOG: {"WITHDRAWALS_HASH_MISMATCH", "WITHDRAWALS_TRUNCATED"},
    LOG_SIGNATURE: envelope_codes("WITHDRAWALS"),
    "last-seen.json": {"STATE_INVALID"},
    "trust.json": {"JSON_INVALID", "SCHEMA_INVALID", "UNKNOWN_FIELD", "TRUST_INVALID"},
}
OF_AN_ENVELOPE = {
    "inside a key": "UNKNOWN_FIELD",
    "inside a value": "SIG_INVALID",  # the signature
    "middle byte": "SIG_INVALID",  # the payload
    "white space": "NONCANONICAL",
    "white space before": "NONCANONICAL",
    "a tabulator": "NONCANONICAL",
    "an escape": "NONCANONICAL",
    "line feed appended": "NONCANONICAL",
}
"""Where the code of an envelope is one alone; an end in ``_INVALID`` takes the file's family."""

SAME_TRUST = {"line feed appended", "white space", "white space before", "a tabulator", "an escape"}
"""Changes after which a trust root says the same, and has the same digest."""

FORMS = {
    (name, change)
    for name in ALL_FILES
    for change in [
        *ANY_FILE,
        *(OF_JSON if name != COPIES else ()),
        *(OF_LINES if name in LINES else ()),
    ]
} - {("trust.json", change) for change in SAME_TRUST}


@pytest.mark.parametrize(("name", "change"), sorted(FORMS))
def test_no_byte_of_any_file_changes(
    name: str, change: str, signed: Signed, refuses: Refuses
) -> None:
    path = signed.path(name)
    before = path.read_bytes()
    after = (ANY_FILE | OF_JSON | OF_LINES)[change](before)
    assert after != before
    path.write_bytes(after)
    code = refuses(signed, *EXPECTED[name]).code
    if name in (SIGNATURE, LOG_SIGNATURE) and change in OF_AN_ENVELOPE:
        assert code.endswith(OF_AN_ENVELOPE[change])


OTHER_TABLE = dict(zip(TABLE_FILES, [*TABLE_FILES[1:], TABLE_FILES[0]], strict=True))
SWAPS = {
    **OTHER_TABLE,
    HEAD: SIGNATURE,
    SIGNATURE: LOG_SIGNATURE,
    COPIES: "consent.jsonl",
    LOG: "consent.jsonl",
    LOG_SIGNATURE: SIGNATURE,
    "last-seen.json": HEAD,
    "trust.json": "last-seen.json",
}


@pytest.mark.parametrize("name", SWAPS)
def test_no_file_stands_for_another(name: str, signed: Signed, refuses: Refuses) -> None:
    other = signed.path(SWAPS[name])
    signed.path(name).write_bytes(other.read_bytes())
    codes = {SIGNATURE: {"MANIFEST_KEY_UNKNOWN"}, LOG_SIGNATURE: {"WITHDRAWALS_KEY_UNKNOWN"}}
    refuses(signed, *codes.get(name, EXPECTED[name]))


@pytest.mark.parametrize("name", TABLE_FILES)
def test_two_tables_that_are_swapped_and_signed_are_no_tables(
    name: str, signed: Signed, refuses: Refuses
) -> None:
    signed.sign_table(name.removesuffix(".jsonl"), signed.path(OTHER_TABLE[name]).read_bytes())
    refuses(signed, "UNKNOWN_FIELD")


@pytest.mark.parametrize("name", ALL_FILES)
def test_no_file_is_missing(name: str, signed: Signed, refuses: Refuses) -> None:
    signed.path(name).unlink()
    codes = {
        **dict.fromkeys(MANIFEST_FILES, "MANIFEST_FILE_MISSING"),
        HEAD: "MANIFEST_MISSING",
        SIGNATURE: "MANIFEST_MISSING",
        LOG: "WITHDRAWALS_MISSING",
        LOG_SIGNATURE: "WITHDRAWALS_MISSING",
        "last-seen.json": "STATE_MISSING",
        "trust.json": "TRUST_MISSING",
    }
    refuses(signed, codes[name])


@pytest.mark.parametrize("change", sorted(SAME_TRUST))
def test_a_trust_root_is_what_it_says_not_how_it_is_spaced(change: str, signed: Signed) -> None:
    before = verify_present(signed.source, signed.now).manifest.trust_sha256
    path = signed.source.trust
    path.write_bytes((ANY_FILE | OF_JSON)[change](path.read_bytes()))
    assert verify_present(signed.source, signed.now).manifest.trust_sha256 == before


def test_another_date_in_the_trust_root_shows_in_its_digest(signed: Signed) -> None:
    """Nothing signs a trust root; evidence names it by its digest, where a change shows."""
    before = verify_present(signed.source, signed.now).manifest.trust_sha256
    path = signed.source.trust
    path.write_bytes(path.read_bytes().replace(b"2126-", b"2127-"))
    assert verify_present(signed.source, signed.now).manifest.trust_sha256 != before


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (b'"roles":["manifest"]', b'"roles":["builder"]', "MANIFEST_KEY_UNKNOWN"),
        (b'"roles":["log"]', b'"roles":["gate"]', "WITHDRAWALS_KEY_UNKNOWN"),
        (b'{"keys":1,"role":"manifest"}', b'{"keys":2,"role":"manifest"}',
         "MANIFEST_SIG_THRESHOLD"),
        (b'{"keys":1,"role":"log"}', b'{"keys":2,"role":"log"}', "WITHDRAWALS_SIG_THRESHOLD"),
        (b'{"keys":1,"role":"manifest"}', b'{"keys":0,"role":"manifest"}', "SCHEMA_INVALID"),
        (b',{"keys":1,"role":"log"}', b"", "TRUST_INVALID"),
        (b'"revoked_at":null', b'"revoked_at":"2026-01-01T00:00:00Z"', "MANIFEST_KEY_REVOKED"),
        (b'"2126-', b'"2026-', "MANIFEST_KEY_EXPIRED"),
        (b'"2000-', b'"2100-', "MANIFEST_KEY_NOT_YET_VALID"),
        (b"harness/trust/v1", b"harness/trust/v2", "TRUST_INVALID"),
    ],
)  # fmt: skip
def test_a_trust_root_that_pins_less_refuses(
    old: bytes, new: bytes, code: str, signed: Signed, refuses: Refuses
) -> None:
    path = signed.source.trust
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    refuses(signed, code)


def test_who_else_signs_spoils_it(signed: Signed, refuses: Refuses) -> None:
    data = (signed.source.manifest / HEAD).read_bytes()
    right, wrong = signed.world.key, signed.world.log_key
    for keys in ([wrong], [right, wrong], [wrong, right]):
        (signed.source.manifest / SIGNATURE).write_bytes(sign(statement(data), keys))
        refuses(signed, "MANIFEST_KEY_UNKNOWN")
    for keys in ([], [right, right]):
        (signed.source.manifest / SIGNATURE).write_bytes(sign(statement(data), keys))
        refuses(signed, "MANIFEST_SIG_THRESHOLD")


@pytest.mark.parametrize(
    "change",
    [
        OF_JSON["white space"],
        OF_JSON["white space before"],
        OF_JSON["an escape"],
        ANY_FILE["line feed appended"],
        lambda data: json.dumps(dict(reversed(json.loads(data).items())), separators=(",", ":"),
                                ensure_ascii=False).encode(),
    ],
    ids=["space", "space before", "escape", "line feed", "order of keys"],
)  # fmt: skip
def test_there_is_one_way_to_write_a_head(change: Change, signed: Signed, refuses: Refuses) -> None:
    signed.sign_head(change((signed.source.manifest / HEAD).read_bytes()))
    refuses(signed, "MANIFEST_NONCANONICAL")


# Old ones.


@pytest.fixture
def epochs(signed: Signed) -> dict[str, Path]:
    """Three epochs that were seen in order, further ones of the same key, and copies of all."""
    world, folder = signed.world, signed.source.manifest
    kept: dict[str, Path] = {}

    def keep(name: str, epoch: int, prev: str | None, **changes: Any) -> str:
        digest = sign_epoch(world, folder, epoch, prev, **changes)
        kept[name] = folder.with_name(name)
        shutil.copytree(folder, kept[name])
        return digest

    kept["first"] = folder.with_name("first")
    shutil.copytree(folder, kept["first"])
    first = sha256_hex((folder / HEAD).read_bytes())
    second = keep("second", 2, first)
    verify_present(signed.source, signed.now)
    third = keep("third", 3, second)
    verify_present(signed.source, signed.now)
    world.expires += SECOND  # another digest
    keep("fork of the third", 3, second)
    keep("second made anew", 2, first)
    fourth = keep("fourth", 4, third)
    keep("fourth of a fork", 4, second)
    keep("fifth", 5, fourth)
    keep("fifth that names the third", 5, third)
    keep("fourth without prev", 4, None)
    return kept


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("first", "MANIFEST_EPOCH_ROLLBACK"),
        ("second", "MANIFEST_EPOCH_ROLLBACK"),
        ("second made anew", "MANIFEST_EPOCH_ROLLBACK"),
        ("fork of the third", "MANIFEST_FORK"),
        ("fourth of a fork", "MANIFEST_CHAIN_BROKEN"),
        ("fourth without prev", "MANIFEST_CHAIN_BROKEN"),
        ("fifth", "MANIFEST_CHAIN_BROKEN"),
        ("fifth that names the third", "MANIFEST_CHAIN_BROKEN"),
    ],
)
def test_no_manifest_but_the_seen_one_and_its_successor(
    name: str, code: str, signed: Signed, epochs: dict[str, Path], refuses: Refuses
) -> None:
    at = replace(signed, source=replace(signed.source, manifest=epochs[name]))
    refuses(at, code)
    for right in ("third", "fourth", "fifth"):  # a gap is made good in order
        verify_present(replace(signed.source, manifest=epochs[right]), signed.now)


def put_back(signed: Signed, copy: Path) -> None:
    shutil.rmtree(signed.source.withdrawals)
    shutil.copytree(copy, signed.source.withdrawals)


@pytest.fixture
def withdrawn(signed: Signed) -> Path:
    """Somebody withdraws and it is seen; a copy of the log from before."""
    before = signed.world.folder / "log of yesterday"
    shutil.copytree(signed.source.withdrawals, before)
    signed.world.withdraw(withdrawal(signed.world, 4, meetings=("m1",)))
    verify_present(signed.source, signed.now)
    return before


def test_a_log_from_before_a_withdrawal_is_refused(
    signed: Signed, withdrawn: Path, refuses: Refuses
) -> None:
    put_back(signed, withdrawn)
    refuses(signed, "WITHDRAWALS_ROLLED_BACK")


@pytest.mark.parametrize(("n", "code"), [(0, "TRUNCATED"), (3, "TRUNCATED")])
def test_a_withdrawal_that_is_deleted_shows(
    n: int, code: str, signed: Signed, withdrawn: Path, refuses: Refuses
) -> None:
    path = signed.source.withdrawals / LOG
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:n] + lines[n + 1 :]))
    refuses(signed, f"WITHDRAWALS_{code}")


@pytest.mark.parametrize("kept", [(1, 2), (1, 2, 3, 5), (2, 3, 4, 5)])
def test_a_log_rewritten_without_somebody_is_refused_though_it_is_signed(
    kept: tuple[int, ...], signed: Signed, withdrawn: Path, refuses: Refuses
) -> None:
    shutil.rmtree(signed.source.withdrawals)
    signed.world.withdraw(*(withdrawal(signed.world, n) for n in kept))
    refuses(signed, "WITHDRAWALS_ROLLED_BACK")


def test_forgetting_what_was_seen_is_no_way_round(
    signed: Signed, withdrawn: Path, refuses: Refuses
) -> None:
    first = sha256_hex((signed.source.manifest / HEAD).read_bytes())
    sign_epoch(signed.world, signed.source.manifest, 2, first)  # binds the log as it stands
    put_back(signed, withdrawn)
    refuses(signed, "WITHDRAWALS_ROLLED_BACK")
    signed.source.seen.unlink()
    refuses(signed, "WITHDRAWALS_ROLLED_BACK")
    with pytest.raises(Refused, match=r"^WITHDRAWALS_ROLLED_BACK: "):
        trust_first(signed.source, signed.now)
    assert not signed.source.seen.exists()


# Places: links, pipes, folders, devices, paths.

PLACED = [name for name in ALL_FILES if name != "trust.json"]


def not_regular(name: str) -> set[str]:
    """The code of a file that is none; a head that is none is as good as missing."""
    if name == "last-seen.json":
        return {"STATE_INVALID"}
    if name in (HEAD, SIGNATURE):
        return {"MANIFEST_NOT_REGULAR", "MANIFEST_MISSING"}
    return {("WITHDRAWALS" if name in (LOG, LOG_SIGNATURE) else "MANIFEST") + "_NOT_REGULAR"}


@pytest.mark.parametrize("name", PLACED)
def test_no_file_is_a_link(name: str, signed: Signed, refuses: Refuses) -> None:
    path, real = signed.path(name), signed.world.folder / "moved"
    path.rename(real)
    path.symlink_to(real)
    refuses(signed, *not_regular(name) - {"MANIFEST_MISSING"})


@pytest.mark.parametrize("name", PLACED)
@pytest.mark.parametrize("to", ["nowhere", "itself"])
def test_no_file_is_a_link_to_nothing(to: str, name: str, signed: Signed, refuses: Refuses) -> None:
    path = signed.path(name)
    path.unlink()
    path.symlink_to(path if to == "itself" else signed.world.folder / "none")
    refuses(signed, *not_regular(name))


def make_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the path of a socket may not be long
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def make_device(path: Path) -> None:
    try:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))  # zero, which has no end
    except OSError:
        pytest.skip("no right to make a device")


MAKERS: dict[str, Callable[[Path], object]] = {
    "folder": Path.mkdir,
    "pipe": os.mkfifo,
    "socket": make_socket,
    "device": make_device,
}


@pytest.mark.parametrize("name", PLACED)
@pytest.mark.parametrize("kind", MAKERS)
def test_no_file_is_something_else_and_nothing_waits_for_it(
    kind: str, name: str, signed: Signed, refuses: Refuses
) -> None:
    path = signed.path(name)
    path.unlink()
    MAKERS[kind](path)
    refuses(signed, *not_regular(name))


@pytest.mark.parametrize("kind", ["folder", "socket"])
def test_a_trust_root_that_is_no_file_pins_nobody(
    kind: str, signed: Signed, refuses: Refuses
) -> None:
    signed.source.trust.unlink()
    MAKERS[kind](signed.source.trust)
    refuses(signed, "TRUST_MISSING")


def test_nothing_waits_for_a_trust_root_that_is_a_pipe(signed: Signed) -> None:
    signed.source.trust.unlink()
    os.mkfifo(signed.source.trust)
    with pytest.raises(Refused, match=r"^TRUST_"), at_most(0.3):
        gate.admit(signed.source, Config(), signed.now)


@pytest.mark.parametrize("kind", [*MAKERS, "link"])
def test_content_is_nothing_else_than_a_file(kind: str, signed: Signed, refuses: Refuses) -> None:
    path = signed.source.store / TURNS_OF_STORE
    if kind == "link":
        path.rename(signed.world.folder / "moved")
        path.symlink_to(signed.world.folder / "moved")
    else:
        path.unlink()
        MAKERS[kind](path)
    refuses(signed, "CONTENT_NOT_REGULAR", store=True)


@pytest.mark.parametrize("name", [TABLE_FILES[0], LOG, COPIES])
def test_a_hard_link_is_taken_for_its_bytes(name: str, signed: Signed, refuses: Refuses) -> None:
    """It is the file itself under a second name; only bytes that were signed count."""
    path, other = signed.path(name), signed.world.folder / "other"
    os.link(path, other)
    assert gate.admit(signed.source, Config(), signed.now).train
    other.write_bytes(other.read_bytes() + b"x")
    refuses(signed, *EXPECTED[name])


PATHS = {
    "parent": "../outside.jsonl",
    "parent inside": "m0/../../outside.jsonl",
    "parent that stays": "m0/../m0/turns.jsonl",
    "here": "./m0/turns.jsonl",
    "here alone": ".",
    "absolute": "{outside}",
    "root": "/",
    "twice a slash": "m0//turns.jsonl",
    "slash at the end": "m0/turns.jsonl/",
    "backslash": "m0\\turns.jsonl",
    "backslash parent": "..\\outside.jsonl",
    "network share": "\\\\host\\share\\outside.jsonl",
    "network share by slashes": "//host/share/outside.jsonl",
    "drive": "C:\\outside.jsonl",
    "drive by slash": "C:/outside.jsonl",
    "drive alone": "c:outside.jsonl",
    "stream": "m0/turns.jsonl:more",
    "file scheme": "file:///etc/passwd",
}


def with_path(signed: Signed, path: str) -> None:
    rows = [json.loads(line) for line in signed.lines("content")]
    signed.sign_table(
        "content",
        b"".join(
            encoded(row | ({"path": path} if row["meeting_id"] == "m0" else {})) + b"\n"
            for row in rows
        ),
    )
    signed.source.seen.unlink()
    trust_first(signed.source, signed.now)


@pytest.mark.parametrize("name", PATHS)
def test_no_path_leaves_the_store(
    name: str, signed: Signed, refuses: Refuses, opened: list[str]
) -> None:
    outside = signed.world.folder / "outside.jsonl"
    shutil.copy(signed.source.store / TURNS_OF_STORE, outside)  # the bytes that were signed
    with_path(signed, PATHS[name].format(outside=outside))
    refuses(signed, "CONTENT_PATH_ESCAPE")
    assert not [path for path in opened if "outside" in path or "turns" in path]


@pytest.mark.parametrize(
    "path",
    ["~/outside.jsonl", "~root/outside.jsonl", "%2e%2e/outside.jsonl", "$HOME/outside.jsonl",
     "\N{FULLWIDTH FULL STOP}\N{FULLWIDTH FULL STOP}/outside.jsonl",
     "..\N{DIVISION SLASH}outside.jsonl", "M0/turns.jsonl", "m0/*", "m0/turns.jsonl ",
     "m\N{CYRILLIC SMALL LETTER O}/turns.jsonl"],
)  # fmt: skip
def test_a_path_is_taken_letter_by_letter(path: str, signed: Signed, refuses: Refuses) -> None:
    shutil.copy(signed.source.store / TURNS_OF_STORE, signed.world.folder / "outside.jsonl")
    with_path(signed, path)
    refuses(signed, "CONTENT_FILE_MISSING", store=True)


@pytest.mark.parametrize("path", ["m0/\0turns.jsonl", "m0/turns.jsonl\0.txt", "m0\n", "\x1b[2J",
                                  ""])  # fmt: skip
def test_a_path_with_control_characters_is_no_row(
    path: str, signed: Signed, refuses: Refuses
) -> None:
    first, *rest = signed.lines("content")
    line = json.dumps(json.loads(first) | {"path": path}).encode()
    signed.sign_table("content", b"\n".join([line, *rest, b""]))
    assert "\0" not in str(refuses(signed, "SCHEMA_INVALID"))


@pytest.mark.parametrize("path", ["m0/" + "x" * 300, "m0/" * 3000 + "turns.jsonl"])
def test_a_path_of_any_length_is_no_traceback(path: str, signed: Signed, refuses: Refuses) -> None:
    with_path(signed, path)
    refuses(signed, "CONTENT_NOT_REGULAR", "CONTENT_FILE_MISSING", store=True)


def test_a_folder_inside_the_store_is_no_link(signed: Signed, refuses: Refuses) -> None:
    folder = signed.source.store / "m0"
    folder.rename(signed.world.folder / "moved")
    folder.symlink_to(signed.world.folder / "moved")
    refuses(signed, "CONTENT_NOT_REGULAR", store=True)


@pytest.mark.parametrize("path", ["../policies.jsonl", "/etc/passwd", "tables/policies.jsonl",
                                  "POLICIES.jsonl", "policies.jsonl.gz", HEAD])  # fmt: skip
def test_the_head_names_the_tables_and_nothing_else(
    path: str, signed: Signed, refuses: Refuses
) -> None:
    shutil.copy(signed.source.manifest / "policies.jsonl", signed.world.folder)
    signed.sign_edited_head(lambda head: head["files"][0].update(path=path))
    refuses(signed, "MANIFEST_FILE_EXTRA")


@pytest.mark.parametrize("twice", [True, False])
def test_the_head_names_each_table_once(twice: bool, signed: Signed, refuses: Refuses) -> None:
    def edit(head: dict[str, Any]) -> None:
        head["files"] = head["files"] + head["files"][:1] if twice else head["files"][1:]

    signed.sign_edited_head(edit)
    refuses(signed, "DUPLICATE_ID" if twice else "MANIFEST_FILE_EXTRA")


@pytest.mark.parametrize(
    "name",
    ["policies.jsonl.bak", ".policies.jsonl.swp", "c\N{CYRILLIC SMALL LETTER O}nsent.jsonl",
     "\u202elnosj.tnesnoc", "con\u200bsent.jsonl", "Consent.jsonl", "a\nb", ".harness"],
)  # fmt: skip
def test_no_file_lies_beside_the_tables(name: str, signed: Signed, refuses: Refuses) -> None:
    (signed.source.manifest / name).touch()
    assert str(refuses(signed, "MANIFEST_FILE_EXTRA")).isascii()


# Sizes.


def test_a_head_has_a_limit(signed: Signed, refuses: Refuses) -> None:
    signed.sign_head(b" " * manifest.HEAD_LIMIT + b"{}")
    refuses(signed, "MANIFEST_TOO_LARGE")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (HEAD, "MANIFEST_TOO_LARGE"),
        (SIGNATURE, "MANIFEST_TOO_LARGE"),
        (LOG_SIGNATURE, "WITHDRAWALS_TOO_LARGE"),
        ("last-seen.json", "STATE_INVALID"),
    ],
)
def test_small_files_have_limits(name: str, code: str, signed: Signed, refuses: Refuses) -> None:
    os.truncate(signed.path(name), 1 << 36)  # a file of holes: all of it would not fit in memory
    refuses(signed, code)


@pytest.mark.parametrize("name", TABLE_FILES)
def test_no_more_of_a_table_is_read_than_was_signed(
    name: str, signed: Signed, refuses: Refuses
) -> None:
    os.truncate(signed.path(name), 1 << 36)
    refuses(signed, "MANIFEST_HASH_MISMATCH")


def test_a_table_that_is_said_to_be_too_large_is_not_opened(
    signed: Signed, refuses: Refuses, opened: list[str]
) -> None:
    signed.sign_edited_head(lambda head: head["files"][0].update(bytes=manifest.TABLE_LIMIT + 1))
    refuses(signed, "MANIFEST_TOO_LARGE")
    assert not [path for path in opened if path.endswith(".jsonl")]


def test_log_and_index_have_limits(
    signed: Signed, refuses: Refuses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(withdrawals, "LOG_LIMIT", 1 << 16)
    os.truncate(signed.path(LOG), 1 << 36)
    refuses(signed, "WITHDRAWALS_TOO_LARGE")
    os.truncate(signed.path(COPIES), 1 << 36)
    refuses(signed, "MANIFEST_HASH_MISMATCH")


def test_content_is_no_larger_than_was_signed(signed: Signed, refuses: Refuses) -> None:
    os.truncate(signed.source.store / TURNS_OF_STORE, 1 << 36)
    refuses(signed, "CONTENT_TOO_LARGE", store=True)


@pytest.mark.parametrize(("field", "code"), [("bytes", "HASH"), ("rows", "COUNT")])
@pytest.mark.parametrize("by", [-1, 1])
def test_size_and_rows_are_those_that_were_signed(
    field: str, code: str, by: int, signed: Signed, refuses: Refuses
) -> None:
    def edit(head: dict[str, Any]) -> None:
        head["files"][0][field] += by

    signed.sign_edited_head(edit)
    refuses(signed, f"MANIFEST_{code}_MISMATCH")


@pytest.mark.parametrize("depth", [50, 500, 1000, 3000, 15000])
@pytest.mark.parametrize("shape", ["lists", "objects"])
@pytest.mark.parametrize("name", [HEAD, SIGNATURE, "consent.jsonl", LOG, LOG_SIGNATURE,
                                  "last-seen.json", "trust.json"])  # fmt: skip
def test_json_of_any_depth_is_no_traceback(
    name: str, shape: str, depth: int, signed: Signed, refuses: Refuses
) -> None:
    opening, end = (b"[", b"]") if shape == "lists" else (b'{"a":', b"}")
    nested = opening * depth + b"0" + end * depth
    nested = nested[: (1 << 16) - 1]  # no limit of size comes first
    if name == HEAD:
        signed.sign_head(nested)
    elif name == "consent.jsonl":
        signed.sign_table("consent", nested + b"\n")
    elif name == LOG:
        signed.sign_log(nested)
    else:
        signed.path(name).write_bytes(nested)
    codes = {"JSON_INVALID", "SCHEMA_INVALID", "UNKNOWN_FIELD"}
    refuses(signed, *({"STATE_INVALID"} if name == "last-seen.json" else codes))


@pytest.mark.parametrize("depth", [500, 3000, 100_000])
def test_a_signed_field_of_any_depth_is_no_traceback(
    depth: int, signed: Signed, refuses: Refuses
) -> None:
    (first, *_) = signed.lines("consent")
    nested = b"[" * depth + b"]" * depth
    signed.sign_table("consent", first.replace(b'"purposes":[', b'"purposes":[' + nested + b",")
                      + b"\n")  # fmt: skip
    refuses(signed, "SCHEMA_INVALID" if depth == 500 else "JSON_INVALID")


@pytest.mark.parametrize("depth", [500, 3000, 100_000])
def test_content_of_any_depth_is_no_traceback(depth: int, signed: Signed, refuses: Refuses) -> None:
    content(signed, b'{"speaker":"Ada","text":' + b"[" * depth + b"]" * depth + b"}\n")
    refuses(signed, "PARSE_REFUSED", store=True)


# Compressed files.


def content(signed: Signed, data: bytes, **fields: Any) -> None:
    """Put any bytes into the store as what was signed of m0."""
    path = fields.get("path", TURNS_OF_STORE)
    (signed.source.store / path).write_bytes(data)
    rows = [json.loads(line) for line in signed.lines("content")]
    new = {"sha256": sha256_hex(data), "bytes": len(data)} | fields
    lines = [encoded(row | (new if row["meeting_id"] == "m0" else {})) + b"\n" for row in rows]
    signed.sign_table("content", b"".join(lines))
    signed.source.seen.unlink()
    trust_first(signed.source, signed.now)


def zipped() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("turns.jsonl", b'{"speaker":"Ada","text":"x"}\n' * 200_000)
    return sink.getvalue()


BOMBS = {"gz": gzip.compress(bytes(8_000_000)), "zip": zipped(),
         "twice": gzip.compress(gzip.compress(bytes(8_000_000)))}  # fmt: skip


@pytest.fixture
def sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever unpacks anything fails the test."""

    def unpack(*_: object, **__: object) -> None:
        raise AssertionError("something was unpacked")

    for module, name in (
        (zlib, "decompress"),
        (zlib, "decompressobj"),
        (zipfile, "ZipFile"),
        (gzip, "open"),
        (gzip, "GzipFile"),
        (shutil, "unpack_archive"),
    ):
        monkeypatch.setattr(module, name, unpack)


@pytest.mark.usefixtures("sealed")
@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize(
    ("format_name", "path", "code"),
    [
        ("turns-jsonl", TURNS_OF_STORE, "PARSE_REFUSED"),
        ("turns-jsonl", "m0/turns.jsonl.gz", "PARSE_REFUSED"),
        ("zoom-vtt", "m0/turns.vtt.zip", "PARSE_REFUSED"),
        ("qmsum-json", "m0/turns.json.gz", "PARSE_REFUSED"),
        ("gz", "m0/turns.gz", "CONTENT_FORMAT_UNKNOWN"),
        ("zip", "m0/turns.zip", "CONTENT_FORMAT_UNKNOWN"),
        ("turns-jsonl.gz", "m0/turns.jsonl.gz", "CONTENT_FORMAT_UNKNOWN"),
    ],
)
def test_compressed_content_is_refused_as_it_is(
    bomb: str, format_name: str, path: str, code: str, signed: Signed, refuses: Refuses
) -> None:
    content(signed, BOMBS[bomb], format=format_name, path=path)
    refuses(signed, code, store=True)


@pytest.mark.usefixtures("sealed")
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_compressed_table_is_no_table(bomb: str, signed: Signed, refuses: Refuses) -> None:
    signed.sign_table("consent", BOMBS[bomb] + b"\n")
    refuses(signed, "JSON_INVALID")
    (signed.source.manifest / f"consent.jsonl.{bomb}").write_bytes(BOMBS[bomb])
    refuses(signed, "MANIFEST_FILE_EXTRA")


@pytest.mark.usefixtures("sealed")
@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("name", ALL_FILES)
def test_a_compressed_file_is_not_the_file(
    bomb: str, name: str, signed: Signed, refuses: Refuses
) -> None:
    signed.path(name).write_bytes(BOMBS[bomb])
    refuses(signed, *EXPECTED[name], "WITHDRAWALS_TRUNCATED")


# Text that is none, or that looks like other text.

NOT_JSON = {
    "not UTF-8": b'{"a":"\xff"}',
    "overlong": b'{"a":"\xc0\xaf"}',
    "surrogate in UTF-8": b'{"a":"\xed\xa0\x80"}',
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "Latin-1": '{"a":"\xe9"}'.encode("latin-1"),
    "byte order mark": b'\xef\xbb\xbf{"a":1}',
    "lone high surrogate": rb'{"a":"\ud800"}',
    "lone low surrogate": rb'{"a":"\udc00x"}',
    "surrogates in a key": rb'{"\udfff":1}',
    "surrogates the wrong way": rb'{"a":"\udc00\ud800"}',
    "NaN": b'{"a":NaN}',
    "Infinity": b'{"a":Infinity}',
    "minus Infinity": b'{"a":-Infinity}',
    "out of range": b'{"a":1e999}',
    "ten thousand digits": b'{"a":' + b"9" * 10_000 + b"}",
    "leading zero": b'{"a":01}',
    "plus": b'{"a":+1}',
    "hexadecimal": b'{"a":0x1}',
    "key twice": b'{"a":1,"a":1}',
    "key twice by escape": rb'{"a":1,"\u0061":2}',
    "key twice inside": b'{"a":[{"b":1,"b":2}]}',
    "comma at the end": b'{"a":1,}',
    "comment": b'{"a":1}//',
    "single quotes": b"{'a':1}",
    "two values": b'{"a":1}{"a":1}',
    "control character": b'{"a":"\x01"}',
    "nothing": b"",
    "blank": b"  ",
    "line separator": b"\xe2\x80\xa8{}",
}


def not_json(signed: Signed, name: str, data: bytes) -> None:
    """Sign bytes where only the reader of JSON stands in their way."""
    if name == HEAD:
        signed.sign_head(data)
    elif name == LOG:
        signed.sign_log(data)
    elif name in TABLE_FILES:
        table = name.removesuffix(".jsonl")
        signed.sign_table(table, b"\n".join([*signed.lines(table), data, b""]))
    else:
        signed.path(name).write_bytes(data)


@pytest.mark.parametrize("case", NOT_JSON)
@pytest.mark.parametrize("name", [HEAD, SIGNATURE, "consent.jsonl", "exclusions.jsonl", LOG,
                                  LOG_SIGNATURE, "trust.json", "last-seen.json"])  # fmt: skip
def test_what_is_not_strict_json_is_refused(
    name: str, case: str, signed: Signed, refuses: Refuses
) -> None:
    not_json(signed, name, NOT_JSON[case])
    refuses(signed, "STATE_INVALID" if name == "last-seen.json" else "JSON_INVALID")


@pytest.mark.parametrize("case", NOT_JSON)
def test_content_that_is_not_strict_json_is_refused(
    case: str, signed: Signed, refuses: Refuses
) -> None:
    spoken = b'{"speaker":"Ada","text":"%b"}\n' % SAID.encode()
    content(signed, spoken + NOT_JSON[case] + b"\n")
    refuses(signed, "PARSE_REFUSED", store=True)


BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
BARE = {
    "nul": "\0",
    "escape": "\x1b[31m",
    "line feed": "\n",
    "delete": "\x7f",
    "not NFC": "e\u0301",
    **{f"U+{ord(mark):04X}": mark for mark in BIDI},
}


@pytest.mark.parametrize("mark", BARE)
@pytest.mark.parametrize(
    ("table", "field"),
    [("participants", "label"), ("aliases", "label"), ("content", "path"),
     ("exclusions", "value")],
)  # fmt: skip
def test_labels_hold_nothing_that_turns_or_ends_a_line(
    table: str, field: str, mark: str, signed: Signed, refuses: Refuses
) -> None:
    first, *rest = signed.lines(table)
    row = json.loads(first)
    row[field] = f"Ada{BARE[mark]} Gil"
    signed.sign_table(table, b"\n".join([json.dumps(row).encode(), *rest, b""]))
    assert str(refuses(signed, "SCHEMA_INVALID")).isascii()


IDS = [
    ("meetings", "meeting_id"), ("meetings", "series_id"), ("participants", "meeting_id"),
    ("participants", "subject_key"), ("participants", "domain"), ("content", "licence_id"),
    ("consent", "event_id"), ("consent", "subject_key"), ("consent", "controller"),
    ("policies", "policy_id"), ("licences", "licence_id"), ("jurisdictions", "code"),
    ("exclusions", "rule_id"), ("split", "series_id"), ("aliases", "series_id"),
]  # fmt: skip


@pytest.mark.parametrize(("table", "field"), IDS)
@pytest.mark.parametrize(
    "letter",
    ["\N{CYRILLIC SMALL LETTER A}", "\N{GREEK SMALL LETTER OMICRON}", "\N{ZERO WIDTH SPACE}",
     "\N{SOFT HYPHEN}", "\N{FULLWIDTH LATIN SMALL LETTER A}", "\N{ARABIC-INDIC DIGIT ONE}",
     "\N{NO-BREAK SPACE}", "\N{RIGHT-TO-LEFT OVERRIDE}"],
)  # fmt: skip
def test_ids_have_no_letters_that_look_like_others(
    table: str, field: str, letter: str, signed: Signed, refuses: Refuses
) -> None:
    (first, *_) = signed.lines(table)
    value = json.loads(first)[field]
    signed.sign_row(table, **{field: value[:-1] + letter})
    refuses(signed, "SCHEMA_INVALID")


@pytest.mark.parametrize(
    ("table", "field", "value"),
    [
        ("consent", "state", "giv\N{CYRILLIC SMALL LETTER IE}n"),
        ("consent", "state", "Given"),
        ("consent", "state", "given "),
        ("consent", "delegation", "\N{CYRILLIC SMALL LETTER DZE}elf"),
        ("split", "arm", "tr\N{CYRILLIC SMALL LETTER A}in"),
        ("exclusions", "kind", "me\u200beting"),
    ],
)
def test_words_of_the_schema_are_taken_letter_by_letter(
    table: str, field: str, value: str, signed: Signed, refuses: Refuses
) -> None:
    signed.sign_row(table, **{field: value})
    refuses(signed, "SCHEMA_INVALID")


@pytest.mark.parametrize("key", ["st\N{CYRILLIC SMALL LETTER A}te", "state\u200b", "State",
                                 f"{SAID} by Ada", "\x1b[2J", "x" * 5000])  # fmt: skip
def test_a_key_that_only_looks_right_is_not_shown(
    key: str, signed: Signed, refuses: Refuses
) -> None:
    signed.sign_row("consent", **{key: "refused"})
    line = str(refuses(signed, "UNKNOWN_FIELD"))
    assert "state" not in line
    assert len(line) < 200


def codes_of(world: World) -> set[str]:
    """Why m0 is denied."""
    rows = gate.decide(world.sign(), Config(), world.now).rows.to_pylist()
    return {code for row in rows if row["meeting_id"] == "m0" for code in row["codes"]}


def of_bo(row: Any) -> bool:
    return bool(row.meeting_id == "m0" and row.label == "Bo")


@pytest.mark.parametrize("mark", [*"\u200b\u200c\u200d\u2060\u2064\ufeff\u180e"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_invisible_mark_makes_nobody_another_person(mark: str, place: int, world: World) -> None:
    (ada,) = [r for r in world.draft.tables.participants if r.meeting_id == "m0"][:1]
    world.append("participants", replace(ada, label="Bo"[:place] + mark + "Bo"[place:]))
    assert codes_of(world) == {"SUBJECT_AMBIGUOUS"}


@pytest.mark.parametrize("twin", ["BO", "\uff22\uff4f", " bo ", "B\u2060o", "\U0001d401\U0001d428"])
def test_another_way_to_write_a_label_makes_nobody_another_person(twin: str, world: World) -> None:
    (ada,) = [r for r in world.draft.tables.participants if r.meeting_id == "m0"][:1]
    world.append("participants", replace(ada, label=twin))
    assert codes_of(world) == {"SUBJECT_AMBIGUOUS"}


@pytest.mark.parametrize(
    "twin",
    ["\N{CYRILLIC CAPITAL LETTER VE}o", "B\N{GREEK SMALL LETTER OMICRON}",
     "B\N{ARMENIAN SMALL LETTER OH}", "\N{CHEROKEE LETTER YV}o"],
)  # fmt: skip
def test_a_label_of_two_scripts_denies(twin: str, world: World) -> None:
    world.edit("participants", of_bo, label=twin)
    assert codes_of(world) == {"SUBJECT_CONFUSABLE"}


def test_a_speaker_whose_letters_only_look_right_is_nobody(world: World) -> None:
    """A label of one script throughout is not mixed, and still not the label that it looks like."""
    store, path = world.source.store, TURNS_OF_STORE
    (store / path).write_bytes(encoded({"speaker": "\u0412\u043e", "text": "good day"}) + b"\n")
    row = content_row(store, "m0", Modality.TRANSCRIPT, "turns-jsonl", path, "own")
    world.edit("content", lambda r: r.meeting_id == "m0", sha256=row.sha256, bytes=row.bytes,
               turns=row.turns)  # fmt: skip
    assert codes_of(world) == {"SUBJECT_UNRESOLVED"}


@pytest.mark.parametrize("label", ["B\u200bo", "\u2060BO", "Bo\ufeff", "\uff22\uff4f"])
def test_an_excluded_label_is_found_however_it_is_written(label: str, world: World) -> None:
    scope = RuleScope((ALL,), (ALL,), (ALL,), (ALL,))
    world.append("exclusions", ExclusionRule("r", RuleKind.LABEL, label, scope, world.start, None,
                                             RuleSource.SUBJECT, world.start))  # fmt: skip
    assert codes_of(world) == {"EXCLUDED_LABEL"}


@pytest.mark.parametrize(
    "mark",
    ["\N{SOFT HYPHEN}", "\N{COMBINING GRAPHEME JOINER}", "\N{HANGUL FILLER}",
     "\N{VARIATION SELECTOR-16}", "\N{MONGOLIAN FREE VARIATION SELECTOR ONE}", "\U000e0041"],
)  # fmt: skip
def test_no_mark_that_nobody_sees_hides_an_excluded_label(mark: str, world: World) -> None:
    world.edit("participants", of_bo, label=f"B{mark}o")
    store, path = world.source.store, TURNS_OF_STORE
    (store / path).write_bytes(encoded({"speaker": f"B{mark}o", "text": "good day"}) + b"\n")
    row = content_row(store, "m0", Modality.TRANSCRIPT, "turns-jsonl", path, "own")
    world.edit("content", lambda r: r.meeting_id == "m0", sha256=row.sha256, bytes=row.bytes,
               turns=row.turns)  # fmt: skip
    scope = RuleScope((ALL,), (ALL,), (ALL,), (ALL,))
    world.append("exclusions", ExclusionRule("r", RuleKind.LABEL, "Bo", scope, world.start, None,
                                             RuleSource.SUBJECT, world.start))  # fmt: skip
    assert codes_of(world) == {"EXCLUDED_LABEL"}


# Times.

NO_TIMES = [
    "2026-03-01T00:00:00",
    "2026-03-01T00:00:00+00:00",
    "2026-03-01T00:00:00-00:00",
    "2026-03-01T01:00:00+01:00",
    "2026-03-01T00:00:00z",
    "2026-03-01t00:00:00Z",
    "2026-03-01 00:00:00Z",
    "2026-03-01T00:00Z",
    "2026-03-01",
    "20260301T000000Z",
    "2026-03-01T00:00:00.Z",
    "2026-03-01T00:00:00,5Z",
    "2026-03-01T00:00:00.1234567Z",
    "2026-03-01T00:00:00ZZ",
    "2026-03-01T00:00:00Z\n",
    "2026-03-01T00:00:00 UTC",
    "2026-02-29T00:00:00Z",
    "1900-02-29T00:00:00Z",
    "2026-02-30T00:00:00Z",
    "2026-04-31T00:00:00Z",
    "2026-13-01T00:00:00Z",
    "2026-00-01T00:00:00Z",
    "2026-03-00T00:00:00Z",
    "2026-03-01T24:00:01Z",
    "2026-03-01T25:00:00Z",
    "2026-03-01T00:60:00Z",
    "2016-12-31T23:59:60Z",
    "0000-01-01T00:00:00Z",
    "10000-01-01T00:00:00Z",
    "-0001-01-01T00:00:00Z",
    "2026-W09-7T00:00:00Z",
    "2026-060T00:00:00Z",
    "\u0662\u0660\u0662\u0666-03-01T00:00:00Z",
    "01/03/2026 00:00:00",
    "1772323200",
    "now",
    "",
]


@pytest.mark.parametrize("text", NO_TIMES)
def test_a_time_is_utc_with_z_on_a_day_that_there_was(
    text: str, signed: Signed, refuses: Refuses
) -> None:
    signed.sign_row("consent", event_time=text)
    refuses(signed, "SCHEMA_INVALID")


TIMES = [
    ("meetings", "start"), ("meetings", "end"), ("consent", "recorded_time"),
    ("consent", "valid_from"), ("consent", "valid_until"), ("consent", "retention_until"),
    ("policies", "effective_from"), ("policies", "disclosed_at"),
    ("jurisdictions", "effective_until"), ("jurisdictions", "reviewed_on"),
    ("exclusions", "effective_from"), ("exclusions", "effective_until"),
    ("exclusions", "added_at"),
]  # fmt: skip


@pytest.mark.parametrize(("table", "field"), TIMES)
@pytest.mark.parametrize("value", ["2026-03-01T00:00:00", "2026-02-30T00:00:00Z", 1772323200, ""])
def test_no_time_of_any_row_is_naive(
    table: str, field: str, value: Any, signed: Signed, refuses: Refuses
) -> None:
    signed.sign_row(table, **{field: value})
    refuses(signed, "SCHEMA_INVALID")


@pytest.mark.parametrize("text", ["2026-03-01T00:00:00", "2026-03-01T00:00:00+01:00",
                                  "2026-02-30T00:00:00Z"])  # fmt: skip
@pytest.mark.parametrize("place", ["issued", "expires", "from", "date_range", "log", "trust",
                                   "state"])  # fmt: skip
def test_no_time_anywhere_else_is_naive(
    place: str, text: str, signed: Signed, refuses: Refuses
) -> None:
    if place in ("issued", "expires"):
        signed.sign_edited_head(lambda head: head.update({place: text}))
    elif place == "from":
        scope = json.loads(signed.lines("consent")[0])["scope"]
        signed.sign_row("consent", scope=scope | {"from": text})
    elif place == "date_range":
        signed.sign_row("exclusions", kind=place, value=f"{text}/2027-01-01T00:00:00Z")
    elif place == "log":
        entry = json.loads((signed.source.withdrawals / LOG).read_bytes().splitlines()[0])
        signed.sign_log(encoded(entry | {"event_time": text}))
    else:
        path = signed.path("trust.json" if place == "trust" else "last-seen.json")
        path.write_bytes(re.sub(rb"20\d\d-[0-9T:-]+Z", text.encode(), path.read_bytes(), count=1))
    refuses(signed, "STATE_INVALID" if place == "state" else "SCHEMA_INVALID")


def test_a_day_that_leap_years_have_is_a_day(world: World) -> None:
    world.edit("policies", lambda row: True,
               disclosed_at=datetime.fromisoformat("2024-02-29T00:00:00Z"))  # fmt: skip
    assert codes_of(world) == set()


def test_a_manifest_of_the_future_is_refused(signed: Signed, refuses: Refuses) -> None:
    issued = signed.world.issued
    refuses(signed, "MANIFEST_NOT_YET_VALID", later=issued - signed.now - 301 * SECOND)


def test_a_log_of_the_future_is_refused(signed: Signed, refuses: Refuses) -> None:
    signed.world.withdraw(at=signed.now + 301 * SECOND)
    refuses(signed, "WITHDRAWALS_NOT_YET_VALID")


def test_a_withdrawal_of_the_future_is_refused(signed: Signed, refuses: Refuses) -> None:
    line = (signed.source.withdrawals / LOG).read_bytes().splitlines()[0]
    late = "2026-06-01T12:00:01Z"
    signed.sign_log(encoded(json.loads(line) | {"event_time": late, "recorded_time": late}))
    refuses(signed, "WITHDRAWALS_NOT_YET_VALID")


def test_a_clock_that_is_set_back_is_refused(signed: Signed, refuses: Refuses) -> None:
    gate.admit(signed.source, Config(), signed.now + 301 * SECOND)
    refuses(signed, "CLOCK_ROLLBACK")


def test_an_event_that_was_recorded_before_it_happened_is_refused(
    signed: Signed, refuses: Refuses
) -> None:
    signed.sign_row("consent", event_time="2027-01-01T00:00:00Z")
    refuses(signed, "SCHEMA_INVALID")


@pytest.mark.parametrize("later", [SECOND, timedelta(days=1), timedelta(days=365 * 7000)])
def test_a_consent_of_the_future_is_none(later: timedelta, world: World) -> None:
    at = world.now + later
    (row,) = [r for r in world.draft.tables.consent if (r.subject_key, r.seq) == ("b" * 32, 1)]
    world.edit("consent", lambda r: r is row, event_time=at, recorded_time=at)
    assert "CONSENT_NOT_YET_VALID" in codes_of(world)


@pytest.mark.parametrize(("table", "field"), [*TIMES, ("consent", "event_time")])
@pytest.mark.parametrize("text", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"])
def test_the_ends_of_the_calendar_are_no_traceback(
    text: str, table: str, field: str, signed: Signed
) -> None:
    signed.sign_row(table, **{field: text})
    signed.source.seen.unlink()
    try:
        trust_first(signed.source, signed.now)
        gate.decide(signed.source, Config(), signed.now)
        outcome = "decided"
    except Refused as error:  # something ends before it begins, or was recorded too early
        outcome = error.code
    assert outcome in ("decided", "SCHEMA_INVALID")
