"""Decide all meetings of what holds now: at once where they fit into memory, else part by part."""

import tempfile
from collections.abc import Iterator
from datetime import datetime
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from harness.consent.columns import to_arrow
from harness.consent.decide import Question, Rulings, Verdicts, rule_tables
from harness.consent.events import Events
from harness.consent.frame import Frame
from harness.consent.manifest import Manifest
from harness.consent.passes import Tick, Work, decide_parts, modalities_of
from harness.consent.present import withdrawn
from harness.consent.records import SplitRow
from harness.consent.request import Request
from harness.consent.withdrawals import Log
from harness.errors import UsageError


def no_tick(done: int, total: int) -> None:
    """Tell nobody how far it is."""


class Ruler:
    """The rules on one manifest and withdrawals log at one time.

    Args:
        manifest: that was verified.
        log: withdrawals beside it.
        now: clock.
        processes: how many decide parts at once.
        shard: which share of the parts is decided, and of how many.

    Raises:
        UsageError: ``CONFIG_VALUE`` for a share of tables that are not in parts.
    """

    def __init__(
        self, manifest: Manifest, log: Log, now: datetime, processes: int = 1,
        shard: tuple[int, int] = (0, 1),
    ) -> None:  # fmt: skip
        self._manifest, self._log, self._now = manifest, log, now
        self._processes, self._shard = processes, shard
        if manifest.parts is None and shard != (0, 1):
            raise UsageError("CONFIG_VALUE", "the tables are not in parts", "gate.shards",
                             "decide all at once")  # fmt: skip

    def arms(self) -> Iterator[pa.Table]:
        """The split table."""
        parts = self._manifest.parts
        if parts is None:
            yield to_arrow(SplitRow, self._manifest.tables.split)
        else:
            yield from (parts.read("split", n).table for n in range(parts.count("split")))

    def rule(self, request: Request, tick: Tick = no_tick) -> Iterator[Rulings]:
        """Decide by the rows alone.

        Args:
            request: what is asked for.
            tick: is told how far it is.

        Yields:
            The rulings about some meetings; all of them together are all meetings.
        """
        if self._manifest.parts is None:
            head, tables = self._manifest.head, self._manifest.tables
            yield rule_tables(head, tables, self._frame, self._events, request, self._now)
        else:
            yield from self._rule_parts(request, tick)

    def _rule_parts(self, request: Request, tick: Tick) -> Iterator[Rulings]:
        manifest = self._manifest
        parts = manifest.parts
        assert parts is not None
        modalities = modalities_of(parts, request.modalities)
        small = manifest.tables
        question = Question(manifest.head, small, request, self._now, modalities)
        count, (shard, shards) = parts.count("meetings"), self._shard
        mine = range(count * shard // shards, count * (shard + 1) // shards)
        with tempfile.TemporaryDirectory(prefix="gate-") as folder:
            work = Work(parts, question, Path(folder), mine, withdrawn(manifest, self._log))
            decided = decide_parts(work, _as_decided, self._processes, tick)
            for part, verdicts in zip(mine, decided, strict=True):
                frame = parts.read_frame(part)
                yield Rulings(frame, request, verdicts.verdicts, question.rules)

    @cached_property
    def _frame(self) -> Frame:
        return Frame.of(self._manifest.tables)

    @cached_property
    def _events(self) -> Events:
        more = withdrawn(self._manifest, self._log)
        return Events.from_rows([*self._manifest.tables.consent, *more])


def _as_decided(work: Work, part: int, verdicts: Verdicts) -> Verdicts:
    return verdicts
