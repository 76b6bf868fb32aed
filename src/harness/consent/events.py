"""The consent log, or the part of it about some people: each one's events in the order of time."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from harness.consent.columns import Columns, Numbers, to_arrow
from harness.consent.records import ConsentEvent

KEY = pa.binary(16)


class Events:
    """Events, those of a subject together, in the order of their times.

    Args:
        consent: rows of the consent table, in any order.

    Attributes:
        columns: the rows in that order.
    """

    def __init__(self, consent: pa.Table) -> None:
        self.columns, self._starts = _by_subject(Columns(consent))
        self._subjects = self.columns.array("subject_key").take(pa.array(self._starts[:-1]))

    @classmethod
    def from_rows(cls, consent: Iterable[ConsentEvent]) -> "Events":
        """From the rows of a manifest."""
        return cls(to_arrow(ConsentEvent, consent))

    def of(self, subjects: pa.Array) -> tuple[Numbers, Numbers]:
        """The range of each subject's events, empty for nobody and for who has none.

        Args:
            subjects: keys; null is nobody.

        Returns:
            First row of each range, and the row after its last.
        """
        found = pc.index_in(subjects, self._subjects).fill_null(-1).to_numpy().astype(np.int64)
        known = found >= 0
        return (
            np.where(known, self._starts[found], 0),
            np.where(known, self._starts[found + 1], 0),
        )


def halves(keys: pa.Array) -> tuple[Numbers, Numbers]:
    """The sixteen bytes of each key as two numbers, which equal keys share."""
    raw = np.frombuffer(keys.cast(KEY).buffers()[1] or b"", np.int64)
    pairs = raw[2 * keys.offset : 2 * (keys.offset + len(keys))].reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _by_subject(events: Columns) -> tuple[Columns, Numbers]:
    """Events by subject and time; where each subject's events begin, and where the last ends."""
    keys = halves(events.array("subject_key"))
    changes, groups = _runs(keys)
    time, seq = events.times("event_time"), events.array("seq").to_numpy()
    subjects = events.array("subject_key").take(pa.array(changes))
    if pc.count_distinct(subjects).as_py() < len(changes) or not _rises(groups, time, seq):
        order = np.lexsort((seq, time, *keys))
        events = events.take(order)
        changes, _ = _runs((keys[0][order], keys[1][order]))
    return events, np.concatenate([changes, [events.size]]).astype(np.int64)


def _runs(keys: tuple[Numbers, Numbers]) -> tuple[Numbers, Numbers]:
    """Where runs of equal keys begin, and the number of each row's run."""
    begins = np.ones(len(keys[0]), bool)
    begins[1:] = (np.diff(keys[0]) != 0) | (np.diff(keys[1]) != 0)
    return np.flatnonzero(begins), np.cumsum(begins)


def _rises(groups: Numbers, time: Numbers, seq: Numbers) -> bool:
    """Whether times, and sequence numbers of equal times, rise within each run."""
    later, earlier = np.s_[1:], np.s_[:-1]
    rises = (time[later] > time[earlier]) | (
        (time[later] == time[earlier]) & (seq[later] > seq[earlier])
    )
    return bool((rises | (groups[later] != groups[earlier])).all())
