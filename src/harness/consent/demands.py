"""What places demand of each meeting and of each person, for one use, as columns."""

from collections.abc import Iterable

import numpy as np

from harness.consent.bits import MEETING, PERSON, Codes, Mask
from harness.consent.columns import DAY, Columns, Numbers, microseconds
from harness.consent.frame import Frame
from harness.consent.jurisdiction import STRENGTH, Demands, Places
from harness.consent.records import AgeBand, ConsentType, Declared, Jurisdiction, SpecialCategory
from harness.consent.request import Use

_FOR_EVER = 2**62


class DemandColumns:
    """Demands of each meeting; equal sets of places are merged once.

    Args:
        frame: the tables.
        rows: of the jurisdictions table.
        use: what is judged.

    Attributes:
        strength: of the weakest consent that will do, as a place in ``STRENGTH``.
        guardian_ok, employee_ok, all_party_recording: as demanded.
        min_age: in years.
    """

    def __init__(self, frame: Frame, rows: Iterable[Jurisdiction], use: Use) -> None:
        self.frame, self.use = frame, use
        places = Places(rows, use)
        of_row, row_sets, of_meeting, meeting_sets = frame.place_sets
        merged = [places.demands(places_) for places_ in meeting_sets]
        self._special = ~frame.meetings.equal("special_category", Declared.NO)

        def spread(values: list[int]) -> Numbers:
            return np.array(values or [0], np.int64)[of_meeting]

        self.strength = np.maximum(
            spread([STRENGTH[d.consent_type] for d in merged]),
            np.where(self._special, spread([_special_strength(d) for d in merged]), 0),
        )
        self.guardian_ok = spread([d.guardian_ok for d in merged]) > 0
        self.employee_ok = spread([d.employee_ok for d in merged]) > 0
        self.all_party_recording = spread([d.all_party_recording for d in merged]) > 0
        self.min_age = spread([d.min_age for d in merged])
        self._forbidden = spread([d.special_category is SpecialCategory.DENY for d in merged]) > 0
        self._retention = spread(
            [_FOR_EVER if d.max_retention_days is None else d.max_retention_days * DAY
             for d in merged]
        )  # fmt: skip
        self._blocked = spread([places.blocks_transfer(places_) for places_ in meeting_sets]) > 0
        self._no_rule = not places.seat or not all(map(places.has_rule, places.seat))
        ruled = [all(map(places.has_rule, places_)) for places_ in row_sets]
        self._placed = np.array([len(places_) > 0 for places_ in row_sets] or [False])[of_row]
        self._ruled = np.array(ruled or [False])[of_row]

    def meeting_codes(self) -> Codes:
        """Codes of each meeting."""
        meetings, now = self.frame.meetings, microseconds(self.use.now)
        return MEETING.where(
            meetings.size,
            {
                "JURISDICTION_NO_RULE": self._no_rule,
                "SPECIAL_CATEGORY": self._special & self._forbidden,
                "MEETING_RETENTION_PASSED": now - self.frame.end > self._retention,
                "TRANSFER_BLOCKED": self._blocked,
            },
        )

    def person_codes(self) -> Codes:
        """Codes of each roster row that its age and its places give."""
        roster, meeting = self.frame.roster, self.frame.meeting
        guarded = _is(roster, AgeBand.MINOR_WITH_GUARDIAN) & ~self.guardian_ok[meeting]
        return PERSON.where(
            roster.size,
            {
                "MINOR": _is(roster, AgeBand.MINOR) | guarded,
                "AGE_UNKNOWN": _is(roster, AgeBand.UNKNOWN) & (self.min_age[meeting] > 0),
                "JURISDICTION_UNKNOWN": ~self._placed,
                "PLACE_NO_RULE": ~self._ruled,
            },
        )


def _special_strength(demands: Demands) -> int:
    """Of the weakest consent that will do where special categories are not ruled out."""
    explicit = demands.special_category is SpecialCategory.EXPLICIT
    return STRENGTH[ConsentType.EXPLICIT] if explicit else 0


def _is(roster: Columns, band: AgeBand) -> Mask:
    return roster.equal("age_band", band)
