"""Where a run's meetings, manifest and trust root lie; demo and QMSum make their own manifest."""

import os
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from harness.config import Data
from harness.consent import withdrawals
from harness.consent.authoring import Draft, content_row, replace_folder, write_manifest
from harness.consent.head import LogHead
from harness.consent.invented import LICENCE, Gathering, Person, invented_draft
from harness.consent.manifest import Manifest, load_at_any_time
from harness.consent.present import Source, trust_first, verify_present
from harness.consent.records import Declared, MeetingRow, Role
from harness.consent.signing import KeyRole, create_key, load_trust, save_trust, trust_root
from harness.digest import digest_of
from harness.errors import Refused, UsageError
from harness.meetings.formats import READERS
from harness.meetings.model import Modality
from harness.meetings.readers.qmsum import series_of

LIFETIME = timedelta(days=30)
RENEW_BEFORE = timedelta(days=7)
QMSUM_FAULTS = ("refusal", "withdrawal", "expiry", "recording_only")
QMSUM_FAULT_SHARE = 0.1
QMSUM_START = datetime(2026, 1, 5, 9, tzinfo=UTC)
SMALLEST_SERIES = 3


def prepare(data: Data) -> Source:
    """Find the data of a run; for demo and qmsum, make what is not there yet.

    A manifest that says the same and holds for 7 more days is left alone. One that does not
    verify is refused, never repaired: repairing would hide tampering.

    Raises:
        Refused: a code of manifest or trust root.
        UsageError: ``CONFIG_VALUE`` when a place is not named or does not exist.
    """
    source = locate(data)
    if data.source == "folder":
        return source
    _own_trust(data)
    demo = data.source == "demo"
    draft = (
        _demo_draft(source, data.seed)
        if demo
        else qmsum_draft(source.store, data.series, data.seed, data.pairs)
    )
    _sign_if_due(source, replace(draft, issuer=f"{draft.issuer}/{_name(data)}"), data)
    return source


def locate(data: Data) -> Source:
    """Where the data of a run lie; nothing is made.

    Raises:
        UsageError: ``CONFIG_VALUE`` when a place is not named or does not exist.
    """
    seen = Path(data.state or Path(data.work) / "last-seen.json")
    if data.source == "folder":
        manifest = _folder("data.manifest", data.manifest)
        log = _folder("data.withdrawals", data.withdrawals)
        key = Path(data.copies_key) if data.copies_key else None
        if not os.environ.get("HARNESS_TRUST"):  # never what a setting could choose
            raise Refused("TRUST_MISSING", "no trust root", "HARNESS_TRUST",
                          "set it to the file with the pinned keys")  # fmt: skip
        return Source(_folder("data.root", data.root), manifest, _trust(data), log, seen, key)
    folder = Path(data.work) / _name(data)
    store = folder / "store" if data.source == "demo" else _folder("data.root", data.root)
    return Source(store, folder / "manifest", _trust(data), folder / "withdrawals", seen)


def qmsum_draft(store: Path, series: Sequence[str], seed: int, pairs: bool = False) -> Draft:
    """Tables for QMSum, whose consent is invented by this rule.

    A person is a speaker label within a series. Meetings are dated an hour apart. About one
    meeting in ten, drawn by the seed, has one participant with a fault of :data:`QMSUM_FAULTS`;
    everybody else agrees explicitly. Two series of three or more meetings, drawn by the seed,
    are kept for validation.

    Args:
        store: folder of QMSum's JSON files.
        series: those to use; empty for every series of three or more meetings.
        seed: of the draws.
        pairs: whether queries and answers are content too, and agreed to as AI summaries.

    Raises:
        UsageError: ``CONFIG_VALUE`` for a series without meetings, or when too few are left.
    """
    known: dict[str, list[str]] = defaultdict(list)
    for path in sorted(store.glob("*.json")):
        known[series_of(path.stem)].append(path.stem)
    for name in series:
        if name not in known:
            raise UsageError("CONFIG_VALUE", "no meeting of this series", f"data.series {name}",
                             f"there are {', '.join(sorted(known))}")  # fmt: skip
    large = sorted(name for name, ids in known.items() if len(ids) >= SMALLEST_SERIES)
    used = sorted(series) or large
    random_source = random.Random(f"qmsum-{seed}")
    eligible = [name for name in used if name in large]
    if len(used) < 3 or len(eligible) < 2:
        raise UsageError("CONFIG_VALUE", "too few series: two are kept for validation",
                         "data.series", f"name three or more of {', '.join(large)}")  # fmt: skip
    validation = random_source.sample(eligible, 2)
    meetings = [meeting for name in used for meeting in known[name]]
    faults = _qmsum_faults(meetings, random_source)
    gatherings = [
        _qmsum_gathering(store, meeting, hour, faults.get(meeting), pairs)
        for hour, meeting in enumerate(meetings)
    ]
    kinds = (Modality.TRANSCRIPT, Modality.SUMMARY_AI) if pairs else (Modality.TRANSCRIPT,)
    return invented_draft(gatherings, f"qmsum-{seed}", validation, kinds)


def _qmsum_faults(meetings: Sequence[str], random_source: random.Random) -> dict[str, str]:
    return {
        meeting: random_source.choice(QMSUM_FAULTS)
        for meeting in meetings
        if random_source.random() < QMSUM_FAULT_SHARE
    }


def _qmsum_gathering(
    store: Path, meeting: str, hour: int, fault: str | None, pairs: bool
) -> Gathering:
    start, series = QMSUM_START + timedelta(hours=hour), series_of(meeting)
    path = f"{meeting}.json"
    labels = sorted({turn.speaker for turn in READERS["qmsum-json"]((store / path).read_bytes())})
    people = [Person(f"{series}/{label}", label, Role.PARTICIPANT) for label in labels]
    row = MeetingRow(
        meeting, series, "qmsum", "qmsum", start, start + timedelta(hours=1), "UTC", (), Declared.NO
    )
    content = [content_row(store, meeting, Modality.TRANSCRIPT, "qmsum-json", path, LICENCE)]
    if pairs:
        content.append(
            content_row(store, meeting, Modality.SUMMARY_AI, "qmsum-pairs", path, LICENCE)
        )
    return Gathering(row, people, content, fault)


def _demo_draft(source: Source, seed: int) -> Draft:
    from harness.consent.synthetic import demo_draft  # the generator is needed here alone
    from harness.meetings import synthetic

    meetings = synthetic.generate(seed)
    stamp = source.store / ".seed"  # inside the folder, so that both come and go as one
    if not stamp.exists() or stamp.read_text() != str(seed):

        def fill(target: Path) -> None:
            synthetic.write(meetings, target)
            (target / ".seed").write_text(str(seed))

        replace_folder(source.store, fill)
    return demo_draft(meetings, seed)


def _sign_if_due(source: Source, draft: Draft, data: Data) -> None:
    """Sign anew what says something else or ends soon; say anew that nobody has withdrawn since."""
    now, trust = datetime.now(UTC).replace(microsecond=0), load_trust(source.trust)
    log = withdrawals.append(source.withdrawals, (), [_key(data, KeyRole.LOG)], trust, now)
    old: Manifest | None = None
    if source.manifest.exists():
        old = load_at_any_time(source.manifest, trust, now)
        if draft.says_the_same_as(old.head) and now + RENEW_BEFORE < old.head.expires:
            return
    epoch, prev = (old.head.epoch + 1, old.sha256) if old else (1, None)
    key, head = _key(data, KeyRole.MANIFEST), LogHead(len(log.entries), log.sha256)
    write_manifest(source.manifest, draft, [key], now, now + LIFETIME, epoch, prev, head)
    if old is None:
        trust_first(source, now)  # its own issuer: it vouches for itself
    else:
        verify_present(source, now)  # no epoch is left out, also where nothing is run under it


def _name(data: Data) -> str:
    """Folder and issuer of a source: one chain of epochs for each of its variants."""
    variant: dict[str, object] = {"seed": data.seed, "series": sorted(data.series)}
    if variant == {"seed": 0, "series": []}:
        return f"{data.source}-pairs" if data.pairs else data.source
    variant |= {"pairs": True} if data.pairs else {}  # others keep the name that they had
    return f"{data.source}-{digest_of(variant)[:8]}"


def _trust(data: Data) -> Path:
    return Path(os.environ.get("HARNESS_TRUST") or Path(data.work) / "trust.json")


def _own_trust(data: Data) -> None:
    """Make the trust root of a source that signs for itself, with its keys, on first use."""
    path = _trust(data)
    if not path.exists() and not os.environ.get("HARNESS_TRUST"):
        keys = [(_key(data, role), (role,)) for role in KeyRole]
        save_trust(path, trust_root(keys))


def _key(data: Data, role: KeyRole) -> Ed25519PrivateKey:
    return create_key(Path(data.work) / "keys" / f"{role}.pem")


def _folder(key: str, value: str) -> Path:
    path = Path(value)
    if not value or not path.is_dir():
        raise UsageError("CONFIG_VALUE", "no such folder" if value else "it is not set", key,
                         "name an existing folder")  # fmt: skip
    return path
