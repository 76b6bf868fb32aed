"""The content store: a file is copied, hashed and read in one go, and kept if all of it reads.

A file of one meeting and one modality is kept as it came, so that its digest is that of the export.
One that holds several is kept in parts, each a file of our own format (``turns-jsonl``).
"""

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from harness.consent.labels import label_key
from harness.consent.records import NONE, ContentRow
from harness.errors import Refused
from harness.meetings.formats import FORMATS
from harness.meetings.model import Modality, Turn
from harness.meetings.readers import jsonl
from harness.rundir import clear_leftovers, replaced

WHOLE = {"meet-entries", "fireflies-json", "qmsum-json", "turns-parquet"}
"""Formats that are read whole, so that their size is bounded."""
_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}", re.ASCII)
_RECORDING_TYPES = {
    ("zoom-vtt", Modality.TRANSCRIPT): "audio_transcript",
    ("zoom-vtt", Modality.CAPTION): "closed_caption",
    ("zoom-chat", Modality.CHAT_PUBLIC): "chat_file",
}
"""What Zoom calls these files."""
LIMIT = 64 * 1024 * 1024


@dataclass
class Heard:
    """What the turns of a meeting are, as far as an import has to know.

    Attributes:
        turns, words: how many.
        labels: turns of each speaker.
        with_colons: what stands before ``": "`` in names on the roster, as labels compare.
    """

    turns: int = 0
    words: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    with_colons: frozenset[str] = frozenset()

    def take(self, turns: Iterable[Turn]) -> Iterator[Turn]:
        """The turns, each of which is counted as it passes.

        Raises:
            Refused: ``IMPORT_NAME`` where a turn may be of a name that is cut at its colon.
        """
        labels = self.labels
        for turn in turns:
            if self.with_colons and label_key(turn.speaker) in self.with_colons:
                raise Refused(
                    "IMPORT_NAME",
                    "a turn of a name with a colon, which is cut there",
                    f"turn {turn.index}",
                    "rename the person, or leave it out",
                )
            self.turns += 1
            self.words += len(turn.text.split())
            labels[turn.speaker] += 1
            yield turn


class _Copying:
    """A stream that is written to another file and hashed as it is read."""

    def __init__(self, source: BinaryIO, target: BinaryIO) -> None:
        self._source, self._target = source, target
        self.digest, self.size = hashlib.sha256(), 0

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self._target.write(data)
        self.digest.update(data)
        self.size += len(data)
        return data


class Store:
    """A content store.

    Args:
        root: its folder.
        licence: id of the licence that its files are under.
    """

    def __init__(self, root: Path, licence: str) -> None:
        self._root, self._licence = root, licence
        self._claims: dict[str, str] = {}

    def claim(self, meeting_id: str, export: str) -> bool:
        """Whether a meeting is that of an export; two exports of one meeting would mix."""
        return self._claims.setdefault(meeting_id, export) == export

    def prune(self, paths: Collection[str]) -> None:
        """Remove what is not, or no longer, content of the draft, and what a kill left over.

        Args:
            paths: of all its content.
        """
        for folder in self._root.iterdir() if self._root.exists() else ():
            if not folder.is_dir():
                continue
            clear_leftovers(folder)
            for file in folder.iterdir():
                is_own = file.name.partition(".")[0] in {*Modality} and file.is_file()
                if is_own and f"{folder.name}/{file.name}" not in paths:
                    file.unlink()
            if not any(folder.iterdir()):
                folder.rmdir()

    def keep(
        self, source: Path, meeting_id: str, modality: Modality, form: str, heard: Heard
    ) -> ContentRow:
        """Copy a file of turns, if it can be read to its end.

        Args:
            source: the export.
            meeting_id: whose it is.
            modality: what it holds.
            form: name of its format.
            heard: is told what its turns are.

        Raises:
            Refused: ``PARSE_REFUSED``, ``IMPORT_TOO_LARGE``; nothing is kept then.
        """
        if form in WHOLE and source.stat().st_size > LIMIT:
            raise Refused("IMPORT_TOO_LARGE", f"more than {LIMIT} bytes", "", "split the meeting")
        suffix = source.suffix.lower()
        path = f"{meeting_id}/{modality}{suffix if _SUFFIX.fullmatch(suffix) else ''}"
        with (
            replaced(self._target(path)) as target,
            source.open("rb") as data,
            target.open("wb") as copy,
        ):
            stream = _Copying(data, copy)
            count = sum(1 for _ in heard.take(FORMATS[form].read(cast(BinaryIO, stream))))
        return self._row(meeting_id, modality, form, path, stream.digest.hexdigest(), stream.size,
                         count)  # fmt: skip

    def write(
        self, turns: Iterable[Turn], meeting_id: str, modality: Modality, heard: Heard
    ) -> ContentRow:
        """Write turns of one meeting and modality in our own format."""
        path, digest, size, count = f"{meeting_id}/{modality}.jsonl", hashlib.sha256(), 0, 0
        with replaced(self._target(path)) as target, target.open("wb") as file:
            for turn in heard.take(turns):
                line = jsonl.line(turn).encode()
                digest.update(line)
                file.write(line)
                size, count = size + len(line), count + 1
        return self._row(meeting_id, modality, "turns-jsonl", path, digest.hexdigest(), size, count)

    def _target(self, path: str) -> Path:
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def _row(
        self, meeting_id: str, modality: Modality, form: str, path: str, sha256: str, size: int,
        turns: int,
    ) -> ContentRow:  # fmt: skip
        kind = _RECORDING_TYPES.get((form, modality), NONE)
        return ContentRow(meeting_id, modality, form, path, sha256, size, turns, (), kind,
                          self._licence)  # fmt: skip
