"""Leaves that a training observed, in a file that only grows.

A checkpoint names its file, how many leaves there were at its step and the last link of a hash
chain over them, so that saving costs what is new and reading proves every byte. Leaves after those
belong to steps that no checkpoint holds. Every process of a training begins a file of its own: one
that was overtaken, and does not know it yet, changes nothing of what its successor wrote.
"""

import errno
import hashlib
import os
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import Refused
from harness.rundir import naming

PATTERN = "observed-*.leaves"
_SIZE = 32  # bytes of a leaf


@dataclass(frozen=True)
class Observed:
    """Attributes: file: name of the file, empty before the first leaf; count: leaves in it; link:
    end of the chain over them, hexadecimal."""

    file: str = ""
    count: int = 0
    link: str = ""


def extend(folder: Path, before: Observed, leaves: Sequence[bytes]) -> Observed:
    """Add leaves after those of ``before``; what stood after them is gone.

    Args:
        folder: ``checkpoints/``.
        before: what this process has written; nothing, and it begins a file.
        leaves: 32 bytes each.

    Raises:
        OSError: of the disk, or where what was written is not there any more.
    """
    name = before.file or f"observed-{uuid.uuid4().hex[:16]}.leaves"
    path = folder / name
    with naming(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            if os.fstat(descriptor).st_size < before.count * _SIZE:
                raise FileNotFoundError(errno.ENOENT, "leaves were removed")
            file.truncate(before.count * _SIZE)
            file.seek(before.count * _SIZE)
            file.write(b"".join(leaves))
            file.flush()
            os.fsync(descriptor)
    return Observed(name, before.count + len(leaves), _chain(before.link, leaves))


def read(folder: Path, observed: Observed) -> list[bytes]:
    """The leaves of a checkpoint, in the order in which they were first met.

    Raises:
        Refused: ``CHECKPOINT_CORRUPT`` where they are not those that were written.
    """
    path = folder / Path(observed.file).name
    data = path.read_bytes()[: observed.count * _SIZE] if path.is_file() else b""
    leaves = [data[start : start + _SIZE] for start in range(0, len(data), _SIZE)]
    if len(leaves) != observed.count or _chain("", leaves) != observed.link:
        raise Refused("CHECKPOINT_CORRUPT", "the observed leaves are not those that were written",
                      "checkpoints/observed-*.leaves",
                      "delete checkpoints/ to start again")  # fmt: skip
    return leaves


def _chain(link: str, leaves: Iterable[bytes]) -> str:
    end = bytes.fromhex(link)
    for leaf in leaves:
        end = hashlib.sha256(end + leaf).digest()
    return end.hex()
