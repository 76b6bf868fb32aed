"""Data that makes its own manifest: the demo and QMSum."""

import shutil
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness.config import Config, Data
from harness.consent import gate, sources
from harness.consent.manifest import load
from harness.consent.signing import load_trust
from harness.errors import Refused, UsageError

CODE_OF_FAULT = {
    "refusal": "CONSENT_REFUSED",
    "withdrawal": "CONSENT_WITHDRAWN",
    "expiry": "CONSENT_EXPIRED",
    "recording_only": "PURPOSE_RECORDING_ONLY",
    "host_for_all": "HOST_CONSENT_NOT_PARTICIPANT",
    "minor": "MINOR",
    "unidentified_guest": "GUEST_UNIDENTIFIED",
    "sign_in_click_through": "NOT_EXPLICIT",
    "older_policy": "POLICY_NOT_COVERING",
    "before_disclosure": "CONSENT_BEFORE_DISCLOSURE",
    "excluded_id": "EXCLUDED_MEETING",
    "excluded_tag": "EXCLUDED_TAG",
    "excluded_date": "EXCLUDED_DATE_RANGE",
    "excluded_modality": "EXCLUDED_MODALITY",
}
QMSUM = Path(__file__).parents[2].parent / "shared" / "data" / "qmsum"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, sources.Source]:
    config = Config(data=Data(work=str(tmp_path_factory.mktemp("work"))))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("HARNESS_TRUST", raising=False)
        return config, sources.prepare(config.data)


def test_each_demo_fault_is_denied_by_its_own_code(demo: tuple[Config, sources.Source]) -> None:
    from harness.meetings.synthetic import generate

    config, source = demo
    rows = gate.decide(source, config, datetime.now(UTC)).rows.to_pylist()
    whole = {row["meeting_id"]: row["codes"] for row in rows if row["turn"] == -1}
    faults = {meeting.id: meeting.fault for meeting in generate(0) if meeting.fault}
    assert {*faults.values()} == {*CODE_OF_FAULT}
    for meeting, fault in faults.items():
        assert whole[meeting][0] == CODE_OF_FAULT[fault], fault


def test_the_demo_has_the_arms_that_the_issue_asks_for(demo: tuple[Config, sources.Source]) -> None:
    config, source = demo
    summary = gate.decide(source, config, datetime.now(UTC)).summary
    assert summary["arms"] == {"train": 24, "heldout": 24, "sentinel": 24, "validation": 8}
    assert summary["meetings_total"] - sum(summary["arms"].values()) == 28
    assert summary["randomised"]
    kinds = Counter(code for code in summary["by_code"] if code.startswith("EXCLUDED_"))
    assert {*kinds} >= {"EXCLUDED_MEETING", "EXCLUDED_TAG", "EXCLUDED_DATE_RANGE",
                        "EXCLUDED_MODALITY"}  # fmt: skip


def test_all_three_permissions_hold_on_the_demo(demo: tuple[Config, sources.Source]) -> None:
    config, source = demo
    now = datetime.now(UTC)
    admitted = gate.admit(source, config, now)
    scored = gate.evaluable(source, config, now)
    assert scored.members == admitted.train
    for meetings in (admitted.train, scored.heldout):
        assert {*Counter(meeting.series for meeting in meetings).values()} == {2}
    assert len(gate.leak_test(source, config, now).sentinels) == 24
    assert {turn.modality for m in admitted.train for turn in m.turns} == {"transcript"}


def test_the_demo_gate_is_quick(demo: tuple[Config, sources.Source]) -> None:
    config, source = demo
    started = time.perf_counter()
    gate.decide(source, config, datetime.now(UTC))
    assert time.perf_counter() - started < 3


def test_nobodys_invented_consent_runs_out_within_years(
    demo: tuple[Config, sources.Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, _ = demo
    far = datetime(2046, 1, 1, tzinfo=UTC)
    shutil.copytree(config.data.work, tmp_path / "w")
    clock = type("Clock", (datetime,), {"now": classmethod(lambda cls, zone: far)})
    monkeypatch.setattr(sources, "datetime", clock)
    again = sources.prepare(Data(work=str(tmp_path / "w")))
    assert len(gate.admit(again, config, far).train) == 24


def test_a_manifest_that_says_the_same_is_left_alone(demo: tuple[Config, sources.Source]) -> None:
    config, source = demo
    before = (source.manifest / "MANIFEST.json").stat()
    assert sources.prepare(config.data) == source
    assert (source.manifest / "MANIFEST.json").stat() == before


def test_a_manifest_near_its_end_is_renewed_with_the_next_epoch(
    demo: tuple[Config, sources.Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, source = demo
    shutil.copytree(config.data.work, tmp_path / "w")
    old = load(source.manifest, load_trust(source.trust), datetime.now(UTC))
    monkeypatch.setattr(sources, "RENEW_BEFORE", timedelta(days=31))
    again = sources.prepare(Data(work=str(tmp_path / "w")))
    new = load(again.manifest, load_trust(again.trust), datetime.now(UTC))
    assert (new.head.epoch, new.head.prev) == (old.head.epoch + 1, old.sha256)
    assert new.tables == old.tables


def test_a_tampered_manifest_is_refused_and_not_repaired(
    demo: tuple[Config, sources.Source], tmp_path: Path
) -> None:
    config, _ = demo
    shutil.copytree(config.data.work, tmp_path / "w")
    path = tmp_path / "w/demo/manifest/consent.jsonl"
    path.write_bytes(path.read_bytes().replace(b"refused", b"renewed", 1))
    with pytest.raises(Refused, match="MANIFEST_HASH_MISMATCH"):
        sources.prepare(Data(work=str(tmp_path / "w")))


def test_private_keys_are_private(demo: tuple[Config, sources.Source]) -> None:
    keys = [*(Path(demo[0].data.work) / "keys").iterdir()]
    assert len(keys) == 5
    assert all(key.stat().st_mode & 0o077 == 0 for key in keys)


@pytest.mark.skipif(not QMSUM.is_dir(), reason="QMSum is not at hand")
def test_qmsum_is_gated_by_series(tmp_path: Path) -> None:
    data = Data("qmsum", str(QMSUM), work=str(tmp_path), series=["ES2002", "ES2003", "ES2005"])
    config = Config(data=data)
    summary = gate.decide(sources.prepare(data), config, datetime.now(UTC)).summary
    assert summary["arms"]["train"] >= 1
    assert summary["arms"]["validation"] >= 4
    assert summary["meetings_total"] == len([*QMSUM.glob("ES200[235]*.json")])


@pytest.mark.skipif(not QMSUM.is_dir(), reason="QMSum is not at hand")
def test_qmsum_has_pairs_where_they_are_asked_for(tmp_path: Path) -> None:
    data = Data("qmsum", str(QMSUM), work=str(tmp_path), series=["ES2002", "ES2003", "ES2005"])
    config, now = Config(data=data), datetime.now(UTC)
    plain = gate.admit(sources.prepare(data), config, now)
    data.pairs, config.job.modalities = True, ["transcript", "summary_ai"]
    both = gate.admit(sources.prepare(data), config, now)
    assert [m.id for m in both.train] == [m.id for m in plain.train]
    for meeting, said in zip(both.train, plain.train, strict=True):
        assert [turn for turn in meeting.turns if turn.query is None] == [*said.turns]
        assert any(turn.query for turn in meeting.turns)


def test_an_unknown_series_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"data\.series nowhere"):
        sources.qmsum_draft(tmp_path, ["nowhere"], 0)


def test_a_folder_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match=r"data\.manifest"):
        sources.prepare(Data("folder", "/nonexistent", "/nonexistent"))


def test_a_fault_elsewhere_is_no_reason_here(demo: tuple[Config, sources.Source]) -> None:
    config, source = demo
    rows = gate.decide(source, config, datetime.now(UTC)).rows.to_pylist()
    chat = {code for row in rows if row["modality"] == "chat_public" for code in row["codes"]}
    assert chat == {"EXCLUDED_MODALITY", "MODALITY_NOT_COVERED", "MODALITY_NOT_REQUESTED"}
