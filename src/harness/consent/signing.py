"""Ed25519 signatures in DSSE envelopes, checked against pinned keys only.

DSSE: https://github.com/secure-systems-lab/dsse (protocol 1.0.2). The trust root stands outside
configuration and run directory; a key found anywhere else is compared, never used. Keys have a
lifetime, judged by the time at which a signature counts, and can be revoked: a revoked key counts
for nothing that is checked now, whatever date stands on what it signed, since whoever took the key
can write any date.
"""

import base64
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from harness.consent.reading import read_once
from harness.consent.records import Sha256, parse, record, to_json, unique
from harness.digest import canonical_json, sha256_hex, strict_json
from harness.errors import Refused
from harness.rundir import write_bytes

PAYLOAD_TYPE = "application/vnd.in-toto+json"
TRUST_LIMIT = 1024 * 1024
TRUST_SCHEMA = "harness/trust/v1"
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
FAR_OFF = datetime(2126, 1, 1, tzinfo=UTC)


class KeyRole(StrEnum):
    """What a key may sign."""

    MANIFEST = "manifest"
    GATE = "gate"
    BUILDER = "builder"
    PROBER = "prober"
    LOG = "log"


@record
class TrustedKey:
    """A pinned public key: its 32 bytes in hexadecimal, what it may sign, and when.

    It counts from ``not_before`` on, until ``not_after``. With ``revoked_at`` it counts for
    nothing, whatever that date is: it tells an auditor since when the key is distrusted.
    """

    keyid: Sha256
    public: Sha256
    roles: tuple[KeyRole, ...]
    not_before: datetime
    not_after: datetime
    revoked_at: datetime | None

    def __post_init__(self) -> None:
        if self.keyid != sha256_hex(bytes.fromhex(self.public)) or not self.roles:
            raise ValueError("the key id is not the digest of the key, or it has no role")
        if self.not_after <= self.not_before:
            raise ValueError("the key's lifetime ends before it begins")

    def fits(self, signature: bytes, message: bytes) -> bool:
        """Whether the key made a signature, its lifetime apart."""
        try:
            key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.public))
            key.verify(signature, message)
        except InvalidSignature:
            return False
        return True


@record
class Threshold:
    """How many different keys of a role have to sign."""

    role: KeyRole
    keys: int

    def __post_init__(self) -> None:
        if self.keys < 1:
            raise ValueError("a threshold below 1")


@record
class TrustRoot:
    """The pinned keys. A role without a threshold can sign nothing."""

    schema: str
    keys: tuple[TrustedKey, ...]
    thresholds: tuple[Threshold, ...]

    @property
    def sha256(self) -> str:
        """Digest that statements name this trust root by."""
        return sha256_hex(canonical_json(to_json(self)))

    def pinned(self, role: KeyRole) -> dict[str, TrustedKey]:
        """Keys of a role by key id, the revoked ones too."""
        return {key.keyid: key for key in self.keys if role in key.roles}

    def threshold(self, role: KeyRole) -> int:
        """Signatures that the role needs.

        Raises:
            Refused: ``TRUST_INVALID`` when the trust root sets none.
        """
        for threshold in self.thresholds:
            if threshold.role is role:
                return threshold.keys
        raise Refused("TRUST_INVALID", "the trust root sets no threshold", str(role))


@record
class _Signature:
    keyid: Sha256
    sig: str


@record
class _Envelope:
    payload: str
    payloadType: str  # noqa: N815 - the name in the DSSE specification
    signatures: tuple[_Signature, ...]


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE pre-authentication encoding: what is really signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def public_bytes(key: Ed25519PrivateKey) -> bytes:
    """The 32 bytes of the public half."""
    return key.public_key().public_bytes_raw()


def key_id(key: Ed25519PrivateKey) -> str:
    """SHA-256 of the public half, hexadecimal."""
    return sha256_hex(public_bytes(key))


def create_key(path: Path) -> Ed25519PrivateKey:
    """Make a private key and write it as PEM, mode 0600; a key that is there already is loaded."""
    if path.exists():
        return load_key(path)
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_bytes(path, pem, 0o600)
    return key


def load_key(path: Path) -> Ed25519PrivateKey:
    """Read a private Ed25519 key in PEM.

    Raises:
        Refused: ``KEY_MISSING`` or ``KEY_INVALID``.
    """
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError:
        raise Refused("KEY_MISSING", "no private key to sign with", path.name,
                      "make one or name another") from None  # fmt: skip
    except (ValueError, TypeError):
        raise Refused("KEY_INVALID", "not an unencrypted PEM key", path.name) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise Refused("KEY_INVALID", "not an Ed25519 key", path.name)
    return key


def trust_root(
    keys: Iterable[tuple[Ed25519PrivateKey, Sequence[KeyRole]]],
    not_before: datetime = LONG_AGO,
    not_after: datetime = FAR_OFF,
) -> TrustRoot:
    """Pin the public halves of some keys, each role with a threshold of 1.

    Args:
        keys: private keys, each with what it may sign.
        not_before: start of every key's lifetime, aware; the default suits keys of one's own demo.
        not_after: end of every key's lifetime, aware.
    """
    pinned = tuple(
        TrustedKey(key_id(key), public_bytes(key).hex(), tuple(roles), not_before, not_after, None)
        for key, roles in keys
    )
    return TrustRoot(TRUST_SCHEMA, pinned, tuple(Threshold(role, 1) for role in KeyRole))


def load_trust(path: Path) -> TrustRoot:
    """Read and check a trust root.

    Raises:
        Refused: ``TRUST_MISSING``, ``TRUST_INVALID`` or what :func:`records.parse` raises.
    """
    try:
        data = read_once(path.resolve().parent, path.resolve().name, TRUST_LIMIT, "TRUST")
    except (OSError, Refused):
        raise Refused("TRUST_MISSING", "no trust root", path.name,
                      "set HARNESS_TRUST to the file with the pinned keys") from None  # fmt: skip
    trust = parse(TrustRoot, strict_json(data, path.name), path.name)
    unique(trust.keys, ("keyid",), path.name)
    unique(trust.thresholds, ("role",), path.name)
    if trust.schema != TRUST_SCHEMA:
        raise Refused("TRUST_INVALID", "another schema", path.name, f"expected {TRUST_SCHEMA}")
    return trust


def save_trust(path: Path, trust: TrustRoot) -> None:
    """Write a trust root."""
    write_bytes(path, canonical_json(to_json(trust)))


def sign(payload: bytes, keys: Iterable[Ed25519PrivateKey]) -> bytes:
    """Return the canonical JSON of a DSSE envelope around an in-toto statement."""
    message = pae(PAYLOAD_TYPE, payload)
    signatures = tuple(_Signature(key_id(key), _encode(key.sign(message))) for key in keys)
    return canonical_json(to_json(_Envelope(_encode(payload), PAYLOAD_TYPE, signatures)))


def verify(
    data: bytes, role: KeyRole, trust: TrustRoot, family: str, where: str, at: datetime
) -> bytes:
    """Check an envelope and return its payload.

    Every signature in it has to be a valid one by a different pinned key of the role, so that no
    byte of the envelope can change unnoticed. A key that is out of its lifetime or revoked
    therefore refuses the envelope, also where enough others signed.

    Args:
        data: the envelope.
        role: that the keys must have.
        trust: pinned keys.
        family: first word of the refusal's code, for example ``MANIFEST``.
        where: file name for the refusal.
        at: time at which the signature counts, aware: the clock of the decision for what permits
            something now; for evidence of the past, a time that something else vouches for, not
            the date that the signer wrote.

    Raises:
        Refused: ``*_NONCANONICAL``, ``*_KEY_UNKNOWN``, ``*_KEY_REVOKED``, ``*_KEY_EXPIRED``,
            ``*_KEY_NOT_YET_VALID``, ``*_SIG_INVALID``, ``*_SIG_THRESHOLD``, ``TRUST_INVALID``, or
            what :func:`records.parse` raises.
    """
    envelope = _read_envelope(data, family, where)
    payload, pinned = _decode(envelope.payload, family, where), trust.pinned(role)
    message = pae(PAYLOAD_TYPE, payload)
    for signature in envelope.signatures:
        key = pinned.get(signature.keyid)
        if key is None:
            raise Refused(f"{family}_KEY_UNKNOWN", f"a signature by a key that is not pinned for "
                          f"{role}", where, "sign with a pinned key")  # fmt: skip
        _check_lifetime(key, at, family, where)
        if not key.fits(_decode(signature.sig, family, where), message):
            _bad_signature(family, where)
    signers, needed = {s.keyid for s in envelope.signatures}, trust.threshold(role)
    if len(signers) < needed or len(signers) != len(envelope.signatures):
        raise Refused(f"{family}_SIG_THRESHOLD", f"{len(signers)} of {needed} keys signed, each "
                      "counted once", where, "have more of them sign")  # fmt: skip
    return payload


def _read_envelope(data: bytes, family: str, where: str) -> _Envelope:
    value = strict_json(data, where)
    envelope = parse(_Envelope, value, where)
    if canonical_json(value) != data:
        raise Refused(f"{family}_NONCANONICAL", "not in canonical form", where, "sign again")
    if envelope.payloadType != PAYLOAD_TYPE:
        _bad_signature(family, where)
    return envelope


def _check_lifetime(key: TrustedKey, at: datetime, family: str, where: str) -> None:
    if key.revoked_at is not None:  # no look at the clock: its dates are the thief's to choose
        raise Refused(f"{family}_KEY_REVOKED", "a signature by a key that is revoked", where,
                      "have it signed again with keys that hold")  # fmt: skip
    if at < key.not_before:
        raise Refused(f"{family}_KEY_NOT_YET_VALID", "a signature by a key whose time has not "
                      "come", where, "check the clock, or sign with another key")  # fmt: skip
    if at >= key.not_after:
        raise Refused(f"{family}_KEY_EXPIRED", "a signature by a key whose time is over", where,
                      "have it signed again with keys that hold")  # fmt: skip


def _bad_signature(family: str, where: str) -> NoReturn:
    raise Refused(f"{family}_SIG_INVALID", "the signature does not fit", where,
                  "restore the signed file or have it signed again")  # fmt: skip


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decode(text: str, family: str, where: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        _bad_signature(family, where)
    if _encode(data) != text:  # base64 lets unused bits vary
        _bad_signature(family, where)
    return data
