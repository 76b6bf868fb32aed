"""ICSI as ground truth: 138 censored segments, and speakers whose consent form has no date."""

import gzip
import json
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from harness.config import Config
from harness.consent import gate
from harness.consent.authoring import Draft, describe, write_manifest
from harness.consent.head import Draw, Mode, Tables
from harness.consent.present import Source, trust_first
from harness.consent.records import (
    ALL,
    NONE,
    AgeBand,
    Arm,
    ConsentEvent,
    ContentScope,
    Declared,
    ExclusionRule,
    MeetingRow,
    ParticipantRow,
    Relation,
    Role,
    RuleKind,
    RuleScope,
    RuleSource,
    SplitRow,
)
from harness.consent.signing import KeyRole, save_trust, trust_root
from harness.consent.withdrawals import append
from harness.digest import sha256_hex
from harness.meetings.model import Modality, Turn
from harness.meetings.readers import jsonl

World = Any
ICSI = Path(__file__).parents[3] / "shared" / "data" / "ICSI"
pytestmark = pytest.mark.skipif(not ICSI.is_dir(), reason="../shared/data/ICSI is not here")
HELD = datetime(2003, 1, 6, 9, tzinfo=UTC)  # the corpus has no dates; all forms are older
NOW = datetime(2003, 6, 1, tzinfo=UTC)
LONG_AGO, FAR_OFF = datetime(1999, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)
BLEEPED = "words that somebody asked to be bleeped out"

Segment = dict[str, Any]


@pytest.fixture(scope="module")
def segments() -> dict[str, list[Segment]]:
    found: dict[str, list[Segment]] = defaultdict(list)
    with gzip.open(ICSI / "icsi_segments.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            segment = json.loads(line)
            found[segment["meeting"]].append(segment)
    return found


@pytest.fixture(scope="module")
def forms() -> dict[str, datetime]:
    """Date of the consent form of each speaker who has one."""
    text = (ICSI / "speakers.xml").read_text("iso-8859-1")
    dated = re.findall(r'<speaker[^>]*formdate="(\d{4}-\d\d-\d\d)"[^>]*tag="(\w+)"', text)
    return {tag: datetime.fromisoformat(date).replace(tzinfo=UTC) for date, tag in dated}


class Corpus:
    """ICSI as a signed manifest."""

    def __init__(
        self, folder: Path, segments: dict[str, list[Segment]], forms: dict[str, datetime],
        mode: Mode, world: World, censor: bool = True,
    ) -> None:  # fmt: skip
        self.segments, self.forms = segments, forms
        self.source = Source(folder / "store", folder / "manifest", folder / "trust.json",
                             folder / "log", folder / "seen.json")  # fmt: skip
        self.source.store.mkdir(parents=True)
        key = Ed25519PrivateKey.generate()
        trust = trust_root([(key, (KeyRole.MANIFEST, KeyRole.LOG))])
        save_trust(self.source.trust, trust)
        append(self.source.withdrawals, (), [key], trust, NOW)
        write_manifest(self.source.manifest, self._draft(world, mode, censor), [key],
                       NOW - timedelta(days=1), NOW + timedelta(days=1))  # fmt: skip
        trust_first(self.source, NOW)

    def _draft(self, world: World, mode: Mode, censor: bool) -> Draft:
        base: Draft = world.draft
        long_ago = {"effective_from": LONG_AGO}
        policies = tuple(
            replace(p, disclosed_at=LONG_AGO, **long_ago) for p in base.tables.policies
        )
        places = tuple(replace(p, **long_ago) for p in base.tables.jurisdictions)
        defaults = replace(base.defaults, mode=mode, min_speakers=3, max_consent_age_days=36500)
        tables = Tables(
            policies, (), places, base.tables.licences, (), self._meetings(), self._roster(),
            self._content(), tuple(self._consent(world)),
            tuple(self._censored()) if censor else (),
            tuple(SplitRow(name, name[:3], Arm.TRAIN) for name in self.segments),
        )  # fmt: skip
        return Draft(base.issuer, base.scope, defaults, Draw("icsi", False), tables)

    def _meetings(self) -> tuple[MeetingRow, ...]:
        return tuple(
            MeetingRow(name, name[:3], "icsi", "icsi", HELD, HELD + timedelta(hours=1), "UTC", (),
                       Declared.NO)
            for name in self.segments
        )  # fmt: skip

    def _roster(self) -> tuple[ParticipantRow, ...]:
        return tuple(
            ParticipantRow(name, key_of(speaker), speaker, Role.PARTICIPANT, AgeBand.ADULT,
                           Relation.OTHER, ("XA",), NONE, False)
            for name, spoken in self.segments.items()
            for speaker in sorted({segment["speaker"] for segment in spoken})
        )  # fmt: skip

    def _content(self) -> tuple[Any, ...]:
        rows = []
        for name, spoken in self.segments.items():
            turns = [
                Turn(n, s["speaker"], BLEEPED if s["censored"] else s["text"])
                for n, s in enumerate(spoken)
            ]
            data = jsonl.write(turns)
            (self.source.store / f"{name}.jsonl").write_bytes(data)
            rows.append(
                describe(data, name, Modality.TRANSCRIPT, "turns-jsonl", f"{name}.jsonl", "own")
            )
        return tuple(rows)

    def _consent(self, world: World) -> Iterable[ConsentEvent]:
        for seq, (speaker, date) in enumerate(sorted(self.forms.items())):
            yield replace(
                world.event(seq, "m0", key_of(speaker)), scope=ContentScope((ALL,), (), LONG_AGO,
                FAR_OFF), event_time=date, recorded_time=date, valid_from=date,
                valid_until=FAR_OFF, retention_until=FAR_OFF,
            )  # fmt: skip

    def _censored(self) -> Iterable[ExclusionRule]:
        for name, spoken in self.segments.items():
            for n, segment in enumerate(spoken):
                if segment["censored"]:
                    scope = RuleScope((name,), (ALL,), (ALL,), (ALL,))
                    yield ExclusionRule(segment["segment"], RuleKind.TURN, f"transcript/{n}", scope,
                                        LONG_AGO, None, RuleSource.SUBJECT, LONG_AGO)  # fmt: skip

    def decisions(self) -> dict[str, tuple[list[str], dict[int, list[str]]]]:
        """Codes of each meeting, and of each turn of those that are admitted."""
        found: dict[str, tuple[list[str], dict[int, list[str]]]] = {}
        for row in gate.decide(self.source, Config(), NOW).rows.to_pylist():
            if row["turn"] < 0:
                found[row["meeting_id"]] = (row["codes"], {})
            else:
                found[row["meeting_id"]][1][row["turn"]] = row["codes"]
        return found


def key_of(speaker: str) -> str:
    return sha256_hex(speaker.encode())[:32]


def test_the_corpus_is_as_the_issue_says(
    segments: dict[str, list[Segment]], forms: dict[str, datetime]
) -> None:
    spoken = [segment for each in segments.values() for segment in each]
    assert sum(segment["censored"] for segment in spoken) == 138
    assert {segment["speaker"] for segment in spoken} - {*forms}


def test_per_speaker_denies_the_censored_and_who_has_no_form(
    tmp_path: Path, segments: dict[str, list[Segment]], forms: dict[str, datetime],
    shared_world: World,
) -> None:  # fmt: skip
    found = Corpus(tmp_path, segments, forms, Mode.PER_SPEAKER, shared_world).decisions()
    admitted = 0
    for name, spoken in segments.items():
        codes, turns = found[name]
        people = {segment["speaker"] for segment in spoken}
        denied = [s["censored"] or s["speaker"] not in forms for s in spoken]
        if len(people & {*forms}) < 3:
            assert codes == ["TOO_FEW_CONSENTING"]
        elif 2 * sum(denied) > len(spoken):
            assert codes == ["TOO_MUCH_DROPPED"]
        else:
            admitted += 1
            assert codes == []
            for n, segment in enumerate(spoken):
                expected = ["EXCLUDED_TURN"] * segment["censored"]
                expected += ["SPEAKER_DROPPED"] * (segment["speaker"] not in forms)
                assert turns[n] == expected
    assert admitted > 0


def test_unanimous_denies_every_meeting_of_who_has_no_form(
    tmp_path: Path, segments: dict[str, list[Segment]], forms: dict[str, datetime],
    shared_world: World,
) -> None:  # fmt: skip
    found = Corpus(tmp_path, segments, forms, Mode.UNANIMOUS, shared_world).decisions()
    for name, spoken in segments.items():
        codes, turns = found[name]
        if {segment["speaker"] for segment in spoken} <= {*forms}:
            assert codes == []
            assert [turns[n] for n in range(len(spoken))] == [
                ["EXCLUDED_TURN"] * segment["censored"] for segment in spoken
            ]
        else:
            assert (codes, turns) == (["NO_CONSENT_RECORD"], {})


def test_where_everybody_agrees_everything_is_admitted(
    tmp_path: Path, segments: dict[str, list[Segment]], forms: dict[str, datetime],
    shared_world: World,
) -> None:  # fmt: skip
    everybody = dict.fromkeys((s["speaker"] for each in segments.values() for s in each), LONG_AGO)
    corpus = Corpus(tmp_path, segments, everybody, Mode.UNANIMOUS, shared_world, censor=False)
    found = corpus.decisions()
    assert all(codes == [] and not any(turns.values()) for codes, turns in found.values())
    admitted = gate.admit(corpus.source, Config(), NOW).train
    assert sum(len(meeting.turns) for meeting in admitted) == sum(map(len, segments.values()))


def test_no_censored_word_is_handed_out(
    tmp_path: Path, segments: dict[str, list[Segment]], forms: dict[str, datetime],
    shared_world: World,
) -> None:  # fmt: skip
    corpus = Corpus(tmp_path, segments, forms, Mode.PER_SPEAKER, shared_world)
    said = {turn.text for m in gate.admit(corpus.source, Config(), NOW).train for turn in m.turns}
    assert BLEEPED not in said
    assert len(said) > 10_000


def quotes(spoken: list[Segment], forms: dict[str, datetime]) -> dict[int, tuple[str, int]]:
    """Where somebody with a form may quote an earlier segment: place to words and quoted place.

    Quoted are, in turn, who has no form date, what is censored, and the control: who has one. The
    words are such that only segments of the same sort begin with them.
    """
    texts = [BLEEPED if s["censored"] else s["text"].strip() for s in spoken]
    kinds = [kind_of(s, forms) for s in spoken]
    found: dict[int, tuple[str, int]] = {}
    for kind in ("no form", "censored", "free"):
        places = [n for n, own in enumerate(kinds) if own == kind and len(texts[n]) > 20]
        for quoted in places[:5]:
            begins = {kinds[n] for n, t in enumerate(texts) if t.startswith(texts[quoted][:20])}
            later = (n for n in range(quoted + 1, len(spoken)) if n not in found)
            place = next((n for n in later if kinds[n] == "free"
                          and spoken[n]["speaker"] != spoken[quoted]["speaker"]), None)  # fmt: skip
            if begins == {kind} and place is not None:
                found[place] = (texts[quoted], quoted)
    # what is replaced by a quote can itself be quoted no more
    return {n: q for n, q in found.items() if q[1] not in found}


def kind_of(segment: Segment, forms: dict[str, datetime]) -> str:
    if segment["speaker"] not in forms:
        return "no form"
    return "censored" if segment["censored"] else "free"


def test_per_speaker_denies_exactly_the_quotes_of_who_is_left_out(
    tmp_path: Path, segments: dict[str, list[Segment]], forms: dict[str, datetime],
    shared_world: World,
) -> None:  # fmt: skip
    planted, places = {}, {}
    for name, spoken in segments.items():
        places[name] = quotes(spoken, forms)
        planted[name] = [dict(segment) for segment in spoken]
        for n, (words, _) in places[name].items():
            cut = f"Replying to \u201c{words[:20]}...\u201d\n\nyes"
            planted[name][n]["text"] = cut if n % 2 else f'Reacted to "{words}" with \u2764'
    found = Corpus(tmp_path, planted, forms, Mode.PER_SPEAKER, shared_world).decisions()
    seen = dict.fromkeys(("no form", "censored", "free"), 0)
    for name, spoken in segments.items():
        codes, turns = found[name]
        for n, segment in enumerate(spoken if not codes else ()):
            kind = kind_of(segment, forms)
            expected = ["EXCLUDED_TURN"] * segment["censored"]
            expected += ["SPEAKER_DROPPED"] * (kind == "no form")
            if n in places[name]:
                quoted = kind_of(spoken[places[name][n][1]], forms)
                seen[quoted] += 1
                expected += ["QUOTES_DROPPED"] * (quoted != "free")
            assert turns[n] == expected
    assert min(seen.values()) > 10, seen
