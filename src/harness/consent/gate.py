"""The gate: the only maker of permissions, and the stage that writes decisions.

Content of a meeting, or of a kind of content, that is denied is never opened.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from harness.config import Config
from harness.consent import shards
from harness.consent.capability import GATE_KEY, Admitted, Authority, Evaluable, LeakTest
from harness.consent.decisions import NAMES, Files, decide, summary, write_decisions
from harness.consent.present import Heads, Source, verify_heads
from harness.consent.progress import progress
from harness.consent.reasons import sentence
from harness.consent.records import Arm, Operation, RuleSource, parse_time
from harness.consent.session import TRAINED, Session, request_for
from harness.consent.since import changes_since
from harness.consent.sources import prepare
from harness.errors import Denied, Refused
from harness.rundir import Attempt, RunDir, replaced, write_json

__all__ = [
    "admit",
    "check_withdrawals",
    "decide",
    "evaluable",
    "kept_out",
    "leak_test",
    "run",
    "run_shard",
]


DECIDE_AGAIN = timedelta(hours=1)
"""How long a decision counts while something is trained on."""


def admit(source: Source, config: Config, now: datetime) -> Admitted:
    """Permission to train.

    Args:
        source: content store, manifest and trust root.
        config: ``job`` says what is asked for.
        now: clock of the decision, aware.

    Raises:
        Refused: ``NOTHING_ADMITTED``, or a code of manifest, job, split or content.
    """
    session = Session(source, config, now)
    request = request_for(config, (Operation.FINE_TUNING,), TRAINED)
    train, validation = session.meetings(request, Arm.TRAIN, Arm.VALIDATION)
    if not train:
        raise _nothing("train")
    return Admitted(session.authority, train, validation, session.all_kept_out(), GATE_KEY)


def kept_out(
    source: Source, config: Config, now: datetime
) -> dict[str, tuple[tuple[str, str], ...]]:
    """Held-out and sentinel meetings with their content digests, from the rows; nothing is opened.

    Raises:
        Refused: a code of manifest, job or split.
    """
    return Session(source, config, now).all_kept_out()


class Withdrawn(Refused):
    """Something that is trained on was withdrawn meanwhile.

    Attributes:
        restart: whether the manifest asks to start again without it, from step 0.
    """

    restart = False


@dataclass(frozen=True)
class Checked:
    """Manifest and log under which what is trained on was last decided, and when."""

    heads: Heads
    at: datetime


def check_withdrawals(
    source: Source, config: Config, authority: Authority, now: datetime,
    last: Checked | None = None,
) -> Checked:  # fmt: skip
    """Look again at manifest and withdrawals log while something is trained on.

    The rows are decided again where one of the two is another than at the last time, and at least
    every hour, as consent may run out.

    Args:
        source: as it was admitted from.
        config: of the training.
        authority: of the permission to train.
        now: clock, aware.
        last: what this returned before, if it did.

    Returns:
        Manifest and log, under which the same is admitted.

    Raises:
        Withdrawn: ``WITHDRAWN_MEANWHILE`` when something else is admitted than is trained on.
        Refused: a code of log or manifest.
    """
    if last is None:
        admitted_at = parse_time(authority.decided_at)
        last = Checked((authority.manifest_sha256, *authority.withdrawals), admitted_at)
    heads = verify_heads(source, now, [last.heads])
    if heads == last.heads and now - last.at < DECIDE_AGAIN:
        return last
    if Session(source, config, now).footprint() != authority.footprint:
        error = Withdrawn("WITHDRAWN_MEANWHILE", "what is trained on is not admitted any more",
                          "withdrawals.jsonl", "start again without it")  # fmt: skip
        error.restart = authority.restarts
        raise error
    return Checked(heads, now)


def evaluable(source: Source, config: Config, now: datetime) -> Evaluable:
    """Permission to score members (the train arm) and held-out meetings.

    All arms must have agreed to the same, or they would differ by more than the draw: to training,
    to evaluation and, where the manifest has it, to the leak test.

    Raises:
        Refused: as :func:`admit`.
    """
    session = Session(source, config, now)
    request = request_for(config, session.measured, frozenset({Arm.TRAIN, Arm.HELDOUT}))
    members, held_out = session.meetings(request, Arm.TRAIN, Arm.HELDOUT)
    if not members:
        raise _nothing("evaluation")
    return Evaluable(session.authority, members, held_out, GATE_KEY)


def leak_test(source: Source, config: Config, now: datetime) -> LeakTest:
    """Permission to score sentinels; only the rules that made them sentinels are set aside.

    A meeting whose people refused or withdrew training is not read for this either, and none is
    where the manifest's scope has no leak test.

    Raises:
        Refused: a code of manifest, job, split or content. No sentinels is no refusal.
    """
    session = Session(source, config, now)
    if Operation.LEAK_TEST not in session.measured:
        return LeakTest(session.authority, (), GATE_KEY)
    request = replace(
        request_for(config, session.measured, frozenset({Arm.SENTINEL})),
        set_aside=frozenset({RuleSource.SENTINEL}),
    )
    (sentinels,) = session.meetings(request, Arm.SENTINEL)
    return LeakTest(session.authority, sentinels, GATE_KEY)


def run(config: Config, run: RunDir, attempt: Attempt) -> dict[str, Any]:
    """The gate stage: write decisions and summary, print reasons and counts.

    Raises:
        Refused: ``NOTHING_ADMITTED`` or what :func:`decide` raises.
        Denied: when ``gate.require_all`` is set and something is denied, the random split apart.
    """
    decisions, masked = (replaced(run.file("private", name), 0o600) for name in NAMES)
    with decisions as first, masked as second, progress("deciding") as tick:
        files = Files(first, second)
        if config.gate.shards > 1:
            session = shards.session_of(config, datetime.now(UTC))
            tally, root = shards.merge(session, run.path, files)
        else:
            session = Session(prepare(config.data), config, datetime.now(UTC))
            tally, root = write_decisions(session, files, tick)
        found = summary(session, tally, root)
        if config.gate.previous:
            found["since"] = changes_since(session, Path(config.gate.previous))
        run.publish(attempt)
    write_json(run.file("gate", "summary.json"), found)
    _print(found)
    if not found["meetings_admitted"]:
        raise _nothing("train")
    if config.gate.require_all and not tally.clean:
        raise Denied("GATE_DENIED", "something is denied and all is required",
                     "gate.require_all", "see by_code in gate/summary.json")  # fmt: skip
    return found


def run_shard(config: Config, run_dir: Path) -> dict[str, Any]:
    """Decide one share of the meetings; nothing but the share is written.

    Raises:
        UsageError: ``CONFIG_VALUE``.
        Refused: as :func:`harness.consent.shards.decide_shard`.
    """
    with progress("deciding") as tick:
        return shards.decide_shard(config, run_dir, tick)


def _print(summary: dict[str, Any]) -> None:
    table = Table(title="Why not", title_justify="left")
    table.add_column("code", no_wrap=True)
    table.add_column("rows", justify="right")
    table.add_column("what it means")
    for code, count in summary["by_code"].items():
        table.add_row(code, str(count), sentence(code))
    console = Console()
    console.print(table)
    arms = ", ".join(f"{count} {arm}" for arm, count in summary["arms"].items())
    console.print(
        f"admitted {summary['meetings_admitted']} of {summary['meetings_total']} meetings, "
        f"{summary['turns_admitted']} of {summary['turns_total']} turns; arms: {arms}",
        highlight=False,
    )
    if "since" in summary:
        _print_since(console, summary["since"])


def _print_since(console: Console, since: dict[str, Any]) -> None:
    console.print(
        f"since epoch {since['epoch']}: {since['newly_admitted']} meetings newly admitted, "
        f"{since['newly_denied']} newly denied, by their rows",
        highlight=False,
    )
    for code, count in since["by_code"].items():
        console.print(f"  {code}: {count:+d} meetings", highlight=False)


def _nothing(operation: str) -> Refused:
    return Refused("NOTHING_ADMITTED", f"no meeting is admitted for {operation}",
                   "private/decisions.parquet", "see by_code in gate/summary.json")  # fmt: skip
