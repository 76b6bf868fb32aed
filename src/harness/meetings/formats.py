"""The formats that meetings come in: by name for content rows, by content for an import."""

import io
from collections.abc import Callable, Iterator
from functools import partial
from typing import BinaryIO, NamedTuple

from harness.errors import Refused
from harness.meetings.model import Turn
from harness.meetings.readers import (
    fireflies,
    jsonl,
    meet_chat,
    meet_entries,
    meet_transcript,
    named_vtt,
    otter,
    pairs,
    parquet,
    qmsum,
    teams_transcript,
    webex_transcript,
    zoom_chat,
    zoom_transcript,
)

HEAD = 1 << 16
"""Bytes of a file that are enough to tell its format."""


class Format(NamedTuple):
    """A format of turns.

    Attributes:
        read: the strict reader.
        looks: whether a file that begins so, as text without byte order mark, is of this format.
    """

    read: Callable[[BinaryIO], Iterator[Turn]]
    looks: Callable[[str], bool]


FORMATS: dict[str, Format] = {
    "zoom-vtt": Format(zoom_transcript.read, zoom_transcript.looks),
    "zoom-chat": Format(zoom_chat.read, zoom_chat.looks),
    "teams-vtt": Format(teams_transcript.read, teams_transcript.looks),
    "teams-vtt-unattributed": Format(
        teams_transcript.read_unattributed, teams_transcript.looks_unattributed
    ),
    "webex-vtt": Format(webex_transcript.read, webex_transcript.looks),
    "named-vtt": Format(named_vtt.read, named_vtt.looks),
    "meet-sbv": Format(meet_chat.read, meet_chat.looks),
    "meet-entries": Format(meet_entries.read, meet_entries.looks),
    "meet-text": Format(meet_transcript.read, meet_transcript.looks),
    "otter-text": Format(otter.read, otter.looks),
    "fireflies-json": Format(fireflies.read, fireflies.looks),
    "qmsum-json": Format(qmsum.read, qmsum.looks),
    "turns-jsonl": Format(jsonl.read, jsonl.looks),
    "turns-parquet": Format(parquet.read, parquet.looks),
    "qmsum-pairs": Format(qmsum.read_pairs, pairs.looks),
    "pairs-jsonl": Format(pairs.read, pairs.looks),
}
"""By the name that content rows have."""

PAIRS = frozenset({"qmsum-pairs", "pairs-jsonl"})
"""Formats of pairs of query and answer about a meeting, which nobody says in it."""


def format_of(head: bytes) -> str:
    """The name of the one format that a file is of.

    Args:
        head: the first ``HEAD`` bytes of the file, or all of them.

    Raises:
        Refused: ``CONTENT_FORMAT_UNKNOWN`` where none fits, or more than one.
    """
    text = head.decode("utf-8-sig", "replace")
    found = [name for name, form in FORMATS.items() if form.looks(text)]
    if len(found) != 1:
        what = f"it could be {' or '.join(found)}" if found else "it is of no known format"
        raise Refused("CONTENT_FORMAT_UNKNOWN", what, "", f"known: {', '.join(FORMATS)}")
    return found[0]


def _read(read: Callable[[BinaryIO], Iterator[Turn]], data: bytes) -> list[Turn]:
    return list(read(io.BytesIO(data)))


READERS: dict[str, Callable[[bytes], list[Turn]]] = {
    name: partial(_read, form.read) for name, form in FORMATS.items()
}
"""The strict reader of each format, of a file that is in memory."""
