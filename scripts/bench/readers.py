"""How fast transcripts and chats are read, and what other readers make of hard files.

Both sides read the same bytes in one process, in alternating rounds; medians are compared. A table
shows what webvtt-py, pysubs2 and pycaption make of each WebVTT fixture beside ours.
The last line is JSON.

usage: python scripts/bench/readers.py [--megabytes N] [--fixtures DIR]   (needs the extra `bench`)
"""

import argparse
import io
import json
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pycaption
import pysubs2
import webvtt

from harness.errors import Refused
from harness.meetings.formats import READERS, format_of
from harness.meetings.model import Turn
from harness.meetings.readers import teams_transcript, zoom_chat, zoom_transcript

ROUNDS = 5
TALK = (
    "the a of project timeline budget because report ask yes no we should think about maybe next "
    "week delivery quarter okay so right customer numbers review plan ship test data"
)


def turns(megabytes: float) -> list[Turn]:
    """Made turns whose Zoom transcript has about so many megabytes."""
    rng, words = random.Random(1), TALK.split(" ")
    names = ["Ada Example", "Bo Sample | Org", "Cy (Guest)", "Dee"]
    return [
        Turn(n, rng.choice(names), " ".join(rng.choices(words, k=rng.randint(3, 14))), n * 3.21)
        for n in range(int(megabytes * 9600))
    ]


def seconds(work: Callable[[], object]) -> float:
    """Seconds of this process that some work takes."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def by_webvtt(data: bytes) -> int:
    """Cues with their voices and texts, as a user of webvtt-py asks for them."""
    return len([(c.voice, c.text, c.start) for c in webvtt.from_buffer(io.BytesIO(data)).captions])


def speed(megabytes: float) -> dict[str, float]:
    """Megabytes a second of each reader, and the ratios."""
    said = turns(megabytes)
    zoom = zoom_transcript.write(said, 9e5)
    teams, chat = teams_transcript.write(said), zoom_chat.write(said)
    works: dict[str, tuple[int, Callable[[], object]]] = {
        "zoom-vtt": (len(zoom), lambda: READERS["zoom-vtt"](zoom)),
        "webvtt-py zoom": (len(zoom), lambda: by_webvtt(zoom)),
        "teams-vtt": (len(teams), lambda: READERS["teams-vtt"](teams)),
        "webvtt-py teams": (len(teams), lambda: by_webvtt(teams)),
        "zoom-chat": (len(chat), lambda: READERS["zoom-chat"](chat)),
    }
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(ROUNDS):
        for name, (_, work) in works.items():
            taken[name].append(seconds(work))
    rates = {name: size / 1e6 / statistics.median(taken[name]) for name, (size, _) in works.items()}
    for name, rate in rates.items():
        print(f"{name:<18}{rate:>8.1f} MB/s")
    return {
        "vtt_mb_per_second": round(rates["zoom-vtt"], 1),
        "voices_mb_per_second": round(rates["teams-vtt"], 1),
        "chat_mb_per_second": round(rates["zoom-chat"], 1),
        "vtt_ratio_webvtt": round(rates["zoom-vtt"] / rates["webvtt-py zoom"], 1),
        "voices_ratio_webvtt": round(rates["teams-vtt"] / rates["webvtt-py teams"], 1),
    }


def by_peers(data: bytes) -> list[str]:
    """What each reader makes of a file: texts with their voices, or the name of its error."""

    def webvtt_py() -> list[str]:
        cues = webvtt.from_buffer(io.BytesIO(data)).captions
        return [f"{cue.voice or ''}|{cue.text}" for cue in cues]

    def pysubs2_() -> list[str]:
        return [event.text for event in pysubs2.SSAFile.from_string(data.decode(), format_="vtt")]

    def pycaption_() -> list[str]:
        found = pycaption.WebVTTReader().read(data.decode())
        return [c.get_text() for lang in found.get_languages() for c in found.get_captions(lang)]

    def ours() -> list[str]:
        return [f"{turn.speaker}|{turn.text}" for turn in READERS[format_of(data)](data)]

    told = []
    for reader in (ours, webvtt_py, pysubs2_, pycaption_):
        try:
            told.append(" / ".join(reader()).replace("\n", "⏎") or "(nothing)")
        except Refused as error:
            told.append(f"{error.code} {error.where}")
        except Exception as error:
            told.append(f"raises {type(error).__name__}")
    return told


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure the readers.")
    parser.add_argument("--megabytes", type=float, default=8.0)
    parser.add_argument("--fixtures", type=Path, help="folder of transcript fixtures")
    asked = parser.parse_args()
    for path in sorted(asked.fixtures.glob("*.vtt")) if asked.fixtures else ():
        print(path.name)
        names = ("ours", "webvtt-py", "pysubs2", "pycaption")
        for name, told in zip(names, by_peers(path.read_bytes()), strict=True):
            print(f"  {name:<10}{told[:110]}")
    print(json.dumps(speed(asked.megabytes)))


if __name__ == "__main__":
    main()
