"""Names of the content formats that turns are read from."""

from collections.abc import Callable

from harness.meetings import jsonl, qmsum, zoom
from harness.meetings.model import Turn

READERS: dict[str, Callable[[bytes], list[Turn]]] = {
    "zoom-vtt": zoom.read_transcript,
    "zoom-chat": zoom.read_chat,
    "qmsum-json": qmsum.read,
    "turns-jsonl": jsonl.read,
}
"""Format name of a content row to its strict reader."""
