"""Plain arrays in a folder, by which one pass over a manifest hands on to the next."""

import os
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from harness.consent.columns import letters

_OPEN_FILES = 512


class _File:
    """A file that stays open as long as it is remembered."""

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def __del__(self) -> None:
        os.close(self.number)


@lru_cache(maxsize=_OPEN_FILES)
def _opened(folder: Path, name: str) -> _File:
    return _File(folder / f"{name}.bin")


@cache
def shared(folder: Path, name: str) -> Any:
    """An array as all processes see it; written through at once."""
    return np.load(folder / f"{name}.npy", mmap_mode="r+")


@cache
def load(folder: Path, name: str) -> Any:
    """A small array as it was saved; it is remembered."""
    return np.load(folder / f"{name}.npy")


def make(folder: Path, name: str, kind: npt.DTypeLike, size: int) -> None:
    """Make an array that all processes see, see :func:`shared`."""
    np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.dtype(kind), (size,))


def save(folder: Path, name: str, values: npt.NDArray[Any]) -> None:
    """Write a small array as a whole."""
    np.save(folder / f"{name}.npy", values)


def write(folder: Path, name: str, values: npt.NDArray[Any], place: int = 0) -> None:
    """Write numbers at a place of a long file of such numbers; a map would keep them in memory."""
    data = np.ascontiguousarray(values)
    os.pwrite(_opened(folder, name).number, data.tobytes(), place * data.itemsize)


def read(folder: Path, name: str, kind: npt.DTypeLike, begin: int, end: int) -> bytes:
    """The bytes of some numbers of a long file."""
    size = np.dtype(kind).itemsize
    number = _opened(folder, name).number
    return os.pread(number, int(end - begin) * size, int(begin) * size)


class Words:
    """Words that are written one after another, for :func:`words`.

    Args:
        folder: where.
        name: of them all.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name, self._rows, self._bytes = folder, name, 0, 0
        write(folder, f"{name}-ends", np.zeros(1, np.int64))
        write(folder, f"{name}-text", np.zeros(1, np.uint8))  # an empty file cannot be mapped

    def add(self, words: pa.Array) -> None:
        """Write some more, none of them null."""
        text, ends = letters(words)
        write(self._folder, f"{self._name}-text", text, self._bytes)
        write(self._folder, f"{self._name}-ends", ends + self._bytes, self._rows)
        self._rows, self._bytes = self._rows + len(words), self._bytes + len(text)


def words(folder: Path, name: str) -> pa.Array:
    """All words that were written, as one array that is not held in memory."""
    ends, text = (
        pa.memory_map(str(folder / f"{name}-{kind}.bin")).read_buffer() for kind in ("ends", "text")
    )
    return pa.LargeStringArray.from_buffers(ends.size // 8 - 1, ends, text)


def forget() -> None:
    """Close what is open and remembered."""
    for function in (shared, _opened, load):
        function.cache_clear()
