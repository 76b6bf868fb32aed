"""What an import has done so far: one line a meeting, so that it goes on where it was stopped.

A meeting is taken again when one of its files has another size or date, or when the people, the
aliases, the platform or the harness are others. Lines name people; the file is for its owner alone.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.consent.records import to_json
from harness.digest import sha256_hex
from harness.intake.exports import Export
from harness.intake.meeting import Taken
from harness.rundir import replaced


class Ledger:
    """The meetings that are taken, by the names of their exports.

    Args:
        path: of the file.
        settings: digest of all that decides what a meeting becomes, its files apart.
    """

    def __init__(self, path: Path, settings: str) -> None:
        self._path, self._settings = path, settings
        self._places: dict[str, tuple[str, int]] = {}
        path.touch(0o600)
        with path.open("rb") as file:
            place = 0
            for line in file:
                entry = _entry(line)
                if entry is not None:
                    self._places[entry["name"]] = (entry["state"], place)
                place += len(line)
        os.truncate(path, self._end(place))
        self._file = path.open("ab")

    def has(self, root: Path, export: Export) -> bool:
        """Whether a meeting is taken as it is now; what was refused whole is looked at again."""
        known = self._places.get(export.name)
        is_same = known is not None and known[0] == self.state(root, export)
        return is_same and bool(self.meeting(export))

    def meeting(self, export: Export) -> str:
        """The id of the meeting that was taken of an export; empty where none was."""
        (taken,) = self.all([export.name])
        return taken["meeting"]["meeting_id"] if taken["meeting"] else ""

    def add(self, export: Export, taken: Taken, state: str) -> None:
        """Note that a meeting is taken, of files in the state that was before they were read."""
        entry = {"name": export.name, "state": state, "taken": _plain(taken)}
        self._places[export.name] = (state, self._file.tell())
        self._file.write(json.dumps(entry, ensure_ascii=False).encode() + b"\n")
        self._file.flush()

    def all(self, names: list[str]) -> Iterator[dict[str, Any]]:
        """What was taken of some meetings, in their order."""
        with self._path.open("rb") as file:
            for name in names:
                file.seek(self._places[name][1])
                entry = _entry(file.readline())
                yield entry["taken"] if entry else {}

    def compact(self, names: list[str]) -> None:
        """Leave out what is no longer so."""
        self._file.close()
        with (
            replaced(self._path, 0o600) as target,
            target.open("wb") as file,
            self._path.open("rb") as old,
        ):
            for name in names:
                old.seek(self._places[name][1])
                file.write(old.readline())

    def state(self, root: Path, export: Export) -> str:
        """Digest of the sizes and dates of a meeting's files, and of the settings."""
        stats = [(file, (root / file).stat()) for file in export.files]
        files = [[file, stat.st_size, stat.st_mtime_ns] for file, stat in stats]
        return sha256_hex(json.dumps([self._settings, files]).encode())

    def _end(self, size: int) -> int:
        """Where the last whole line ends: what follows was cut short."""
        with self._path.open("rb") as file:
            data = file.read() if size < 1 << 20 else b""
            if not data:
                file.seek(max(0, size - (1 << 20)))
                data = file.read()
        return size - (len(data) - (data.rfind(b"\n") + 1))


def _plain(taken: Taken) -> dict[str, Any]:
    values = ((name, getattr(taken, name)) for name in taken.__dataclass_fields__)
    return {name: to_json(tuple(v) if isinstance(v, list) else v) for name, v in values}


def _entry(line: bytes) -> dict[str, Any] | None:
    """A line that was written whole; None for one that was cut short."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and line.endswith(b"\n") else None
