"""Precision and recall of the detectors by class, and how many turns a second one core searches.

Sets are planted by seeds (planted.py): the first ten are for whoever works on the detectors, the
next are what is reported. A span counts as found where one of its class covers it. Speed is that of
QMSum's turns if the folder is named, else of the planted sentences. The last line is JSON.

usage: python scripts/bench/detectors.py [--qmsum DIR] [--development]
"""

import argparse
import json
import time
from collections import Counter
from pathlib import Path

from planted import NAMES, SURNAMES, planted

from harness.meetings.detectors.patterns import Patterns
from harness.meetings.detectors.roster import Roster
from harness.meetings.detectors.span import search
from harness.meetings.formats import READERS

COUNT = 2000
DEVELOPMENT, REPORTED = range(10), range(1000, 1010)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure the detectors.")
    parser.add_argument("--qmsum", type=Path, help="folder of QMSum's JSON files")
    parser.add_argument("--development", action="store_true", help="the seeds to work with")
    asked = parser.parse_args()
    detectors = [Roster([f"{first} {last}" for first in NAMES for last in SURNAMES]), Patterns()]
    there, found, right = Counter[str](), Counter[str](), Counter[str]()
    for seed in DEVELOPMENT if asked.development else REPORTED:
        for sentence in planted(seed, COUNT):
            spans = search(detectors, sentence.text)
            there.update(kind for *_, kind in sentence.spans)
            found.update(span.kind for span in spans)
            for start, end, kind in sentence.spans:
                hits = [s for s in spans if s.kind == kind and s.start <= start and s.end >= end]
                right[kind] += bool(hits)
            if asked.development and {(s.start, s.end, s.kind) for s in spans} != {*sentence.spans}:
                print(sentence.text, sentence.spans, spans)
    table = {
        kind: {"planted": there[kind], "recall": round(right[kind] / there[kind], 4),
               "precision": round(right[kind] / max(found[kind], 1), 4)}
        for kind in sorted(there)
    }  # fmt: skip
    for kind, row in table.items():
        print(f"{kind:<8}{row['planted']:>7}{row['recall']:>9}{row['precision']:>9}")
    turns = [s.text for s in planted(99, 20_000)]
    if asked.qmsum:
        files = sorted(asked.qmsum.glob("*.json"))
        turns = [t.text for f in files for t in READERS["qmsum-json"](f.read_bytes())]
    begin = time.process_time()
    spans = sum(len(search(detectors, text)) for text in turns)
    rate = len(turns) / (time.process_time() - begin)
    print(json.dumps({"classes": table, "turns": len(turns), "spans": spans,
                      "turns_per_second": round(rate)}))  # fmt: skip


if __name__ == "__main__":
    main()
