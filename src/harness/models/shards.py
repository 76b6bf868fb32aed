"""Model folders of safetensors, read and written one tensor at a time."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from harness.digest import digest_of, sha256_file
from harness.errors import Refused

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
FLOATS = {"F64", "F32", "F16", "BF16"}
OUTPUTS = {"bfloat16": ("BF16", torch.bfloat16), "float32": ("F32", torch.float32)}
_BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2, "I8": 1, "U8": 1,
          "BOOL": 1}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One tensor as a safetensors header describes it.

    Attributes:
        name: of the tensor.
        file: that holds it.
        shape: its dimensions.
        dtype: in safetensors' words, such as ``BF16``.
    """

    name: str
    file: Path
    shape: tuple[int, ...]
    dtype: str

    @property
    def nbytes(self) -> int:
        """Size of its values in bytes."""
        return prod(self.shape) * _BYTES[self.dtype]

    def read(self) -> Tensor:
        """Its values.

        Raises:
            Refused: ``WEIGHTS_UNREADABLE``.
        """
        with _opened(self.file) as file:  # each time, so that no mapping of the whole file stays
            values: Tensor = file.get_tensor(self.name)
        return values

    def cast(self, dtype: str) -> "Entry":
        """The same where floating-point values become ``dtype``; others stay what they are."""
        return replace(self, dtype=dtype) if self.dtype in FLOATS else self


def entries_of(file: Path) -> dict[str, Entry]:
    """The tensors of one safetensors file, by name; no values are read.

    Raises:
        Refused: ``WEIGHTS_UNREADABLE``; ``WEIGHTS_TYPE`` for values in a quantised or unknown type.
    """
    found = {}
    with _opened(file) as stored:
        for name in stored.keys():  # noqa: SIM118 (safe_open is no mapping)
            part = stored.get_slice(name)
            found[name] = Entry(name, file, tuple(part.get_shape()), str(part.get_dtype()))
    for entry in found.values():
        if entry.dtype not in _BYTES:
            raise Refused("WEIGHTS_TYPE", f"{entry.name} holds values of type {entry.dtype}",
                          str(file), "take a base model that is not quantised")  # fmt: skip
    return found


def model_entries(folder: Path) -> dict[str, Entry]:
    """The tensors of a model folder, one file or several with an index, in their files' order.

    Raises:
        Refused: ``MODEL_MISSING`` where there is no safetensors; those of :func:`entries_of`;
            ``WEIGHTS_UNREADABLE`` for an index that does not fit its files.
    """
    found: dict[str, Entry] = {}
    for file, names in weight_files(folder).items():
        held = entries_of(file)
        if names is not None and not names <= held.keys():
            raise _unreadable(folder / INDEX)
        found |= {name: held[name] for name in held if names is None or name in names}
    return found


def weight_files(folder: Path) -> dict[Path, set[str] | None]:
    """The weight files of a model folder, with the names that an index says each holds.

    Raises:
        Refused: ``MODEL_MISSING``, or ``WEIGHTS_UNREADABLE`` for the index.
    """
    if (folder / WEIGHTS).is_file():
        return {folder / WEIGHTS: None}
    if not (folder / INDEX).is_file():
        raise Refused("MODEL_MISSING", "the base model has no safetensors", str(folder),
                      "only safetensors are read; convert or fetch them")  # fmt: skip
    files: dict[Path, set[str] | None] = {}
    try:
        placed = sorted(json.loads((folder / INDEX).read_bytes())["weight_map"].items())
        for file in sorted({file for _, file in placed}):
            if Path(file).name != file:  # an index names files beside it and no others
                raise ValueError
            files[folder / file] = {name for name, place in placed if place == file}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise _unreadable(folder / INDEX) from None
    return files


def weights_digest(folder: Path) -> str:
    """SHA-256 of a model folder's weights: of the one file, or of a list of files and digests.

    Raises:
        Refused: as :func:`weight_files`; ``WEIGHTS_UNREADABLE``.
    """
    digests = {}
    for path in weight_files(folder):
        try:
            digests[path.name] = sha256_file(path)
        except OSError:
            raise _unreadable(path) from None
    return digests[WEIGHTS] if len(digests) == 1 and WEIGHTS in digests else digest_of(digests)


def arrange(entries: Sequence[Entry], limit: int) -> list[list[Entry]]:
    """Deal tensors to shards, in order; one that is larger than a shard gets a shard of its own.

    Args:
        entries: as they are to be written.
        limit: bytes of values in a shard.
    """
    shards: list[list[Entry]] = []
    room = 0
    for entry in entries:
        if not shards or entry.nbytes > room:
            shards.append([])
            room = limit
        shards[-1].append(entry)
        room -= entry.nbytes
    return shards


def write_model(
    folder: Path, shards: Sequence[Sequence[Entry]], values: Callable[[Entry], Tensor]
) -> None:
    """Write shards and, where there are several, their index; every file is for its owner alone.

    Args:
        folder: where they go.
        shards: see :func:`arrange`; each entry has the type that is to be written.
        values: gives the tensor of an entry. It is asked for one at a time, and what it gave is
            let go before the next.

    Raises:
        OSError: when the disk refuses.
        Refused: whatever ``values`` raises.
    """
    names = [WEIGHTS] if len(shards) == 1 else [
        f"model-{n:05}-of-{len(shards):05}.safetensors" for n in range(1, len(shards) + 1)
    ]  # fmt: skip
    for name, shard in zip(names, shards, strict=True):
        _write_shard(folder / name, shard, values)
    if len(shards) > 1:
        placed = {e.name: name for name, shard in zip(names, shards, strict=True) for e in shard}
        total = sum(entry.nbytes for shard in shards for entry in shard)
        text = json.dumps({"metadata": {"total_size": total}, "weight_map": placed}, indent=1)
        write_private(folder / INDEX, iter([text.encode()]))


def write_private(path: Path, blocks: Iterator[bytes | memoryview]) -> None:
    """Write a new file that its owner alone may read, and wait until the disk has it.

    Raises:
        OSError: when the disk refuses.
    """
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        for block in blocks:
            file.write(block)
            del block  # else it is held while the next one is made
        file.flush()
        os.fsync(file.fileno())


def _write_shard(path: Path, shard: Sequence[Entry], values: Callable[[Entry], Tensor]) -> None:
    """Write the safetensors format: length of the header, header, values without a gap.

    The library's own writer wants all tensors of a file at once; this one holds a single tensor.
    """
    shard = sorted(shard, key=lambda entry: -_BYTES[entry.dtype])  # keeps every tensor aligned
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for entry in shard:
        header[entry.name] = {"dtype": entry.dtype, "shape": list(entry.shape),
                              "data_offsets": [end, end + entry.nbytes]}  # fmt: skip
        end += entry.nbytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)

    def blocks() -> Iterator[bytes | memoryview]:
        yield len(text).to_bytes(8, "little") + text
        for entry in shard:
            yield _raw(values(entry), entry)

    write_private(path, blocks())


def _raw(tensor: Tensor, entry: Entry) -> memoryview:
    assert tuple(tensor.shape) == entry.shape
    raw: Any = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
    assert raw.nbytes == entry.nbytes
    return memoryview(raw)


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    try:
        with safe_open(file, "pt") as stored:
            yield stored
    except (OSError, SafetensorError):
        raise _unreadable(file) from None


def _unreadable(file: Path) -> Refused:
    return Refused("WEIGHTS_UNREADABLE", "not readable as safetensors", str(file),
                   "make or fetch that folder again")  # fmt: skip
