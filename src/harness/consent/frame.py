"""A manifest's large tables side by side: who was in which meeting, and whose consent is whose.

Rows are joined by number: a meeting is its row in ``meetings``, a person a row of the roster.
"""

from collections.abc import Sequence
from functools import cached_property
from zoneinfo import available_timezones

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from harness.consent.bits import Mask
from harness.consent.columns import Columns, Numbers, to_arrow
from harness.consent.labels import is_confusable, label_key
from harness.consent.manifest import TABLES, Tables
from harness.consent.modality import BIT, ORDER, mask, origins
from harness.meetings.model import Modality


class Frame:
    """The columns of the large tables of a manifest, and how their rows belong together.

    Args:
        meetings: one row a meeting.
        participants: one row a label of a roster.
        content: one row a file.
        consent: the event log.

    Attributes:
        roster: rows of ``participants``, those of a meeting together, in the order of meetings.
        meeting: of each roster row, the meeting.
        events: rows of ``consent``, those of a subject together, in the order of their times.
        first_event, last_event: of each roster row, the range of its subject's events.
    """

    def __init__(
        self, meetings: pa.Table, participants: pa.Table, content: pa.Table, consent: pa.Table
    ) -> None:
        self.meetings = Columns(meetings)
        self._ids = self.meetings.table.column("meeting_id").combine_chunks()
        unordered = Columns(participants)
        meeting = self.find_meetings(unordered.table.column("meeting_id"))
        order = np.argsort(meeting, kind="stable")
        self.roster, self.meeting = unordered.take(order), meeting[order]
        self.content = Columns(content)
        self.content_meeting = self.find_meetings(self.content.table.column("meeting_id"))
        self.events, starts = _by_subject(Columns(consent))
        subjects = self.events.table.column("subject_key").take(pa.array(starts[:-1]))
        place = pc.index_in(self.roster.table.column("subject_key"), subjects.combine_chunks())
        found = place.fill_null(-1).to_numpy().astype(np.int64)
        known = (found >= 0) & ~self.roster.null("subject_key")
        self.first_event = np.where(known, starts[found], 0)
        self.last_event = np.where(known, starts[found + 1], 0)

    @classmethod
    def of(cls, tables: Tables) -> "Frame":
        """From the rows of a manifest."""
        names = ("meetings", "participants", "content", "consent")
        return cls(*(to_arrow(TABLES[name][0], getattr(tables, name)) for name in names))

    def find_ids(self, ids: Sequence[str]) -> Numbers:
        """As :meth:`find_meetings`, for some ids."""
        return self.find_meetings(pa.array(ids, pa.string()))

    def find_meetings(self, ids: pa.ChunkedArray | pa.Array) -> Numbers:
        """The meeting of each id; -1 where there is none."""
        found = pc.index_in(ids, self._ids).fill_null(-1)
        return np.asarray(found.to_numpy(), np.int64)

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
        zones = available_timezones()
        return np.array([word in zones for word in words] or [False])[codes]

    @cached_property
    def ambiguous(self) -> Mask:
        """Whether another row of the same meeting bears an equal label and is another person."""
        numbers, keys = self.label_keys
        subject, _ = self.roster.coded("subject_key")
        bearers = self.meeting * (len(keys) + 1) + numbers
        order = np.argsort(bearers)
        shared = np.zeros(self.roster.size, bool)
        group = np.cumsum(np.diff(bearers[order], prepend=-1) != 0) - 1
        first = subject[order][np.searchsorted(group, group)] if len(group) else subject
        differing = group[subject[order] != first]
        shared[order] = np.isin(group, differing)
        return shared

    @cached_property
    def label_keys(self) -> tuple[Numbers, list[str]]:
        """How the label of each roster row compares: the number of its key, and the keys."""
        codes, labels = self.roster.coded("label")
        keys = [label_key(str(label)) for label in labels]
        numbers = {key: place for place, key in enumerate(dict.fromkeys(keys))}
        return np.array([numbers[key] for key in keys] or [0])[codes], [*numbers]

    @cached_property
    def confusable(self) -> Mask:
        """Whether the label of each roster row mixes scripts."""
        codes, labels = self.roster.coded("label")
        return np.array([is_confusable(str(label)) for label in labels] or [False])[codes]

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
        table = np.zeros((self.meetings.size, len(ORDER)), np.int64)
        numbers = {str(m): place for place, m in enumerate(ORDER)}
        modality = self.content.mapped("modality", numbers, 0, np.int64)
        bits = {str(m): bit for m, bit in BIT.items()}
        table[self.content_meeting, modality] = self.content.bits("derived_from", bits)
        kinds, stated = np.unique(table, axis=0, return_inverse=True)
        named = [
            [frozenset(m for m in ORDER if BIT[m] & b) for b in kind] for kind in kinds.tolist()
        ]
        return stated.reshape(-1), named

    @cached_property
    def place_sets(self) -> tuple[Numbers, list[frozenset[str]], Numbers, list[frozenset[str]]]:
        """Places of each roster row, and of all rows of each meeting.

        Returns:
            Number of the set of each row, the sets; number of the set of each meeting, the sets.
        """
        codes, places = self.roster.items("jurisdictions")
        owners = self.roster.owners("jurisdictions")
        of_rows = _sets(owners, codes, places, self.roster.size)
        return *of_rows, *_sets(self.meeting[owners], codes, places, self.meetings.size)


def _by_subject(events: Columns) -> tuple[Columns, Numbers]:
    """Events by subject and time; where each subject's events begin, and where the last ends."""
    keys = _halves(events)
    time, seq = events.times("event_time"), events.table.column("seq").to_numpy()
    if not _is_ordered([*keys, time, seq]):
        order = np.lexsort((seq, time, *reversed(keys)))
        events, keys = events.take(order), (keys[0][order], keys[1][order])
    if not events.size:
        return events, np.zeros(1, np.int64)
    changes = np.flatnonzero((np.diff(keys[0]) != 0) | (np.diff(keys[1]) != 0)) + 1
    return events, np.concatenate([[0], changes, [events.size]]).astype(np.int64)


def _halves(events: Columns) -> tuple[Numbers, Numbers]:
    """The sixteen bytes of each subject key as two numbers, which equal keys share."""
    array = events.table.column("subject_key").combine_chunks()
    raw = np.frombuffer(array.cast(pa.binary(16)).buffers()[1] or b"", np.int64)
    pairs = raw[2 * array.offset : 2 * (array.offset + len(array))].reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _is_ordered(columns: Sequence[Numbers]) -> bool:
    """Whether rows stand in the order of the first column, then of the next, and so on."""
    open_ = np.ones(max(len(columns[0]) - 1, 0), bool)
    for column in columns:
        step = column[1:] < column[:-1], column[1:] > column[:-1]
        if (open_ & step[0]).any():
            return False
        open_ &= ~step[1]
    return True


def _sets(
    owners: Numbers, codes: Numbers, words: Sequence[str | None], size: int
) -> tuple[Numbers, list[frozenset[str]]]:
    """The set of words of each owner, as the number of a set among the different sets."""
    of, kinds = np.zeros(size, np.int64), [frozenset[str]()]
    for start in range(0, len(words), _BITS):  # sets are merged word by word of so many bits
        here = (codes >= start) & (codes < start + _BITS)
        bits = np.zeros(size, np.int64)
        np.bitwise_or.at(bits, owners[here], np.int64(1) << (codes[here] - start))
        masks, which = np.unique(bits, return_inverse=True)
        pairs, of = np.unique(of * len(masks) + which.reshape(-1), return_inverse=True)
        named = [_named(int(mask), words[start : start + _BITS]) for mask in masks]
        kinds = [kinds[pair // len(masks)] | named[pair % len(masks)] for pair in pairs]
        of = of.reshape(-1)
    return of, kinds


def _named(mask: int, words: Sequence[str | None]) -> frozenset[str]:
    return frozenset(str(word) for place, word in enumerate(words) if mask >> place & 1)


_BITS = 62
