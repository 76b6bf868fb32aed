"""DSSE signing."""

import stat
from pathlib import Path

import pytest

from harness.consent.signing import create_key, key_id, load_key, pae
from harness.errors import Refused


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
