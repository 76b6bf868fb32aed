"""Opens what the rows admit: each file once, hashed while read, its turns judged one by one."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa

from harness.consent.columns import Numbers
from harness.consent.content import read_turns
from harness.consent.copies import MIN_UTTERANCE_WORDS, CopyIndex, digest_utterance, words
from harness.consent.decide import Rulings
from harness.consent.frame import Frame
from harness.consent.head import COPIES
from harness.consent.manifest import Manifest
from harness.consent.masking import MaskedText, Masking
from harness.consent.parquet import to_rows
from harness.consent.present import Source, read_copies_key
from harness.consent.reasons import in_order
from harness.consent.records import (
    Alias,
    ContentRow,
    ExclusionRule,
    MeetingRow,
    ParticipantRow,
    RuleKind,
)
from harness.consent.request import concerns
from harness.consent.turns import Person, TurnVerdicts, Voices, judge
from harness.errors import Refused
from harness.meetings.detectors import keys
from harness.meetings.formats import PAIRS
from harness.meetings.model import Modality, Turn


class MeetingRows:
    """Rows of a frame as records, by the number of the meeting that they belong to.

    Args:
        frame: meetings, rosters and content.
        aliases: of all series.
    """

    def __init__(self, frame: Frame, aliases: Iterable[Alias]) -> None:
        self.frame = frame
        self._aliases: dict[str, list[Alias]] = defaultdict(list)
        for alias in aliases:
            self._aliases[alias.series_id].append(alias)

    @cached_property
    def ids(self) -> list[str]:
        """Meeting ids."""
        return list(self.frame.meetings.array("meeting_id").to_pylist())

    def meeting(self, number: int) -> MeetingRow:
        """The meeting itself."""
        (row,) = to_rows(MeetingRow, self.frame.meetings.table.slice(number, 1))
        return row

    def content(self, number: int) -> dict[Modality, ContentRow]:
        """Its files by modality, in the order of the table."""
        order, meetings = self._files
        places = order[slice(*np.searchsorted(meetings, [number, number + 1]))]
        rows = to_rows(ContentRow, self.frame.content.table.take(pa.array(places)))
        return {row.modality: row for row in rows}

    @cached_property
    def _files(self) -> tuple[Numbers, Numbers]:
        """Content rows in the order of their meetings, and these."""
        order = np.argsort(self.frame.content_meeting, kind="stable")
        return order, self.frame.content_meeting[order]

    def roster(self, number: int) -> list[ParticipantRow]:
        """Its roster, in the order of the table."""
        first, last = np.searchsorted(self.frame.meeting, [number, number + 1])
        return [*to_rows(ParticipantRow, self.frame.roster.table.slice(first, last - first))]

    def aliases(self, series: str) -> list[Alias]:
        """Aliases of a series."""
        return self._aliases[series]


@dataclass(frozen=True)
class Opened:
    """Turns of one file, what was decided about them, and their texts as they may be used."""

    turns: Sequence[Turn]
    verdicts: TurnVerdicts
    texts: Sequence[MaskedText]


def unopened(row: ContentRow, codes: tuple[str, ...]) -> Opened:
    """A file that is denied as a whole before it is read."""
    return Opened((), TurnVerdicts(codes, ((),) * row.turns), ())


class Repeats:
    """Words of excluded content, by the index and by rules of kind ``utterance``.

    Args:
        source: where the key is.
        copies: bytes of the manifest's index, None for none.
        rules: exclusion rules that count.

    Raises:
        Refused: ``INDEX_*``, among them ``INDEX_KEY_MISSING``.
    """

    def __init__(
        self, source: Source, copies: bytes | None, rules: Iterable[ExclusionRule]
    ) -> None:
        self._rules = [rule for rule in rules if rule.kind is RuleKind.UTTERANCE]
        if self._rules and copies is None:
            raise Refused("INDEX_MISSING", "words are excluded, and nothing binds their key",
                          COPIES, "sign again with --copies-key")  # fmt: skip
        self._key = read_copies_key(source) if copies is not None else b""
        self._index = CopyIndex.parse(copies, self._key, COPIES) if copies is not None else None

    def codes(
        self, meeting: str, kinds: Collection[Modality], turns: Sequence[Turn]
    ) -> Iterator[tuple[int, str]]:
        """Places and codes of turns that say again what is excluded.

        Args:
            kinds: the modality of the turns, and what it derives from.
        """
        digests = {r.value for r in self._rules if _concerns(r, meeting, kinds)}
        texts = [(place, text) for place, turn in enumerate(turns) for text in turn.texts]
        for place, text in texts if digests else ():
            said = words(text)
            if len(said) >= MIN_UTTERANCE_WORDS and digest_utterance(said, self._key) in digests:
                yield place, "EXCLUDED_UTTERANCE"
        if self._index is not None:
            for copied in np.flatnonzero(self._index.flag([text for _, text in texts])):
                yield texts[int(copied)][0], "EXCLUDED_COPY"


class ContentReader:
    """Reads the content of admitted meetings.

    Args:
        source: content store, and key of the index.
        manifest: verified.
        rows: of the manifest by meeting.
        rulings: by the rows.
        masking: of turns that are used.
    """

    def __init__(
        self, source: Source, manifest: Manifest, rows: MeetingRows, rulings: Rulings,
        masking: Masking,
    ) -> None:  # fmt: skip
        self._masking = masking
        self.store, self.rows, self.rulings = source.store, rows, rulings
        self.defaults = manifest.head.defaults
        self._turn_rules = [r for r in rulings.rules if r.kind is RuleKind.TURN]
        self._label_rules = [r for r in rulings.rules if r.kind is RuleKind.LABEL]
        self._repeats = Repeats(source, manifest.copies, rulings.rules)

    def read(self, numbers: Iterable[int]) -> Iterator[tuple[int, Mapping[Modality, Opened]]]:
        """Open each meeting of these numbers: its admitted modalities in the order asked for."""
        for number in map(int, numbers):
            yield number, self._meeting(number)

    def _meeting(self, number: int) -> dict[Modality, Opened]:
        """Pairs come last: whether they are opened depends on what became of the transcript."""
        rows, asked = self.rows.content(number), self._modalities(number)
        found = {m: self._open(number, m) for m in asked if rows[m].format not in PAIRS}
        transcript = found.get(Modality.TRANSCRIPT)
        for modality in asked:
            if modality not in found:
                codes = in_order({*self._closed(number, modality, transcript)})
                found[modality] = (
                    unopened(rows[modality], codes) if codes else self._open(number, modality)
                )
        return {modality: found[modality] for modality in asked}

    def _modalities(self, number: int) -> list[Modality]:
        return [
            modality
            for modality in self.rulings.request.modalities
            if self.rulings.has[modality][number]
            and not self.rulings.modality_codes(number, modality)
        ]

    def _closed(self, number: int, modality: Modality, transcript: Opened | None) -> Iterator[str]:
        """Why pairs are denied as a whole, so that they are not opened.

        Any of them may tell what any turn said, and of whom.
        """
        meeting, kinds = self.rows.ids[number], self.rulings.with_origins(number, modality)
        if modality is not Modality.SUMMARY_AI:
            yield "PAIRS_NOT_SUMMARY"
        if transcript is None or transcript.verdicts.codes:
            yield "PAIRS_WITHOUT_TRANSCRIPT"
        elif self.rulings.dropped_labels(number, Modality.TRANSCRIPT) or any(
            transcript.verdicts.turns
        ):
            yield "QUOTES_DROPPED"
        if self._voices(number, modality).left_out:
            yield "QUOTES_DROPPED"
        if self._derives_from_excluded(meeting, modality, kinds):
            yield "EXCLUDED_DERIVED_FROM"

    def _voices(self, number: int, modality: Modality) -> Voices:
        meeting = self.rows.meeting(number)
        dropped = self.rulings.dropped_labels(number, modality)
        people = [Person(p, p.label in dropped) for p in self.rows.roster(number)]
        kinds = self.rulings.with_origins(number, modality)
        labels = [r.value for r in self._label_rules if _concerns(r, meeting.meeting_id, kinds)]
        return Voices(people, self.rows.aliases(meeting.series_id), labels)

    def _open(self, number: int, modality: Modality) -> Opened:
        meeting, voices = self.rows.ids[number], self._voices(number, modality)
        turns = read_turns(self.store, self.rows.content(number)[modality])
        kinds = self.rulings.with_origins(number, modality)
        excluded = self._excluded(meeting, modality, kinds, turns)
        if modality in RETELLING and voices.left_out:
            for place in range(len(turns)):
                excluded[place].append("QUOTES_DROPPED")
        verdicts = judge(turns, voices, excluded, self.defaults)
        if self._derives_from_excluded(meeting, modality, kinds):
            verdicts = replace(verdicts, codes=("EXCLUDED_DERIVED_FROM", *verdicts.codes))
        texts = self._masking.mask([turn.text for turn in turns], voices)
        return Opened(turns, verdicts, texts)

    def _excluded(
        self, meeting: str, modality: Modality, kinds: Collection[Modality], turns: Sequence[Turn]
    ) -> dict[int, list[str]]:
        """Codes of turns that are excluded by their place, their words or a key in them."""
        found: dict[int, list[str]] = defaultdict(list)
        for rule in self._turn_rules:
            kind, _, place = rule.value.partition("/")
            if kind == modality and _concerns(rule, meeting, kinds):
                found[int(place)].append("EXCLUDED_TURN")
        for place_, code in self._repeats.codes(meeting, kinds, turns):
            found[place_].append(code)
        for place_, turn in enumerate(turns):
            if any(keys.places(text) for text in turn.texts):
                found[place_].append("KEY_IN_TURN")
        return found

    def _derives_from_excluded(
        self, meeting: str, modality: Modality, kinds: Collection[Modality]
    ) -> bool:
        """Whether a turn is excluded of something that this modality is made from."""
        return any(
            Modality(rule.value.partition("/")[0]) in {*kinds} - {modality}
            and _concerns(rule, meeting, kinds)
            for rule in self._turn_rules
        )


def _concerns(rule: ExclusionRule, meeting: str, kinds: Collection[Modality]) -> bool:
    listed = tuple(map(str, rule.scope.modalities))
    return concerns(rule.scope.meetings, meeting) and any(concerns(listed, m) for m in kinds)


RETELLING = frozenset({Modality.SUMMARY_AI, Modality.CHAT_PRIVATE})
"""Kinds that tell what others said, or to whom: nothing of them is used where one is dropped."""
