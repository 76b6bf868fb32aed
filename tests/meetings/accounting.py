"""Whether a reader kept every character that a file says, by a second and simpler look at the file.

The readers tile a file with a grammar; this goes through its lines, takes out what is layout, and
compares the rest with labels and words, spaces and colons apart. It shares no line with readers.
"""

import html
import html.entities
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from harness.meetings.model import Turn

_TIMES = re.compile(
    r"\s*(?:\d+:)?\d\d:\d\d\.\d{3}\s+-->\s+(?:\d+:)?\d\d:\d\d\.\d{3}(?:\s.*)?\Z", re.ASCII
)
_IGNORED = re.compile(r"[\s:\ufeff]+")


def is_whole(name: str, data: bytes, turns: Sequence[Turn]) -> bool:
    """Whether the turns that were read of a file say all that it says, and nothing else.

    Args:
        name: of the format.
        data: of the file, which was not refused.
        turns: as they were read.
    """
    said = "".join(turn.speaker + "".join(turn.texts) for turn in turns)
    return _squashed(_LEFT[name](data)) == _squashed(said)


def _squashed(text: str) -> str:
    return _IGNORED.sub("", text)


def _text(data: bytes) -> str:
    return data.decode("utf-8").removeprefix("\ufeff")


def _vtt(data: bytes) -> str:
    return "\n".join(_blocks(data))


def _blocks(data: bytes) -> list[str]:
    """The text of each block that has times; blocks that have none are header, comments, styles."""
    text = _text(data).replace("\r\n", "\n")
    found: list[str] = []
    for block in re.split(r"\n\n+", text):
        rows = block.strip("\n").split("\n")
        place = next((n for n, row in enumerate(rows[:2]) if _TIMES.match(row)), None)
        if place is not None:
            found += rows[place + 1 :]
    return found


def _teams(data: bytes) -> str:
    apart = re.split(r"<v(?:\.[^\s<>.]+)*[ \t]([^<>\n]*)>|</v>|\n", "\n".join(_blocks(data)))
    return "".join(html_plain(part or "") for part in apart)


def html_plain(text: str) -> str:
    """Entities as characters, those alone that there are, end in a semicolon and can be seen."""

    def character(match: re.Match[str]) -> str:
        known = match[0].startswith("&#") or match[0][1:] in html.entities.html5
        plain = html.unescape(match[0])
        return plain if known and plain and plain.isprintable() else match[0]

    return re.sub(r"&(?:#[0-9]+|#[xX][0-9a-fA-F]+|[A-Za-z][A-Za-z0-9]*);", character, text)


def _webex(data: bytes) -> str:
    text = _text(data).replace("\r\n", "\n")
    found = []
    for block in re.split(r"\n\n+", text):
        rows = block.strip("\n").split("\n")
        if len(rows) > 1 and _TIMES.match(rows[1]):
            found += [re.sub(r'\A\d+ "(.*)" \(\d*\)\Z', r"\1", rows[0]), *rows[2:]]
    return "\n".join(found)


def _set_apart(data: bytes) -> str:
    """Each block that follows a block of times; others are comments."""
    kept, is_said = [], False
    for block in re.split(r"\n\n+", _text(data).replace("\r\n", "\n")):
        rows = block.strip("\n").split("\n")
        if is_said:
            kept += rows
        is_said = not is_said and len(rows) <= 2 and bool(_TIMES.match(rows[-1]))
    return "\n".join(kept)


def _zoom_chat(data: bytes) -> str:
    return re.sub(r"(?:\A|\r\n)\d{2,}:\d\d:\d\d\t", "", _text(data), flags=re.ASCII)


def _sbv(data: bytes) -> str:
    stamp = r"\d{1,3}:\d\d:\d\d\.\d{3}"
    return re.sub(rf"^{stamp},{stamp}\r?$", "", _text(data), flags=re.ASCII | re.MULTILINE)


def _otter(data: bytes) -> str:
    clock = r" {2}(?:\d+:)?\d?\d:\d\d *\r?$"
    return re.sub(clock, "", _text(data), flags=re.ASCII | re.MULTILINE)


def _meet_text(data: bytes) -> str:
    rows = _text(data).replace("\r\n", "\n").split("\n")
    start = next(n for n, row in enumerate(rows) if row.rstrip(" \t") == "Transcript")
    return "\n".join(
        row for row in rows[start + 1 :]
        if not re.fullmatch(r"\d\d:\d\d:\d\d", row, re.ASCII)
        and not re.match(r"Meeting ended after \d\d:\d\d:\d\d", row, re.ASCII)
        and not row.startswith("This editable transcript was computer generated")
    )  # fmt: skip


def _json(data: bytes) -> Any:
    return json.loads(_text(data))


def _entries(data: bytes) -> str:
    document = _json(data)
    names = {
        row["name"]: (row.get("signedinUser") or {}).get("displayName", row["name"])
        for row in document.get("participants", [])
    }
    return "".join(
        names.get(entry["participant"], entry["participant"]) + entry["text"]
        for entry in document["transcriptEntries"]
    )


def _fireflies(data: bytes) -> str:
    document = _json(data)
    while isinstance(document, dict):
        document = next(document[k] for k in ("sentences", "data", "transcript") if k in document)
    return "".join((row.get("speaker_name") or "") + row["text"] for row in document)


def _qmsum(data: bytes) -> str:
    said = ((row["speaker"], re.sub(r"\{[a-z]+\}", " ", row["content"]))
            for row in _json(data)["meeting_transcripts"])  # fmt: skip
    return "".join(speaker + words for speaker, words in said if words.split())


def _jsonl(data: bytes) -> str:
    rows = [json.loads(row) for row in _text(data).split("\n") if row]
    return "".join(row["speaker"] + row["text"] for row in rows)


def _pairs(data: bytes) -> str:
    rows = [json.loads(row) for row in _text(data).split("\n") if row]
    return "".join(row["query"] + row["answer"] for row in rows)


def _qmsum_pairs(data: bytes) -> str:
    lists = (_json(data).get(f"{kind}_query_list", []) for kind in ("general", "specific"))
    said = "".join(row["query"] + " " + row["answer"] + " " for rows in lists for row in rows)
    return re.sub(r"\{[a-z]+\}", " ", said)


_LEFT: dict[str, Callable[[bytes], str]] = {
    "zoom-vtt": _vtt, "named-vtt": _vtt, "teams-vtt": _teams, "webex-vtt": _webex,
    "teams-vtt-unattributed": lambda data: html_plain(_set_apart(data)), "zoom-chat": _zoom_chat,
    "meet-sbv": _sbv, "otter-text": _otter, "meet-text": _meet_text, "meet-entries": _entries,
    "fireflies-json": _fireflies, "qmsum-json": _qmsum, "turns-jsonl": _jsonl,
    "pairs-jsonl": _pairs, "qmsum-pairs": _qmsum_pairs,
}  # fmt: skip
"""What a file says, layout apart, by the name of its format."""
ACCOUNTED = frozenset(_LEFT)
