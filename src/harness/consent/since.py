"""What changed since the epoch before: who is admitted or denied now, and by which codes."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from harness.consent.manifest import Manifest, load_at_any_time
from harness.consent.records import Operation
from harness.consent.ruling import Ruler
from harness.consent.session import TRAINED, Session, request_for
from harness.consent.signing import load_trust
from harness.errors import Refused


def changes_since(session: Session, folder: Path) -> dict[str, Any]:
    """Decide the epoch before by its rows as they would be now, and compare.

    Both are decided for the same request, at the same time and with the same withdrawals, so that
    what differs comes from the manifests. No content is opened.

    Args:
        session: of the manifest that holds.
        folder: of the manifest that it names as the epoch before.

    Returns:
        Epochs, numbers of meetings that became admitted and denied, and by how much the meetings
        of each code became more or fewer.

    Raises:
        Refused: ``PREVIOUS_MISMATCH`` for another manifest, or what it is refused for.
    """
    trust = load_trust(session.source.trust)
    old = load_at_any_time(folder, trust, session.clock)
    if old.sha256 != session.manifest.head.prev:
        raise Refused("PREVIOUS_MISMATCH", "it is not the epoch before", "gate.previous",
                      "name the manifest whose digest the head has as prev")  # fmt: skip
    before, codes_before = _decided(session, old)
    now, codes = _decided(session, session.manifest)
    codes.subtract(codes_before)
    return {
        "epoch": old.head.epoch,
        "manifest_sha256": old.sha256,
        "newly_admitted": len(now - before),
        "newly_denied": len(before - now),
        "by_code": {code: count for code, count in sorted(codes.items()) if count},
    }


def _decided(session: Session, manifest: Manifest) -> tuple[set[str], Counter[str]]:
    """Meetings that a manifest admits by its rows, and how many meetings each code denies."""
    request = request_for(session.config, (Operation.FINE_TUNING,), TRAINED)
    log, processes = session.present.log, session.config.gate.processes
    ruler = Ruler(manifest, log, session.now, processes)
    admitted: set[str] = set()
    codes: Counter[str] = Counter()
    for rulings in ruler.rule(request):
        ids = rulings.frame.meetings.array("meeting_id")
        admitted.update(ids.take(np.flatnonzero(rulings.admitted)).to_pylist())
        for found in pc.value_counts(rulings.code_lists().flatten()).to_pylist():
            codes[found["values"]] += found["counts"]
    return admitted, codes
