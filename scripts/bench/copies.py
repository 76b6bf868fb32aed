"""How well copies of excluded meetings are found, at what false alarms, speed and size.

Sixty meetings drawn at random are excluded, the rest is clean, over five seeds. Recall: passages of
64 words of excluded meetings, edited, each a document of its own. False alarms: whole clean
meetings; a window of 64 words counts when a flagged stretch touches it. Figures and what they mean:
``docs/copies.md``.
"""

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from harness.consent.copies import CopyIndex, Rule, build_index, words
from harness.meetings.formats import READERS

WINDOW = 64
EDITED = (0, 10, 20, 30)  # percent of words
UNEDITED = (16, 20, 24, 32)  # words
QMSUM = Path(__file__).parents[3] / "shared" / "data" / "qmsum"

Meeting = list[str]
Row = dict[str, float]


def main() -> None:
    """Print the table, and as the last line its means in JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=QMSUM)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--excluded", type=int, default=60, help="number of excluded meetings")
    parser.add_argument("--gram", type=int, default=Rule().gram, help="words of a run")
    parser.add_argument("--cover", type=int, default=Rule().cover, help="words to be covered")
    arguments = parser.parse_args()
    if arguments.folder == QMSUM and not QMSUM.is_dir():
        print(f"bench: copies skipped, QMSum is not at {QMSUM}")
        return
    meetings = read(arguments.folder)
    if len(meetings) <= arguments.excluded:
        sys.exit(f"bench: no more than {len(meetings)} QMSum meetings in {arguments.folder}")
    rule = Rule(gram=arguments.gram, cover=arguments.cover)
    rows = [measure(meetings, arguments.excluded, rule, seed) for seed in arguments.seeds]
    means = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        means[name] = statistics.mean(values)
        print(f"{name:>24}  mean {means[name]:<9.6g} min {min(values):<9.6g} max {max(values):.6g}")
    print(json.dumps(summary(means)))


def read(folder: Path) -> list[Meeting]:
    """The turns of each meeting, without labels."""
    files = sorted(folder.glob("*.json"))
    return [[turn.text for turn in READERS["qmsum-json"](path.read_bytes())] for path in files]


def measure(meetings: Sequence[Meeting], count: int, rule: Rule, seed: int) -> Row:
    """One seed's row: ``count`` meetings are excluded by ``rule``."""
    rng = random.Random(seed)
    order = rng.sample(meetings, len(meetings))
    excluded, clean = order[:count], order[count:]
    key = rng.randbytes(32)
    data = build_index(excluded, key, rule)
    index = CopyIndex.parse(data, key, "index")
    said = [[word for turn in meeting for word in words(turn)] for meeting in excluded]
    pool = [word for meeting in said for word in meeting]
    passages = [passage for meeting in said for passage in windows(meeting)]
    row = {f"recall {share} %": recall(index, passages, share, pool, rng) for share in EDITED}
    for length in UNEDITED:
        short = [passage[:length] for passage in passages]
        row[f"unedited {length} words"] = recall(index, short, 0, pool, rng)
    for share in EDITED:
        row[f"whole meeting {share} %"] = covered(index, excluded, share, pool, rng)
    row |= false_alarms(index, clean)
    row["words per second"] = speed(data, key, clean)
    row["bytes per word"] = len(data) / len(pool)
    return row


def windows(said: Sequence[str]) -> Iterator[Sequence[str]]:
    """Passages of 64 words, one after the other; what is left over is not used."""
    return (said[at : at + WINDOW] for at in range(0, len(said) - WINDOW + 1, WINDOW))


def recall(
    index: CopyIndex, passages: Sequence[Sequence[str]], percent: int, pool: Sequence[str],
    rng: random.Random,
) -> float:  # fmt: skip
    """Share of edited passages, each a document of its own, in which something is flagged."""
    return statistics.mean(
        len(index.flag_windows(edited(passage, percent, pool, rng))) > 0 for passage in passages
    )


def covered(
    index: CopyIndex, meetings: Sequence[Meeting], percent: int, pool: Sequence[str],
    rng: random.Random,
) -> float:  # fmt: skip
    """Share of the words of whole edited meetings that stand in flagged turns."""
    flagged = total = 0
    for meeting in meetings:
        turns = [edited(words(turn), percent, pool, rng) for turn in meeting]
        marks = index.flag([" ".join(turn) for turn in turns])
        total += sum(map(len, turns))
        flagged += sum(len(turn) for turn, mark in zip(turns, marks, strict=True) if mark)
    return flagged / total


def edited(said: Sequence[str], percent: int, pool: Sequence[str], rng: random.Random) -> list[str]:
    """Edit each word with probability ``percent``: 60 % substituted, 20 % deleted, 20 % followed
    by an insertion. New words are drawn from the running words of the excluded meetings."""
    out: list[str] = []
    for word in said:
        if rng.random() >= percent / 100:
            out.append(word)
            continue
        kind = rng.random()
        if kind >= 0.8:
            out.append(word)
        if kind < 0.6 or kind >= 0.8:
            out.append(rng.choice(pool))
    return out


def false_alarms(index: CopyIndex, meetings: Sequence[Meeting]) -> Row:
    """Shares of windows and of turns of clean meetings that are flagged."""
    touched = alone = turns = count = 0
    for meeting in meetings:
        said = [word for turn in meeting for word in words(turn)]
        inside = np.zeros(len(said), bool)
        for first, after in index.flag_windows(said):
            inside[first:after] = True
        here = len(said) // WINDOW
        touched += int(inside[: here * WINDOW].reshape(here, WINDOW).any(axis=1).sum())
        alone += sum(len(index.flag_windows(window)) > 0 for window in windows(said))
        turns += int(index.flag(meeting).sum())
        count += here
    return {"clean windows": count, "false alarms": touched / count,
            "false alarms, alone": alone / count,
            "flagged clean turns": turns / sum(map(len, meetings))}  # fmt: skip


def speed(data: bytes, key: bytes, meetings: Sequence[Meeting]) -> float:
    """Words per second of one core: normalise, hash, look up, decide; the best of three passes,
    each with an index that has seen no word yet."""
    total = sum(len(words(turn)) for meeting in meetings for turn in meeting)
    best = float("inf")
    for _ in range(3):
        index = CopyIndex.parse(data, key, "index")
        start = time.process_time()
        for meeting in meetings:
            index.flag(meeting)
        best = min(best, time.process_time() - start)
    return total / best


def summary(means: Row) -> dict[str, object]:
    """The last line: figures that are held against the thresholds."""
    return {
        "recall": {str(share): round(means[f"recall {share} %"], 5) for share in EDITED},
        "false_alarms": round(means["false alarms"], 5),
        "tokens_per_second": round(means["words per second"]),
        "bytes_per_excluded_token": round(means["bytes per word"], 3),
    }


if __name__ == "__main__":
    main()
