"""``harness manifest draw``: the random split of a draft, drawn before anybody looks at content.

Drawn are the meetings that nothing but their missing arm keeps from training, evaluation and, where
the scope has it, the leak test: arms must differ by the draw alone. Sentinels get an exclusion rule
each, in turn of another kind, so that every kind that can be drawn is tested.
"""

import secrets
from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from harness.consent.authoring import Draft, lines, trial_manifest
from harness.consent.drafting import TERMS, open_draft, read_terms
from harness.consent.head import Draw
from harness.consent.records import (
    ALL,
    Arm,
    ExclusionRule,
    MeetingRow,
    Operation,
    RuleKind,
    RuleScope,
    RuleSource,
    SplitRow,
    format_time,
    to_json,
)
from harness.consent.request import Request
from harness.consent.ruling import Ruler
from harness.consent.split import draw
from harness.consent.withdrawals import Log
from harness.errors import Refused
from harness.rundir import write_bytes, write_json

UNDRAWN = "change-me"
"""The seed of a new draft, which is no seed."""
_SHOWN = 5
_KINDS = (RuleKind.MEETING, RuleKind.DATE_RANGE, RuleKind.MODALITY)
_MEASURED = (Operation.FINE_TUNING, Operation.EVALUATION, Operation.LEAK_TEST)


def draw_split(
    folder: Path, log: Log, now: datetime, validation: Collection[str]
) -> dict[Arm, int]:
    """Draw the arms of a draft and write them, with the seed and the sentinels' rules.

    The seed is made at the first draw and kept from then on.

    Args:
        folder: of the draft.
        log: withdrawals beside it.
        now: clock.
        validation: series that go to validation as a whole.

    Returns:
        How many meetings each arm has.

    Raises:
        Refused: of the draft; ``NOTHING_ADMITTED`` where no meeting may be drawn, and
            ``UNKNOWN_REFERENCE`` for a series that has none.
    """
    terms = read_terms(folder)
    seed = secrets.token_hex(16) if terms.split.seed == UNDRAWN else terms.split.seed
    with open_draft(folder, now) as draft:
        rows, why = _admissible(draft, log, now)
    pool: dict[str, list[str]] = defaultdict(list)
    for row in rows.values():
        pool[row.series_id].append(row.meeting_id)
    if not pool:
        codes = ", ".join(f"{code} {count}" for code, count in why.most_common(_SHOWN))
        raise Refused("NOTHING_ADMITTED", f"whatever its arm, no meeting would be: {codes}",
                      str(folder), "complete the draft")  # fmt: skip
    if not {*validation} <= {*pool}:
        raise Refused("UNKNOWN_REFERENCE", "a series without meetings that would be admitted",
                      "--validation", "name another")  # fmt: skip
    arms = draw(seed, pool, validation)
    split = [SplitRow(name, series, arms[name]) for series, names in pool.items() for name in names]
    sentinels = [rows[row.meeting_id] for row in split if row.arm is Arm.SENTINEL]
    _append_rules(folder / "exclusions.jsonl", draft, sentinels, now)
    write_bytes(folder / "split.jsonl", lines(split))
    write_json(folder / TERMS, to_json(replace(terms, split=Draw(seed, True))))
    return {arm: sum(row.arm is arm for row in split) for arm in Arm}


def _admissible(
    draft: Draft, log: Log, now: datetime
) -> tuple[dict[str, MeetingRow], Counter[str]]:
    """Meetings that nothing but their arm denies, for every purpose; and codes of the others."""
    ruler, scope = Ruler(trial_manifest(draft, now), log, now), draft.scope
    operations = tuple(operation for operation in _MEASURED if operation in scope.operations)
    found: set[str] | None = None
    why = Counter[str]()
    for purpose in scope.purposes:
        request = Request(scope.controller, purpose, operations, scope.modalities, frozenset(Arm),
                          scope.recipients, frozenset({RuleSource.SENTINEL}))  # fmt: skip
        names: set[str] = set()
        for rulings in ruler.rule(request):
            ids = rulings.frame.meetings.array("meeting_id")
            names |= {ids[int(n)].as_py() for n in np.flatnonzero(rulings.usable)}
            why.update(pc.list_flatten(rulings.code_lists()).to_pylist())
        found = names if found is None else found & names
    del why["SPLIT_UNASSIGNED"]
    rows = (row for row in draft.tables.meetings if row.meeting_id in (found or ()))
    return {row.meeting_id: row for row in rows}, why


def _append_rules(
    path: Path, draft: Draft, sentinels: Collection[MeetingRow], now: datetime
) -> None:
    """Exclude the sentinels that no rule of their own excludes yet."""
    known = {rule.rule_id for rule in draft.tables.exclusions}
    kind_of = {row.meeting_id: _KINDS[place % len(_KINDS)] for place, row in enumerate(sentinels)}
    rules = [
        _rule(row, kind_of[row.meeting_id], draft, now)
        for row in sentinels
        if f"sentinel-{row.meeting_id}"[:128] not in known
    ]
    write_bytes(path, path.read_bytes() + lines(rules))


def _rule(row: MeetingRow, kind: RuleKind, draft: Draft, now: datetime) -> ExclusionRule:
    value = {
        RuleKind.MEETING: row.meeting_id,
        RuleKind.DATE_RANGE: f"{format_time(row.start)}/{format_time(max(row.end, now))}",
        RuleKind.MODALITY: str(draft.scope.modalities[0]),
    }[kind]
    scope = RuleScope((row.meeting_id,), (ALL,), (ALL,), (ALL,))
    return ExclusionRule(f"sentinel-{row.meeting_id}"[:128], kind, value, scope, now, None,
                         RuleSource.SENTINEL, now)  # fmt: skip
