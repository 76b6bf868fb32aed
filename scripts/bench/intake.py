"""Peak memory of an import by the size of one export: it should not grow with it.

A meeting with a transcript and a cloud chat, each half of the size, is imported in a process of its
own, first a small one, then a large one. The last line is JSON.

usage: python scripts/bench/intake.py [--megabytes N]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from harness.meetings.model import Modality
from harness.meetings.readers import zoom_recordings
from harness.meetings.readers.zoom_recordings import RecordedMeeting, RecordingFile
from harness.meetings.readers.zoom_transcript import clock

SMALL = 20
TALK = "so the review of the quarter moves to the room on the second floor, numbers are late again"
MEETING = RecordedMeeting(
    "u1", "h", "t", datetime(2026, 3, 2, 9, tzinfo=UTC), "UTC", "acct", "81234567890", 30
)


def transcript() -> Iterator[str]:
    """Cues without end."""
    number = 0
    while True:
        number += 1
        start = number % 100_000 * 0.1
        yield (f"{number}\r\n{clock(start)} --> {clock(start + 0.05)}\r\n"
               f"Person {number % 9}: {TALK} {number}\r\n\r\n")  # fmt: skip


def chat() -> Iterator[str]:
    """Messages without end."""
    number = 0
    while True:
        number += 1
        told = f"{number // 3600 % 90:02d}:{number // 60 % 60:02d}:{number % 60:02d}"
        yield f"{told}\tPerson {number % 9}:\t{TALK}\r\n"


def write(path: Path, head: str, pieces: Iterator[str], size: int) -> None:
    """A file of about so many bytes."""
    with path.open("w", newline="") as file:
        written = file.write(head)
        while written < size:
            written += file.write("".join(next(pieces) for _ in range(2000)))


def measure(megabytes: int) -> dict[str, float]:
    """Peak memory in MB, and seconds, of one import."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as beside:
        src = Path(beside) / "src" / "m"
        src.mkdir(parents=True)
        half = megabytes * 500_000
        write(src / "meeting.transcript.vtt", "WEBVTT\r\n\r\n", transcript(), half)
        write(src / "chat.txt", "", chat(), half)
        recorded = RecordingFile(
            MEETING, "f", "CHAT", "chat_file", Modality.CHAT_PUBLIC, "completed"
        )
        (src / "recordings.json").write_bytes(zoom_recordings.write([recorded]))
        begin = time.perf_counter()
        words = ["import", "zoom", str(src.parent), str(Path(beside) / "dst"), "--json"]
        process = subprocess.Popen([sys.executable, "-m", "harness.cli", *words],
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # fmt: skip
        assert process.stdout
        told = json.loads(process.stdout.read().splitlines()[-1])
        _, status, usage = os.wait4(process.pid, 0)
        assert status == 0, "the import failed"
        assert told["refused"] == [], f"refused: {told['refused']}"
        return {"megabytes": megabytes, "turns": told["turns"],
                "peak_rss_mb": round(usage.ru_maxrss / 1024),
                "seconds": round(time.perf_counter() - begin, 1)}  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure the memory of an import.")
    parser.add_argument("--megabytes", type=int, default=2000)
    asked = parser.parse_args()
    found = [measure(size) for size in (SMALL, asked.megabytes)]
    for row in found:
        print(row)
    small, large = found
    print(
        json.dumps(
            {**large, "peak_rss_ratio": round(large["peak_rss_mb"] / small["peak_rss_mb"], 2)}
        )
    )


if __name__ == "__main__":
    main()
