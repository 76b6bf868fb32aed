"""Precision and recall of the detectors by class, and how many turns a second one core searches.

Two planted sets, each cut in two. Of ``planted.py`` seeds 0 to 9 are for whoever works on the
detectors and seeds 1000 to 1009 are reported. ``planted_by_hand.jsonl`` was written by somebody who
saw neither the detectors nor ``planted.py``; of its meetings every other one is to work with, the
rest are reported. Detectors are set up as the gate does. A span counts as found where one of its
class covers it, and as right where it touches one of its class. Speed is that of QMSum's turns if
the folder is named, else of the planted sentences. The last line is JSON.

usage: python scripts/bench/detectors.py [--qmsum DIR] [--development] [--presidio]
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from planted import NAMES, SURNAMES, planted

from harness.meetings.detectors.patterns import Patterns
from harness.meetings.detectors.roster import Roster
from harness.meetings.detectors.span import Detector, Span, search
from harness.meetings.formats import READERS

COUNT = 2000
DEVELOPMENT, REPORTED = range(10), range(1000, 1010)
BY_HAND = Path(__file__).with_name("planted_by_hand.jsonl")

Places = set[tuple[int, int, str]]


class Case(NamedTuple):
    """A text, what is planted in it, and what is found."""

    text: str
    planted: Places
    found: list[Span]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure the detectors.")
    parser.add_argument("--qmsum", type=Path, help="folder of QMSum's JSON files")
    parser.add_argument("--development", action="store_true", help="the halves to work with")
    parser.add_argument("--presidio", action="store_true", help="Presidio alone, without a model")
    asked = parser.parse_args()
    more = _presidio() if asked.presidio else []
    sets = {
        "seeds": _by_seeds(asked.development, more),
        "by_hand": _by_hand(asked.development, more),
    }
    if asked.presidio:
        del sets["seeds"]  # minutes
    measured = {}
    for name, cases in sets.items():
        print(name)
        measured[name] = _measure(cases, asked.development)
    turns = [s.text for s in planted(99, 20_000)]
    if asked.qmsum:
        files = sorted(asked.qmsum.glob("*.json"))
        turns = [t.text for f in files for t in READERS["qmsum-json"](f.read_bytes())]
    turns = turns[:500] if asked.presidio else turns
    detectors, begin = more or _ours_by_seeds(), time.process_time()
    spans = sum(len(search(detectors, text)) for text in turns)
    rate = len(turns) / (time.process_time() - begin)
    print(json.dumps({**measured, "turns": len(turns), "spans": spans,
                      "turns_per_second": round(rate)}))  # fmt: skip


def _presidio() -> list[Detector]:
    from harness.meetings.detectors.presidio import Presidio

    return [Presidio()]


def _ours_by_seeds() -> list[Detector]:
    return [Roster([f"{first} {last}" for first in NAMES for last in SURNAMES]), Patterns()]


def _by_seeds(development: bool, instead: list[Detector]) -> Iterator[Case]:
    detectors = instead or _ours_by_seeds()
    for seed in DEVELOPMENT if development else REPORTED:
        for sentence in planted(seed, COUNT):
            yield Case(sentence.text, {*sentence.spans}, search(detectors, sentence.text))


def _by_hand(development: bool, instead: list[Detector]) -> Iterator[Case]:
    rows = [json.loads(row) for row in BY_HAND.read_text().splitlines()]
    meetings = {roster: n for n, roster in enumerate(dict.fromkeys(map(_roster, rows)))}
    for row in rows:
        if meetings[_roster(row)] % 2 == (0 if development else 1):
            domains = [email.partition("@")[2] for email in row["emails"]]
            detectors = instead or [Roster(row["roster"], domains, any_case=True), Patterns()]
            spans = {(start, end, kind) for start, end, kind in row["spans"]}
            yield Case(row["text"], spans, search(detectors, row["text"]))


def _roster(row: dict[str, list[str]]) -> tuple[str, ...]:
    return tuple(row["roster"])


def _measure(cases: Iterable[Case], explain: bool) -> dict[str, dict[str, float]]:
    there, hit, found, right = (Counter[str]() for _ in range(4))
    for case in cases:
        missed = {p for p in case.planted if not any(_covers(span, p) for span in case.found)}
        wrong = [s for s in case.found if not any(_touches(s, p) for p in case.planted)]
        there.update(kind for *_, kind in case.planted)
        hit.update(kind for *_, kind in case.planted - missed)
        found.update(span.kind for span in case.found)
        right.update(span.kind for span in case.found if span not in wrong)
        if explain and (missed or wrong):
            print(case.text, "MISSED", [(case.text[a:b], k) for a, b, k in missed],
                  "WRONG", [(case.text[a:b], k) for a, b, k in wrong])  # fmt: skip
    table = {
        kind: {"planted": there[kind], "recall": round(hit[kind] / max(there[kind], 1), 4),
               "precision": round(right[kind] / max(found[kind], 1), 4)}
        for kind in sorted({*there, *found})
    }  # fmt: skip
    for kind, row in table.items():
        print(f"{kind:<8}{row['planted']:>7}{row['recall']:>9}{row['precision']:>9}")
    return table


def _covers(span: Span, place: tuple[int, int, str]) -> bool:
    return span.kind == place[2] and span.start <= place[0] and span.end >= place[1]


def _touches(span: Span, place: tuple[int, int, str]) -> bool:
    return span.kind == place[2] and span.start < place[1] and span.end > place[0]


if __name__ == "__main__":
    main()
