"""The last-seen state only goes forwards, whoever asks, in whatever order, and whatever fails."""

import json
import multiprocessing
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from harness.consent import state
from harness.consent.records import to_json
from harness.consent.state import Observation, Seen, check_and_advance, read, trust_first
from harness.digest import canonical_json, sha256_hex
from harness.errors import Refused

ISSUER = "https://demo.example/privacy"
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
SKEW_S = 300
FORK = multiprocessing.get_context("fork")


def digest(epoch: int, branch: str = "") -> str:
    """Digest of the manifest of an epoch, on the main line or on a branch of it."""
    return sha256_hex(f"manifest {epoch} {branch}".encode())


def head(entries: int, branch: str = "") -> str | None:
    """Head of a log of so many entries."""
    return sha256_hex(f"log {entries} {branch}".encode()) if entries else None


def observed(epoch: int, **changes: Any) -> Observation:
    """The main line: each epoch has an event, a rule and a withdrawal more."""
    made = Observation(ISSUER, epoch, digest(epoch), digest(epoch - 1), 10 + epoch, epoch,
                       epoch, head(epoch))  # fmt: skip
    return replace(made, **changes)


def main_log(entries: int, sha256: str | None) -> bool:
    """A log that has every entry of the main line."""
    return sha256 == head(entries)


def advance(path: Path, seen: Observation, now: datetime = NOW, log: Any = main_log) -> Seen:
    return check_and_advance(path, seen, now, SKEW_S, log)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A state that has seen epoch 5."""
    place = tmp_path / "shared/state.json"
    trust_first(place, observed(5), NOW)
    return place


def refuses(code: str, action: Callable[[], Any]) -> str:
    """Whether an action is refused by one line with a code; the line."""
    with pytest.raises(Refused, match=f"^{code}: ") as caught:
        action()
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)
    assert ISSUER not in str(caught.value)
    return str(caught.value)


def test_nothing_is_trusted_before_a_person_vouched(tmp_path: Path) -> None:
    place = tmp_path / "none/state.json"
    line = refuses("STATE_MISSING", lambda: advance(place, observed(1)))
    assert "harness manifest trust-first" in line
    refuses("STATE_MISSING", lambda: read(place))
    assert not place.parent.exists()


def test_an_issuer_that_nobody_vouched_for(path: Path) -> None:
    refuses("STATE_MISSING", lambda: advance(path, observed(5, issuer="https://other.example")))


def test_vouching_happens_once(path: Path) -> None:
    before = path.read_bytes()
    for epoch in (4, 5, 6):
        refuses("STATE_EXISTS", lambda epoch=epoch: trust_first(path, observed(epoch), NOW))
    assert path.read_bytes() == before


def test_issuers_are_apart(path: Path) -> None:
    other = observed(1, issuer="https://other.example", manifest_sha256=digest(1, "other"))
    trust_first(path, other, NOW + SECOND)
    advance(path, observed(6))
    kept = read(path)
    assert [entry.issuer for entry in kept.seen] == [ISSUER, other.issuer]
    assert kept.of(other.issuer) == trust_first(path.with_name("b"), other, NOW + SECOND)
    assert kept.of("https://third.example") is None


def test_what_is_remembered(path: Path) -> None:
    advance(path, observed(6, withdrawals_entries=9, withdrawals_sha256=head(9)), NOW + SECOND)
    assert read(path).of(ISSUER) == Seen(
        ISSUER, 6, digest(6), 16, 6, 9, head(9), NOW + SECOND, state.TrustFirst(NOW, digest(5))
    )


def test_the_same_again_changes_nothing(path: Path) -> None:
    before, inode = path.read_bytes(), path.stat().st_ino
    assert advance(path, observed(5)) == read(path).of(ISSUER)
    assert (path.read_bytes(), path.stat().st_ino) == (before, inode)


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("MANIFEST_EPOCH_ROLLBACK", {"epoch": 4, "manifest_sha256": digest(4)}),
    ("MANIFEST_EPOCH_ROLLBACK", {"epoch": 0}),
    ("MANIFEST_FORK", {"epoch": 5, "manifest_sha256": digest(5, "other")}),
    ("MANIFEST_CHAIN_BROKEN", {"prev": digest(5, "other")}),
    ("MANIFEST_CHAIN_BROKEN", {"prev": None}),
    ("MANIFEST_CHAIN_BROKEN", {"epoch": 7, "prev": digest(5)}),
    ("MANIFEST_EVENTS_MISSING", {"events": 14}),
    ("MANIFEST_EVENTS_MISSING", {"exclusions": 4}),
    ("WITHDRAWALS_ROLLED_BACK", {"withdrawals_entries": 4, "withdrawals_sha256": head(4)}),
    ("WITHDRAWALS_ROLLED_BACK", {"withdrawals_entries": 0, "withdrawals_sha256": None}),
    ("WITHDRAWALS_ROLLED_BACK", {"withdrawals_entries": 5, "withdrawals_sha256": head(5, "x")}),
]


@pytest.mark.parametrize(("code", "changes"), REFUSED)
def test_what_goes_backwards_is_refused(code: str, changes: dict[str, Any], path: Path) -> None:
    before = path.read_bytes()
    refuses(code, lambda: advance(path, replace(observed(6), **changes)))
    assert path.read_bytes() == before
    assert advance(path, observed(6)).epoch == 6


def test_a_longer_log_that_forgot_an_entry(path: Path) -> None:
    longer = observed(6, withdrawals_entries=8, withdrawals_sha256=head(8, "other"))
    refuses("WITHDRAWALS_ROLLED_BACK", lambda: advance(path, longer, log=lambda n, sha256: n < 5))


def test_missing_epochs_are_made_good_in_order(path: Path) -> None:
    line = refuses("MANIFEST_CHAIN_BROKEN", lambda: advance(path, observed(8)))
    assert "present the missing epochs in order" in line
    assert [advance(path, observed(epoch)).epoch for epoch in (6, 7, 8)] == [6, 7, 8]


def test_a_clock_may_lag_by_the_skew(path: Path) -> None:
    late = NOW + timedelta(days=1)
    advance(path, observed(5), late)
    at_limit = late - SKEW_S * SECOND
    assert advance(path, observed(5), at_limit).newest_now == late
    refuses("CLOCK_ROLLBACK", lambda: advance(path, observed(5), at_limit - SECOND / 1000))
    with pytest.raises(Refused, match=r"^CLOCK_ROLLBACK: "):
        check_and_advance(path, observed(5), late - SECOND, 0, main_log)


def test_a_skew_of_any_size_is_no_traceback(path: Path) -> None:
    assert check_and_advance(path, observed(5), NOW - SECOND, 2**53 - 1, main_log).epoch == 5


@settings(max_examples=150, deadline=None, suppress_health_check=[*HealthCheck])
@given(data=st.data())
def test_any_changed_byte_is_refused(data: st.DataObject, path: Path) -> None:
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[place] ^= data.draw(st.integers(1, 255))
    else:
        content = content[:place]
    spoilt = path.with_name("spoilt.json")
    spoilt.write_bytes(content)
    refuses("STATE_INVALID", lambda: advance(spoilt, observed(6)))
    refuses("STATE_INVALID", lambda: trust_first(spoilt, observed(6), NOW))
    assert spoilt.read_bytes() == content


def spoil(value: dict[str, Any], changes: dict[str, Any], entry: dict[str, Any]) -> bytes:
    """A state with other fields and a checksum that fits."""
    value["seen"][0] |= entry
    value["sha256"] = sha256_hex(canonical_json({"schema": value["schema"], "seen": value["seen"]}))
    return canonical_json(value | changes)


@pytest.mark.parametrize(
    ("changes", "entry"),
    [
        ({"schema": "harness/last-seen/v2"}, {}),
        ({"comment": "x"}, {}),
        ({}, {"trusted": True}),
        ({}, {"epoch": -1}),
        ({}, {"epoch": 1.5}),
        ({}, {"trust_first": None}),
        ({}, {"newest_now": "2026-06-01T12:00:00.000000Z"}),
        ({}, {"newest_now": "2026-06-01T12:00:00"}),
        ({}, {"withdrawals_sha256": None}),
        ({}, {"withdrawals_entries": 0}),
        ({"seen": {}}, {}),
    ],
)
def test_only_the_form_that_is_written_is_read(
    changes: dict[str, Any], entry: dict[str, Any], path: Path
) -> None:
    path.write_bytes(spoil(to_json(read(path)), changes, entry))
    refuses("STATE_INVALID", lambda: read(path))


def test_an_issuer_stands_once_and_in_order(path: Path) -> None:
    value = to_json(read(path))
    (entry,) = value["seen"]
    for issuer in (ISSUER, "a"):
        value["seen"] = [entry, entry | {"issuer": issuer}]
        path.write_bytes(spoil(value, {}, {}))
        refuses("STATE_INVALID", lambda: read(path))


def test_spaces_are_not_what_was_written(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_bytes())))
    refuses("STATE_INVALID", lambda: read(path))


def test_a_link_or_a_folder_is_no_state(path: Path) -> None:
    link, folder = path.with_name("link.json"), path.with_name("folder.json")
    link.symlink_to(path)
    folder.mkdir()
    for place in (link, folder):
        refuses("STATE_INVALID", lambda place=place: advance(place, observed(6)))
        refuses("STATE_INVALID", lambda place=place: trust_first(place, observed(6), NOW))


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refuses("STATE_UNWRITABLE", lambda: trust_first(tmp_path / "file/s.json", observed(1), NOW))


@pytest.mark.parametrize("failing", ["replace", "fsync", "open"])
def test_a_failure_before_the_rename_leaves_the_old_state(
    failing: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()
    real = getattr(os, failing)

    def fail(place: Any, *rest: Any, **named: Any) -> Any:
        if failing == "open" and not str(place).endswith(".tmp"):
            return real(place, *rest, **named)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, fail)
    refuses("STATE_UNWRITABLE", lambda: advance(path, observed(6)))
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert advance(path, observed(6)).epoch == 6


def test_file_and_folder_are_synced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    sync, move = os.fsync, os.replace

    def note_sync(descriptor: int) -> None:
        order.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).suffix or "folder")
        sync(descriptor)

    def note_move(*places: Any) -> None:
        order.append("replace")
        move(*places)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_move)
    advance(path, observed(6))
    assert order == [".tmp", "replace", "folder"]


def die_before_rename(path: Path) -> None:
    """What a process does that is killed between writing and renaming."""
    os.replace = lambda *places: os._exit(9)
    advance(path, observed(6))


def test_a_process_that_dies_gives_the_lock_back_and_leaves_the_old_state(path: Path) -> None:
    before = path.read_bytes()
    process = FORK.Process(target=die_before_rename, args=(path,))
    process.start()
    process.join(30)
    assert process.exitcode == 9
    assert path.read_bytes() == before
    assert advance(path, observed(6)).epoch == 6


def test_a_lock_that_is_never_given_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "LOCK_WAIT_S", 0.05)
    with state.exclusive(path, "STATE"):
        refuses("STATE_LOCKED", lambda: advance(path, observed(6)))
    assert advance(path, observed(6)).epoch == 6


def test_threads_wait_for_each_other(path: Path) -> None:
    done: list[int] = []
    with state.exclusive(path, "STATE"):
        thread = threading.Thread(target=lambda: done.append(advance(path, observed(6)).epoch))
        thread.start()
        thread.join(0.1)
        assert done == []
    thread.join(30)
    assert done == [6]


def race(path: Path, journal: Path, worker: int, last: int) -> None:
    """Try to go on to every epoch in a worker's own order; note, under the lock, what was seen."""

    def log(entries: int, sha256: str | None) -> bool:
        with journal.open("a") as file:
            file.write(f"{entries} {tried}\n")
        return main_log(entries, sha256)

    clock = NOW
    for turn in range(4 * last):
        tried = 1 + (turn * (worker + 1)) % last
        clock += SECOND
        try:
            seen = advance(path, observed(tried), clock, log)
        except Refused as error:
            if error.code not in ("MANIFEST_EPOCH_ROLLBACK", "MANIFEST_CHAIN_BROKEN"):
                os._exit(3)
        else:
            if seen.epoch != tried or seen.newest_now < clock:
                os._exit(4)


def test_several_processes_at_once_act_one_after_another(tmp_path: Path) -> None:
    path, journal, last = tmp_path / "state.json", tmp_path / "journal", 12
    trust_first(path, observed(1), NOW)
    workers = [FORK.Process(target=race, args=(path, journal, n, last)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0] * 4
    steps = [tuple(map(int, line.split())) for line in journal.read_text().splitlines()]
    # each acted on what the one before it left: some serial order, without a step backwards
    assert all(tried in (before, before + 1) for before, tried in steps)
    assert [before for before, _ in steps] == [1, *(tried for _, tried in steps[:-1])]
    final = read(path).of(ISSUER)
    assert final is not None
    assert (final.epoch, final.newest_now) == (steps[-1][1], NOW + 4 * last * SECOND)
    assert final.epoch == last


def test_every_refusal_stands_in_the_manual() -> None:
    root = Path(__file__).parents[2]
    listed = re.findall(
        r"^\| `([A-Z_]+)` \|", (root / "docs/manifest.md").read_text(), re.MULTILINE
    )
    families = {"signing": ("MANIFEST", "WITHDRAWALS"), "state": ("STATE", "WITHDRAWALS"),
                "withdrawals": (), "manifest": ()}  # fmt: skip
    raised: set[str] = set()
    for name, prefixes in families.items():
        source = (root / f"src/harness/consent/{name}.py").read_text()
        kinds = "MANIFEST|STATE|WITHDRAWALS|TRUST|CLOCK"
        raised |= {*re.findall(rf'Refused\(\s*"((?:{kinds})_[A-Z_]+)"', source)}
        ends = re.findall(r'Refused\(\s*f"{family}(_[A-Z_]+)"', source)
        raised |= {prefix + end for prefix in prefixes for end in ends}
    assert len(raised) > 35
    assert raised <= {*listed}
    assert len(listed) == len({*listed})


@dataclass
class Model:
    """What the state has to remember."""

    epoch: int
    branch: str
    events: int
    rules: int
    log: int
    now: datetime


class Machine(RuleBasedStateMachine):
    """Any sequence of manifests, logs, clocks and failures, against a model of the rules."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.path = Path(self.folder.name) / "state.json"

    def teardown(self) -> None:
        self.folder.cleanup()

    @initialize(epoch=st.integers(0, 3), log=st.integers(0, 2))
    def vouch(self, epoch: int, log: int) -> None:
        self.model = Model(epoch, "", 5, 5, log, NOW)
        first = Observation(ISSUER, epoch, digest(epoch), None, 5, 5, log, head(log))
        trust_first(self.path, first, NOW)

    @rule(
        step=st.integers(-2, 3),
        branch=st.sampled_from(["", "", "", "other"]),
        follows=st.sampled_from([True, True, True, False]),
        events=st.integers(-1, 2),
        rules=st.integers(-1, 2),
        log=st.integers(-1, 2),
        forgets=st.sampled_from([False, False, False, True]),
        seconds=st.integers(-2 * SKEW_S, SKEW_S),
        fails=st.sampled_from([False, False, False, True]),
    )
    def observe(
        self,
        step: int,
        branch: str,
        follows: bool,
        events: int,
        rules: int,
        log: int,
        forgets: bool,
        seconds: int,
        fails: bool,
    ) -> None:
        model = self.model
        now, entries = model.now + seconds * SECOND, max(0, model.log + log)
        prev = digest(model.epoch, model.branch if follows else "none")
        seen = Observation(ISSUER, max(0, model.epoch + step), digest(model.epoch + step, branch),
                           prev, max(0, model.events + events), max(0, model.rules + rules),
                           entries, head(entries))  # fmt: skip
        after = Model(seen.epoch, branch, seen.events, seen.exclusions, entries,
                      max(now, model.now))  # fmt: skip
        expected = self.verdict(seen, forgets, seconds)
        if expected is None and fails and after != model:
            expected = "STATE_UNWRITABLE"
        assert self.attempt(seen, now, forgets, fails) == expected
        if expected is None:
            self.model = after

    def verdict(self, seen: Observation, forgets: bool, seconds: int) -> str | None:
        """What the rules say, written another way round than in the code."""
        model = self.model
        if seen.epoch < model.epoch:
            return "MANIFEST_EPOCH_ROLLBACK"
        if seen.epoch == model.epoch:
            if seen.manifest_sha256 != digest(model.epoch, model.branch):
                return "MANIFEST_FORK"
        elif (seen.epoch, seen.prev) != (model.epoch + 1, digest(model.epoch, model.branch)):
            return "MANIFEST_CHAIN_BROKEN"
        if min(seen.events - model.events, seen.exclusions - model.rules) < 0:
            return "MANIFEST_EVENTS_MISSING"
        if forgets or seen.withdrawals_entries < model.log:
            return "WITHDRAWALS_ROLLED_BACK"
        return "CLOCK_ROLLBACK" if seconds < -SKEW_S else None

    def attempt(self, seen: Observation, now: datetime, forgets: bool, fails: bool) -> str | None:
        def log(entries: int, sha256: str | None) -> bool:
            return not forgets and main_log(entries, sha256)

        with pytest.MonkeyPatch.context() as patch:
            if fails:
                patch.setattr(os, "replace", lambda *places: os.close(-1))
            try:
                advance(self.path, seen, now, log)
            except Refused as error:
                return error.code
        return None

    @rule(epoch=st.integers(0, 9))
    def vouch_again(self, epoch: int) -> None:
        refuses("STATE_EXISTS", lambda: trust_first(self.path, observed(epoch), NOW))

    @invariant()
    def it_holds_what_it_has_to(self) -> None:
        kept, model = read(self.path).of(ISSUER), self.model
        assert kept is not None
        assert (kept.epoch, kept.manifest_sha256) == (
            model.epoch, digest(model.epoch, model.branch)
        )  # fmt: skip
        assert (kept.events, kept.exclusions) == (model.events, model.rules)
        assert (kept.withdrawals_entries, kept.withdrawals_sha256) == (model.log, head(model.log))
        assert kept.newest_now == model.now


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
