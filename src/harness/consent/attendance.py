"""Who was at which meeting, as the rules of consent see it, beside what these people agreed to."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import pyarrow as pa

from harness.consent.bits import Mask
from harness.consent.columns import Columns, Numbers, coupled
from harness.consent.events import Events
from harness.consent.frame import Frame
from harness.consent.records import ALL, AgeBand, Relation


class Names(Protocol):
    """Numbers of the meetings and of the series that a manifest has; -1 for an unknown id."""

    def find_meetings(self, ids: pa.Array) -> Numbers:
        """The number of each meeting."""

    def find_series(self, ids: pa.Array) -> Numbers:
        """The number of each series."""


@dataclass(frozen=True)
class Attendance:
    """Rows of rosters whose people are identified.

    Attributes:
        meeting: of each row, the place of the meeting in the columns about meetings.
        guarded: whether the person is a minor with a guardian.
        employed: whether the person may be the controller's employee.
        start: of each meeting, in microseconds.
        number, series: of each meeting, its number and that of its series, as ``names`` has them.
        events: of these people, and of others perhaps.
        first, last: of each row, the range of its person's events.
        names: what numbers stand for.
    """

    meeting: Numbers
    guarded: Mask
    employed: Mask
    start: Numbers
    number: Numbers
    series: Numbers
    events: Events
    first: Numbers
    last: Numbers
    names: Names

    @classmethod
    def of(cls, frame: Frame, events: Events) -> "Attendance":
        """Of all roster rows of a frame; without a person, a row has no events."""
        roster = frame.roster
        return cls(
            frame.meeting, roster.equal("age_band", AgeBand.MINOR_WITH_GUARDIAN),
            ~roster.equal("relation", Relation.OTHER), frame.start,
            np.arange(frame.meetings.size), frame.series, events,
            *events.of(roster.array("subject_key")), frame,
        )  # fmt: skip

    @cached_property
    def scopes(self) -> "Scopes":
        """Which meetings each event names."""
        return Scopes(self)


class Scopes:
    """The meetings that events name, and from when to when they reach.

    Args:
        attendance: events, meetings and names.
    """

    def __init__(self, attendance: Attendance) -> None:
        events, names = attendance.events.columns, attendance.names
        self.all = events.has("scope.meetings", ALL) | events.has("scope.series", ALL)
        self.none = (events.lengths("scope.meetings") + events.lengths("scope.series")) == 0
        self.start = events.times("scope.from")
        self.end = events.times("scope.until")
        self._meetings = _Lists(events, "scope.meetings", names.find_meetings)
        self._series = _Lists(events, "scope.series", names.find_series)
        self._number, self._series_of = attendance.number, attendance.series

    @property
    def unknown(self) -> Numbers:
        """Events that name a meeting or series which there is not."""
        return np.concatenate([self._meetings.unknown, self._series.unknown])

    def names(self, event: Numbers, meeting: Numbers) -> Mask:
        """Whether each event names the meeting beside it."""
        named = self.all[event]
        for lists, numbers in ((self._meetings, self._number), (self._series, self._series_of)):
            number = numbers[meeting]
            open_ = np.flatnonzero(~named & lists.filled[event])
            named[open_] = lists.have(event[open_], number[open_])
        return named


class _Lists:
    """The numbers of the names that each event lists, -1 for one that has none.

    Args:
        events: of the log.
        column: lists of names.
        find: numbers of names.
    """

    def __init__(self, events: Columns, column: str, find: Callable[[pa.Array], Numbers]) -> None:
        codes, words = events.item_words(column)
        numbers = find(words)
        self._members = np.append(numbers[codes], -1)
        offsets = events.offsets(column)
        self._first, self._size = offsets[:-1], np.diff(offsets)
        self.filled = self._size > 0
        strange = numbers < 0
        strange[strange] = [word != ALL for word in words.filter(pa.array(strange)).to_pylist()]
        self.unknown = events.owners(column)[strange[codes]] if strange.any() else numbers[:0]

    def have(self, event: Numbers, number: Numbers) -> Mask:
        """Whether the list of each event has the number beside it; the list is not empty."""
        found = self._members[self._first[event]] == number
        longer = np.flatnonzero(~found & (self._size[event] > 1))
        if len(longer):
            wanted = coupled(event[longer], number[longer], self._width)
            place = np.searchsorted(self._ordered[:-1], wanted)
            listed = number[longer] < self._width  # else it would be taken for the next list's
            found[longer] = listed & (self._ordered[place] == wanted)
        return np.asarray(found)

    @cached_property
    def _width(self) -> int:
        return int(self._members.max()) + 2

    @cached_property
    def _ordered(self) -> Numbers:
        members = self._members[:-1]
        owners, known = np.repeat(np.arange(len(self._size)), self._size), members >= 0
        return np.append(np.sort(coupled(owners[known], members[known], self._width)), -1)
