"""What holds now: the signed manifest, the withdrawals since, and nothing older than was seen."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from harness.consent import state, withdrawals
from harness.consent.head import LogHead
from harness.consent.manifest import Manifest, SignedHead, load, load_at_any_time, load_head
from harness.consent.reading import read_once
from harness.consent.records import ALL, ConsentEvent
from harness.consent.signing import TrustRoot, load_trust
from harness.consent.state import Observation, Seen, TrustFirst
from harness.consent.withdrawals import Log
from harness.errors import Refused

Heads = tuple[str, int, str | None]
"""Digest of MANIFEST.json, entries of the withdrawals log, digest of the last."""

_KEY_LIMIT = 64 * 1024


@dataclass(frozen=True)
class Source:
    """Where a run's data lie.

    Attributes:
        store: content store.
        manifest: signed manifest directory.
        trust: file with the pinned keys.
        withdrawals: folder of the withdrawals log.
        seen: file of the last-seen state.
        copies_key: file with the key of the index of excluded content, outside the manifest.
    """

    store: Path
    manifest: Path
    trust: Path
    withdrawals: Path
    seen: Path
    copies_key: Path | None = None


@dataclass(frozen=True)
class Present:
    """A manifest and a withdrawals log that were verified together.

    Attributes:
        manifest: as it was signed.
        log: as it stands now.
        now: clock of the decision: this machine's, never before a time that was seen already.
        trust_first: when somebody vouched for the issuer's first manifest by hand.
    """

    manifest: Manifest
    log: Log
    now: datetime
    trust_first: TrustFirst

    @property
    def log_head(self) -> LogHead:
        """How far the log goes."""
        return LogHead(len(self.log.entries), self.log.sha256)


def withdrawn(manifest: Manifest, log: Log) -> tuple[ConsentEvent, ...]:
    """The withdrawals of a log as events.

    A withdrawal that names a meeting, series or purpose which the manifest does not know may be
    mistyped; on that axis it then means everything, as it would else withdraw nothing.
    """
    tables = manifest.tables
    purposes = {name for policy in tables.policies for name in policy.purposes}
    purposes |= {*manifest.head.scope.purposes}
    events = tuple(
        event if {*event.purposes} <= purposes else replace(event, purposes=())
        for event in withdrawals.as_events(log)
    )
    if manifest.parts is not None:
        return as_meant(events, manifest.parts.having)
    rows = tables.meetings
    return as_meant(events, lambda column, names: names & {getattr(row, column) for row in rows})


def as_meant(
    events: Sequence[ConsentEvent], having: Callable[[str, set[str]], set[str]]
) -> tuple[ConsentEvent, ...]:
    """Withdrawals, of every meeting where they name a meeting or series that there is not.

    Args:
        events: withdrawals.
        having: which of some names a column of ``meetings`` has.
    """
    meetings = {name for event in events for name in event.scope.meetings} - {ALL}
    series = {name for event in events for name in event.scope.series} - {ALL}
    meetings, series = having("meeting_id", meetings) | {ALL}, having("series_id", series) | {ALL}
    return tuple(
        event
        if {*event.scope.meetings} <= meetings and {*event.scope.series} <= series
        else replace(event, scope=replace(event.scope, meetings=(), series=()))
        for event in events
    )


def verify_present(source: Source, now: datetime) -> Present:
    """Verify manifest and log, and that neither goes behind what was seen before.

    Raises:
        Refused: ``MANIFEST_*``, ``WITHDRAWALS_*``, ``STATE_*``, ``CLOCK_ROLLBACK``, or what
            :func:`records.parse` raises for rows.
    """
    manifest, log = _verify(source, now)
    seen = _advance(source, manifest, log, now)
    return Present(manifest, log, max(now, seen.newest_now, log.as_of), seen.trust_first)


def verify_heads(source: Source, now: datetime, known: Collection[Heads]) -> Heads:
    """As :func:`verify_present`, without the tables, which the manifest's head binds.

    Args:
        source: where they lie.
        now: clock, aware.
        known: what was verified with its tables before. Only of this it is noted that it was seen:
            nobody has read the tables of another, which may not be there.

    Raises:
        Refused: as :func:`verify_present`, for what is signed.
    """
    trust = load_trust(source.trust)
    signed = load_head(source.manifest, trust, now)
    log = _read_log(source, signed, trust, now)
    heads = signed.sha256, len(log.entries), log.sha256
    if heads in known:
        _advance(source, signed, log, now)
    return heads


def trust_first(source: Source, now: datetime, sha256: str | None = None) -> Seen:
    """Vouch for a manifest and its log by hand, before which none of its issuer is taken.

    Args:
        source: where they lie.
        now: clock, aware.
        sha256: digest of the manifest as its issuer told it, where somebody asked.

    Raises:
        Refused: as :func:`verify_present`; ``STATE_EXISTS`` where somebody vouched already;
            ``MANIFEST_HASH_MISMATCH`` for another manifest than the issuer's.
    """
    manifest, log = _verify(source, now)
    if sha256 not in (None, manifest.sha256):
        raise Refused("MANIFEST_HASH_MISMATCH", "it is not the manifest that the issuer named",
                      "--sha256", "compare with the issuer again")  # fmt: skip
    return state.trust_first(source.seen, _observation(manifest, log), now)


def present_missed(source: Source, folders: Iterable[Path], now: datetime) -> list[int]:
    """Take the epochs that this place has missed, in order; they may have expired.

    Args:
        source: trust root, log and state; its manifest is the newest and is not looked at.
        folders: of the missed manifests, the oldest first.
        now: clock, aware.

    Returns:
        Their epochs.

    Raises:
        Refused: ``MANIFEST_*``, ``STATE_*``, ``WITHDRAWALS_*``.
    """
    trust, epochs = load_trust(source.trust), []
    for folder in folders:
        manifest = load_at_any_time(folder, trust, now)
        log = _read_log(source, manifest, trust, now)
        epochs.append(_advance(source, manifest, log, now).epoch)
    return epochs


def read_copies_key(source: Source) -> bytes:
    """The key of the index of excluded content, and of excluded utterances.

    Raises:
        Refused: ``INDEX_KEY_MISSING``: without it copies would pass unseen.
    """
    try:
        if source.copies_key is not None:
            path = source.copies_key.resolve()
            data = read_once(path.parent, path.name, _KEY_LIMIT, "INDEX")
            return bytes.fromhex(data.decode("ascii").strip())
    except (OSError, Refused, ValueError):
        pass
    raise Refused("INDEX_KEY_MISSING", "the manifest excludes words, and their key is not here",
                  "data.copies_key", "name the file with the key in hexadecimal")  # fmt: skip


def _advance(source: Source, manifest: SignedHead, log: Log, now: datetime) -> Seen:
    """Hold what was read against what this place has seen, and note it."""
    skew = manifest.head.defaults.clock_skew_s
    observed = _observation(manifest, log)
    return state.check_and_advance(source.seen, observed, now, skew, log.extends)


def _verify(source: Source, now: datetime) -> tuple[Manifest, Log]:
    trust = load_trust(source.trust)  # once, so that both are held against the same keys
    manifest = load(source.manifest, trust, now)
    return manifest, _read_log(source, manifest, trust, now)


def _read_log(source: Source, manifest: SignedHead, trust: TrustRoot, now: datetime) -> Log:
    """The withdrawals log as it stands now, which must extend what the manifest binds."""
    limits, bound = manifest.head.defaults, manifest.head.withdrawals
    log = withdrawals.load(source.withdrawals, trust, now, limits.clock_skew_s,
                           limits.max_withdrawals_age_s)  # fmt: skip
    if not log.extends(bound.entries, bound.sha256):
        raise Refused("WITHDRAWALS_ROLLED_BACK", "it does not hold what the manifest binds",
                      withdrawals.LOG, "fetch the log that belongs to the manifest")  # fmt: skip
    return log


def _observation(manifest: SignedHead, log: Log) -> Observation:
    head = manifest.head
    return Observation(
        head.issuer, head.epoch, manifest.sha256, head.prev, head.counts.consent,
        head.counts.exclusions, len(log.entries), log.sha256,
    )  # fmt: skip
