"""Tampering refuses the run before anything is loaded: exit 4, one line, no adapter."""

import json
import random
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.consent.manifest import load
from harness.consent.records import Arm
from harness.consent.signing import load_key, load_trust
from harness.consent.withdrawals import Withdrawal, append

Finished = Callable[..., tuple[int, str, str]]


@pytest.fixture
def copy(finished: Finished, work: Path, tmp_path: Path) -> Path:
    """The demo's store, manifest and trust root, to be tampered with."""
    if not (work / "harness" / "demo" / "manifest").exists():
        code, _, err = finished("gate", tmp_path / "made")
        assert code == 0, err
    shutil.copytree(work / "harness", tmp_path / "copy")
    return tmp_path / "copy"


def train(finished: Finished, copy: Path, run_dir: Path) -> tuple[int, str]:
    places = [
        f"data.root={copy / 'demo' / 'store'}",
        f"data.manifest={copy / 'demo' / 'manifest'}",
        f"data.withdrawals={copy / 'demo' / 'withdrawals'}",
    ]
    code, _, err = finished("train", run_dir, "data=folder", *places, f"data.work={copy}",
                            trust=copy / "trust.json")  # fmt: skip
    return code, err


def flip(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


@pytest.mark.parametrize(
    "name", ["MANIFEST.json", "MANIFEST.dsse.json", "consent.jsonl", "content.jsonl"]
)
def test_one_changed_byte_of_the_manifest(
    finished: Finished, copy: Path, tmp_path: Path, name: str
) -> None:
    flip(copy / "demo" / "manifest" / name, random.Random(name))
    code, err = train(finished, copy, tmp_path / "run")
    assert code == 4
    assert len(err.strip().splitlines()) == 1
    assert err.startswith("harness: ")
    assert list((tmp_path / "run" / "adapter").iterdir()) == []
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "refused"


def test_one_changed_byte_of_admitted_content_and_no_text_in_the_message(
    finished: Finished, copy: Path, tmp_path: Path
) -> None:
    for path in (copy / "demo" / "store").rglob("transcript.vtt"):
        flip(path, random.Random(path.name))
    code, err = train(finished, copy, tmp_path / "run")
    assert code == 4
    assert "CONTENT_HASH_MISMATCH" in err
    assert len(err.strip().splitlines()) == 1


def test_keys_that_are_not_pinned(finished: Finished, copy: Path, tmp_path: Path) -> None:
    trust = json.loads((copy / "trust.json").read_text())
    trust["keys"] = [key for key in trust["keys"] if "manifest" not in key["roles"]]
    (copy / "trust.json").write_text(json.dumps(trust, separators=(",", ":"), sort_keys=True))
    code, err = train(finished, copy, tmp_path / "run")
    assert code == 4
    assert "MANIFEST_KEY_UNKNOWN" in err


def test_a_turn_denied_since_forbids_to_continue(
    finished: Finished, tmp_path: Path, work: Path
) -> None:
    """An unfinished training whose admitted turns changed stops instead of going on."""
    run_dir = tmp_path / "run"
    code, _, err = finished("train", run_dir)
    assert code == 0, err
    record = json.loads((run_dir / "run.json").read_text())
    record["stages"]["train"]["status"] = "failed"
    (run_dir / "run.json").write_text(json.dumps(record))
    code, _, err = withdraw(finished, run_dir, work, tmp_path)
    assert code == 4
    assert "TRAIN_ROOT_CHANGED" in err
    assert len(err.strip().splitlines()) == 1


def withdraw(finished: Finished, run_dir: Path, work: Path, tmp_path: Path) -> tuple[int, str, str]:
    """The same command after somebody of a trained meeting withdrew; the manifest stands."""
    place, now = tmp_path / "harness", datetime.now(UTC)
    shutil.copytree(work / "harness", place)
    trust = load_trust(place / "trust.json")
    tables = load(place / "demo" / "manifest", trust, now).tables
    trained = next(row.meeting_id for row in tables.split if row.arm is Arm.TRAIN)
    given = next(e for e in tables.consent if trained in e.scope.meetings)
    taken = Withdrawal(given.subject_key, given.controller, (), (), (), (trained,), (), now, now,
                       False)  # fmt: skip
    append(place / "demo" / "withdrawals", [taken], [load_key(place / "keys" / "log.pem")], trust,
           now)  # fmt: skip
    return finished("train", run_dir, f"data.work={place}")
