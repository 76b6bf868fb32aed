"""Fireflies' transcripts: JSON with a list ``sentences`` of names, texts and times.

The list stands at the top, or under ``data.transcript`` as the API answers. Layout as known from
memory of the API; a sentence of another shape is refused.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from harness.errors import Refused
from harness.meetings.model import Turn
from harness.meetings.strict import json_document

_NAME = "Fireflies JSON"
_LONGEST = 1e9


def looks(head: str) -> bool:
    """Whether a file that begins so is one of these."""
    return head.lstrip().startswith(("{", "[")) and '"speaker_name"' in head


def read(stream: BinaryIO) -> Iterator[Turn]:
    """Read a transcript; who has no name is speaker ``""``.

    Raises:
        Refused: ``PARSE_REFUSED``, with the sentence at fault.
    """
    for index, sentence in enumerate(_sentences(json_document(stream.read(), _NAME))):
        where = f"sentences[{index}]"
        fields = sentence if isinstance(sentence, dict) else {}
        speaker, text, start = (fields.get(k) for k in ("speaker_name", "text", "start_time"))
        if not isinstance(speaker, str | None) or not isinstance(text, str) or not text.strip():
            raise _bad("a name or a text that is not text, or no words", where)
        if isinstance(start, bool) or not isinstance(start, int | float) or not (
            0 <= start < _LONGEST
        ):  # fmt: skip
            raise _bad("no start_time in seconds from 0", where)
        yield Turn(index, speaker or "", text, float(start))


def write(turns: Iterable[Turn]) -> bytes:
    """A transcript of turns that have ``seconds``."""
    sentences = [
        {"index": turn.index, "speaker_name": turn.speaker, "text": turn.text,
         "start_time": turn.seconds or 0.0, "end_time": (turn.seconds or 0.0) + 1}
        for turn in turns
    ]  # fmt: skip
    return json.dumps({"sentences": sentences}, ensure_ascii=False).encode()


def _sentences(document: Any) -> list[Any]:
    if isinstance(document, dict) and len({"sentences", "data", "transcript"} & {*document}) > 1:
        raise _bad("more than one list of sentences", _NAME)
    for key in ("data", "transcript"):
        if isinstance(document, dict) and key in document and "sentences" not in document:
            document = document[key]
    found = document.get("sentences") if isinstance(document, dict) else document
    if not isinstance(found, list):
        raise _bad("no list of sentences", "sentences")
    return found


def _bad(what: str, where: str) -> Refused:
    return Refused("PARSE_REFUSED", what, where, "export from Fireflies as JSON again")
