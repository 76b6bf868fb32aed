"""DSSE signing: pinned keys, their roles, their lifetimes and how many of them it takes."""

import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from harness.consent.records import to_json
from harness.consent.signing import (
    KeyRole,
    Threshold,
    TrustRoot,
    create_key,
    key_id,
    load_key,
    load_trust,
    pae,
    save_trust,
    sign,
    trust_root,
    verify,
)
from harness.digest import canonical_json
from harness.errors import Refused

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
YEAR = timedelta(days=365)
TICK = timedelta(microseconds=1)
LOG = (KeyRole.LOG,)
ONE, TWO, THREE = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2, 3))
ROOT = trust_root([(ONE, LOG), (TWO, LOG), (THREE, LOG)], NOW - YEAR, NOW + YEAR)


def thresholds(root: TrustRoot, keys: int) -> TrustRoot:
    """The trust root with another number of signatures needed."""
    return replace(root, thresholds=(Threshold(KeyRole.LOG, keys),))


def with_key(root: TrustRoot, key: Ed25519PrivateKey, **changes: Any) -> TrustRoot:
    """The trust root with another row for one key."""
    rows = (replace(row, **changes) if row.keyid == key_id(key) else row for row in root.keys)
    return replace(root, keys=tuple(rows))


def check(data: bytes, root: TrustRoot = ROOT, at: datetime = NOW) -> bytes:
    """Verify as the log's envelope."""
    return verify(data, KeyRole.LOG, root, "LOG", "log.json", at)


def test_pae_is_the_specifications_example() -> None:
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pae("http://example.com/HelloWorld", b"hello world") == expected


def test_a_key_is_made_once_and_kept_private(tmp_path: Path) -> None:
    path = tmp_path / "keys/manifest.pem"
    made = create_key(path)
    assert key_id(made) == key_id(create_key(path)) == key_id(load_key(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(("content", "code"), [(None, "KEY_MISSING"), (b"x", "KEY_INVALID")])
def test_no_key_no_signature(content: bytes | None, code: str, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Refused, match=code):
        load_key(path)


def test_what_was_signed_comes_back() -> None:
    assert check(sign(b"{}", [ONE])) == b"{}"
    assert check(sign(b"x", [ONE, TWO, THREE])) == b"x"


@given(st.data())
def test_no_byte_of_an_envelope_can_change(data: st.DataObject) -> None:
    envelope = bytearray(sign(b'{"a":1}', [ONE, TWO]))
    envelope[data.draw(st.integers(0, len(envelope) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Refused):
        check(bytes(envelope))


@pytest.mark.parametrize(
    ("at", "code"),
    [
        (NOW - YEAR - TICK, "LOG_KEY_NOT_YET_VALID"),
        (NOW - YEAR, None),
        (NOW + YEAR - TICK, None),
        (NOW + YEAR, "LOG_KEY_EXPIRED"),
    ],
)
def test_a_key_counts_from_its_start_until_before_its_end(at: datetime, code: str | None) -> None:
    envelope = sign(b"{}", [ONE])
    if code is None:
        assert check(envelope, at=at) == b"{}"
    else:
        with pytest.raises(Refused, match=f"^{code}: "):
            check(envelope, at=at)


@pytest.mark.parametrize("revoked_at", [NOW - YEAR, NOW, NOW + 10 * YEAR])
def test_a_revoked_key_counts_for_nothing_whatever_the_dates(revoked_at: datetime) -> None:
    root = with_key(ROOT, ONE, revoked_at=revoked_at)
    for at in (NOW - YEAR, NOW, NOW + 2 * YEAR):
        with pytest.raises(Refused, match=r"^LOG_KEY_REVOKED: "):
            check(sign(b"{}", [ONE]), root, at)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"revoked_at": NOW}, "LOG_KEY_REVOKED"),
        ({"not_after": NOW}, "LOG_KEY_EXPIRED"),
        ({"not_before": NOW + TICK}, "LOG_KEY_NOT_YET_VALID"),
        ({"roles": (KeyRole.GATE,)}, "LOG_KEY_UNKNOWN"),
    ],
)
def test_every_signature_must_count_also_where_enough_others_do(
    changes: dict[str, Any], code: str
) -> None:
    root = with_key(ROOT, THREE, **changes)
    assert check(sign(b"{}", [ONE, TWO]), root) == b"{}"
    with pytest.raises(Refused, match=f"^{code}: "):
        check(sign(b"{}", [ONE, TWO, THREE]), root)


@pytest.mark.parametrize("keys", [1, 2, 3])
@pytest.mark.parametrize("signers", [[], [ONE], [ONE, ONE], [ONE, TWO], [THREE, TWO, ONE]])
def test_k_different_keys_of_the_role(keys: int, signers: list[Ed25519PrivateKey]) -> None:
    root, envelope = thresholds(ROOT, keys), sign(b"{}", signers)
    if len(signers) >= keys and len({key_id(key) for key in signers}) == len(signers):
        assert check(envelope, root) == b"{}"
    else:
        with pytest.raises(Refused, match=r"^LOG_SIG_THRESHOLD: "):
            check(envelope, root)


def test_a_role_without_a_threshold_signs_nothing() -> None:
    with pytest.raises(Refused, match=r"^TRUST_INVALID: "):
        check(sign(b"{}", [ONE]), replace(ROOT, thresholds=()))


def test_a_trust_root_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "trust.json"
    root = with_key(ROOT, TWO, revoked_at=NOW)
    save_trust(path, root)
    assert load_trust(path) == root
    assert load_trust(path).sha256 != ROOT.sha256


@pytest.mark.parametrize(
    "changes",
    [
        {"not_after": "2000-01-01T00:00:00Z"},
        {"not_before": "2026-01-01"},
        {"not_after": None},
        {"revoked_at": ""},
        {"roles": []},
        {"public": "0" * 64},
    ],
)
def test_a_key_with_an_impossible_row_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    value = to_json(ROOT)
    value["keys"][0] |= changes
    (tmp_path / "trust.json").write_bytes(canonical_json(value))
    with pytest.raises(Refused, match=r"^SCHEMA_INVALID: .*trust\.json"):
        load_trust(tmp_path / "trust.json")


@pytest.mark.parametrize("key", ["not_before", "not_after", "revoked_at"])
def test_a_key_without_a_lifetime_is_refused(key: str, tmp_path: Path) -> None:
    value = to_json(ROOT)
    del value["keys"][0][key]
    (tmp_path / "trust.json").write_bytes(canonical_json(value))
    with pytest.raises(Refused, match=r"^SCHEMA_INVALID: a field is missing"):
        load_trust(tmp_path / "trust.json")


def test_no_trust_root(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"^TRUST_MISSING: "):
        load_trust(tmp_path / "trust.json")
    save_trust(tmp_path / "trust.json", replace(ROOT, schema="harness/trust/v9"))
    with pytest.raises(Refused, match=r"^TRUST_INVALID: "):
        load_trust(tmp_path / "trust.json")
