"""What was withdrawn since the manifest was signed counts; what is older than was seen does not."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from harness.config import Config
from harness.consent import gate
from harness.consent.authoring import write_manifest
from harness.consent.head import LogHead, OnWithdrawal
from harness.consent.present import Source, trust_first, verify_present
from harness.consent.records import ALL, ExclusionRule, RuleKind, RuleScope, RuleSource
from harness.consent.withdrawals import Withdrawal
from harness.errors import Refused

World = Any
HOUR = timedelta(hours=1)


def withdrawal(world: World, **changes: Any) -> Withdrawal:
    """Bo takes everything back."""
    taken = Withdrawal("b" * 32, "https://demo.example", (), (), (), (), (), world.now, world.now,
                       False)  # fmt: skip
    return replace(taken, **changes)


def refuses(code: str, source: Source, world: World, later: timedelta = timedelta(0)) -> None:
    with pytest.raises(Refused, match=f"^{code}: ") as caught:
        gate.admit(source, Config(), world.now + later)
    assert caught.value.exit_code == 4


def sign_next(world: World, epoch: int, prev: str | None, **changes: Any) -> Source:
    write_manifest(world.source.manifest, replace(world.draft, **changes), [world.key],
                   world.issued, world.expires, epoch, prev)  # fmt: skip
    source: Source = world.source
    return source


def test_without_a_word_of_trust_nothing_is_taken(world: World) -> None:
    source = world.sign()
    source.seen.unlink()
    refuses("STATE_MISSING", source, world)
    trust_first(source, world.now)
    assert gate.admit(source, Config(), world.now).train
    with pytest.raises(Refused, match="STATE_EXISTS"):
        trust_first(source, world.now)


def test_a_withdrawal_counts_before_the_manifest_is_signed_again(world: World) -> None:
    source = world.sign()
    assert gate.admit(source, Config(), world.now).train
    world.withdraw(withdrawal(world))
    refuses("NOTHING_ADMITTED", source, world)
    rows = gate.decide(source, Config(), world.now).rows.to_pylist()
    assert all("CONSENT_WITHDRAWN" in row["codes"] for row in rows)


def test_a_withdrawal_from_one_meeting_leaves_the_others(world: World) -> None:
    source = world.sign()
    world.withdraw(withdrawal(world, meetings=("m1",)))
    assert gate.admit(source, Config(), world.now).train
    assert gate.evaluable(source, Config(), world.now).heldout == ()


def test_an_old_manifest_cannot_be_replayed(world: World) -> None:
    source = world.sign()
    first = verify_present(source, world.now).manifest
    sign_next(world, 2, first.sha256, issuer=world.draft.issuer)
    assert gate.admit(source, Config(), world.now).authority.epoch == 2
    sign_next(world, 1, None)
    refuses("MANIFEST_EPOCH_ROLLBACK", source, world)


def test_a_fork_and_a_gap_are_refused(world: World) -> None:
    source = world.sign()
    first = verify_present(source, world.now).manifest
    sign_next(world, 1, None, scope=replace(world.draft.scope, recipients=("vendor",)))
    refuses("MANIFEST_FORK", source, world)
    sign_next(world, 2, "0" * 64)
    refuses("MANIFEST_CHAIN_BROKEN", source, world)
    sign_next(world, 3, first.sha256)
    refuses("MANIFEST_CHAIN_BROKEN", source, world)


def test_an_event_that_is_left_out_shows(world: World) -> None:
    source = world.sign()
    first = verify_present(source, world.now).manifest
    tables = replace(world.draft.tables, consent=world.draft.tables.consent[:-1])
    sign_next(world, 2, first.sha256, tables=tables)
    refuses("MANIFEST_EVENTS_MISSING", source, world)


def test_a_clock_that_goes_back_and_a_log_that_is_old_or_cut(world: World) -> None:
    world.draft = replace(
        world.draft, defaults=replace(world.draft.defaults, max_withdrawals_age_s=7200)
    )
    source = world.sign()
    gate.admit(source, Config(), world.now + HOUR)
    refuses("CLOCK_ROLLBACK", source, world)
    refuses("WITHDRAWALS_STALE", source, world, timedelta(seconds=7201))
    world.withdraw(withdrawal(world, subject_key="c" * 32), at=world.now + HOUR)
    gate.admit(source, Config(), world.now + HOUR)
    for path in source.withdrawals.iterdir():
        path.unlink()
    world.withdraw(at=world.now + HOUR)
    refuses("WITHDRAWALS_ROLLED_BACK", source, world, HOUR)


def test_the_manifest_binds_how_far_the_log_went(world: World) -> None:
    source = world.sign()
    write_manifest(source.manifest, world.draft, [world.key], world.issued, world.expires,
                   log=LogHead(1, "0" * 64))  # fmt: skip
    refuses("WITHDRAWALS_ROLLED_BACK", source, world)


@pytest.mark.parametrize("policy", OnWithdrawal)
def test_what_is_withdrawn_while_it_is_trained_on_stops_it(
    policy: OnWithdrawal, world: World
) -> None:
    world.draft = replace(world.draft, defaults=replace(world.draft.defaults, on_withdrawal=policy))
    source = world.sign()
    authority = gate.admit(source, Config(), world.now).authority
    gate.check_withdrawals(source, Config(), authority, world.now)
    world.withdraw(withdrawal(world, meetings=("m1",)))  # held out, so it is not trained on
    gate.check_withdrawals(source, Config(), authority, world.now)
    world.withdraw(withdrawal(world))
    with pytest.raises(gate.Withdrawn, match="WITHDRAWN_MEANWHILE") as caught:
        gate.check_withdrawals(source, Config(), authority, world.now)
    assert caught.value.restart is (policy is OnWithdrawal.RESTART_WITHOUT)


def test_rows_are_decided_again_only_where_manifest_or_log_is_another(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, decided = world.sign(), []
    authority = gate.admit(source, Config(), world.now).authority
    real = gate.Session
    monkeypatch.setattr(gate, "Session", lambda *a: (decided.append(a), real(*a))[1])
    last = None
    for count in (0, 0):
        last = gate.check_withdrawals(source, Config(), authority, world.now, last)
        assert len(decided) == count
    world.withdraw(withdrawal(world, meetings=("m1",)))
    for count in (1, 1):
        last = gate.check_withdrawals(source, Config(), authority, world.now, last)
        assert len(decided) == count
    later = world.now + gate.DECIDE_AGAIN
    for count in (2, 2):
        last = gate.check_withdrawals(source, Config(), authority, later, last)
        assert len(decided) == count
    world.withdraw(withdrawal(world), at=later)
    with pytest.raises(gate.Withdrawn):
        gate.check_withdrawals(source, Config(), authority, later, last)


def test_consent_that_runs_out_while_it_is_trained_on_stops_it(world: World) -> None:
    world.edit("consent", lambda event: event.event_id == "e0",
               valid_until=world.now + timedelta(minutes=30))  # fmt: skip
    source = world.sign()
    authority = gate.admit(source, Config(), world.now).authority
    gate.check_withdrawals(source, Config(), authority, world.now + timedelta(minutes=59))
    with pytest.raises(gate.Withdrawn, match="WITHDRAWN_MEANWHILE"):
        gate.check_withdrawals(source, Config(), authority, world.now + HOUR)


def test_of_a_manifest_that_nobody_could_read_it_is_not_noted_that_it_was_seen(
    world: World,
) -> None:
    source = world.sign()
    first = verify_present(source, world.now).manifest
    authority = gate.admit(source, Config(), world.now).authority
    folder = source.manifest
    kept = {path.name: path.read_bytes() for path in folder.iterdir()}
    sign_next(world, 2, first.sha256)
    (folder / "consent.jsonl").unlink()
    with pytest.raises(Refused, match="MANIFEST_FILE_MISSING"):
        gate.check_withdrawals(source, Config(), authority, world.now)
    for path in folder.iterdir():
        path.unlink()
    for name, data in kept.items():
        (folder / name).write_bytes(data)
    gate.check_withdrawals(source, Config(), authority, world.now)


def test_what_is_signed_is_verified_each_time(world: World) -> None:
    source = world.sign()
    authority = gate.admit(source, Config(), world.now).authority
    last = gate.check_withdrawals(source, Config(), authority, world.now)
    with pytest.raises(Refused, match="MANIFEST_EXPIRED"):
        gate.check_withdrawals(source, Config(), authority, world.expires, last)
    log = source.withdrawals / "withdrawals.dsse.json"
    signature = source.manifest / "MANIFEST.dsse.json"
    for path in (log, signature):
        data = path.read_bytes()
        path.write_bytes(data.replace(b'"sig":"', b'"sig":"A', 1))
        with pytest.raises(Refused):
            gate.check_withdrawals(source, Config(), authority, world.now, last)
        path.write_bytes(data)
    assert gate.check_withdrawals(source, Config(), authority, world.now, last) == last


def test_a_new_manifest_while_it_is_trained_on_counts_too(world: World) -> None:
    source = world.sign()
    first = verify_present(source, world.now).manifest
    authority = gate.admit(source, Config(), world.now).authority
    sign_next(world, 2, first.sha256)
    gate.check_withdrawals(source, Config(), authority, world.now)  # says the same
    scope = RuleScope((ALL,), (ALL,), (ALL,), (ALL,))
    rule = ExclusionRule("court", RuleKind.MEETING, "m0", scope, world.start, None,
                         RuleSource.COURT, world.start)  # fmt: skip
    second = verify_present(source, world.now).manifest
    tables = replace(world.draft.tables, exclusions=(rule,))
    sign_next(world, 3, second.sha256, tables=tables)
    with pytest.raises(gate.Withdrawn, match="WITHDRAWN_MEANWHILE"):
        gate.check_withdrawals(source, Config(), authority, world.now)


@pytest.mark.parametrize(
    "changes", [{"meetings": ("M0",)}, {"series": ("S",)}, {"purposes": ("dpv:Reserch",)}]
)
def test_a_withdrawal_that_is_mistyped_means_everything(
    changes: dict[str, Any], world: World
) -> None:
    source = world.sign()
    world.withdraw(withdrawal(world, **changes))
    refuses("NOTHING_ADMITTED", source, world)


@pytest.mark.parametrize("names", [{"meetings": ("s",)}, {"series": ("m0",)}])
def test_a_withdrawal_that_names_a_series_as_a_meeting_means_everything(
    names: dict[str, tuple[str, ...]], world: World
) -> None:
    """Or a meeting as a series: on that axis there is no such name, so it may be mistyped."""
    source = world.sign()
    world.withdraw(withdrawal(world, **names))
    rows = gate.decide(source, Config(), world.now).rows.to_pylist()
    codes = {code for row in rows if row["meeting_id"] == "m0" for code in row["codes"]}
    assert codes == {"CONSENT_WITHDRAWN"}
