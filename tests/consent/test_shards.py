"""Shares decided apart and merged: the result of one process, or a refusal."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from consent.conftest import World
from consent.test_peer_failures import withdrawal
from harness import cli
from harness.consent import authoring, layout, shards
from harness.consent.authoring import content_row
from harness.consent.explain import explain
from harness.consent.head import Mode
from harness.consent.records import State, format_time
from harness.consent.signing import (
    KeyRole,
    create_key,
    load_key,
    load_trust,
    save_trust,
    sign,
    trust_root,
)
from harness.digest import canonical_json
from harness.errors import ExitCode
from harness.meetings.detectors.patterns import Patterns
from harness.meetings.model import Modality


class Job:
    """A world that holds now, with a key of the gate, as ``harness gate`` is called for it."""

    def __init__(self, world: World, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(authoring, "JSONL_ROWS", 0)
        monkeypatch.setattr(layout, "MEETINGS_A_PART", 1)
        monkeypatch.setattr(layout, "EVENTS_A_PART", 2)
        self.folder, self.world = folder, world
        now = datetime.now(UTC).replace(microsecond=0)
        world.draft = replace(
            world.draft, defaults=replace(world.draft.defaults, max_consent_age_days=36500)
        )
        world.edit("consent", lambda e: True, valid_until=now + timedelta(days=99))
        world.edit("consent", lambda e: e.event_id == "e3", state=State.REFUSED)
        self.world = replace(
            world, issued=now - timedelta(hours=1), expires=now + timedelta(hours=9)
        )
        self.world.now = now - timedelta(minutes=1)  # type: ignore[misc]
        key = create_key(folder / "gate.pem")
        pinned = load_trust(world.source.trust)
        mine = trust_root([(key, (KeyRole.GATE,))])
        both = replace(pinned, keys=(*pinned.keys, *mine.keys))
        save_trust(world.source.trust, both)
        self.source = self.world.sign()
        self.decided_at = format_time(now)
        monkeypatch.setenv("HARNESS_TRUST", str(self.source.trust))

    def gate(self, run: str, *words: str) -> int:
        source = self.source
        words = (
            "gate", f"run_dir={self.folder / run}", "data=folder", f"data.root={source.store}",
            f"data.manifest={source.manifest}", f"data.withdrawals={source.withdrawals}",
            f"data.state={source.seen}", "tracking.mode=off", *words,
        )  # fmt: skip
        return int(cli.answer(lambda: cli.dispatch(words)))

    def share(self, n: int, of: int = 2, run: str = "shared", **changes: str) -> int:
        asked = {"decided_at": self.decided_at, "key": str(self.folder / "gate.pem")} | changes
        words = [f"gate.{key}={value}" for key, value in asked.items()]
        return self.gate(run, f"gate.shard={n}", f"gate.shards={of}", *words)

    def merge(self, of: int = 2, run: str = "shared") -> int:
        return self.gate(run, f"gate.shards={of}", f"gate.decided_at={self.decided_at}")


@pytest.fixture
def job(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    return Job(world, tmp_path, monkeypatch)


def leave_bo_out(world: World) -> None:
    """Of m0, in which Ada names him."""
    store = world.source.store
    (store / "m0" / "turns.jsonl").write_text('{"speaker":"Ada","text":"hello Bo"}\n' * 2)
    row = content_row(store, "m0", Modality.TRANSCRIPT, "turns-jsonl", "m0/turns.jsonl", "own")
    world.edit("content", lambda r: r.meeting_id == "m0", sha256=row.sha256, bytes=row.bytes)
    world.edit("consent", lambda e: e.event_id == "e1", state=State.REFUSED)
    terms = replace(world.draft.defaults, mode=Mode.PER_SPEAKER, min_speakers=1)
    world.draft = replace(world.draft, defaults=terms)


def test_what_is_masked_is_merged_too(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_bo_out(world)
    job = Job(world, tmp_path, monkeypatch)
    assert job.gate("whole") == ExitCode.DONE
    for n in range(3):
        assert job.share(n, 3) == ExitCode.DONE
    assert job.merge(3) == ExitCode.DONE
    runs = [job.folder / "whole", job.folder / "shared"]
    masked = [pq.read_table(run / "private" / "masked.parquet").to_pylist() for run in runs]
    assert masked[0] == masked[1]
    assert masked[0]
    counts = [json.loads((run / "gate" / "summary.json").read_bytes())["masked"] for run in runs]
    assert counts[0] == counts[1] == {"name": len(masked[0])}
    assert (runs[0] / "private" / "masked.parquet").stat().st_mode & 0o777 == 0o600
    assert "Masked: name, characters 6 to 8." in "\n".join(explain(runs[1], "m0", "0"))


def test_a_share_that_was_masked_by_other_detectors_is_not_merged(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [job.share(n) for n in (0, 1)] == [ExitCode.DONE] * 2
    monkeypatch.setattr(Patterns, "version", "patterns/0")
    assert job.merge() == ExitCode.REFUSED
    assert "SHARD_MISMATCH: " in capsys.readouterr().err


@pytest.mark.parametrize("of", [2, 3, 5])
def test_shares_give_what_one_process_gives(of: int, job: Job) -> None:
    assert job.gate("whole") == ExitCode.DONE
    for n in reversed(range(of)):
        assert job.share(n, of) == ExitCode.DONE
    assert not (job.folder / "shared" / "run.json").exists()
    assert job.merge(of) == ExitCode.DONE
    whole, shared = job.folder / "whole", job.folder / "shared"
    rows = [
        pq.read_table(run / "private" / "decisions.parquet").to_pylist() for run in (whole, shared)
    ]
    assert rows[0] == rows[1]
    assert any(row["codes"] for row in rows[0])
    assert not all(row["codes"] for row in rows[0])
    summaries = [
        json.loads((run / "gate" / "summary.json").read_bytes()) for run in (whole, shared)
    ]
    assert [s | {"decided_at": None} for s in summaries[:1]] == [
        summaries[1] | {"decided_at": None}
    ]


def test_a_share_is_missing(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    assert job.share(0) == ExitCode.DONE
    assert job.merge() == ExitCode.REFUSED
    assert "SHARD_MISSING: " in capsys.readouterr().err
    assert not (job.folder / "shared" / "private" / "decisions.parquet").exists()


def _other_decisions(folder: Path) -> None:
    data = bytearray((folder / "decisions.parquet").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "decisions.parquet").write_bytes(bytes(data))


def _other_masked(folder: Path) -> None:
    path = folder / "masked.parquet"
    path.write_bytes(path.read_bytes() + b"x")


def _other_corpus(folder: Path) -> None:
    (folder / shards.CORPUS).write_bytes(b'["m0","transcript","00"]\n')


def _swapped(folder: Path) -> None:
    other = folder.with_name("0-of-2")
    for path in other.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())


def _other_envelope(folder: Path) -> None:
    envelope = json.loads((folder / shards.STATEMENT).read_bytes())
    envelope["signatures"][0]["sig"] = "A" * 86 + "=="
    (folder / shards.STATEMENT).write_bytes(canonical_json(envelope))


def _spaced_envelope(folder: Path) -> None:
    envelope = json.loads((folder / shards.STATEMENT).read_bytes())
    (folder / shards.STATEMENT).write_text(json.dumps(envelope))


def _no_envelope(folder: Path) -> None:
    (folder / shards.STATEMENT).unlink()


def _linked_envelope(folder: Path) -> None:
    (folder / shards.STATEMENT).rename(folder / "elsewhere")
    (folder / shards.STATEMENT).symlink_to(folder / "elsewhere")


def _large_envelope(folder: Path) -> None:
    (folder / shards.STATEMENT).write_bytes(b" " * (shards.STATEMENT_LIMIT + 1))


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (_other_decisions, "SHARD_MISMATCH"),
        (_other_masked, "SHARD_MISMATCH"),
        (_other_corpus, "SHARD_MISMATCH"),
        (_swapped, "SHARD_MISMATCH"),
        (_other_envelope, "SHARD_SIG_INVALID"),
        (_spaced_envelope, "SHARD_NONCANONICAL"),
        (_no_envelope, "SHARD_FILE_MISSING"),
        (_linked_envelope, "SHARD_NOT_REGULAR"),
        (_large_envelope, "SHARD_TOO_LARGE"),
    ],
)
def test_a_share_that_was_changed_is_not_merged(
    fault: Callable[[Path], None], code: str, job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [job.share(n) for n in (0, 1)] == [ExitCode.DONE] * 2
    fault(job.folder / "shared" / "gate" / "shards" / "1-of-2")
    assert job.merge() == ExitCode.REFUSED
    assert f"{code}: " in capsys.readouterr().err
    assert not (job.folder / "shared" / "private" / "decisions.parquet").exists()


def test_a_share_of_another_key_is_not_merged(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    create_key(job.folder / "other.pem")
    assert job.share(0) == ExitCode.DONE
    assert job.share(1, key=str(job.folder / "other.pem")) == ExitCode.DONE
    assert job.merge() == ExitCode.REFUSED
    assert "SHARD_KEY_UNKNOWN: " in capsys.readouterr().err


def test_a_key_of_another_role_is_not_taken(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    pem = job.world.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (job.folder / "manifest.pem").write_bytes(pem)
    (job.folder / "manifest.pem").chmod(0o600)
    assert job.share(0, key=str(job.folder / "manifest.pem")) == ExitCode.DONE
    assert job.share(1) == ExitCode.DONE
    assert job.merge() == ExitCode.REFUSED
    assert "SHARD_KEY_UNKNOWN: " in capsys.readouterr().err


def test_shares_of_two_clocks_are_not_merged(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    other = format_time(datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=5))
    assert job.share(0) == ExitCode.DONE
    assert job.share(1, decided_at=other) == ExitCode.DONE
    assert job.merge() == ExitCode.REFUSED
    assert "SHARD_MISMATCH: " in capsys.readouterr().err


@pytest.mark.parametrize("days", [-2, 2])
def test_the_common_clock_is_of_the_last_day(
    days: int, job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    other = format_time(datetime.now(UTC).replace(microsecond=0) + timedelta(days=days))
    assert job.share(0, decided_at=other) == ExitCode.REFUSED
    assert "SHARD_CLOCK: " in capsys.readouterr().err


def test_shares_before_and_after_a_withdrawal_are_not_merged(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [job.share(n) for n in (0, 1)] == [ExitCode.DONE] * 2
    now = datetime.now(UTC).replace(microsecond=0)
    job.world.withdraw(withdrawal(job.world, event_time=now, recorded_time=now), at=now)
    assert job.merge() == ExitCode.REFUSED
    assert "SHARD_MISMATCH: " in capsys.readouterr().err


def test_a_withdrawal_after_the_common_clock_is_not_passed_over(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    taken = now - timedelta(minutes=10)
    job.world.withdraw(withdrawal(job.world, event_time=taken, recorded_time=taken), at=now)
    early = format_time(now - timedelta(minutes=40))
    assert job.share(0, decided_at=early) == ExitCode.REFUSED
    assert "SHARD_CLOCK: " in capsys.readouterr().err
    assert job.share(0, decided_at=format_time(now)) == ExitCode.DONE


def test_a_share_of_a_malformed_statement_is_no_traceback(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [job.share(n) for n in (0, 1)] == [ExitCode.DONE] * 2
    path = job.folder / "shared" / "gate" / "shards" / "1-of-2" / shards.STATEMENT
    key = load_key(job.folder / "gate.pem")
    for payload in ([], {"predicate": []}, {"predicate": {"counts": {"by_code": 1}}}):
        path.write_bytes(sign(canonical_json(payload), [key]))
        assert job.merge() == ExitCode.REFUSED
        assert "SHARD_MISMATCH: " in capsys.readouterr().err


@pytest.mark.parametrize("words", [("gate.shard=2",), ("gate.shard=0", "gate.decided_at=''")])
def test_a_share_that_cannot_be_is_a_usage_error(
    words: tuple[str, ...], job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [f"gate.key={job.folder / 'gate.pem'}", f"gate.decided_at={job.decided_at}", *words]
    assert job.gate("shared", "gate.shards=2", *asked) == ExitCode.USAGE
    assert "CONFIG_VALUE: " in capsys.readouterr().err


def test_tables_of_lines_are_not_shared_out(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    job = Job(world, tmp_path, monkeypatch)
    monkeypatch.setattr(authoring, "JSONL_ROWS", 10**6)
    job.source = job.world.sign()
    assert job.share(0) == ExitCode.USAGE
    assert "CONFIG_VALUE: " in capsys.readouterr().err
