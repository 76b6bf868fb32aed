"""Decisions about training for people to read: decisions.parquet and gate/summary.json."""

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harness.config import Config
from harness.consent.bits import Mask
from harness.consent.decide import Verdicts
from harness.consent.passes import Tick
from harness.consent.present import Source
from harness.consent.records import Arm, Operation, format_time, to_json
from harness.consent.ruling import no_tick
from harness.consent.session import (
    MEETING_AS_A_WHOLE,
    TRAINED,
    OpenedBatch,
    Row,
    Session,
    request_for,
)
from harness.digest import ListDigest

SCHEMA = pa.schema(
    [
        ("meeting_id", pa.string()),
        ("turn", pa.int64()),
        ("modality", pa.string()),
        ("decision", pa.string()),
        ("codes", pa.list_(pa.string())),
    ]
)


@dataclass
class Tally:
    """Counts of what was decided, which add up over shards.

    Attributes:
        meetings_total, meetings_admitted, turns_total, turns_admitted: as in summary.json.
        by_code: rows by code.
        arms: meetings of each arm that nothing but the draw denies.
        clean: whether nothing but the random split denied anything.
    """

    meetings_total: int = 0
    meetings_admitted: int = 0
    turns_total: int = 0
    turns_admitted: int = 0
    by_code: Counter[str] = field(default_factory=Counter)
    arms: Counter[str] = field(default_factory=Counter)
    clean: bool = True

    def count(self, opened: OpenedBatch, rows: pa.Table, by_draw: Mask) -> None:
        """Add a batch.

        Args:
            opened: its meetings.
            rows: its decisions.
            by_draw: whether each meeting is denied by the random split at most.
        """
        self.meetings_total += len(by_draw)
        self.meetings_admitted += len(opened.admitted)
        self.turns_total += int(opened.rulings.frame.content.array("turns").to_numpy().sum())
        whole = rows.column("turn").to_numpy() < 0
        denied = pc.equal(rows.column("decision"), "deny").to_numpy()
        self.turns_admitted += int((~whole & ~denied).sum())
        for found in pc.value_counts(pc.list_flatten(rows.column("codes"))).to_pylist():
            self.by_code[found["values"]] += found["counts"]
        drawn = pa.array([opened.rows.ids[n] for n in np.flatnonzero(by_draw)], pa.string())
        excused = pc.is_in(rows.column("meeting_id"), drawn).to_numpy() & whole
        self.clean &= not (denied & ~excused).any()

    def add(self, other: "Tally") -> None:
        """Add the counts of another shard."""
        self.meetings_total += other.meetings_total
        self.meetings_admitted += other.meetings_admitted
        self.turns_total += other.turns_total
        self.turns_admitted += other.turns_admitted
        self.by_code.update(other.by_code)
        self.arms.update(other.arms)
        self.clean &= other.clean


@dataclass(frozen=True)
class Decisions:
    """What the gate decided for the operation of training.

    Attributes:
        rows: columns of decisions.parquet.
        summary: gate/summary.json.
        clean: whether nothing but the random split denied anything.
    """

    rows: pa.Table
    summary: dict[str, Any]
    clean: bool


def decide(source: Source, config: Config, now: datetime) -> Decisions:
    """Every decision about training, for people to read; it permits nothing.

    Raises:
        Refused: a code of manifest, job, split or content.
    """
    session = Session(source, config, now)
    with tempfile.TemporaryDirectory(prefix="decisions-") as folder:
        path = Path(folder) / "decisions.parquet"
        tally, root = write_decisions(session, path)
        return Decisions(pq.read_table(path), summary(session, tally, root), tally.clean)


def write_decisions(
    session: Session, path: Path, tick: Tick = no_tick, corpus: list[list[str]] | None = None
) -> tuple[Tally, str]:
    """Decide all meetings, and write each decision.

    Args:
        session: what is decided.
        path: of the new decisions.parquet.
        tick: is told how far it is.
        corpus: takes what is admitted, see :meth:`OpenedBatch.corpus`.

    Returns:
        Counts, and the digest of what is admitted.

    Raises:
        Refused: a code of job, rows, split or content.
    """
    tally, root = Tally(), ListDigest()
    by_draw = []
    for batch in session.undrawn():
        by_draw.append(batch.rulings.usable)
        tally.arms.update({str(arm): len(batch.rulings.of_arm(arm)) for arm in Arm})
    request = request_for(session.config, (Operation.FINE_TUNING,), TRAINED)
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for drawn, opened in zip(by_draw, session.open(request, tick), strict=True):
            rows = decision_rows(opened)
            writer.write_table(rows)
            tally.count(opened, rows, drawn)
            for row in opened.corpus():
                root.add(row)
                if corpus is not None:
                    corpus.append(row)
    return tally, root.hexdigest()


def summary(session: Session, tally: Tally, corpus_root: str) -> dict[str, Any]:
    """gate/summary.json."""
    manifest = session.manifest
    return {
        "manifest_sha256": manifest.sha256,
        "epoch": manifest.head.epoch,
        "meetings_total": tally.meetings_total,
        "meetings_admitted": tally.meetings_admitted,
        "turns_total": tally.turns_total,
        "turns_admitted": tally.turns_admitted,
        "by_code": dict(sorted(tally.by_code.items(), key=lambda item: (-item[1], item[0]))),
        "corpus_root": corpus_root,
        "arms": {str(arm): tally.arms[str(arm)] for arm in Arm},
        "randomised": session.randomised,
        "decided_at": format_time(session.now),
        "trust_sha256": manifest.trust_sha256,
        "trust_first": to_json(session.present.trust_first),
        "withdrawals": to_json(session.present.log_head),
    }


def decision_rows(opened: OpenedBatch) -> pa.Table:
    """Rows of decisions.parquet about a batch: each meeting, then its turns if it is admitted."""
    denied = np.setdiff1d(np.arange(len(opened.rows.ids)), [*opened.read])
    whole = decision_columns(opened.rows.frame.meetings.array("meeting_id"), opened.rulings)
    places, tables = [denied], [whole.take(pa.array(denied))]
    for number in opened.read:
        tables.append(_table([*opened.rows_of(number)]))
        places.append(np.full(tables[-1].num_rows, number))
    order = np.argsort(np.concatenate(places), kind="stable")
    return pa.concat_tables(tables).take(pa.array(order))


def decision_columns(ids: pa.Array, verdicts: Verdicts) -> pa.Table:
    """Rows of decisions.parquet about meetings as a whole, as their rows alone decide.

    Args:
        ids: of the meetings.
        verdicts: on the same meetings.
    """
    codes = verdicts.code_lists()
    columns = [
        ids.cast(pa.string()),
        pa.array(np.full(len(ids), -1)),
        pa.array([MEETING_AS_A_WHOLE]).take(pa.array(np.zeros(len(ids), np.int8))),
        pc.if_else(pc.equal(pc.list_value_length(codes), 0), "admit", "deny"),
        codes,
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _table(rows: Sequence[Row]) -> pa.Table:
    names, turns, modalities, codes = zip(*rows, strict=True) if rows else ((), (), (), ())
    decisions = ["deny" if found else "admit" for found in codes]
    return pa.table([names, turns, modalities, decisions, [*map(list, codes)]], schema=SCHEMA)
