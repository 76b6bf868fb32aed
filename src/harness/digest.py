"""Canonical JSON (RFC 8785 after an NFC check) and SHA-256."""

import hashlib
import importlib.resources
import json
import math
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rfc8785

from harness.errors import Refused


def canonical_json(value: Any) -> bytes:
    """Return the RFC 8785 bytes of ``value``.

    Raises:
        Refused: ``NONCANONICAL`` for strings that are not NFC, floats that are not finite,
            integers beyond 2^53 and types that JSON does not have.
    """
    for text in _strings(value):
        if not unicodedata.is_normalized("NFC", text):
            raise Refused("NONCANONICAL", "a string is not in Unicode NFC", remedy="normalise it")
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, ValueError) as error:
        raise Refused("NONCANONICAL", f"no canonical JSON: {type(error).__name__}") from None


def strict_json(data: bytes, where: str) -> Any:
    """Parse JSON without duplicate keys, numbers out of range, lone surrogates, trailing bytes.

    Raises:
        Refused: ``JSON_INVALID`` naming ``where``.
    """
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant,
            parse_float=_finite,
        )  # fmt: skip
        for text in _strings(value):
            text.encode()  # a lone surrogate is no text
        return value
    except (ValueError, RecursionError) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeError) else str(error)
        raise Refused("JSON_INVALID", reason.split(":")[0], where, "repair the file") from None


def sha256_hex(data: bytes) -> str:
    """SHA-256 of ``data`` as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(value: Any) -> str:
    """SHA-256 of the canonical JSON of ``value``."""
    return sha256_hex(canonical_json(value))


class ListDigest:
    """:func:`digest_of` of a list whose items come one by one."""

    def __init__(self) -> None:
        self._hash, self._between = hashlib.sha256(b"["), b""

    def add(self, item: Any) -> None:
        """Add an item at the end.

        Raises:
            Refused: ``NONCANONICAL``.
        """
        self._hash.update(self._between + canonical_json(item))
        self._between = b","

    def hexdigest(self) -> str:
        """The digest of the list so far."""
        closed = self._hash.copy()
        closed.update(b"]")
        return closed.hexdigest()


def code_digest() -> str:
    """Digest of the harness's own source files, by their paths."""
    package = Path(str(importlib.resources.files("harness")))
    return digest_of(
        [
            [str(path.relative_to(package)), sha256_file(path)]
            for path in sorted(package.rglob("*.py"))
        ]
    )


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _strings(key)
            yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return table


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError("a number is out of range")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
