"""Merkle tree hash with the leaf and node prefixes of RFC 6962, section 2.1."""

import hashlib
from collections.abc import Iterable

EMPTY = hashlib.sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """SHA-256 of a leaf, told apart from inner nodes by its prefix."""
    return hashlib.sha256(b"\x00" + data).digest()


def root(leaves: Iterable[bytes]) -> bytes:
    """Root over leaf hashes in the order given (RFC 6962 MTH)."""
    level = list(leaves)
    if not level:
        return EMPTY
    while len(level) > 1:
        pairs = [
            hashlib.sha256(b"\x01" + level[i] + level[i + 1]).digest()
            for i in range(0, len(level) - 1, 2)
        ]
        level = pairs + level[len(pairs) * 2 :]
    return level[0]


def set_root(leaves: Iterable[bytes]) -> str:
    """Hexadecimal root over a set of leaf hashes: sorted, each once."""
    return root(sorted(set(leaves))).hex()
