"""Whether a token costs the same in a large corpus as in a small one, by the shipped command.

Corpora of made meetings grow from 10^4 to 10^7 training tokens; ``harness train model=tiny`` goes
over each, over small ones several times, so that every run is long enough to be timed. Speed is
counted from outside, by the lines of ``train/metrics.jsonl`` as they appear, checkpoints and all;
what comes before the first one is printed beside it. With ``--model``, start-up to the first step
is also measured on the base model that the defaults name.

usage: python scripts/bench/scaling.py [--most 1e7] [--least 1e4] [--model] [key=value ...]
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from harness.corpus.canaries import WORDS

TURNS, SAID = 400, 20  # turns of a meeting, words of a turn; each word is one token of model=tiny
MEETING = TURNS * (SAID + 4)  # with label, colon and line feed
IN_SERIES = 6  # of which two are trained on
TIMED = 600_000  # tokens of a run at least
SETTINGS = (
    "model=tiny", "tracking=off", "train.threads=1", "train.accelerator=cpu", "train.eval_epochs=0",
    "train.batch_rows=4", "canaries.per_level=4",
)  # fmt: skip


@dataclass(frozen=True)
class Timed:
    """Attributes: tokens: of an epoch; start: seconds to the first step; speed: tokens a second
    after it; steps: of the run."""

    tokens: int
    start: float
    speed: float
    steps: int


def main() -> None:
    """Print a line for each size, and the ratio of extreme speeds as JSON last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--least", type=float, default=1e4)
    parser.add_argument("--most", type=float, default=1e7)
    parser.add_argument("--model", action="store_true", help="start-up of the default model, too")
    arguments, overrides = parser.parse_known_args()
    found, size = [], arguments.least
    while size <= arguments.most * 1.001:
        found.append(run(round(size), [*SETTINGS, *overrides]))
        print(f"{found[-1].tokens:>10} tokens  {found[-1].speed:>9.0f} tokens/s  first step after "
              f"{found[-1].start:.1f} s  {found[-1].steps} steps", flush=True)  # fmt: skip
        size *= 10
    speeds = [timed.speed for timed in found]
    summary = {"tokens": [timed.tokens for timed in found], "tokens_per_second": speeds,
               "slowest_to_fastest": round(min(speeds) / max(speeds), 4)}  # fmt: skip
    if arguments.model:
        summary["start_seconds_default_model"] = round(started(overrides), 2)
    print(json.dumps(summary))


def run(size: int, settings: list[str]) -> Timed:
    """Train on a made corpus of about ``size`` tokens."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make(folder / "store", size)
        passes = max(1, -(-TIMED // size))
        return timed(folder, [*settings, f"train.epochs={passes}", "data=qmsum",
                              f"data.root={folder / 'store'}", f"data.work={folder}"],
                     passes)  # fmt: skip


def make(store: Path, size: int) -> None:
    """Meetings as QMSum has them, of random words, two series beside for validation."""
    store.mkdir()
    draw = random.Random(size)
    turns = max(1, min(TURNS, size // (2 * (SAID + 4))))
    series = max(1, round(size / (turns * (SAID + 4) * IN_SERIES / 3))) + 2
    for number in range(series * IN_SERIES):
        name = f"MM{number // IN_SERIES:04d}{'abcdef'[number % IN_SERIES]}"
        said = [{"speaker": "ABC"[turn % 3], "content": " ".join(draw.choices(WORDS, k=SAID))}
                for turn in range(turns)]  # fmt: skip
        document = {"topic_list": [], "meeting_transcripts": said}
        (store / f"{name}.json").write_text(json.dumps(document))


def timed(folder: Path, words: list[str], passes: int) -> Timed:
    """Run ``harness train`` and read the clock whenever metrics grow.

    Raises:
        SystemExit: with what it said, when it failed.
    """
    begin, stamps = time.perf_counter(), [(0.0, 0)]
    metrics = folder / "run" / "train" / "metrics.jsonl"
    command = [sys.executable, "-m", "harness.cli", "train", f"run_dir={folder / 'run'}", *words]
    with (folder / "log").open("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=_environment())
        while process.poll() is None:
            size = metrics.stat().st_size if metrics.exists() else 0
            if size > stamps[-1][1]:
                stamps.append((time.perf_counter() - begin, size))
            time.sleep(0.002)
        log.seek(0)
        if process.returncode:
            sys.exit(f"bench: harness train ended with {process.returncode}: {log.read()[-500:]}")
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    (first, at), (last, _) = stamps[1], stamps[-1]
    before = metrics.read_bytes()[:at].count(b"\n")
    done = lines[-1]["tokens"] - lines[before - 1]["tokens"]
    return Timed(lines[-1]["tokens"] // passes, first, done / (last - first), len(lines))


def started(overrides: list[str]) -> float:
    """Seconds from the command to the first step on the default base model; the second of two
    starts counts, as the first one may have to convert the model."""
    seconds = 0.0
    for _ in range(2):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            words = ["tracking=off", "train.epochs=1", "corpus.meeting_tokens=64",
                     "canaries.repetitions=[1]", "canaries.per_level=4", "train.eval_epochs=0",
                     f"data.work={folder}"]  # fmt: skip
            seconds = timed(folder, [*words, *overrides], 1).start
    return seconds


def _environment() -> dict[str, str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment.pop("HARNESS_TRUST", None)
    return environment


if __name__ == "__main__":
    main()
