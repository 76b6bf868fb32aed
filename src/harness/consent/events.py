"""The consent log, or the part of it about some people: each one's events in the order of time."""

from collections.abc import Iterable
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from harness.consent.bits import PERSON, Codes, Mask
from harness.consent.columns import Columns, Numbers, fixed_numbers, to_arrow
from harness.consent.jurisdiction import STRENGTH
from harness.consent.modality import BIT, OPERATION_BIT
from harness.consent.records import ConsentEvent, Delegation, State

KEY = pa.binary(16)


class Events:
    """Events, those of a subject together, in the order of their times.

    Args:
        consent: rows of the consent table, in any order.

    Attributes:
        columns: the rows in that order. The properties have one value for each of them.
    """

    def __init__(self, consent: pa.Table | Columns) -> None:
        self.columns, self._starts = _by_subject(Columns.of(consent))
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

    @cached_property
    def permits(self) -> Mask:
        """Whether it permits; other events restrict."""
        permitting = dict.fromkeys(map(str, PERMITTING), True)
        return np.asarray(self.columns.mapped("state", permitting, False, bool))

    @cached_property
    def state_codes(self) -> Codes:
        """The code of the state that a restrictive event brings about."""
        bits = {str(state): PERSON.bit(code) for state, code in _STATE_CODES.items()}
        return np.asarray(self.columns.mapped("state", bits, 0, np.uint64))

    @cached_property
    def time(self) -> Numbers:
        """When it happened, in microseconds."""
        return self.columns.times("event_time")

    @cached_property
    def retroactive(self) -> Mask:
        """Whether meetings before it were meant."""
        return self.columns.flags("retroactive")

    @cached_property
    def operations(self) -> Numbers:
        """Operations that it lists, as bits."""
        return self.columns.bits("operations", {str(o): bit for o, bit in OPERATION_BIT.items()})

    @cached_property
    def modalities(self) -> Numbers:
        """Modalities that it lists, as bits."""
        return self.columns.bits("modalities", _MODALITIES)

    @cached_property
    def derivatives(self) -> Numbers:
        """Derived modalities that it lists, as bits."""
        return self.columns.bits("derivatives", _MODALITIES)

    @cached_property
    def strength(self) -> Numbers:
        """How strongly consent was shown, as a place in ``STRENGTH``."""
        strength = {str(kind): place for kind, place in STRENGTH.items()}
        return np.asarray(self.columns.mapped("consent_type", strength, 0, np.int8))

    @cached_property
    def notice_digests(self) -> Numbers:
        """Digest of the text that was shown, as four numbers."""
        return fixed_numbers(self.columns.array("notice.sha256"), 4)

    @cached_property
    def by_others(self) -> Mask:
        """Whether a host or employer spoke."""
        return self._delegated(Delegation.HOST, Delegation.EMPLOYER)

    @cached_property
    def by_guardian(self) -> Mask:
        """Whether a parent or guardian spoke."""
        return self._delegated(Delegation.PARENT, Delegation.GUARDIAN)

    @cached_property
    def as_self(self) -> Mask:
        """Whether it is said that the person spoke."""
        return self._delegated(Delegation.SELF)

    @cached_property
    def by_self(self) -> Mask:
        """Whether the person spoke."""
        actor, subject = (self.columns.array(f"{name}_key") for name in ("actor", "subject"))
        return np.asarray(pc.equal(actor, subject).to_numpy(zero_copy_only=False))

    def _delegated(self, *kinds: Delegation) -> Mask:
        wanted = dict.fromkeys(map(str, kinds), True)
        return np.asarray(self.columns.mapped("delegation", wanted, False, bool))


PERMITTING = (State.GIVEN, State.RENEWED)
_STATE_CODES = {
    State.REQUESTED: "CONSENT_REQUESTED_ONLY",
    State.REFUSED: "CONSENT_REFUSED",
    State.WITHDRAWN: "CONSENT_WITHDRAWN",
    State.REVOKED: "CONSENT_REVOKED",
    State.EXPIRED: "CONSENT_EXPIRED",
    State.INVALIDATED: "CONSENT_INVALIDATED",
    State.UNKNOWN: "CONSENT_UNKNOWN",
}
_MODALITIES = {str(modality): bit for modality, bit in BIT.items()}


def halves(keys: pa.Array) -> tuple[Numbers, Numbers]:
    """The sixteen bytes of each key as two numbers, which equal keys share."""
    first, second = fixed_numbers(keys.cast(KEY), 2).T
    return first, second


def _by_subject(events: Columns) -> tuple[Columns, Numbers]:
    """Events by subject and time; where each subject's events begin, and where the last ends."""
    keys = halves(events.array("subject_key"))
    changes, groups = _runs(keys)
    time, seq = events.times("event_time"), events.array("seq").to_numpy()
    together = _rise(keys[0][changes]) or _all_differ(events.array("subject_key"), changes)
    if not together or not _rises(groups, time, seq):
        order = np.lexsort((seq, time, *keys))
        events = events.take(order)
        changes, _ = _runs((keys[0][order], keys[1][order]))
    return events, np.concatenate([changes, [events.size]]).astype(np.int64)


def _rise(halves: Numbers) -> bool:
    """Whether the first halves of keys rise, as those of a sorted log do."""
    first = halves.astype("<i8").view(">u8")
    return bool((first[1:] > first[:-1]).all())


def _all_differ(keys: pa.Array, places: Numbers) -> bool:
    return bool(pc.count_distinct(keys.take(pa.array(places))).as_py() == len(places))


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
