"""All four stages by one command: contract files, one id, and no meeting text outside private/."""

import json
import math
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from harness.consent.authoring import draft_of, write_manifest
from harness.consent.head import Draw
from harness.consent.manifest import load
from harness.consent.present import Source, trust_first
from harness.consent.records import Arm, RuleSource
from harness.consent.signing import load_key, load_trust
from harness.consent.split import draw
from harness.meetings.synthetic import DemoMeeting, generate

Finished = Callable[..., tuple[int, str, str]]
PROBE = ["probe.resamples=50", "probe.prefixes=[4,8]", "probe.suffix=4"]


@pytest.fixture(scope="module")
def run(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "whole"
    code, out, err = finished("run", run_dir, "tracking=offline", *PROBE)
    assert code == 0, err
    assert out.splitlines()[-1] == f"report: {run_dir / 'report.html'}"
    return run_dir


def test_the_contract_files_are_there_and_agree(run: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "done"
    assert set(record["stages"]) == set(record["seconds"]) == {"gate", "train", "probe", "report"}
    gate, receipt, results = (
        json.loads((run / place).read_text())
        for place in ("gate/summary.json", "train/receipt.json", "probes/results.json")
    )
    manifests = {part["manifest_sha256"] for part in (gate, receipt, results)}
    assert len(manifests) == 1
    assert receipt["equal"] is True
    assert results["counts"]["canary_tokens_in_membership"] == 0
    assert results["counts"]["members"] == results["counts"]["sentinels"] == 24
    for name in ("adapter", "private", "checkpoints"):
        assert (run / name).stat().st_mode & 0o777 == 0o700


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from numbers(item)
    elif isinstance(value, float):
        yield value


def test_results_are_strict_and_every_interval_has_a_width(run: Path) -> None:
    text = (run / "probes" / "results.json").read_text()
    results = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert all(math.isfinite(number) for number in numbers(results))
    for probe in results["probes"]:
        assert probe["value"] is not None or probe["reason"]
        if probe["ci_low"] is not None:
            assert probe["ci_low"] < probe["ci_high"], probe["name"]


def test_token_rows_of_sentinels_are_never_written(run: Path) -> None:
    names = {path.name for path in (run / "private" / "scores").iterdir()}
    assert names == {"member.parquet", "heldout.parquet"}


def said(meeting: DemoMeeting) -> Iterator[str]:
    """Names, titles, secrets and stretches of speech of a meeting."""
    yield meeting.title
    yield meeting.id
    yield from (person.label for person in meeting.people)
    yield from (secret.text for secret in (*meeting.secrets, *meeting.chat_secrets))
    for _, text in (*meeting.turns, *meeting.chat):
        words = text.split()
        yield from (" ".join(words[i : i + 4]) for i in range(0, len(words) - 3, 4))


def stands_in(piece: str, data: bytes) -> bool:
    """Whether a piece is there; digits must stand alone, as losses and digests are full of them."""
    if not piece.isdigit():
        return piece.encode() in data
    return re.search(rf"(?<![0-9A-Za-z.]){piece}(?![0-9A-Za-z.])".encode(), data) is not None


def test_no_meeting_text_leaves_private(run: Path) -> None:
    guarded = {"private", "checkpoints", "adapter"}
    files = [
        path for path in run.rglob("*")
        if path.is_file() and path.relative_to(run).parts[0] not in guarded
    ]  # fmt: skip
    assert any("wandb" in path.parts for path in files)
    everything = b"\n".join(path.read_bytes() for path in files)
    leaked = [
        piece for meeting in generate(0) for piece in said(meeting)
        if len(piece) > 5 and stands_in(piece, everything)
    ]  # fmt: skip
    assert leaked == []
    assert b"EXCLUDED_MODALITY" in everything


def test_a_split_dealt_again_after_training_is_not_probed(
    finished: Finished, run: Path, work: Path, tmp_path: Path
) -> None:
    """Trained meetings must not be measured as held-out ones under a manifest signed later."""
    place, now = work / "harness", datetime.now(UTC).replace(microsecond=0)
    manifest = load(place / "demo" / "manifest", load_trust(place / "trust.json"), now)
    old = draft_of(manifest)
    pool: dict[str, list[str]] = {}
    for row in old.tables.split:
        pool.setdefault(row.series_id, []).append(row.meeting_id)
    kept = {row.series_id for row in old.tables.split if row.arm is Arm.VALIDATION}
    arms = draw("another seed", pool, kept)
    rows = tuple(replace(row, arm=arms[row.meeting_id]) for row in old.tables.split)
    rules = tuple(r for r in old.tables.exclusions if r.source is not RuleSource.SENTINEL)
    tables = replace(old.tables, split=rows, exclusions=rules)
    dealt = replace(old, split=Draw("another seed", True), tables=tables)
    key = load_key(place / "keys" / "manifest.pem")
    write_manifest(tmp_path / "dealt", dealt, [key], now, manifest.head.expires,
                   manifest.head.epoch + 1, manifest.sha256)  # fmt: skip
    source = Source(place / "demo" / "store", tmp_path / "dealt", place / "trust.json",
                    place / "demo" / "withdrawals", tmp_path / "last-seen.json")  # fmt: skip
    trust_first(source, now)
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "run.json").unlink()
    shutil.rmtree(tmp_path / "run" / "logs")
    (tmp_path / "run" / "probes" / "results.json").unlink()
    code, _, err = finished(
        "probe", tmp_path / "run", *PROBE, "data=folder", f"data.root={place / 'demo' / 'store'}",
        f"data.manifest={tmp_path / 'dealt'}", f"data.withdrawals={place / 'demo' / 'withdrawals'}",
        f"data.state={tmp_path / 'last-seen.json'}", trust=place / "trust.json",
    )  # fmt: skip
    assert code == 4, err
    assert "TRAINING_DIFFERS" in err
    assert "train_root" in err
    assert not (tmp_path / "run" / "probes" / "results.json").exists()


def test_probe_enforce_exits_6_after_writing(finished: Finished, run: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    record["stages"]["probe"]["status"] = "failed"
    (run / "run.json").write_text(json.dumps(record))
    (run / "probes" / "results.json").unlink()
    code, _, err = finished("probe", run, "tracking=offline", *PROBE, "probe.enforce=true")
    assert code == 6
    assert "PROBE_NOT_PASSED" in err
    assert (run / "probes" / "results.json").exists()
