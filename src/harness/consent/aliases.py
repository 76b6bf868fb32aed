"""A signed file of aliases: labels of exports that stand for the people with these addresses.

An import takes it, so that who somebody is was said by a key of role manifest, not guessed.
"""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from harness.consent.labels import label_key
from harness.consent.reading import read_once
from harness.consent.records import Id, parse_lines, record
from harness.consent.signing import KeyRole, TrustRoot, sign, verify
from harness.digest import canonical_json, sha256_hex
from harness.errors import Refused
from harness.meetings.address import address
from harness.rundir import write_bytes

PREDICATE = "https://meeting-harness.dev/aliases/v1"
SIGNATURE = ".dsse.json"
_LIMIT = 64 * 1024 * 1024


@record
class AliasLine:
    """A label of a series (``*`` for all) that stands for the people with these addresses."""

    series_id: Id
    label: str
    emails: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.emails or not label_key(self.label):
            raise ValueError("an alias of nobody, or of nothing that is seen")
        for email in self.emails:
            address(email)


def sign_aliases(path: Path, keys: Iterable[Ed25519PrivateKey]) -> int:
    """Write the signature of a file of aliases beside it; how many lines it has.

    Raises:
        Refused: what is wrong with the file.
    """
    data = read_once(path.parent, path.name, _LIMIT, "ALIASES")
    lines = parse_lines(AliasLine, data, path.name)
    write_bytes(path.with_name(path.name + SIGNATURE), sign(_statement(data), keys))
    return len(lines)


def read_aliases(path: Path, trust: TrustRoot, now: datetime) -> tuple[AliasLine, ...]:
    """Read a file of aliases, a JSON object a line, that is signed by a key of role manifest.

    Raises:
        Refused: ``ALIASES_*`` where the signature beside it (``FILE.dsse.json``) does not hold.
    """
    data = read_once(path.parent, path.name, _LIMIT, "ALIASES")
    envelope = read_once(path.parent, path.name + SIGNATURE, _LIMIT, "ALIASES")
    payload = verify(envelope, KeyRole.MANIFEST, trust, "ALIASES", path.name, now)
    if payload != _statement(data):
        raise Refused("ALIASES_SIG_INVALID", "the signature is of another file", path.name,
                      "sign it again")  # fmt: skip
    return parse_lines(AliasLine, data, path.name)


def _statement(data: bytes) -> bytes:
    """The in-toto statement about a file of aliases that is signed."""
    return canonical_json({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "aliases.jsonl", "digest": {"sha256": sha256_hex(data)}}],
        "predicateType": PREDICATE,
        "predicate": {},
    })  # fmt: skip
