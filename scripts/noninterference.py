"""Show that what was denied does not move one bit of the adapter.

The demo's manifest is trained on as it is; then with the content of every denied turn deleted; then
with it replaced by other text, and signed again. The three adapters must be the same file. As a
control, one admitted turn is replaced, which must give another adapter.

usage: python scripts/noninterference.py FOLDER [key=value ...]   (overrides of harness train)
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from harness.config import Config, Data
from harness.consent import gate
from harness.consent.authoring import resign
from harness.consent.manifest import Manifest, load
from harness.consent.present import Source
from harness.consent.records import ContentRow
from harness.consent.signing import load_key, load_trust
from harness.consent.sources import prepare
from harness.digest import sha256_file
from harness.meetings.formats import READERS
from harness.meetings.model import Turn
from harness.meetings.readers import zoom_chat, zoom_transcript

WRITERS: dict[str, Callable[[list[Turn]], bytes]] = {
    "zoom-vtt": partial(zoom_transcript.write, end=24 * 3600.0),
    "zoom-chat": zoom_chat.write,
}
Change = Callable[[Path, ContentRow], None]


def main() -> int:
    """Train each variant, print the digests, exit 1 when they are not as they must be."""
    folder, overrides = Path(sys.argv[1]), sys.argv[2:]
    original = prepare(Data(work=str(folder / "harness")))
    denied, admitted = divided(original)
    changes: dict[str, tuple[list[ContentRow], Change]] = {
        "deleted": (denied, delete),
        "replaced": (denied, replace_text),
        "control": (admitted[:1], replace_text),
    }
    digests = {"original": train(original, folder / "runs" / "original", overrides)}
    for name, (rows, change) in changes.items():
        source = variant(original, folder / name, rows, change)
        digests[name] = train(source, folder / "runs" / name, overrides)
    for name, digest in digests.items():
        print(f"{name:<10}{digest}")
    same = digests["original"] == digests["deleted"] == digests["replaced"]
    held = same and digests["control"] != digests["original"]
    print(f"{len(denied)} denied files: non-interference {'holds' if held else 'DOES NOT HOLD'}")
    return 0 if held else 1


def divided(source: Source) -> tuple[list[ContentRow], list[ContentRow]]:
    """Content rows of which no turn may be trained on, and those of the training arm."""
    now = datetime.now(UTC)
    permission = gate.admit(source, Config(), now)
    used = {
        (meeting.id, turn.modality)
        for meeting in (*permission.train, *permission.validation)
        for turn in meeting.turns
    }
    trained = {meeting.id for meeting in permission.train}
    rows = verified(source).tables.content
    return (
        [row for row in rows if (row.meeting_id, str(row.modality)) not in used],
        [r for r in rows if (r.meeting_id, str(r.modality)) in used and r.meeting_id in trained],
    )


def verified(source: Source) -> Manifest:
    """The manifest, checked against the trust root."""
    return load(source.manifest, load_trust(source.trust), datetime.now(UTC))


def variant(original: Source, folder: Path, rows: list[ContentRow], change: Change) -> Source:
    """A copy of store and manifest with some content changed, signed as the next epoch."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(original.store, folder / "store")
    shutil.copytree(original.manifest, folder / "manifest")
    source = replace(original, store=folder / "store", manifest=folder / "manifest",
                     seen=folder / "last-seen.json")  # fmt: skip
    shutil.copy(original.seen, source.seen)
    for row in rows:
        change(source.store / row.path, row)
    key = load_key(original.trust.parent / "keys" / "manifest.pem")
    resign(source.manifest, verified(source), source.store, [key])
    return source


def delete(path: Path, row: ContentRow) -> None:
    """Remove a content file."""
    path.unlink()


def replace_text(path: Path, row: ContentRow) -> None:
    """Put other words into every turn; speakers, times and layout stay."""
    turns = READERS[row.format](path.read_bytes())
    other = [Turn(t.index, t.speaker, f"other words {t.index}", t.seconds) for t in turns]
    path.write_bytes(WRITERS[row.format](other))


def train(source: Source, run_dir: Path, overrides: list[str]) -> str:
    """Train on a source in a process of its own; return the adapter's digest."""
    places = [f"data.root={source.store}", f"data.manifest={source.manifest}",
              f"data.withdrawals={source.withdrawals}", f"data.state={source.seen}"]  # fmt: skip
    words = ["train", "data=folder", *places, f"run_dir={run_dir}", "tracking=off", *overrides]
    environment = os.environ | {"HARNESS_TRUST": str(source.trust)}
    subprocess.run([sys.executable, "-m", "harness.cli", *words], env=environment, check=True)
    return sha256_file(run_dir / "adapter" / "adapter_model.safetensors")


if __name__ == "__main__":
    sys.exit(main())
