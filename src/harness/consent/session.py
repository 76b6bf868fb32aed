"""One look at a manifest: what its rows and its content decide, some meetings at a time."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np

from harness.config import Config
from harness.consent.capability import Authority, GatedMeeting, GatedTurn
from harness.consent.decide import Rulings
from harness.consent.exclusion import OF_TURNS
from harness.consent.frame import ARMS
from harness.consent.head import OnWithdrawal
from harness.consent.manifest import Manifest
from harness.consent.masking import Masking
from harness.consent.opening import ContentReader, MeetingRows, Opened
from harness.consent.passes import Tick
from harness.consent.present import Source, verify_present
from harness.consent.reasons import in_order, sentence
from harness.consent.records import (
    Arm,
    ExclusionRule,
    Operation,
    RuleSource,
    format_time,
    to_json,
)
from harness.consent.request import Request
from harness.consent.ruling import Ruler, no_tick
from harness.consent.split import check_draw
from harness.digest import digest_of
from harness.errors import Refused
from harness.meetings.model import Modality

Row = tuple[str, int, str, tuple[str, ...]]
"""Meeting, turn, modality and codes, as in decisions.parquet."""

MaskedRow = tuple[str, str, int, int, int, str]
"""Meeting, modality, turn, first character, the one after the last, and class of what is masked."""

MEETING_AS_A_WHOLE = "meeting"
TRAINED = frozenset({Arm.TRAIN, Arm.VALIDATION})
KEPT_OUT = (Arm.HELDOUT, Arm.SENTINEL)


class Session:
    """One verified manifest, one clock, one configuration.

    Args:
        source: content store, manifest and trust root.
        config: ``job`` says what is asked for.
        now: this machine's clock, aware.
        decided_at: the clock that shares have in common, instead of this machine's.
        share: which share of the meetings is decided, and of how many.

    Raises:
        Refused: a code of manifest, log, state or split.
    """

    def __init__(
        self, source: Source, config: Config, now: datetime, decided_at: datetime | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> None:  # fmt: skip
        self.present, self.clock = verify_present(source, now), now
        if decided_at is not None:
            self.present = replace(self.present, now=decided_at)
        self.config, self.now, self.source = config, self.present.now, source
        self.manifest, head = self.present.manifest, self.present.manifest.head
        log, processes = self.present.log, config.gate.processes
        self.ruler = Ruler(self.manifest, log, self.now, processes, share)
        draw = head.split
        self.masking = Masking.of(config)
        self.randomised = check_draw(draw.seed, draw.randomised, self.ruler.arms())

    @property
    def authority(self) -> Authority:
        """What a permission of this session goes back to."""
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
        request = request_for(self.config, (Operation.FINE_TUNING,), TRAINED)
        rows: list[Any] = []
        of_turns: list[ExclusionRule] = []
        for batch in self.batches(request):
            rulings, ids = batch.rulings, batch.rows.ids
            of_turns = [rule for rule in rulings.rules if rule.kind in OF_TURNS]
            rows += (
                [ids[n], str(m), *_left_out(batch.rows, n, rulings.dropped_labels(n, m))]
                for n in map(int, np.flatnonzero(rulings.admitted))
                for m in rulings.request.modalities
                if not rulings.modality_codes(n, m)
            )
        aliases = tuple(self.manifest.tables.aliases)
        return digest_of(
            [rows, to_json(tuple(of_turns)), to_json(aliases), to_json(self.manifest.head.copies)]
        )

    def batches(self, request: Request, tick: Tick = no_tick) -> "Iterator[Batch]":
        """Decide by the rows alone, some meetings at a time."""
        aliases = self.manifest.tables.aliases
        for rulings in self.ruler.rule(request, tick):
            yield Batch(MeetingRows(rulings.frame, aliases), rulings)

    def undrawn(self) -> "Iterator[Batch]":
        """As it would be without the random split."""
        request = request_for(self.config, (Operation.FINE_TUNING,), frozenset(Arm))
        return self.batches(replace(request, set_aside=frozenset({RuleSource.SENTINEL})))

    def open(self, request: Request, tick: Tick = no_tick) -> "Iterator[OpenedBatch]":
        """Decide by the rows, then read what is admitted and decide by its turns too."""
        _check_job(self.manifest, request)
        for batch in self.batches(request, tick):
            reader = ContentReader(
                self.source, self.manifest, batch.rows, batch.rulings, self.masking
            )
            read = dict(reader.read(np.flatnonzero(batch.rulings.admitted)))
            yield OpenedBatch(batch.rows, batch.rulings, read)

    def meetings(self, request: Request, *arms: Arm) -> list[tuple[GatedMeeting, ...]]:
        """What is admitted of some arms."""
        found: list[list[GatedMeeting]] = [[] for _ in arms]
        for opened in self.open(request):
            for kept, arm in zip(found, arms, strict=True):
                kept += opened.meetings(arm)
        return [tuple(kept) for kept in found]

    def all_kept_out(self) -> dict[str, tuple[tuple[str, str], ...]]:
        """Meeting ids and content digests of the arms that are not trained on, from the rows."""
        found: dict[str, list[tuple[str, str]]] = {str(a): [] for a in KEPT_OUT}
        modalities = tuple(map(Modality, self.config.job.modalities))
        for batch in self.undrawn():
            for arm in KEPT_OUT:
                found[str(arm)] += batch.digests(arm, modalities)
        return {arm: tuple(rows) for arm, rows in found.items()}


@dataclass(frozen=True)
class Batch:
    """Some meetings, as they were decided by the rows."""

    rows: MeetingRows
    rulings: Rulings

    def digests(self, arm: Arm, asked: Sequence[Modality]) -> Iterator[tuple[str, str]]:
        """Meeting ids and content digests of an arm."""
        for number in map(int, self.rulings.of_arm(arm)):
            rows = self.rows.content(number)
            found = [rows[m].sha256 for m in asked if m in rows]
            yield self.rows.ids[number], found[0] if len(found) == 1 else digest_of(found)


@dataclass(frozen=True)
class OpenedBatch(Batch):
    """A batch, and what the content of the meetings that the rows admit adds to it.

    Attributes:
        read: number of a meeting to the verdicts on its turns, by modality.
    """

    read: Mapping[int, Mapping[Modality, Opened]]

    def codes(self, number: int) -> tuple[str, ...]:
        """Why a meeting that the rows admit is denied as a whole."""
        opened = self.read[number].values()
        if any(not found.verdicts.codes for found in opened):
            return ()
        return in_order({code for found in opened for code in found.verdicts.codes})

    @property
    def admitted(self) -> list[int]:
        """Numbers of the admitted meetings."""
        return [number for number in self.read if not self.codes(number)]

    def meetings(self, arm: Arm) -> Iterator[GatedMeeting]:
        """The admitted meetings of an arm."""
        for number in self.admitted:
            if self.rulings.arm[number] == ARMS.index(arm):
                row = self.rows.meeting(number)
                turns = tuple(_gated(self.read[number]))
                day = row.start.date().isoformat()
                yield GatedMeeting(row.meeting_id, row.series_id, str(arm), day, turns)

    def rows_of(self, number: int) -> Iterator[Row]:
        """Rows of decisions.parquet of a meeting that the rows admit."""
        codes, name = self.codes(number), self.rows.ids[number]
        yield name, -1, MEETING_AS_A_WHOLE, codes
        if not codes:
            yield from self._turns(number, name)

    def _turns(self, number: int, name: str) -> Iterator[Row]:
        for modality, content in self.rows.content(number).items():
            opened = self.read[number].get(modality)
            whole = self.rulings.modality_codes(number, modality)
            whole = opened.verdicts.codes if opened else whole
            turns = opened.verdicts.turns if opened else ((),) * content.turns
            for turn, codes in enumerate(turns):
                yield name, turn, str(modality), in_order((*whole, *codes))

    def masked(self) -> Iterator[MaskedRow]:
        """Rows of masked.parquet: of the turns that may be used."""
        for number in self.admitted:
            for modality, opened in self.read[number].items():
                if opened.verdicts.codes:
                    continue
                for turn, codes in enumerate(opened.verdicts.turns):
                    for span in opened.texts[turn].spans if not codes else ():
                        yield self.rows.ids[number], str(modality), turn, *span

    def corpus(self) -> list[list[str]]:
        """What is admitted: sorted (meeting, modality, content SHA-256)."""
        return sorted(
            [self.rows.ids[number], str(modality), self.rows.content(number)[modality].sha256]
            for number in self.admitted
            for modality, found in self.read[number].items()
            if not found.verdicts.codes
        )


def _gated(read: Mapping[Modality, Opened]) -> Iterator[GatedTurn]:
    ordinals: dict[str, int] = {}
    for modality, opened in read.items():
        if opened.verdicts.codes:
            continue
        verdicts = zip(opened.turns, opened.verdicts.turns, opened.texts, strict=True)
        for index, (turn, codes, used) in enumerate(verdicts):  # as in decisions.parquet
            if not codes:
                # a query is as it was read: where anything would be masked, no pair is used
                said = turn.query is None
                speaker = ordinals.setdefault(turn.speaker, len(ordinals)) if said else -1
                yield GatedTurn(str(modality), index, speaker, used.text, turn.query)


def _left_out(rows: MeetingRows, number: int, labels: Collection[str]) -> list[list[str]]:
    """Whose turns of a meeting are not used, and what of them decides about masking."""
    people = [row for row in rows.roster(number) if row.label in labels] if labels else []
    return sorted([row.label, row.domain, *sorted(row.jurisdictions)] for row in people)


def request_for(config: Config, operations: tuple[Operation, ...], arms: frozenset[Arm]) -> Request:
    """What a job asks for.

    Args:
        config: its ``job`` section.
        operations: all of which people must have agreed to.
        arms: of the split that it may read.

    Raises:
        Refused: ``JOB_MODALITY_OUT_OF_SCOPE`` for an unknown kind of content.
    """
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
