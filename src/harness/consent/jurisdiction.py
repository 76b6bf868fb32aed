"""What places demand: rows of the jurisdictions table, merged so that the most restrictive wins."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from harness.consent.records import ALL, ConsentType, Jurisdiction, SpecialCategory
from harness.consent.request import Use, concerns

STRENGTH = {kind: place for place, kind in enumerate(ConsentType)}
"""Consent types from weak to strong."""
_STRICTNESS = {demand: place for place, demand in enumerate(SpecialCategory)}


@dataclass(frozen=True)
class Demands:
    """What is demanded of a meeting; with no row at all nothing is, and nothing is given either.

    Attributes:
        consent_type: weakest that will do.
        guardian_ok: a guardian may agree for a minor.
        employee_ok: an employee may agree to the employer's use.
        special_category: of meetings where it is not ruled out.
        min_age: in years; 0 asks nobody's age.
        max_retention_days: None sets no bound.
        all_party_recording: everybody has to agree to the recording.
    """

    consent_type: ConsentType = ConsentType.IMPLIED
    guardian_ok: bool = False
    employee_ok: bool = False
    special_category: SpecialCategory = SpecialCategory.ALLOW
    min_age: int = 0
    max_retention_days: int | None = None
    all_party_recording: bool = False


class Places:
    """The rows that apply to one use, by place.

    Args:
        rows: of the jurisdictions table.
        use: operation, modality and time that they have to apply to.
    """

    def __init__(self, rows: Iterable[Jurisdiction], use: Use) -> None:
        self.seat = use.head.scope.jurisdictions
        self._rows: dict[str, list[Jurisdiction]] = {}
        for row in rows:
            if _applies(row, use):
                self._rows.setdefault(row.code, []).append(row)

    def has_rule(self, place: str) -> bool:
        """Whether a row applies to a place."""
        return place in self._rows

    def demands(self, roster: Collection[str]) -> Demands:
        """Merge the rows of the roster's places and of the controller's seat."""
        return _merge([row for place in {*roster, *self.seat} for row in self._rows.get(place, [])])

    def blocks_transfer(self, roster: Collection[str]) -> bool:
        """Whether a place of the roster keeps its data from a place of the controller's seat."""
        return any(
            not concerns(row.transfer_to, there)
            for place in roster
            for row in self._rows.get(place, [])
            for there in self.seat
            if there != place
        )


def _applies(row: Jurisdiction, use: Use) -> bool:
    return (
        row.operation in (ALL, use.operation)
        and row.modality in (ALL, use.modality)
        and row.effective_from <= use.now < row.effective_until
    )


def _merge(rows: Sequence[Jurisdiction]) -> Demands:
    if not rows:
        return Demands()
    return Demands(
        max((row.min_consent_type for row in rows), key=STRENGTH.__getitem__),
        all(row.guardian_ok for row in rows),
        all(row.employee_ok for row in rows),
        max((row.special_category for row in rows), key=_STRICTNESS.__getitem__),
        max(row.min_age for row in rows),
        min(row.max_retention_days for row in rows),
        any(row.all_party_recording for row in rows),
    )
