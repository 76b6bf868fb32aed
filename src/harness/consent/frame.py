"""A manifest's meetings, rosters and content side by side: who was where, and what was recorded.

Rows are joined by number: a meeting is its row in ``meetings``, a person a row of the roster.
"""

from functools import cache, cached_property
from typing import TypeAlias
from zoneinfo import available_timezones

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from harness.consent.bits import Mask
from harness.consent.columns import (
    Columns,
    Numbers,
    coupled,
    numbered,
    schema_of,
    to_arrow,
    uncoupled,
    word_sets,
)
from harness.consent.head import TABLES, Tables
from harness.consent.labels import compared
from harness.consent.modality import BIT, ORDER, mask, origins
from harness.consent.names import repeated
from harness.consent.records import Arm
from harness.meetings.model import Modality

ARMS = tuple(Arm)
Table: TypeAlias = pa.Table | Columns


class Frame:
    """The columns of the large tables of a manifest, and how their rows belong together.

    Args:
        meetings: one row a meeting.
        participants: one row a label of a roster.
        content: one row a file.
        split: one row a meeting that has an arm.

    Attributes:
        roster: rows of ``participants``, those of a meeting together, in the order of meetings.
        meeting: of each roster row, the meeting.
        content_meeting, arm_meeting: of each row of ``content`` and of ``split``, the meeting.
        arm: of each meeting, a place in ``ARMS``, or one more where it has none.
    """

    def __init__(self, meetings: Table, participants: Table, content: Table, split: Table) -> None:
        self.meetings = Columns.of(meetings)
        self.roster = Columns.of(participants)
        self.meeting = self.find_meetings(self.roster.array("meeting_id"))
        if (np.diff(self.meeting) < 0).any():
            order = np.argsort(self.meeting, kind="stable")
            self.roster, self.meeting = self.roster.take(order), self.meeting[order]
        self.content = Columns.of(content)
        self.content_meeting = self.find_meetings(self.content.array("meeting_id"))
        self.arm = np.full(self.meetings.size, len(ARMS))
        arms, drawn = Columns.of(split), {str(arm): place for place, arm in enumerate(ARMS)}
        self.arm_meeting = self.find_meetings(arms.array("meeting_id"))
        known = self.arm_meeting >= 0
        self.arm[self.arm_meeting[known]] = arms.mapped("arm", drawn, 0, int)[known]

    @classmethod
    def of(cls, tables: Tables) -> "Frame":
        """From the rows of a manifest."""
        return cls(*(to_arrow(TABLES[name][0], getattr(tables, name)) for name in _TABLES))

    @classmethod
    def bare(cls, meetings: Table) -> "Frame":
        """Of meetings alone."""
        return cls(meetings, *(schema_of(TABLES[name][0]).empty_table() for name in _TABLES[1:]))

    def find_meetings(self, ids: pa.Array) -> Numbers:
        """The meeting of each id; -1 where there is none."""
        if not len(ids):
            return np.zeros(0, np.int64)
        if ids.equals(self.meetings.array("meeting_id")):
            return np.arange(len(ids))
        found = pc.index_in(ids, self.meetings.array("meeting_id")).fill_null(-1)
        return np.asarray(found.to_numpy(), np.int64)

    def find_series(self, ids: pa.Array) -> Numbers:
        """The number of each series, as in :attr:`series`; -1 where no meeting is of it."""
        return np.asarray(pc.index_in(ids, self.series_names).fill_null(-1).to_numpy(), np.int64)

    @property
    def series(self) -> Numbers:
        """The series of each meeting, as a number."""
        return self._series[0]

    @property
    def series_names(self) -> pa.Array:
        """The series, in the order of their numbers."""
        return self._series[1]

    @cached_property
    def _series(self) -> tuple[Numbers, pa.Array]:
        return numbered(self.meetings.array("series_id"))

    @cached_property
    def start(self) -> Numbers:
        """When each meeting began, in microseconds."""
        return self.meetings.times("start")

    @cached_property
    def end(self) -> Numbers:
        """When each meeting ended, in microseconds."""
        return self.meetings.times("end")

    @cached_property
    def timezone_exists(self) -> Mask:
        """Whether each meeting's time zone is one of the IANA database."""
        codes, words = self.meetings.coded("tz")
        return np.array([word in _zones() for word in words] or [False])[codes]

    @cached_property
    def ambiguous(self) -> Mask:
        """Whether another row of the same meeting bears an equal label and is another person."""
        shared = np.flatnonzero(self.sharing)
        numbers, keys = numbered(self.keys_of_labels.take(pa.array(shared)))
        subject, people = numbered(self.roster.array("subject_key").take(pa.array(shared)))
        bearers = coupled(self.meeting[shared], numbers, len(keys))
        _, which, counts = np.unique(bearers, return_inverse=True, return_counts=True)
        alike = coupled(bearers, subject, len(people))
        _, of_person, same = np.unique(alike, return_inverse=True, return_counts=True)
        found = np.zeros(self.roster.size, bool)
        found[shared] = same[of_person] < counts[which]
        return found

    @cached_property
    def keys_of_labels(self) -> pa.Array:
        """How the label of each roster row compares."""
        return self._compared[0]

    @cached_property
    def _compared(self) -> tuple[pa.Array, Mask]:
        return compared(self.roster.array("label"))

    @cached_property
    def sharing(self) -> Mask:
        """Whether another row of the same meeting bears an equal label."""
        return repeated(self.meeting, self.keys_of_labels)

    @cached_property
    def confusable(self) -> Mask:
        """Whether the label of each roster row mixes scripts."""
        return self._compared[1]

    def content_rows(self, modality: Modality) -> Numbers:
        """The content row of each meeting for one modality; -1 where it has none."""
        rows = np.full(self.meetings.size, -1, np.int64)
        these = np.flatnonzero(self.content.equal("modality", modality))
        rows[self.content_meeting[these]] = these
        return rows

    def origins(self, modality: Modality) -> Numbers:
        """What one modality derives from in each meeting, as bits."""
        stated, kinds = self._stated
        masks = [mask(origins(modality, dict(zip(ORDER, kind, strict=True)))) for kind in kinds]
        return np.array(masks or [0], np.int64)[stated]

    @cached_property
    def _stated(self) -> tuple[Numbers, list[list[frozenset[Modality]]]]:
        """What modalities are stated to derive from, in each meeting: its kind, and the kinds."""
        kind, kinds = np.zeros(self.meetings.size, np.int64), np.zeros((1, 0), np.int64)
        bits = self.content.bits("derived_from", {str(m): bit for m, bit in BIT.items()})
        for modality in ORDER:
            rows = self.content_rows(modality)
            stated = np.where(rows >= 0, bits[rows], 0) if len(bits) else np.zeros_like(rows)
            if not stated.any():
                kinds = np.pad(kinds, ((0, 0), (0, 1)))
                continue
            different = np.unique(stated)
            number = coupled(kind, np.searchsorted(different, stated), len(different))
            kind, pairs = numbered(number)
            before, here = uncoupled(pairs.to_numpy(), len(different))
            kinds = np.column_stack([kinds[before], different[here]])
        named = [[frozenset(m for m in ORDER if BIT[m] & b) for b in row] for row in kinds.tolist()]
        return kind, named

    @cached_property
    def place_sets(self) -> tuple[Numbers, list[frozenset[str]], Numbers, list[frozenset[str]]]:
        """Places of each roster row, and of all rows of each meeting.

        Returns:
            Number of the set of each row, the sets; number of the set of each meeting, the sets.
        """
        codes, places = self.roster.items("jurisdictions")
        owners = self.roster.owners("jurisdictions")
        of_rows = word_sets(owners, codes, places, self.roster.size)
        return *of_rows, *word_sets(self.meeting[owners], codes, places, self.meetings.size)


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


_TABLES = ("meetings", "participants", "content", "split")
