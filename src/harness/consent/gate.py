"""The gate: the only maker of permissions.

Content of a meeting, or of a kind of content, that is denied is never opened.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from harness.config import Config
from harness.consent.capability import (
    GATE_KEY,
    Admitted,
    Authority,
    Evaluable,
    GatedMeeting,
    GatedTurn,
    LeakTest,
)
from harness.consent.content import all_resolved, read_turns
from harness.consent.decide import Index, Request, Ruling, rule
from harness.consent.manifest import Manifest, load
from harness.consent.reasons import sentence
from harness.consent.records import Arm, Operation, RuleSource, format_time
from harness.consent.signing import load_trust
from harness.consent.sources import Source, prepare
from harness.consent.split import check_draw
from harness.digest import digest_of
from harness.errors import Denied, Refused
from harness.meetings.model import Modality, Turn
from harness.rundir import Attempt, RunDir, write_bytes, write_json

SCHEMA = pa.schema(
    [
        ("meeting_id", pa.string()),
        ("turn", pa.int64()),
        ("modality", pa.string()),
        ("decision", pa.string()),
        ("codes", pa.list_(pa.string())),
    ]
)
_TRAINED = frozenset({Arm.TRAIN, Arm.VALIDATION})


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


def admit(source: Source, config: Config, now: datetime) -> Admitted:
    """Permission to train.

    Args:
        source: content store, manifest and trust root.
        config: ``job`` says what is asked for.
        now: clock of the decision, aware.

    Raises:
        Refused: ``NOTHING_ADMITTED``, or a code of manifest, job, split or content.
    """
    session = _Session(source, config, now)
    opened = session.open(_request(config, (Operation.FINE_TUNING,), _TRAINED))
    train = opened.meetings(Arm.TRAIN)
    if not train:
        raise _nothing("train")
    validation = opened.meetings(Arm.VALIDATION)
    return Admitted(session.authority, train, validation, session.all_kept_out(), GATE_KEY)


def kept_out(
    source: Source, config: Config, now: datetime
) -> dict[str, tuple[tuple[str, str], ...]]:
    """Held-out and sentinel meetings with their content digests, from the rows; nothing is opened.

    Raises:
        Refused: a code of manifest, job or split.
    """
    return _Session(source, config, now).all_kept_out()


def evaluable(source: Source, config: Config, now: datetime) -> Evaluable:
    """Permission to score members (the train arm) and held-out meetings.

    Training and evaluation must both be agreed to: members are what was trained on, and held-out
    meetings must differ from them by the draw alone.

    Raises:
        Refused: as :func:`admit`.
    """
    session = _Session(source, config, now)
    operations = (Operation.FINE_TUNING, Operation.EVALUATION)
    opened = session.open(_request(config, operations, frozenset({Arm.TRAIN, Arm.HELDOUT})))
    members = opened.meetings(Arm.TRAIN)
    if not members:
        raise _nothing("evaluation")
    return Evaluable(session.authority, members, opened.meetings(Arm.HELDOUT), GATE_KEY)


def leak_test(source: Source, config: Config, now: datetime) -> LeakTest:
    """Permission to score sentinels; only the rules that made them sentinels are set aside.

    A meeting whose people refused or withdrew training is not read for this either.

    Raises:
        Refused: a code of manifest, job, split or content. No sentinels is no refusal.
    """
    session = _Session(source, config, now)
    request = replace(
        _request(config, (Operation.FINE_TUNING, Operation.LEAK_TEST), frozenset({Arm.SENTINEL})),
        set_aside=frozenset({RuleSource.SENTINEL}),
    )
    opened = session.open(request)
    return LeakTest(session.authority, opened.meetings(Arm.SENTINEL), GATE_KEY)


def decide(source: Source, config: Config, now: datetime) -> Decisions:
    """Every decision about training, for people to read; it permits nothing.

    Raises:
        Refused: a code of manifest, job, split or content.
    """
    session = _Session(source, config, now)
    opened = session.open(_request(config, (Operation.FINE_TUNING,), _TRAINED))
    rows = [row for ruling in opened.rulings for row in _rows(session, ruling)]
    by_draw = {ruling.meeting.meeting_id for ruling in session.undrawn if ruling.admitted}
    clean = all(not codes or (turn < 0 and name in by_draw) for name, turn, _, codes in rows)
    return Decisions(_table(rows), _summary(session, opened.rulings, rows), clean)


def run(config: Config, run: RunDir, attempt: Attempt) -> dict[str, Any]:
    """The gate stage: write decisions and summary, print reasons and counts.

    Raises:
        Refused: ``NOTHING_ADMITTED`` or what :func:`decide` raises.
        Denied: when ``gate.require_all`` is set and something is denied, the random split apart.
    """
    decisions = decide(prepare(config.data), config, datetime.now(UTC))
    sink = pa.BufferOutputStream()
    pq.write_table(decisions.rows, sink, compression="zstd")
    run.publish(attempt)
    write_bytes(run.file("private", "decisions.parquet"), sink.getvalue().to_pybytes(), 0o600)
    write_json(run.file("gate", "summary.json"), decisions.summary)
    _print(decisions.summary)
    if not decisions.summary["meetings_admitted"]:
        raise _nothing("train")
    if config.gate.require_all and not decisions.clean:
        raise Denied("GATE_DENIED", "something is denied and all is required",
                     "gate.require_all", "see by_code in gate/summary.json")  # fmt: skip
    return decisions.summary


class _Session:
    """One verified manifest, one clock, one configuration."""

    def __init__(self, source: Source, config: Config, now: datetime) -> None:
        self.config, self.now, self.store = config, now, source.store
        self.manifest = load(source.manifest, load_trust(source.trust), now)
        head, tables = self.manifest.head, self.manifest.tables
        self.randomised = check_draw(head.split.seed, head.split.randomised, tables.split)
        self.index = Index(tables)

    @property
    def authority(self) -> Authority:
        return Authority(
            self.manifest.sha256, self.manifest.head.epoch, format_time(self.now), self.randomised
        )

    @cached_property
    def undrawn(self) -> list[Ruling]:
        """Rulings as they would be without the random split."""
        request = _request(self.config, (Operation.FINE_TUNING,), frozenset(Arm))
        sentinel = frozenset({RuleSource.SENTINEL})
        return rule(self.manifest, replace(request, set_aside=sentinel), self.now)

    def open(self, request: Request) -> "_Opened":
        """Decide by the rows, then read what is admitted and decide by its speakers too."""
        _check_job(self.manifest, request)
        rulings, contents = [], {}
        for ruling in rule(self.manifest, request, self.now):
            if ruling.admitted:
                turns = _read(self.store, self.index, ruling)
                if turns is None:
                    ruling = replace(ruling, codes=("SUBJECT_UNRESOLVED",))
                else:
                    contents[ruling.meeting.meeting_id] = turns
            rulings.append(ruling)
        return _Opened(rulings, contents)

    def all_kept_out(self) -> dict[str, tuple[tuple[str, str], ...]]:
        return {str(arm): self.kept_out(arm) for arm in (Arm.HELDOUT, Arm.SENTINEL)}

    def kept_out(self, arm: Arm) -> tuple[tuple[str, str], ...]:
        """Meeting ids and content digests of an arm, from the rows alone."""
        return tuple(
            (ruling.meeting.meeting_id, self._content_digest(ruling.meeting.meeting_id))
            for ruling in self.undrawn
            if ruling.arm is arm and ruling.admitted
        )

    def _content_digest(self, meeting: str) -> str:
        rows = self.index.content[meeting]
        digests = [rows[m].sha256 for m in map(Modality, self.config.job.modalities) if m in rows]
        return digests[0] if len(digests) == 1 else digest_of(digests)


@dataclass(frozen=True)
class _Opened:
    """Final rulings, and the turns of the admitted meetings."""

    rulings: list[Ruling]
    contents: dict[str, tuple[GatedTurn, ...]]

    def meetings(self, arm: Arm) -> tuple[GatedMeeting, ...]:
        return tuple(
            GatedMeeting(
                ruling.meeting.meeting_id,
                ruling.meeting.series_id,
                str(arm),
                ruling.meeting.start.date().isoformat(),
                self.contents[ruling.meeting.meeting_id],
            )
            for ruling in self.rulings
            if ruling.admitted and ruling.arm is arm
        )


def _request(config: Config, operations: tuple[Operation, ...], arms: frozenset[Arm]) -> Request:
    job = config.job
    try:
        modalities = tuple(dict.fromkeys(map(Modality, job.modalities)))
    except ValueError:
        raise Refused("JOB_MODALITY_OUT_OF_SCOPE", "an unknown kind of content", "job.modalities",
                      f"known: {', '.join(Modality)}") from None  # fmt: skip
    return Request(job.controller, job.purpose, operations, modalities, arms)


def _check_job(manifest: Manifest, request: Request) -> None:
    scope = manifest.head.scope
    problems = {
        "JOB_CONTROLLER_MISMATCH": request.controller != scope.controller,
        "JOB_OPERATION_OUT_OF_SCOPE": not {*request.operations} <= {*scope.operations},
        "JOB_PURPOSE_OUT_OF_SCOPE": request.purpose not in scope.purposes,
        "JOB_MODALITY_OUT_OF_SCOPE": not {*request.modalities} <= {*scope.modalities},
        "JOB_EMPTY": not request.modalities,
    }
    for code, found in problems.items():
        if found:
            raise Refused(code, sentence(code), "job", "ask within the manifest's scope")


def _read(store: Path, index: Index, ruling: Ruling) -> tuple[GatedTurn, ...] | None:
    """Admitted turns of a meeting; None when a speaker is not one identified person."""
    name = ruling.meeting.meeting_id
    rows = [index.content[name][m] for m, codes in ruling.modalities.items() if not codes]
    read = [(row.modality, read_turns(store, row)) for row in rows]
    if not all(all_resolved(turns, index.roster[name]) for _, turns in read):
        return None
    return tuple(_gated(read))


def _gated(read: Sequence[tuple[Modality, Sequence[Turn]]]) -> Iterable[GatedTurn]:
    ordinals: dict[str, int] = {}
    for modality, turns in read:
        for index, turn in enumerate(turns):  # as in decisions.parquet, whatever a reader left out
            speaker = ordinals.setdefault(turn.speaker, len(ordinals))
            yield GatedTurn(str(modality), index, speaker, turn.text)


def _rows(session: _Session, ruling: Ruling) -> list[tuple[str, int, str, tuple[str, ...]]]:
    name = ruling.meeting.meeting_id
    whole = [(name, -1, "meeting", ruling.codes)]
    if not ruling.admitted:
        return whole
    return whole + [
        (name, turn, str(modality), codes)
        for modality, codes in ruling.modalities.items()
        for turn in range(session.index.content[name][modality].turns)
    ]


def _table(rows: Sequence[tuple[str, int, str, tuple[str, ...]]]) -> pa.Table:
    names, turns, modalities, codes = zip(*rows, strict=True) if rows else ((), (), (), ())
    decisions = ["deny" if found else "admit" for found in codes]
    return pa.table([names, turns, modalities, decisions, [*map(list, codes)]], schema=SCHEMA)


def _summary(
    session: _Session,
    rulings: Sequence[Ruling],
    rows: Sequence[tuple[str, int, str, tuple[str, ...]]],
) -> dict[str, Any]:
    manifest, admitted = session.manifest, [r for r in rulings if r.admitted]
    by_code = Counter(code for *_, codes in rows for code in codes)
    arms = Counter(str(r.arm) for r in session.undrawn if r.admitted)
    return {
        "manifest_sha256": manifest.sha256,
        "epoch": manifest.head.epoch,
        "meetings_total": len(rulings),
        "meetings_admitted": len(admitted),
        "turns_total": sum(row.turns for row in manifest.tables.content),
        "turns_admitted": sum(turn >= 0 and not codes for _, turn, _, codes in rows),
        "by_code": dict(sorted(by_code.items(), key=lambda item: (-item[1], item[0]))),
        "corpus_root": _corpus_root(session.index, admitted),
        "arms": {str(arm): arms[str(arm)] for arm in Arm},
        "randomised": session.randomised,
        "decided_at": format_time(session.now),
        "trust_sha256": manifest.trust_sha256,
    }


def _corpus_root(index: Index, admitted: Iterable[Ruling]) -> str:
    """Digest of what is admitted: sorted (meeting, modality, content SHA-256)."""
    return digest_of(
        sorted(
            [ruling.meeting.meeting_id, str(modality),
             index.content[ruling.meeting.meeting_id][modality].sha256]
            for ruling in admitted
            for modality, codes in ruling.modalities.items()
            if not codes
        )
    )  # fmt: skip


def _print(summary: dict[str, Any]) -> None:
    table = Table(title="Why not", title_justify="left")
    table.add_column("code", no_wrap=True)
    table.add_column("rows", justify="right")
    table.add_column("what it means")
    for code, count in summary["by_code"].items():
        table.add_row(code, str(count), sentence(code))
    console = Console()
    console.print(table)
    arms = ", ".join(f"{count} {arm}" for arm, count in summary["arms"].items())
    console.print(
        f"admitted {summary['meetings_admitted']} of {summary['meetings_total']} meetings, "
        f"{summary['turns_admitted']} of {summary['turns_total']} turns; arms: {arms}",
        highlight=False,
    )


def _nothing(operation: str) -> Refused:
    return Refused("NOTHING_ADMITTED", f"no meeting is admitted for {operation}",
                   "private/decisions.parquet", "see by_code in gate/summary.json")  # fmt: skip
