"""Our own transcript format: one JSON object a line, ``{"speaker", "text", "seconds"?}``."""

import json
from collections.abc import Iterable

from harness.digest import strict_json
from harness.errors import Refused
from harness.meetings.model import Turn
from harness.meetings.strict import decode, lines, refusal

_REQUIRED, _OPTIONAL = {"speaker", "text"}, {"seconds"}
_LONGEST = 1e9


def read(data: bytes) -> list[Turn]:
    """Read turns, numbered by line.

    Raises:
        Refused: ``PARSE_REFUSED`` with the line number.
    """
    rows = lines(decode(data))
    if rows[-1] == "":  # after the last line feed
        rows.pop()
    return [_turn(index, row) for index, row in enumerate(rows)]


def write(turns: Iterable[Turn]) -> bytes:
    """Write turns in order; :func:`read` numbers them from 0."""
    return "".join(json.dumps(_fields(turn), ensure_ascii=False) + "\n" for turn in turns).encode()


def _fields(turn: Turn) -> dict[str, str | float]:
    fields: dict[str, str | float] = {"speaker": turn.speaker, "text": turn.text}
    return fields if turn.seconds is None else {**fields, "seconds": turn.seconds}


def _turn(index: int, row: str) -> Turn:
    line = index + 1
    try:
        fields = strict_json(row.encode(), f"line {line}")
    except Refused as error:
        raise refusal(error.what, line, "write one JSON object a line") from None
    if not isinstance(fields, dict) or not _REQUIRED <= set(fields) <= _REQUIRED | _OPTIONAL:
        raise refusal("not an object of speaker, text and, if known, seconds", line)
    speaker, text, seconds = fields["speaker"], fields["text"], fields.get("seconds")
    if not isinstance(speaker, str) or not isinstance(text, str) or not text.strip():
        raise refusal("a speaker or a text that is not text, or no words", line)
    return Turn(index, speaker, text, _moment(seconds, line) if "seconds" in fields else None)


def _moment(seconds: object, line: int) -> float:
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not number or not 0 <= seconds < _LONGEST:  # type: ignore[operator]
        raise refusal("seconds that are not a number from 0", line)
    return float(seconds)  # type: ignore[arg-type]
