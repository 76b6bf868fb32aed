"""Our own transcript format: one JSON object a line, ``{"speaker", "text", "seconds"?}``."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

from harness.digest import strict_json
from harness.errors import Refused
from harness.meetings.model import Turn
from harness.meetings.strict import Tiles

_LINE = re.compile(r"[^\r\n]+(?:\r?\n|\Z)|\r?\n")
_REQUIRED, _OPTIONAL = {"speaker", "text"}, {"seconds"}
_LONGEST = 1e9
_REMEDY = "write one JSON object a line"


def looks(head: str) -> bool:
    """Whether a file that begins so is one of these."""
    return re.match(r'\{\s*"(?:speaker|text|seconds)"\s*:', head) is not None


def read(stream: BinaryIO) -> Iterator[Turn]:
    """Read turns, numbered by line.

    Raises:
        Refused: ``PARSE_REFUSED`` with the line number.
    """
    return records(stream, turn_of)


def records(stream: BinaryIO, make: Callable[[int, object], Turn]) -> Iterator[Turn]:
    """Read one turn a line.

    Args:
        stream: of the file.
        make: the turn of a number, from 0, and an object; it raises ``ValueError`` saying what is
            wrong, without quoting it.

    Raises:
        Refused: ``PARSE_REFUSED`` with the line number.
    """
    tiles = Tiles(stream, _LINE, lambda _: ("a carriage return inside a line", 0), _REMEDY)
    for index, match in enumerate(tiles):
        try:
            yield make(index, strict_json(match[0].encode(), f"line {index + 1}"))
        except Refused as error:
            raise tiles.refuse(error.what, match.start()) from None
        except ValueError as error:
            raise tiles.refuse(str(error), match.start()) from None


def write(turns: Iterable[Turn]) -> bytes:
    """Write turns in order; :func:`read` numbers them from 0."""
    return "".join(line(turn) for turn in turns).encode()


def line(turn: Turn) -> str:
    """One turn as a line."""
    return json.dumps(_fields(turn), ensure_ascii=False) + "\n"


def turn_of(index: int, fields: object) -> Turn:
    """The turn that an object says.

    Raises:
        ValueError: what is wrong with it, without quoting it.
    """
    if not isinstance(fields, dict) or not _REQUIRED <= set(fields) <= _REQUIRED | _OPTIONAL:
        raise ValueError("not an object of speaker, text and, if known, seconds")
    speaker, text, seconds = fields["speaker"], fields["text"], fields.get("seconds")
    if not isinstance(speaker, str) or not isinstance(text, str) or not text.strip():
        raise ValueError("a speaker or a text that is not text, or no words")
    return Turn(index, speaker, text, _moment(seconds) if "seconds" in fields else None)


def _fields(turn: Turn) -> dict[str, str | float]:
    fields: dict[str, str | float] = {"speaker": turn.speaker, "text": turn.text}
    return fields if turn.seconds is None else {**fields, "seconds": turn.seconds}


def _moment(seconds: object) -> float:
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not number or not 0 <= seconds < _LONGEST:  # type: ignore[operator]
        raise ValueError("seconds that are not a number from 0")
    return float(seconds)  # type: ignore[arg-type]
