"""Who somebody is: by address alone, as rosters and a signed file of aliases say; never by a guess.

A subject's key is a keyed digest of the address, so that the manifest names nobody. Whoever has no
address in the export, and is in no alias, is nobody known, and the gate will deny the meeting.
"""

import csv
import hashlib
import hmac
import io
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from harness.consent.aliases import AliasLine
from harness.consent.invisible import visible
from harness.consent.labels import label_key
from harness.consent.records import (
    ALL,
    NONE,
    AgeBand,
    Alias,
    ParticipantRow,
    Relation,
    Role,
    is_plain_text,
)
from harness.intake.tables import invalid, one_of, read_table
from harness.meetings.address import address, domain

NO_NAME = "(no name)"
"""Label of a roster row for somebody whom an export has no name for."""
_COLUMNS = ["email", "age_band", "relation", "jurisdictions"]


@dataclass(frozen=True)
class Known:
    """What the operator says of a person.

    Attributes:
        age_band, relation: as in a roster row.
        jurisdictions: places that the person is known to be of.
    """

    age_band: AgeBand = AgeBand.UNKNOWN
    relation: Relation = Relation.UNKNOWN
    jurisdictions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Seen:
    """Somebody as an export names them.

    Attributes:
        label: display name.
        email: empty where the export has none.
        role: the part in the meeting.
        answer: to the recording disclaimer; empty where there is none.
        since: when the person joined, aware; None where the export does not say.
    """

    label: str
    email: str
    role: Role
    answer: str = ""
    since: datetime | None = None


@dataclass(frozen=True)
class People:
    """The people that are known, and how addresses become keys.

    Args:
        secret: of the keys; the same for every import of one controller.
        known: by address in lower case.
        aliases: of all series.
    """

    secret: bytes
    known: Mapping[str, Known] = field(default_factory=dict)
    aliases: Sequence[AliasLine] = ()

    def key(self, email: str) -> str:
        """The subject key of an address; see :func:`harness.meetings.address.address`.

        Raises:
            ValueError: for what is no address.
        """
        return hmac.new(self.secret, address(email).encode(), hashlib.sha256).hexdigest()[:32]

    def row(self, meeting_id: str, seen: Seen) -> ParticipantRow:
        """The roster row of somebody; whose label shows nothing is nobody known."""
        label = visible(unicodedata.normalize("NFC", seen.label)).strip()
        is_seen = bool(label_key(label)) and is_plain_text(label)
        email = seen.email if is_seen else ""
        known = self.known.get(email, Known())
        return ParticipantRow(
            meeting_id, self.key(email) if email else None, label if is_seen else NO_NAME,
            seen.role, known.age_band, known.relation, known.jurisdictions,
            domain(email) if email else NONE, False,
        )  # fmt: skip

    def aliases_of(self, series_id: str) -> list[AliasLine]:
        """The lines of aliases that are about a series."""
        return [line for line in self.aliases if line.series_id in (ALL, series_id)]

    def of_series(self, series_id: str) -> list[Alias]:
        """The aliases of a series, as the manifest has them."""
        return [
            Alias(series_id, line.label, tuple(dict.fromkeys(map(self.key, line.emails))))
            for line in self.aliases_of(series_id)
        ]


def read_known(path: Path) -> dict[str, Known]:
    """Read a CSV file with the columns ``email,age_band,relation,jurisdictions``.

    Args:
        path: of the file; several places of one person have spaces between them.

    Raises:
        Refused: ``PEOPLE_INVALID`` with the line.
    """
    found: dict[str, Known] = {}
    for line, row in read_table(path, _COLUMNS, "PEOPLE"):
        try:
            written, age, relation, places = row
            email = address(written)
            known = Known(AgeBand(age), Relation(relation), tuple(places.split()))
        except ValueError:
            raise invalid(
                path,
                line,
                f"not an address, {one_of(AgeBand)}, {one_of(Relation)}, and places of "
                "ISO 3166 with spaces between",
                "PEOPLE",
            ) from None
        if email in found:
            raise invalid(path, line, "an address that stands twice", "PEOPLE")
        found[email] = known
    return found


def write_known(people: Iterable[tuple[str, Known]]) -> bytes:
    """What :func:`read_known` reads."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for email, known in people:
        writer.writerow([email, known.age_band, known.relation, " ".join(known.jurisdictions)])
    return buffer.getvalue().encode()


def by_label(seen: Iterable[Seen]) -> list[Seen]:
    """One for each label and address, the host first; who came again is one person."""
    found: dict[tuple[str, str], Seen] = {}
    for one in seen:
        found.setdefault((one.label, one.email), one)
    return sorted(found.values(), key=lambda one: one.role is not Role.HOST)


def answers(seen: Iterable[Seen]) -> list[Seen]:
    """Each different answer of each person to the recording disclaimer, the first time it came."""
    found: dict[tuple[str, str], Seen] = {}
    for one in seen:
        if one.answer and one.email:
            found.setdefault((one.email, one.answer), one)
    return [*found.values()]
