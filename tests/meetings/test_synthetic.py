"""The demo's generator: counts, determinism, exports, overlap, exchangeability."""

import math
import random
from collections import Counter
from itertools import pairwise
from pathlib import Path
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.meetings import synthetic
from harness.meetings.detectors.codes import Codes
from harness.meetings.detectors.patterns import Patterns
from harness.meetings.detectors.span import search
from harness.meetings.model import Modality
from harness.meetings.readers import (
    zoom_chat,
    zoom_participants,
    zoom_recordings,
    zoom_transcript,
)
from harness.meetings.synthetic import FAULTS, DemoMeeting
from meetings.readers.files import turns_of


@pytest.fixture(scope="module")
def demo() -> list[DemoMeeting]:
    return synthetic.generate(0)


def _words(meeting: DemoMeeting) -> list[str]:
    return [word for _, text in meeting.turns for word in text.lower().split()]


def _grams(meeting: DemoMeeting) -> set[tuple[str, ...]]:
    turns = [text.lower().split() for _, text in meeting.turns]
    return {tuple(turn[i : i + 8]) for turn in turns for i in range(len(turn) - 7)}


def test_counts(demo: list[DemoMeeting]) -> None:
    clean = Counter(meeting.series for meeting in demo if meeting.fault is None)
    faults = Counter(meeting.fault for meeting in demo if meeting.fault)
    assert sorted(clean.values()) == [4] * 2 + [6] * 12
    assert faults == dict.fromkeys(FAULTS, 2)
    assert {m.series for m in demo if synthetic.VALIDATION_TAG in m.tags} == {"s13", "s14"}


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 2**32))
def test_shape_of_any_seed(seed: int) -> None:
    demo = synthetic.generate(seed)
    assert len({m.id for m in demo}) == len({m.start.date() for m in demo}) == len(demo) == 108
    for meeting in demo:
        assert 3 <= len(meeting.people) <= 5
        assert 14 <= len(meeting.turns) <= 24
        assert 213 <= len(_words(meeting)) <= 233
        assert {who for who, _ in meeting.turns} == set(range(len(meeting.people)))
        assert "2026-01-05" <= f"{meeting.start:%Y-%m-%d}" <= "2026-08-31"


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 2**32))
def test_exports_read_back_as_the_same_turns(seed: int) -> None:
    for meeting in synthetic.generate(seed):
        files = synthetic.exports(meeting)
        turns = turns_of(zoom_transcript, files[Modality.TRANSCRIPT])
        chat = turns_of(zoom_chat, files[Modality.CHAT_PUBLIC])
        label = [person.label for person in meeting.people]
        assert [(t.speaker, t.text) for t in turns] == [(label[w], x) for w, x in meeting.turns]
        assert [(t.speaker, t.text) for t in chat] == [(label[w], x) for w, x in meeting.chat]
        assert all(a.seconds < b.seconds for a, b in pairwise(turns) if a.seconds and b.seconds)
        stays = zoom_participants.read(files[Modality.META_PARTICIPANT]).stays
        assert [(s.label, s.guest) for s in stays] == [(p.label, p.guest) for p in meeting.people]
        recorded, _ = zoom_recordings.read(files[Modality.META_MEETING])
        assert (recorded.uuid, recorded.start) == (meeting.id, meeting.start)


def test_same_seed_same_bytes_and_writing_again_rewrites_nothing(
    demo: list[DemoMeeting], tmp_path: Path
) -> None:
    synthetic.write(demo, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    synthetic.write(synthetic.generate(0), tmp_path)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    assert len(before) == 4 * len(demo)
    texts = {text for meeting in demo for _, text in meeting.turns if len(text.split()) > 8}
    other = [text for meeting in synthetic.generate(1) for _, text in meeting.turns]
    assert sum(text in texts for text in other) < 0.02 * len(other)


def test_secrets_are_distinct_and_the_detector_finds_exactly_them(demo: list[DemoMeeting]) -> None:
    planted = [s.text for m in demo for s in (*m.secrets, *m.chat_secrets)]
    assert len(planted) == len(set(planted)) >= 108 * 6
    for meeting in demo:
        assert sorted(s.kind for s in meeting.secrets) == ["amount", "passcode", "phone"]
        for said, known in ((meeting.turns, meeting.secrets), (meeting.chat, meeting.chat_secrets)):
            found = [
                (found.kind, text[found.start : found.end], place)
                for place, (_, text) in enumerate(said)
                for found in search([Codes(), Patterns()], text)
            ]
            assert found == [(s.kind, s.text, s.turn) for s in known]


def test_people(demo: list[DemoMeeting]) -> None:
    people = {person for meeting in demo for person in meeting.people if person.subject}
    assert len(people) == len({p.label for p in people}) == len({p.subject for p in people})
    for meeting in demo:
        assert all(p.subject.startswith(meeting.series) for p in meeting.people if p.subject)
        assert any(not p.adult for p in meeting.people) == (meeting.fault == "minor")
        strangers = any(not p.subject for p in meeting.people)
        assert strangers == (meeting.fault == "unidentified_guest")


def test_meetings_rarely_share_eight_words_in_a_row(demo: list[DemoMeeting]) -> None:
    grams = [_grams(meeting) for meeting in demo]
    seen = Counter(gram for one in grams for gram in one)
    assert mean(sum(seen[gram] > 1 for gram in one) / len(one) for one in grams) <= 0.05


def test_a_bag_of_words_cannot_tell_random_halves_apart(demo: list[DemoMeeting]) -> None:
    """Naive Bayes that leaves a series out; AUC inside series, over several draws of the halves."""
    study = [m for m in demo if m.fault is None and synthetic.STUDY_TAG in m.tags]
    draws = [_auc(study, _halves(study, random.Random(seed))) for seed in range(6)]
    assert 0.4 < mean(draws) < 0.6


def test_a_bag_of_words_cannot_tell_early_from_late(demo: list[DemoMeeting]) -> None:
    study = [m for m in demo if m.fault is None and synthetic.STUDY_TAG in m.tags]
    late = {m.id: sum(o.start < m.start for o in study if o.series == m.series) >= 3 for m in study}
    assert 0.3 < _auc(study, late) < 0.7


def _halves(study: list[DemoMeeting], rng: random.Random) -> dict[str, bool]:
    marks: dict[str, bool] = {}
    for series in sorted({m.series for m in study}):
        ids = [m.id for m in study if m.series == series]
        chosen = set(rng.sample(ids, len(ids) // 2))
        marks |= {name: name in chosen for name in ids}
    return marks


def _auc(study: list[DemoMeeting], mark: dict[str, bool]) -> float:
    wins: list[float] = []
    for series in sorted({m.series for m in study}):
        counts: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
        for meeting in study:
            if meeting.series != series:
                counts[mark[meeting.id]].update(_words(meeting))
        score = {
            m.id: sum(math.log((counts[True][w] + 1) / (counts[False][w] + 1)) for w in _words(m))
            for m in study
            if m.series == series
        }
        for a in (name for name in score if mark[name]):
            wins += [
                (score[a] > score[b]) + (score[a] == score[b]) / 2 for b in score if not mark[b]
            ]
    return mean(wins)
