"""Who somebody is: by address alone, as rosters and a signed file of aliases say; never by a guess.

A subject's key is a keyed digest of the address, so that the manifest names nobody. Whoever has no
address in the export, and is in no alias, is nobody known, and the gate will deny the meeting.
"""

import csv
import hashlib
import hmac
import io
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from harness.consent.aliases import AliasLine
from harness.consent.reading import read_once
from harness.consent.records import (
    ALL,
    NONE,
    AgeBand,
    Alias,
    ParticipantRow,
    Relation,
    Role,
)
from harness.errors import Refused
from harness.meetings.strict import decode, table_rows

_LIMIT = 64 * 1024 * 1024
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
        """The subject key of an address; upper and lower case are one."""
        return hmac.new(self.secret, email.casefold().encode(), hashlib.sha256).hexdigest()[:32]

    def row(self, meeting_id: str, seen: Seen) -> ParticipantRow:
        """The roster row of somebody."""
        email, label = seen.email.casefold(), unicodedata.normalize("NFC", seen.label)
        known = self.known.get(email, Known())
        return ParticipantRow(
            meeting_id, self.key(email) if email else None, label, seen.role, known.age_band,
            known.relation, known.jurisdictions, email.partition("@")[2] or NONE, False,
        )  # fmt: skip

    def of_series(self, series_id: str) -> list[Alias]:
        """The aliases of a series, as the manifest has them."""
        return [
            Alias(series_id, line.label, tuple(map(self.key, line.emails)))
            for line in self.aliases
            if line.series_id in (ALL, series_id)
        ]


def read_known(path: Path) -> dict[str, Known]:
    """Read a CSV file with the columns ``email,age_band,relation,jurisdictions``.

    Args:
        path: of the file; several places of one person have spaces between them.

    Raises:
        Refused: ``PEOPLE_INVALID`` with the line.
    """
    rows = [*table_rows(decode(read_once(path.parent, path.name, _LIMIT, "PEOPLE")))]
    if not rows or rows[0][1] != _COLUMNS:
        raise _bad(path, 1, f"the columns are not {','.join(_COLUMNS)}")
    found: dict[str, Known] = {}
    for line, row in rows[1:]:
        try:
            email, age, relation, places = row
            known = Known(AgeBand(age), Relation(relation), tuple(places.split()))
        except ValueError:
            raise _bad(path, line, "not an address, an age band, a relation and places") from None
        if "@" not in email or email.casefold() in found:
            raise _bad(path, line, "no address, or one that stands twice")
        found[email.casefold()] = known
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
    found: dict[tuple[str, str], list[Seen]] = defaultdict(list)
    for one in seen:
        found[one.label, one.email.casefold()].append(one)
    merged = [stays[0] for stays in found.values()]
    return sorted(merged, key=lambda one: one.role is not Role.HOST)


def _bad(path: Path, line: int, what: str) -> Refused:
    return Refused("PEOPLE_INVALID", what, f"{path.name} line {line}", "correct it")
