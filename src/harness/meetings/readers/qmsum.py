"""QMSum's JSON files (Zhong et al. 2021): AMI, ICSI and committee meetings, without times."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, BinaryIO

from harness.errors import Refused
from harness.meetings.model import Turn
from harness.meetings.readers.pairs import pair_of
from harness.meetings.strict import json_document

_KEYS = {"topic_list", "general_query_list", "specific_query_list", "meeting_transcripts"}
_PAIR_LISTS = {
    "general_query_list": {"query", "answer"},
    "specific_query_list": {"query", "answer", "relevant_text_span"},
}
_MARKER = re.compile(r"\{[a-z]+\}")  # {disfmarker}, {vocalsound}, {gap}, {pause}, ...
_AMI = re.compile(r"([A-Z]{2}[0-9]{4})[a-z]")
_NUMBERED = re.compile(r"([A-Za-z]+)[_-]?[0-9]+[a-z]?")


def looks(head: str) -> bool:
    """Whether a file that begins so is one of these."""
    return re.match(r'\s*\{\s*"(?:topic_list|(?:general|specific)_query_list|meeting_transcripts)"',
                    head) is not None  # fmt: skip


def read(stream: BinaryIO) -> Iterator[Turn]:
    """Read the turns of one meeting; queries and answers about it are left to :func:`read_pairs`.

    Markers such as ``{vocalsound}`` are taken out and spaces collapsed. Turns without words are
    skipped and not counted.

    Raises:
        Refused: ``PARSE_REFUSED``, with the entry at fault.
    """
    entries = _document(stream).get("meeting_transcripts")
    if not isinstance(entries, list):
        raise _refusal("no list of turns", "meeting_transcripts")
    turns = (_turn(index, entry) for index, entry in enumerate(entries))
    spoken = (turn for turn in turns if turn.text)
    return (replace(turn, index=index) for index, turn in enumerate(spoken))


def read_pairs(stream: BinaryIO) -> Iterator[Turn]:
    """Read the queries about one meeting with their answers: general ones, then specific ones.

    Markers and spaces as in :func:`read`. Where in the transcript an answer was found
    (``relevant_text_span``) is left out.

    Raises:
        Refused: ``PARSE_REFUSED``, with the entry at fault.
    """
    document, index = _document(stream), 0
    for name, keys in _PAIR_LISTS.items():
        entries = document.get(name, [])
        if not isinstance(entries, list):
            raise _refusal("no list of queries", name)
        for place, entry in enumerate(entries):
            yield _pair(index, entry, keys, f"{name}[{place}]")
            index += 1


def _document(stream: BinaryIO) -> dict[str, Any]:
    document = json_document(stream.read(), "QMSum JSON")
    if not isinstance(document, dict) or not set(document) <= _KEYS:
        raise _refusal("not QMSum's schema", "QMSum JSON")
    return document


def _pair(index: int, entry: object, keys: set[str], where: str) -> Turn:
    fields = entry if isinstance(entry, dict) else {}
    if set(fields) != keys:
        raise _refusal("not one query and one answer", where)
    try:
        pair = pair_of(index, fields["query"], fields["answer"])
        return pair_of(index, _plain(pair.query or ""), _plain(pair.text))
    except ValueError as error:
        raise _refusal(str(error), where) from None


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
    return Turn(index, speaker, _plain(content))


def _plain(text: str) -> str:
    """Text without markers, spaces collapsed."""
    return " ".join(_MARKER.sub(" ", text).split())


def _refusal(what: str, where: str) -> Refused:
    return Refused("PARSE_REFUSED", what, where, "take the file from Yale-LILY/QMSum")
