"""Decisions about training for people to read: two tables, and gate/summary.json."""

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

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
MASKED = pa.schema(
    [
        ("meeting_id", pa.string()),
        ("modality", pa.string()),
        ("turn", pa.int64()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("kind", pa.string()),
    ]
)
"""Where, in characters of the turn as the export has it; never what."""


class Files(NamedTuple):
    """Where the tables of a gate are written.

    Attributes:
        decisions: decisions.parquet.
        masked: masked.parquet, what is masked in the turns that may be used.
    """

    decisions: Path
    masked: Path


NAMES = ("decisions.parquet", "masked.parquet")
"""Of :class:`Files`, in a folder."""


@contextmanager
def writers(files: Files) -> Iterator[tuple[pq.ParquetWriter, pq.ParquetWriter]]:
    """Writers of both tables."""
    with (
        pq.ParquetWriter(files.decisions, SCHEMA, compression="zstd") as decisions,
        pq.ParquetWriter(files.masked, MASKED, compression="zstd") as masked,
    ):
        yield decisions, masked


@dataclass
class Tally:
    """Counts of what was decided, which add up over shards.

    Attributes:
        meetings_total, meetings_admitted, turns_total, turns_admitted: as in summary.json.
        by_code: rows by code.
        arms: meetings of each arm that nothing but the draw denies.
        masked: masked pieces of turns by class.
        clean: whether nothing but the random split denied anything.
    """

    meetings_total: int = 0
    meetings_admitted: int = 0
    turns_total: int = 0
    turns_admitted: int = 0
    by_code: Counter[str] = field(default_factory=Counter)
    arms: Counter[str] = field(default_factory=Counter)
    masked: Counter[str] = field(default_factory=Counter)
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
        self.masked.update(other.masked)
        self.clean &= other.clean


@dataclass(frozen=True)
class Decisions:
    """What the gate decided for the operation of training.

    Attributes:
        rows: columns of decisions.parquet.
        masked: columns of masked.parquet.
        summary: gate/summary.json.
        clean: whether nothing but the random split denied anything.
    """

    rows: pa.Table
    masked: pa.Table
    summary: dict[str, Any]
    clean: bool


def decide(source: Source, config: Config, now: datetime) -> Decisions:
    """Every decision about training, for people to read; it permits nothing.

    Raises:
        Refused: a code of manifest, job, split or content.
    """
    session = Session(source, config, now)
    with tempfile.TemporaryDirectory(prefix="decisions-") as folder:
        files = Files(*(Path(folder) / name for name in NAMES))
        tally, root = write_decisions(session, files)
        rows, masked = map(pq.read_table, files)
        return Decisions(rows, masked, summary(session, tally, root), tally.clean)


def write_decisions(
    session: Session, files: Files, tick: Tick = no_tick, corpus: list[list[str]] | None = None
) -> tuple[Tally, str]:
    """Decide all meetings, and write each decision.

    Args:
        session: what is decided.
        files: new.
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
    with writers(files) as (decisions, masks):
        for drawn, opened in zip(by_draw, session.open(request, tick), strict=True):
            rows, masked = decision_rows(opened), masked_rows(opened)
            decisions.write_table(rows)
            masks.write_table(masked)
            tally.count(opened, rows, drawn)
            tally.masked.update(masked.column("kind").to_pylist())
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
        "masked": dict(sorted(tally.masked.items())),
        "detectors": [*session.masking.detectors],
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


def masked_rows(opened: OpenedBatch) -> pa.Table:
    """Rows of masked.parquet about a batch."""
    rows = [dict(zip(MASKED.names, row, strict=True)) for row in opened.masked()]
    return pa.Table.from_pylist(rows, schema=MASKED)


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
