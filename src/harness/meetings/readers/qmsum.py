"""QMSum's JSON files (Zhong et al. 2021): AMI, ICSI and committee meetings, without times."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

from harness.errors import Refused
from harness.meetings.model import Turn
from harness.meetings.strict import json_document

_KEYS = {"topic_list", "general_query_list", "specific_query_list", "meeting_transcripts"}
_MARKER = re.compile(r"\{[a-z]+\}")  # {disfmarker}, {vocalsound}, {gap}, {pause}, ...
_AMI = re.compile(r"([A-Z]{2}[0-9]{4})[a-z]")
_NUMBERED = re.compile(r"([A-Za-z]+)[_-]?[0-9]+[a-z]?")


def looks(head: str) -> bool:
    """Whether a file that begins so is one of these."""
    return re.match(r'\s*\{\s*"(?:topic_list|(?:general|specific)_query_list|meeting_transcripts)"',
                    head) is not None  # fmt: skip


def read(stream: BinaryIO) -> Iterator[Turn]:
    """Read the turns of one meeting; queries and answers about it are not read.

    Markers such as ``{vocalsound}`` are taken out and spaces collapsed. Turns without words are
    skipped and not counted.

    Raises:
        Refused: ``PARSE_REFUSED``, with the entry at fault.
    """
    document = json_document(stream.read(), "QMSum JSON")
    if not isinstance(document, dict) or not set(document) <= _KEYS:
        raise _refusal("not QMSum's schema", "QMSum JSON")
    entries = document.get("meeting_transcripts")
    if not isinstance(entries, list):
        raise _refusal("no list of turns", "meeting_transcripts")
    turns = (_turn(index, entry) for index, entry in enumerate(entries))
    spoken = (turn for turn in turns if turn.text)
    return (replace(turn, index=index) for index, turn in enumerate(spoken))


def series_of(meeting_id: str) -> str:
    """Series of a meeting, whose members share people.

    AMI ids lose the session's letter (ES2002a to ES2002). Others lose their number: ICSI's keep
    the three-letter group (Bmr003 to Bmr), committees their name (covid_1 to covid). An id of
    another shape is a series of its own.
    """
    match = _AMI.fullmatch(meeting_id) or _NUMBERED.fullmatch(meeting_id)
    return match[1] if match else meeting_id


def _turn(index: int, entry: object) -> Turn:
    fields = entry if isinstance(entry, dict) else {}
    speaker, content = fields.get("speaker"), fields.get("content")
    if set(fields) != {"speaker", "content"} or not isinstance(speaker, str):
        raise _refusal("not one speaker and one content", f"meeting_transcripts[{index}]")
    if not isinstance(content, str):
        raise _refusal("content that is not text", f"meeting_transcripts[{index}]")
    return Turn(index, speaker, " ".join(_MARKER.sub(" ", content).split()))


def _refusal(what: str, where: str) -> Refused:
    return Refused("PARSE_REFUSED", what, where, "take the file from Yale-LILY/QMSum")
