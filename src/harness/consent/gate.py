"""The gate: the only maker of permissions.

Content of a meeting, or of a kind of content, that is denied is never opened.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
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
from harness.consent.decide import Rulings, rule_tables
from harness.consent.events import Events
from harness.consent.exclusion import OF_TURNS
from harness.consent.frame import ARMS, Frame
from harness.consent.manifest import Manifest, OnWithdrawal
from harness.consent.opening import ContentReader, MeetingRows, Opened
from harness.consent.present import Source, verify_present
from harness.consent.reasons import in_order, sentence
from harness.consent.records import Arm, Operation, RuleSource, format_time, to_json
from harness.consent.request import Request
from harness.consent.sources import prepare
from harness.consent.split import check_draw
from harness.digest import digest_of
from harness.errors import Denied, Refused
from harness.meetings.model import Modality
from harness.rundir import Attempt, RunDir, write_bytes, write_json

Row = tuple[str, int, str, tuple[str, ...]]
"""Meeting, turn, modality and codes, as in decisions.parquet."""

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


class Withdrawn(Refused):
    """Something that is trained on was withdrawn meanwhile.

    Attributes:
        restart: whether the manifest asks to start again without it, from step 0.
    """

    restart = False


def check_withdrawals(source: Source, config: Config, authority: Authority, now: datetime) -> None:
    """Look again at manifest and withdrawals log while something is trained on.

    Args:
        source: as it was admitted from.
        config: of the training.
        authority: of the permission to train.
        now: clock, aware.

    Raises:
        Withdrawn: ``WITHDRAWN_MEANWHILE`` when something else is admitted than is trained on.
        Refused: a code of log or manifest.
    """
    present = verify_present(source, now)
    then = (authority.manifest_sha256, *authority.withdrawals)
    if (present.manifest.sha256, len(present.log.entries), present.log.sha256) == then:
        return
    if _Session(source, config, now).footprint() != authority.footprint:
        error = Withdrawn("WITHDRAWN_MEANWHILE", "what is trained on is not admitted any more",
                          "withdrawals.jsonl", "start again without it")  # fmt: skip
        error.restart = authority.restarts
        raise error


def evaluable(source: Source, config: Config, now: datetime) -> Evaluable:
    """Permission to score members (the train arm) and held-out meetings.

    All arms must have agreed to the same, or they would differ by more than the draw: to training,
    to evaluation and, where the manifest has it, to the leak test.

    Raises:
        Refused: as :func:`admit`.
    """
    session = _Session(source, config, now)
    request = _request(config, session.measured, frozenset({Arm.TRAIN, Arm.HELDOUT}))
    opened = session.open(request)
    members = opened.meetings(Arm.TRAIN)
    if not members:
        raise _nothing("evaluation")
    return Evaluable(session.authority, members, opened.meetings(Arm.HELDOUT), GATE_KEY)


def leak_test(source: Source, config: Config, now: datetime) -> LeakTest:
    """Permission to score sentinels; only the rules that made them sentinels are set aside.

    A meeting whose people refused or withdrew training is not read for this either, and none is
    where the manifest's scope has no leak test.

    Raises:
        Refused: a code of manifest, job, split or content. No sentinels is no refusal.
    """
    session = _Session(source, config, now)
    if Operation.LEAK_TEST not in session.measured:
        return LeakTest(session.authority, (), GATE_KEY)
    request = replace(
        _request(config, session.measured, frozenset({Arm.SENTINEL})),
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
    rows = [*opened.decisions()]
    by_draw = {session.rows.meetings[n].meeting_id for n in np.flatnonzero(session.undrawn.usable)}
    clean = all(not codes or (turn < 0 and name in by_draw) for name, turn, _, codes in rows)
    return Decisions(_table(rows), _summary(session, opened, rows), clean)


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
        self.present = verify_present(source, now)
        self.config, self.now, self.source = config, self.present.now, source
        self.manifest, self.tables = self.present.manifest, self.present.tables
        head = self.manifest.head
        self.randomised = check_draw(head.split.seed, head.split.randomised, self.tables.split)
        self.frame, self.events = Frame.of(self.tables), Events.from_rows(self.tables.consent)
        self.rows = MeetingRows(self.tables)

    @property
    def authority(self) -> Authority:
        log = self.present.log
        return Authority(
            self.manifest.sha256, self.manifest.head.epoch, format_time(self.now), self.randomised,
            (len(log.entries), log.sha256), self.footprint(),
            self.manifest.head.defaults.on_withdrawal is OnWithdrawal.RESTART_WITHOUT,
        )  # fmt: skip

    @property
    def measured(self) -> tuple[Operation, ...]:
        """What people must have agreed to whose meetings are measured, in whatever arm."""
        scope = self.manifest.head.scope.operations
        leak = (Operation.LEAK_TEST,) if Operation.LEAK_TEST in scope else ()
        return (Operation.FINE_TUNING, Operation.EVALUATION, *leak)

    def footprint(self) -> str:
        """Digest of what training may use: by the rows, and by what decides about turns."""
        rulings = self.rule(_request(self.config, (Operation.FINE_TUNING,), _TRAINED))
        rows = [
            [self.rows.meetings[n].meeting_id, str(m), sorted(rulings.dropped_labels(n, m))]
            for n in map(int, np.flatnonzero(rulings.admitted))
            for m in rulings.request.modalities
            if not rulings.modality_codes(n, m)
        ]
        of_turns = [rule for rule in rulings.rules if rule.kind in OF_TURNS]
        return digest_of(
            [rows, *(to_json(part) for part in (tuple(of_turns), self.tables.aliases)),
             to_json(self.manifest.head.copies)]
        )  # fmt: skip

    @cached_property
    def undrawn(self) -> Rulings:
        """Rulings as they would be without the random split."""
        request = _request(self.config, (Operation.FINE_TUNING,), frozenset(Arm))
        return self.rule(replace(request, set_aside=frozenset({RuleSource.SENTINEL})))

    def rule(self, request: Request) -> Rulings:
        """Decide by the rows alone."""
        head, tables = self.manifest.head, self.tables
        return rule_tables(head, tables, self.frame, self.events, request, self.now)

    def open(self, request: Request) -> "_Opened":
        """Decide by the rows, then read what is admitted and decide by its turns too."""
        _check_job(self.manifest, request)
        rulings = self.rule(request)
        reader = ContentReader(self.source, self.manifest, self.rows, rulings)
        return _Opened(self.rows, rulings, dict(reader.read(np.flatnonzero(rulings.admitted))))

    def all_kept_out(self) -> dict[str, tuple[tuple[str, str], ...]]:
        return {str(arm): self.kept_out(arm) for arm in (Arm.HELDOUT, Arm.SENTINEL)}

    def kept_out(self, arm: Arm) -> tuple[tuple[str, str], ...]:
        """Meeting ids and content digests of an arm, from the rows alone."""
        names = (self.rows.meetings[int(n)].meeting_id for n in self.undrawn.of_arm(arm))
        return tuple((name, self._content_digest(name)) for name in names)

    def _content_digest(self, meeting: str) -> str:
        rows = self.rows.content[meeting]
        digests = [rows[m].sha256 for m in map(Modality, self.config.job.modalities) if m in rows]
        return digests[0] if len(digests) == 1 else digest_of(digests)


@dataclass(frozen=True)
class _Opened:
    """Rulings, and what the content of the meetings that the rows admit adds to them.

    Attributes:
        read: number of a meeting to the verdicts on its turns, by modality.
    """

    rows: MeetingRows
    rulings: Rulings
    read: Mapping[int, Mapping[Modality, Opened]]

    def codes(self, number: int) -> tuple[str, ...]:
        """Why a meeting is denied as a whole."""
        if number not in self.read:
            return self.rulings.codes(number)
        opened = self.read[number].values()
        if any(not found.verdicts.codes for found in opened):
            return ()
        return in_order({code for found in opened for code in found.verdicts.codes})

    @property
    def admitted(self) -> list[int]:
        """Numbers of the admitted meetings."""
        return [number for number in self.read if not self.codes(number)]

    def meetings(self, arm: Arm) -> tuple[GatedMeeting, ...]:
        return tuple(
            GatedMeeting(row.meeting_id, row.series_id, str(arm), row.start.date().isoformat(),
                         tuple(_gated(self.read[number])))
            for number in self.admitted
            if self.rulings.arm[number] == ARMS.index(arm)
            for row in [self.rows.meetings[number]]
        )  # fmt: skip

    def decisions(self) -> Iterator[Row]:
        """Every row of decisions.parquet."""
        for number, row in enumerate(self.rows.meetings):
            codes = self.codes(number)
            yield row.meeting_id, -1, "meeting", codes
            if not codes:
                yield from self._turns(number, row.meeting_id)

    def _turns(self, number: int, name: str) -> Iterator[Row]:
        for modality, content in self.rows.content[name].items():
            opened = self.read[number].get(modality)
            whole = self.rulings.modality_codes(number, modality)
            whole = opened.verdicts.codes if opened else whole
            turns = opened.verdicts.turns if opened else ((),) * content.turns
            for turn, codes in enumerate(turns):
                yield name, turn, str(modality), in_order((*whole, *codes))


def _gated(read: Mapping[Modality, Opened]) -> Iterator[GatedTurn]:
    ordinals: dict[str, int] = {}
    for modality, opened in read.items():
        if opened.verdicts.codes:
            continue
        verdicts = zip(opened.turns, opened.verdicts.turns, opened.verdicts.texts, strict=True)
        for index, (turn, codes, text) in enumerate(verdicts):  # as in decisions.parquet
            if not codes:
                speaker = ordinals.setdefault(turn.speaker, len(ordinals))
                yield GatedTurn(str(modality), index, speaker, text)


def _request(config: Config, operations: tuple[Operation, ...], arms: frozenset[Arm]) -> Request:
    job = config.job
    try:
        modalities = tuple(dict.fromkeys(map(Modality, job.modalities)))
    except ValueError:
        raise Refused("JOB_MODALITY_OUT_OF_SCOPE", "an unknown kind of content", "job.modalities",
                      f"known: {', '.join(Modality)}") from None  # fmt: skip
    recipients = tuple(dict.fromkeys(job.recipients))
    return Request(job.controller, job.purpose, operations, modalities, arms, recipients)


def _check_job(manifest: Manifest, request: Request) -> None:
    scope = manifest.head.scope
    problems = {
        "JOB_CONTROLLER_MISMATCH": request.controller != scope.controller,
        "JOB_OPERATION_OUT_OF_SCOPE": not {*request.operations} <= {*scope.operations},
        "JOB_PURPOSE_OUT_OF_SCOPE": request.purpose not in scope.purposes,
        "JOB_MODALITY_OUT_OF_SCOPE": not {*request.modalities} <= {*scope.modalities},
        "JOB_RECIPIENT_OUT_OF_SCOPE": not {*request.recipients} <= {*scope.recipients},
        "JOB_EMPTY": not request.modalities,
    }
    for code, found in problems.items():
        if found:
            raise Refused(code, sentence(code), "job", "ask within the manifest's scope")


def _table(rows: Sequence[Row]) -> pa.Table:
    names, turns, modalities, codes = zip(*rows, strict=True) if rows else ((), (), (), ())
    decisions = ["deny" if found else "admit" for found in codes]
    return pa.table([names, turns, modalities, decisions, [*map(list, codes)]], schema=SCHEMA)


def _summary(session: _Session, opened: _Opened, rows: Sequence[Row]) -> dict[str, Any]:
    manifest, admitted = session.manifest, opened.admitted
    by_code = Counter(code for *_, codes in rows for code in codes)
    arms = {str(arm): len(session.undrawn.of_arm(arm)) for arm in Arm}
    return {
        "manifest_sha256": manifest.sha256,
        "epoch": manifest.head.epoch,
        "meetings_total": len(session.rows.meetings),
        "meetings_admitted": len(admitted),
        "turns_total": sum(row.turns for row in manifest.tables.content),
        "turns_admitted": sum(turn >= 0 and not codes for _, turn, _, codes in rows),
        "by_code": dict(sorted(by_code.items(), key=lambda item: (-item[1], item[0]))),
        "corpus_root": _corpus_root(opened),
        "arms": arms,
        "randomised": session.randomised,
        "decided_at": format_time(session.now),
        "trust_sha256": manifest.trust_sha256,
        "trust_first": to_json(session.present.trust_first),
        "withdrawals": to_json(session.present.log_head),
    }


def _corpus_root(opened: _Opened) -> str:
    """Digest of what is admitted: sorted (meeting, modality, content SHA-256)."""
    return digest_of(
        sorted(
            [name, str(modality), opened.rows.content[name][modality].sha256]
            for number in opened.admitted
            for name in [opened.rows.meetings[number].meeting_id]
            for modality, found in opened.read[number].items()
            if not found.verdicts.codes
        )
    )


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
