"""What every reader of text shares: all of a file is decoded, numbered by line and covered.

A reader says by a pattern what one record is. :class:`Tiles` finds records that lie side by side
from the first character to the last, so that nothing between two of them can be passed over, and
reads some of the file at a time, so that memory stays flat.
"""

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from harness.digest import strict_json
from harness.errors import Refused

CHUNK = 1 << 20
"""Bytes that are read at a time."""
LONGEST = 1 << 20
"""Characters that one record may have."""
OPENING = 1 << 16
"""Characters that what stands before the first record may have."""
_BOM = "\ufeff"

Reason = tuple[str, int]
"""What is wrong, and at which character of the text that it was looked for in."""


def refusal(what: str, line: int, remedy: str = "export the file again") -> Refused:
    """The refusal of a file at a line counted from 1; ``what`` never quotes the file."""
    return Refused("PARSE_REFUSED", what, f"line {line}", remedy)


class Tiles:
    """The records of a text, one after another, with nothing between them.

    Args:
        stream: the file, in UTF-8; one byte order mark at its start is dropped.
        record: pattern of a record, which is never empty. It may end at the text's end (``\\Z``).
        why: for a text that begins with no record, what is wrong and where.
        remedy: what to do about a file that is refused.
        opening: pattern of what stands before the first record.
    """

    def __init__(
        self, stream: BinaryIO, record: re.Pattern[str], why: Callable[[str], Reason],
        remedy: str, opening: re.Pattern[str] | None = None,
    ) -> None:  # fmt: skip
        self._stream, self._record, self._opening = stream, record, opening
        self._why, self._remedy = why, remedy
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._text, self._line, self._is_begun = "", 1, False
        self._held = ""  # the begin of a line whose end is not read, as its end may tell

    def __iter__(self) -> Iterator[re.Match[str]]:
        is_last = self._opening is not None and self._fill()
        place = self._open()
        while True:
            match = self._record.match(self._text, place)
            while match is not None and (is_last or match.end() < len(self._text)):
                if match.end() - place > LONGEST:
                    raise self.refuse("a record that is too long", place)
                yield match
                place = match.end()
                match = self._record.match(self._text, place)
            # a gap is left, or a record that may go on in what is not read yet
            if len(self._text) - place > (0 if is_last else LONGEST):
                raise self._gap(place)
            if is_last:
                return
            is_last, place = self._more(place), 0

    def refuse(self, what: str, place: int) -> Refused:
        """The refusal of the file at a character of the text that the last record is of."""
        return refusal(what, self._line + self._text.count("\n", 0, place), self._remedy)

    def _more(self, place: int) -> bool:
        """Drop the text before a place and read on; whether the file has ended."""
        self._line += self._text.count("\n", 0, place)
        data = self._stream.read(CHUNK)
        self._text = self._text[place:]
        try:
            text = self._decoder.decode(data, final=len(data) < CHUNK)
        except UnicodeDecodeError as error:
            line = self._line + self._text.count("\n") + error.object.count(b"\n", 0, error.start)
            raise refusal("not UTF-8", line, "save the file as UTF-8") from None
        if text and not self._is_begun:
            text, self._is_begun = text.removeprefix(_BOM), True
        text, is_last = self._held + text, len(data) < CHUNK
        cut = text.rfind("\n") + 1
        if is_last or len(text) - cut > LONGEST:
            cut = len(text)
        self._held = text[cut:]
        self._text += text[:cut]
        return is_last

    def _fill(self) -> bool:
        """Read as much as an opening may have; whether the file has ended."""
        while not self._more(0):
            if len(self._text) >= OPENING:
                return False
        return True

    def _open(self) -> int:
        """Where the first record begins."""
        if self._opening is None:
            return 0
        found = self._opening.match(self._text)
        if found is None:
            raise self._gap(0)
        return found.end()

    def _gap(self, place: int) -> Refused:
        what, offset = self._why(self._text[place:])
        return self.refuse(what, place + offset)


def decode(data: bytes) -> str:
    """Decode UTF-8 and drop one leading byte order mark.

    Raises:
        Refused: ``PARSE_REFUSED`` with the line of the first byte that is not UTF-8.
    """
    try:
        return data.decode("utf-8").removeprefix(_BOM)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise refusal("not UTF-8", line, "save the file as UTF-8") from None


def json_document(data: bytes, name: str) -> Any:
    """The value of a JSON file.

    Args:
        data: of the file.
        name: of its kind, for people.

    Raises:
        Refused: ``PARSE_REFUSED``.
    """
    try:
        return strict_json(data.removeprefix(_BOM.encode()), name)
    except Refused as error:
        raise Refused("PARSE_REFUSED", error.what, name, error.remedy) from None


def table_rows(text: str, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Rows of a table of separated values, each with the line that it begins in.

    Raises:
        Refused: ``PARSE_REFUSED`` where quotation marks do not match.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    line = 1
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error:
            raise refusal("broken quotation marks", max(line, reader.line_num)) from None
        yield line, row
        line = reader.line_num + 1
