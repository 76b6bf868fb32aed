"""Merkle roots against the definition of RFC 6962 and its published vectors."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from harness.commitments.merkle import leaf_hash, root, set_root


def mth(entries: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, word for word."""
    if not entries:
        return hashlib.sha256().digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    split = 1 << ((len(entries) - 1).bit_length() - 1)
    return hashlib.sha256(b"\x01" + mth(entries[:split]) + mth(entries[split:])).digest()


@given(st.lists(st.binary(max_size=8), max_size=40))
def test_root_is_the_hash_of_the_standard(entries: list[bytes]) -> None:
    assert root(map(leaf_hash, entries)) == mth(entries)


def test_published_vectors() -> None:
    """Roots of the test tree that certificate-transparency implementations share."""
    entries = [bytes.fromhex(h) for h in ("", "00", "10", "2021", "3031", "40414243")]
    assert root(map(leaf_hash, entries[:1])).hex().startswith("6e340b9cffb37a98")
    assert root(map(leaf_hash, entries[:2])).hex().startswith("fac54203e7cc696c")
    assert root(map(leaf_hash, entries[:3])).hex().startswith("aeb6bcfe274b70a1")


@given(st.sets(st.binary(min_size=32, max_size=32), min_size=1, max_size=20), st.randoms())
def test_a_set_root_knows_no_order_and_misses_no_leaf(leaves: set[bytes], draw: object) -> None:
    listed = list(leaves)
    draw.shuffle(listed)  # type: ignore[attr-defined]
    assert set_root(listed + listed) == set_root(leaves)
    assert set_root(listed[1:]) != set_root(leaves)
