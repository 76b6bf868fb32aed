"""Opens what the rows admit: each file once, hashed while read, its turns judged one by one."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.consent.content import read_turns
from harness.consent.decide import Rulings
from harness.consent.manifest import Manifest, Tables
from harness.consent.records import Alias, ContentRow, ExclusionRule, ParticipantRow, RuleKind
from harness.consent.turns import Person, TurnVerdicts, Voices, judge
from harness.meetings.model import Modality, Turn


class MeetingRows:
    """Rows of a manifest by the meeting that they belong to.

    Attributes:
        meetings: rows in the order of their numbers.
        content: meeting id to its content rows by modality.
        roster: meeting id to its roster, in the order of the table.
        aliases: series id to its aliases.
    """

    def __init__(self, tables: Tables) -> None:
        self.meetings = tables.meetings
        self.content: dict[str, dict[Modality, ContentRow]] = defaultdict(dict)
        self.roster: dict[str, list[ParticipantRow]] = defaultdict(list)
        self.aliases: dict[str, list[Alias]] = defaultdict(list)
        for row in tables.content:
            self.content[row.meeting_id][row.modality] = row
        for person in tables.participants:
            self.roster[person.meeting_id].append(person)
        for alias in tables.aliases:
            self.aliases[alias.series_id].append(alias)


@dataclass(frozen=True)
class Opened:
    """Turns of one file, and what was decided about them."""

    turns: Sequence[Turn]
    verdicts: TurnVerdicts


class ContentReader:
    """Reads the content of admitted meetings.

    Args:
        store: root of the content store.
        manifest: verified.
        rows: of the manifest by meeting.
        rulings: by the rows.
    """

    def __init__(
        self, store: Path, manifest: Manifest, rows: MeetingRows, rulings: Rulings
    ) -> None:
        self.store, self.rows, self.rulings = store, rows, rulings
        self.defaults = manifest.head.defaults
        self._turn_rules = [r for r in rulings.rules if r.kind is RuleKind.TURN]

    def read(self, numbers: Iterable[int]) -> Iterator[tuple[int, Mapping[Modality, Opened]]]:
        """Open each meeting of these numbers: its admitted modalities in the order asked for."""
        for number in map(int, numbers):
            yield number, {m: self._open(number, m) for m in self._modalities(number)}

    def _modalities(self, number: int) -> list[Modality]:
        return [
            modality
            for modality in self.rulings.request.modalities
            if self.rulings.rows[modality][number] >= 0
            and not self.rulings.modality_codes(number, modality)
        ]

    def _open(self, number: int, modality: Modality) -> Opened:
        meeting = self.rows.meetings[number]
        turns = read_turns(self.store, self.rows.content[meeting.meeting_id][modality])
        dropped = self.rulings.dropped_labels(number, modality)
        people = [Person(p, p.label in dropped) for p in self.rows.roster[meeting.meeting_id]]
        voices = Voices(people, self.rows.aliases[meeting.series_id])
        excluded = self._excluded(meeting.meeting_id, modality)
        return Opened(turns, judge(turns, voices, excluded, self.defaults))

    def _excluded(self, meeting: str, modality: Modality) -> dict[int, list[str]]:
        """Codes of turns that rules name by their place."""
        found: dict[int, list[str]] = {}
        for rule in self._turn_rules:
            kind, _, place = rule.value.partition("/")
            if kind == modality and _concerns(rule, meeting, modality):
                found.setdefault(int(place), []).append("EXCLUDED_TURN")
        return found


def _concerns(rule: ExclusionRule, meeting: str, modality: Modality) -> bool:
    names, kinds = rule.scope.meetings, rule.scope.modalities
    return ("*" in names or meeting in names) and ("*" in kinds or modality in kinds)
