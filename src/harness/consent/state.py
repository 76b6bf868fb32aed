"""The last-seen state: what this place has seen of each issuer, so that nothing goes backwards.

A signature does not tell an old manifest from the newest one. Without a memory, a manifest from
before a withdrawal could be presented again while it has not expired. The memory is one small file,
which several nodes may share; its checksum finds damage, not forgery, so that whoever may write the
file is trusted with it (``docs/manifest.md``, section 4).
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import NoReturn

from harness.consent.reading import read_once
from harness.consent.records import Id, Sha256, parse, record, to_json
from harness.digest import canonical_json, digest_of, strict_json
from harness.errors import Refused
from harness.rundir import write_bytes

SCHEMA = "harness/last-seen/v1"
LIMIT = 1024 * 1024
LOCK_WAIT_S = 60.0
_POLL_S = 0.01

Extends = Callable[[int, str | None], bool]
"""Whether a withdrawals log begins with so many entries, the last of them with this digest."""


@record
class TrustFirst:
    """When a person vouched for the first manifest of an issuer, and its digest."""

    at: datetime
    manifest_sha256: Sha256


@record
class Observation:
    """What a verified manifest and the withdrawals log beside it say.

    ``manifest_sha256`` is the digest of MANIFEST.json, ``prev`` the one that it names as the epoch
    before. ``events`` and ``exclusions`` are its numbers of rows. The head of the log is that of
    the log as it was read, which extends the head that the manifest binds.
    """

    issuer: Id
    epoch: int
    manifest_sha256: Sha256
    prev: Sha256 | None
    events: int
    exclusions: int
    withdrawals_entries: int
    withdrawals_sha256: Sha256 | None


@record
class Seen:
    """The newest that was seen of an issuer; ``newest_now`` is the latest clock of a check."""

    issuer: Id
    epoch: int
    manifest_sha256: Sha256
    events: int
    exclusions: int
    withdrawals_entries: int
    withdrawals_sha256: Sha256 | None
    newest_now: datetime
    trust_first: TrustFirst

    def __post_init__(self) -> None:
        if (self.withdrawals_entries == 0) != (self.withdrawals_sha256 is None):
            raise ValueError("a log's head without entries, or entries without a head")


@record
class State:
    """The file: entries in the order of their issuers, and the checksum of all that."""

    schema: str
    seen: tuple[Seen, ...]
    sha256: Sha256

    def __post_init__(self) -> None:
        issuers = [entry.issuer for entry in self.seen]
        if self.schema != SCHEMA or self.sha256 != _checksum(self.seen):
            raise ValueError("another schema, or the checksum does not fit")
        if issuers != sorted({*issuers}):
            raise ValueError("an issuer stands twice or out of order")

    def of(self, issuer: str) -> Seen | None:
        """What was seen of an issuer; None where nobody vouched for it yet."""
        return next((entry for entry in self.seen if entry.issuer == issuer), None)


def read(path: Path) -> State:
    """Read a state file.

    Raises:
        Refused: ``STATE_MISSING``; ``STATE_INVALID`` for anything but the bytes that were written.
    """
    try:
        data = read_once(path.parent, path.name, LIMIT, "STATE")
        state = parse(State, strict_json(data, path.name), path.name)
        canonical = canonical_json(to_json(state))
    except Refused as error:
        if error.code == "STATE_FILE_MISSING":
            _missing(path)
        _invalid(error.what, path)
    if canonical != data:
        _invalid("not in canonical form", path)
    return state


def trust_first(path: Path, observed: Observation, now: datetime) -> Seen:
    """Vouch for an issuer's manifest by hand: the only way in which an entry begins.

    Compare the digest with the issuer by another channel first; from here on only what continues
    this manifest is taken.

    Args:
        path: of the state file, made when it is not there.
        observed: the manifest and log that are vouched for, verified.
        now: clock, aware.

    Raises:
        Refused: ``STATE_EXISTS`` when the issuer has an entry, ``STATE_INVALID``,
            ``STATE_LOCKED``, ``STATE_UNWRITABLE``.
    """
    with exclusive(path, "STATE"):
        entries = _entries(path)
        if any(entry.issuer == observed.issuer for entry in entries):
            raise Refused("STATE_EXISTS", "this issuer was vouched for already", path.name,
                          "go on without trust-first")  # fmt: skip
        vouched = TrustFirst(now, observed.manifest_sha256)
        seen = Seen(
            observed.issuer, observed.epoch, observed.manifest_sha256, observed.events,
            observed.exclusions, observed.withdrawals_entries, observed.withdrawals_sha256, now,
            vouched,
        )  # fmt: skip
        _write(path, [*entries, seen])
    return seen


def check_and_advance(
    path: Path, observed: Observation, now: datetime, skew_s: int, extends: Extends
) -> Seen:
    """Refuse what goes behind anything seen before, else remember it; one step for all processes.

    Call it after manifest and log are verified for ``now``, so that a clock that is far ahead meets
    ``MANIFEST_EXPIRED`` before it is remembered. An epoch that follows with a gap is refused: only
    the epochs between can show that it descends from the one seen. Present them in order; here they
    may have expired (:func:`harness.consent.manifest.load_at_any_time`).

    Args:
        path: of the state file.
        observed: a verified manifest and log.
        now: clock of the decision, aware.
        skew_s: by how many seconds clocks may differ.
        extends: of the log that was read, as it has to begin with the entries seen before.

    Returns:
        The entry as it stands now. The same manifest, log and clock leave it as it is.

    Raises:
        Refused: ``STATE_MISSING``, ``STATE_INVALID``, ``STATE_LOCKED``, ``STATE_UNWRITABLE``,
            ``MANIFEST_EPOCH_ROLLBACK``, ``MANIFEST_FORK``, ``MANIFEST_CHAIN_BROKEN``,
            ``MANIFEST_EVENTS_MISSING``, ``WITHDRAWALS_ROLLED_BACK``, ``CLOCK_ROLLBACK``.
    """
    read(path)  # before the lock, which would make folders at a mistyped place
    with exclusive(path, "STATE"):
        state = read(path)
        seen = state.of(observed.issuer)
        if seen is None:
            _missing(path)
        _check_epoch(seen, observed)
        _check_logs(seen, observed, extends)
        _check_clock(seen, now, skew_s)
        advanced = _advance(seen, observed, now)
        if advanced != seen:
            _write(path, [advanced if entry is seen else entry for entry in state.seen])
    return advanced


@contextmanager
def exclusive(path: Path, family: str) -> Iterator[None]:
    """Hold the lock of a file against other processes and threads, also on other nodes.

    The lock lies on a sibling that is never deleted, since the file itself is replaced. On NFS
    Linux turns it into a lock of the server (flock(2)).

    Args:
        path: of the file that is going to be changed; its folder is made.
        family: first word of the refusal's code.

    Raises:
        Refused: ``*_LOCKED`` after :data:`LOCK_WAIT_S` seconds, ``*_UNWRITABLE``.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        unwritable(family, path, error)
    try:
        _lock(descriptor, family, path)
        yield
    finally:
        os.close(descriptor)  # which gives the lock back, as the end of the process does


def write_durably(path: Path, data: bytes, family: str) -> None:
    """Write a file whole or not at all, and have its name outlive a power cut.

    Raises:
        Refused: ``*_UNWRITABLE``.
    """
    try:
        write_bytes(path, data)
        sync_folder(path.parent)
    except OSError as error:
        unwritable(family, path, error)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder written to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unwritable(family: str, path: Path, error: OSError) -> NoReturn:
    """Refuse because the system does not let us write; ``*_UNWRITABLE``."""
    raise Refused(f"{family}_UNWRITABLE", f"cannot be written ({error.strerror})", path.name,
                  "give this process a place to write") from None  # fmt: skip


def _lock(descriptor: int, family: str, path: Path) -> None:
    deadline = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise Refused(f"{family}_LOCKED", "another process holds the lock", path.name,
                              "end the one that hangs") from None  # fmt: skip
            time.sleep(_POLL_S)
        except OSError as error:  # a file system without locks: no lock, no state
            unwritable(family, path, error)


def _entries(path: Path) -> tuple[Seen, ...]:
    try:
        return read(path).seen
    except Refused as error:
        if error.code != "STATE_MISSING":
            raise
        return ()


def _check_epoch(seen: Seen, observed: Observation) -> None:
    where = f"epoch {observed.epoch}, seen {seen.epoch}"
    if observed.epoch < seen.epoch:
        raise Refused("MANIFEST_EPOCH_ROLLBACK", "an older manifest than one seen before", where,
                      "use the newest one")  # fmt: skip
    if observed.epoch == seen.epoch and observed.manifest_sha256 != seen.manifest_sha256:
        raise Refused("MANIFEST_FORK", "two different manifests carry the same epoch", where,
                      "ask the issuer which one holds and have a new epoch signed")  # fmt: skip
    if observed.epoch > seen.epoch + 1:
        raise Refused("MANIFEST_CHAIN_BROKEN", "epochs are missing between the one seen and this",
                      where, "present the missing epochs in order")  # fmt: skip
    if observed.epoch == seen.epoch + 1 and observed.prev != seen.manifest_sha256:
        raise Refused("MANIFEST_CHAIN_BROKEN", "it does not descend from the manifest seen before",
                      where, "have the issuer sign a successor of that one")  # fmt: skip


def _check_logs(seen: Seen, observed: Observation, extends: Extends) -> None:
    for name in ("events", "exclusions"):
        before, after = getattr(seen, name), getattr(observed, name)
        if after < before:
            raise Refused("MANIFEST_EVENTS_MISSING", f"{after} {name} where {before} were seen",
                          f"epoch {observed.epoch}", "restore what was left out; these tables "
                          "only grow")  # fmt: skip
    head = (seen.withdrawals_entries, seen.withdrawals_sha256)
    shorter = observed.withdrawals_entries < head[0]
    other = observed.withdrawals_entries == head[0] and observed.withdrawals_sha256 != head[1]
    if shorter or other or not extends(*head):
        raise Refused("WITHDRAWALS_ROLLED_BACK", "the log does not go on from the entries seen "
                      "before", f"{observed.withdrawals_entries} entries, seen {head[0]}",
                      "fetch the newest log")  # fmt: skip


def _check_clock(seen: Seen, now: datetime, skew_s: int) -> None:
    if (behind := (seen.newest_now - now).total_seconds()) > skew_s:
        raise Refused("CLOCK_ROLLBACK", f"this machine's time lies {behind:.0f} s before a time "
                      "seen already", "", "set the clock; docs/manifest.md section 4 if the other "
                      "one was wrong")  # fmt: skip


def _advance(seen: Seen, observed: Observation, now: datetime) -> Seen:
    return replace(
        seen,
        epoch=observed.epoch,
        manifest_sha256=observed.manifest_sha256,
        events=observed.events,
        exclusions=observed.exclusions,
        withdrawals_entries=observed.withdrawals_entries,
        withdrawals_sha256=observed.withdrawals_sha256,
        newest_now=max(now, seen.newest_now),
    )


def _write(path: Path, seen: Iterable[Seen]) -> None:
    entries = tuple(sorted(seen, key=lambda entry: entry.issuer))
    state = State(SCHEMA, entries, _checksum(entries))
    write_durably(path, canonical_json(to_json(state)), "STATE")


def _checksum(seen: tuple[Seen, ...]) -> str:
    return digest_of({"schema": SCHEMA, "seen": to_json(seen)})


def _missing(path: Path) -> NoReturn:
    raise Refused("STATE_MISSING", "nobody vouched for this issuer's manifest here", path.name,
                  "compare its digest, then `harness manifest trust-first`")  # fmt: skip


def _invalid(what: str, path: Path) -> NoReturn:
    raise Refused("STATE_INVALID", f"not a last-seen state as it was written ({what})", path.name,
                  "restore it from a copy; docs/manifest.md section 4")  # fmt: skip
