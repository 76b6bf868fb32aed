"""Plain arrays in a folder, by which one pass over a manifest hands on to the next."""

import os
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_OPEN_FILES = 512


class _File:
    """A file that stays open as long as it is remembered."""

    def __init__(self, path: Path) -> None:
        self.number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def __del__(self) -> None:
        os.close(self.number)


@lru_cache(maxsize=_OPEN_FILES)
def _opened(path: Path) -> _File:
    return _File(path)


@cache
def _mapped(path: Path) -> Any:
    return np.load(path, mmap_mode="r+")


@cache
def _loaded(path: Path) -> Any:
    return np.load(path)


def make(folder: Path, name: str, kind: npt.DTypeLike, size: int) -> None:
    """Make an array that all processes see, see :func:`shared`."""
    np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.dtype(kind), (size,))


def shared(folder: Path, name: str) -> Any:
    """An array as all processes see it; written through at once."""
    return _mapped(folder / f"{name}.npy")


def save(folder: Path, name: str, values: npt.NDArray[Any]) -> None:
    """Write a small array as a whole."""
    np.save(folder / f"{name}.npy", values)


def load(folder: Path, name: str) -> Any:
    """A small array as it was saved; it is remembered."""
    return _loaded(folder / f"{name}.npy")


def write(folder: Path, name: str, values: npt.NDArray[Any], place: int = 0) -> None:
    """Write numbers at a place of a long file of such numbers; a map would keep them in memory."""
    data = np.ascontiguousarray(values)
    os.pwrite(_opened(folder / f"{name}.bin").number, data.tobytes(), place * data.itemsize)


def read(folder: Path, name: str, kind: npt.DTypeLike, begin: int, end: int) -> bytes:
    """The bytes of some numbers of a long file."""
    size = np.dtype(kind).itemsize
    number = _opened(folder / f"{name}.bin").number
    return os.pread(number, int(end - begin) * size, int(begin) * size)


def forget() -> None:
    """Close what is open and remembered."""
    for function in (_mapped, _opened, _loaded):
        function.cache_clear()
