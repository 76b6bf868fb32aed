"""Decide a manifest in shares on several machines, and merge them with the result of one process.

A share is some parts of the meetings. Its decisions are taken only with a signature by keys of the
role ``gate`` over the same manifest, withdrawals log, code, request and clock as all others.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harness.config import Config, config_digest
from harness.consent.authoring import replace_folder
from harness.consent.decisions import NAMES, Files, Tally, write_decisions, writers
from harness.consent.passes import Tick
from harness.consent.reading import read_once
from harness.consent.records import parse_time, to_json
from harness.consent.session import Session
from harness.consent.signing import KeyRole, TrustRoot, load_key, load_trust, sign, verify
from harness.consent.sources import locate
from harness.digest import (
    ListDigest,
    canonical_json,
    code_digest,
    sha256_hex,
    strict_json,
)
from harness.errors import Refused, UsageError

PREDICATE = "https://meeting-harness.dev/gate-shard/v1"
STATEMENT, CORPUS = "STATEMENT.dsse.json", "corpus.jsonl"
SUBJECTS = (*NAMES, CORPUS)
"""Files of a share that its statement is about."""
COUNTERS = ("by_code", "arms", "masked")
STATEMENT_LIMIT = 1024 * 1024
FILE_LIMIT = 4 * 1024 * 1024 * 1024
OLDEST = timedelta(days=1)


def session_of(config: Config, now: datetime) -> Session:
    """A session for one share, or for the merge of all, with the clock that they have in common.

    Raises:
        UsageError: ``CONFIG_VALUE``.
        Refused: ``SHARD_CLOCK`` for a common clock that is not of the last day, or what
            :class:`Session` raises.
    """
    gate = config.gate
    if not 0 <= max(gate.shard, 0) < gate.shards:
        raise UsageError("CONFIG_VALUE", "no such share", "gate.shard", "0 to gate.shards - 1")
    try:
        decided_at = parse_time(gate.decided_at)
    except ValueError:
        raise UsageError("CONFIG_VALUE", "all shares need one clock", "gate.decided_at",
                         "set it to the time of submission, in UTC with Z") from None  # fmt: skip
    share = (max(gate.shard, 0), gate.shards if gate.shard >= 0 else 1)
    session = Session(locate(config.data), config, now, decided_at, share)
    skew = timedelta(seconds=session.manifest.head.defaults.clock_skew_s)
    if not now - OLDEST <= decided_at <= now + skew:
        raise Refused("SHARD_CLOCK", "the common clock is not of the last day", "gate.decided_at",
                      "submit again")  # fmt: skip
    entries = session.present.log.entries
    known = max([session.manifest.head.issued, *(entry.recorded_time for entry in entries)])
    if known > decided_at + skew:  # decided by that clock, a withdrawal since would not be heard
        raise Refused("SHARD_CLOCK", "the manifest or a withdrawal is later than the common clock",
                      "gate.decided_at", "submit again")  # fmt: skip
    return session


def decide_shard(config: Config, run_dir: Path, tick: Tick) -> dict[str, Any]:
    """Decide one share, and sign what was decided.

    Args:
        config: with ``gate.shard``, ``gate.shards``, ``gate.decided_at`` and ``gate.key``.
        run_dir: of the run; the share is written below ``gate/shards``.
        tick: is told how far it is.

    Returns:
        Counts of the share.

    Raises:
        Refused: as :func:`session_of`, and a code of job, rows, content or key.
    """
    key = load_key(Path(config.gate.key))
    session = session_of(config, datetime.now(UTC))
    found: dict[str, Any] = {}

    def fill(folder: Path) -> None:
        folder.chmod(0o700)
        corpus: list[list[str]] = []
        written = Files(*(folder / name for name in NAMES))
        tally, _ = write_decisions(session, written, tick, corpus)
        lines = b"".join(canonical_json(row) + b"\n" for row in corpus)
        (folder / CORPUS).write_bytes(lines)
        found.update(_counts(tally))
        files = {name: (folder / name).read_bytes() for name in SUBJECTS}
        statement = _statement(session, config.gate.shard, files, found)
        (folder / STATEMENT).write_bytes(sign(canonical_json(statement), [key]))

    replace_folder(_folder(run_dir, config, config.gate.shard), fill)
    return found


def merge(session: Session, run_dir: Path, target: Files) -> tuple[Tally, str]:
    """Join all shares to the decisions of the whole.

    Args:
        session: of :func:`session_of`, for the merge.
        run_dir: of the run.
        target: new tables.

    Returns:
        Counts, and the digest of what is admitted.

    Raises:
        Refused: ``SHARD_*``: a share is missing, not signed, or was not decided on the same.
    """
    config, trust = session.config, load_trust(session.source.trust)
    total, root = Tally(), ListDigest()
    with writers(target) as tables:
        for shard in range(config.gate.shards):
            folder = _folder(run_dir, config, shard)
            files = _read(folder)
            total.add(_verified(session, trust, shard, files))
            for name, writer in zip(NAMES, tables, strict=True):
                for batch in pq.ParquetFile(pa.BufferReader(files[name])).iter_batches():
                    writer.write_batch(batch)
            for line in files[CORPUS].splitlines():
                root.add(json.loads(line))
    return total, root.hexdigest()


def _folder(run_dir: Path, config: Config, shard: int) -> Path:
    return run_dir / "gate" / "shards" / f"{shard}-of-{config.gate.shards}"


def _statement(
    session: Session, shard: int, files: Mapping[str, bytes], counts: Any
) -> dict[str, Any]:
    """The in-toto statement of a share: its files, and on what they were decided."""
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {"name": name, "digest": {"sha256": sha256_hex(files[name])}} for name in SUBJECTS
        ],
        "predicateType": PREDICATE,
        "predicate": {
            "manifest_sha256": session.manifest.sha256,
            "withdrawals": to_json(session.present.log_head),
            "code_sha256": code_digest(),
            "detectors": [*session.masking.detectors],
            "request_sha256": config_digest(session.config, "gate"),
            "decided_at": session.config.gate.decided_at,
            "shard": shard,
            "shards": session.config.gate.shards,
            "counts": counts,
        },
    }


def _read(folder: Path) -> dict[str, bytes]:
    """The files of a share, each read once: what is held against the statement is what is used."""
    if not folder.is_dir():
        raise Refused("SHARD_MISSING", "a share is not decided yet", f"gate/shards/{folder.name}",
                      "run it, or wait for it")  # fmt: skip
    limits = {STATEMENT: STATEMENT_LIMIT, **dict.fromkeys(SUBJECTS, FILE_LIMIT)}
    return {name: read_once(folder, name, limit, "SHARD") for name, limit in limits.items()}


def _verified(session: Session, trust: TrustRoot, shard: int, files: Mapping[str, bytes]) -> Tally:
    """The counts of a share, if it is signed and was decided on the same as this session."""
    where = f"gate/shards/{shard}-of-{session.config.gate.shards}/{STATEMENT}"
    payload = verify(files[STATEMENT], KeyRole.GATE, trust, "SHARD", where, session.clock)
    stated = strict_json(payload, where)
    try:
        counts = stated["predicate"]["counts"]
        tally = _tally(counts)
    except (KeyError, TypeError):
        counts, tally = None, Tally()
    if counts is None or stated != _statement(session, shard, files, counts):
        raise Refused("SHARD_MISMATCH", "it was decided on another manifest, log, code, request, "
                      "detectors or clock, or its files were changed", where,
                      "decide it again")  # fmt: skip
    return tally


def _counts(tally: Tally) -> dict[str, Any]:
    return asdict(tally) | {name: dict(getattr(tally, name)) for name in COUNTERS}


def _tally(counts: Any) -> Tally:
    counters = {name: Counter(counts[name]) for name in COUNTERS}
    return Tally(**{**counts, **counters})
