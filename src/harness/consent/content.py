"""Admitted content: opened once, hashed while read, parsed."""

from pathlib import Path

from harness.consent.reading import read_once
from harness.consent.records import ContentRow
from harness.digest import sha256_hex
from harness.errors import Refused
from harness.meetings.formats import READERS
from harness.meetings.model import Turn


def read_turns(store: Path, row: ContentRow) -> list[Turn]:
    """Read one content file and check it against its row.

    Args:
        store: root of the content store.
        row: path, size, digest, format and number of turns that were signed.

    Raises:
        Refused: a ``CONTENT_*`` code, or ``PARSE_REFUSED``.
    """
    data = read_once(store, row.path, row.bytes, "CONTENT")
    if len(data) != row.bytes or sha256_hex(data) != row.sha256:
        raise Refused("CONTENT_HASH_MISMATCH", "content is not what was signed", row.path,
                      "restore the file, or sign a manifest for the new one")  # fmt: skip
    turns = parse_turns(row.format, data, row.path)
    if len(turns) != row.turns:
        raise Refused("CONTENT_TURNS_MISMATCH", f"{len(turns)} turns, {row.turns} were signed",
                      row.path, "count again and sign")  # fmt: skip
    return turns


def parse_turns(format_name: str, data: bytes, path: str) -> list[Turn]:
    """Parse content by the reader of its format.

    Raises:
        Refused: ``CONTENT_FORMAT_UNKNOWN``, or ``PARSE_REFUSED`` with path and line.
    """
    if format_name not in READERS:
        raise Refused("CONTENT_FORMAT_UNKNOWN", "no reader for the format", path,
                      f"known: {', '.join(sorted(READERS))}")  # fmt: skip
    try:
        return READERS[format_name](data)
    except Refused as error:
        raise Refused(error.code, error.what, f"{path} {error.where}", error.remedy) from None
