"""Decide a manifest in shares on several machines, and merge them with the result of one process.

A share is some parts of the meetings. Its decisions are taken only with a signature by keys of the
role ``gate`` over the same manifest, withdrawals log, code, request and clock as all others.
"""

import importlib.resources
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from harness.config import Config, config_digest
from harness.consent.authoring import replace_folder
from harness.consent.decisions import SCHEMA, Tally, write_decisions
from harness.consent.passes import Tick
from harness.consent.reading import read_once
from harness.consent.records import parse_time, to_json
from harness.consent.session import Session
from harness.consent.signing import KeyRole, TrustRoot, load_key, load_trust, sign, verify
from harness.consent.sources import locate
from harness.digest import ListDigest, canonical_json, digest_of, sha256_file, strict_json
from harness.errors import Refused, UsageError

PREDICATE = "https://meeting-harness.dev/gate-shard/v1"
STATEMENT, DECISIONS, CORPUS = "STATEMENT.dsse.json", "decisions.parquet", "corpus.jsonl"
STATEMENT_LIMIT = 1024 * 1024
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
        tally, _ = write_decisions(session, folder / DECISIONS, tick, corpus)
        lines = b"".join(canonical_json(row) + b"\n" for row in corpus)
        (folder / CORPUS).write_bytes(lines)
        found.update(_counts(tally))
        statement = _statement(session, config, config.gate.shard, folder, found)
        (folder / STATEMENT).write_bytes(sign(canonical_json(statement), [key]))

    replace_folder(_folder(run_dir, config, config.gate.shard), fill)
    return found


def merge(session: Session, run_dir: Path, target: Path) -> tuple[Tally, str]:
    """Join all shares to the decisions of the whole.

    Args:
        session: of :func:`session_of`, for the merge.
        run_dir: of the run.
        target: of the new decisions.parquet.

    Returns:
        Counts, and the digest of what is admitted.

    Raises:
        Refused: ``SHARD_*``: a share is missing, not signed, or was not decided on the same.
    """
    config, trust = session.config, load_trust(session.source.trust)
    total, root = Tally(), ListDigest()
    with pq.ParquetWriter(target, SCHEMA, compression="zstd") as writer:
        for shard in range(config.gate.shards):
            folder = _folder(run_dir, config, shard)
            counts = _verified(session, trust, shard, folder)
            total.add(_tally(counts))
            for batch in pq.ParquetFile(folder / DECISIONS).iter_batches():
                writer.write_batch(batch)
            for row in _corpus(folder):
                root.add(row)
    return total, root.hexdigest()


def code_digest() -> str:
    """Digest of the harness's own source files, by their paths."""
    package = Path(str(importlib.resources.files("harness")))
    return digest_of(
        [
            [str(path.relative_to(package)), sha256_file(path)]
            for path in sorted(package.rglob("*.py"))
        ]
    )


def _folder(run_dir: Path, config: Config, shard: int) -> Path:
    return run_dir / "gate" / "shards" / f"{shard}-of-{config.gate.shards}"


def _statement(
    session: Session, config: Config, shard: int, folder: Path, counts: dict[str, Any]
) -> dict[str, Any]:
    """The in-toto statement of a share: its files, and on what they were decided."""
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {"name": name, "digest": {"sha256": sha256_file(folder / name)}}
            for name in (DECISIONS, CORPUS)
        ],
        "predicateType": PREDICATE,
        "predicate": {
            "manifest_sha256": session.manifest.sha256,
            "withdrawals": to_json(session.present.log_head),
            "code_sha256": code_digest(),
            "request_sha256": config_digest(config, "gate"),
            "decided_at": config.gate.decided_at,
            "shard": shard,
            "shards": config.gate.shards,
            "counts": counts,
        },
    }


def _verified(session: Session, trust: TrustRoot, shard: int, folder: Path) -> dict[str, Any]:
    """The counts of a share, if it is signed and was decided on the same as this session."""
    where = f"gate/shards/{folder.name}/{STATEMENT}"
    if not folder.is_dir():
        raise Refused("SHARD_MISSING", "a share is not decided yet", where,
                      "run it, or wait for it")  # fmt: skip
    envelope = read_once(folder, STATEMENT, STATEMENT_LIMIT, "SHARD")
    payload = verify(envelope, KeyRole.GATE, trust, "SHARD", where, session.clock)
    stated = strict_json(payload, where)
    counts = stated.get("predicate", {}).get("counts", {}) if isinstance(stated, dict) else {}
    if stated != _statement(session, session.config, shard, folder, counts):
        raise Refused("SHARD_MISMATCH", "it was decided on another manifest, log, code, request or "
                      "clock, or its files were changed", where, "decide it again")  # fmt: skip
    return dict(counts)


def _corpus(folder: Path) -> Iterator[list[str]]:
    with (folder / CORPUS).open() as lines:
        for line in lines:
            yield json.loads(line)


def _counts(tally: Tally) -> dict[str, Any]:
    return asdict(tally) | {"by_code": dict(tally.by_code), "arms": dict(tally.arms)}


def _tally(counts: dict[str, Any]) -> Tally:
    counters = {name: Counter(counts[name]) for name in ("by_code", "arms")}
    return Tally(**{**counts, **counters})
