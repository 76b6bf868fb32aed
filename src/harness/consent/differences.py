"""What changed from one epoch of a manifest to another, and that nothing was forgotten.

Large tables in parts are compared part by part, so that two epochs never are in memory at once.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from harness.consent.authoring import Draft, batches, draft_of
from harness.consent.bits import Mask
from harness.consent.columns import Numbers
from harness.consent.head import TABLES, Tables
from harness.consent.manifest import Manifest
from harness.consent.parquet import concat
from harness.consent.parts import LARGE, Parts, part_of, parts_of
from harness.consent.records import ConsentEvent
from harness.errors import Refused


@dataclass(frozen=True)
class Change:
    """How many rows of a table were added, removed and changed, by the ids that name a row.

    In parts, an event that became another person's is one that was removed and one that was added.
    """

    table: str
    added: int
    removed: int
    changed: int


def differences(old: Manifest, new: Manifest) -> tuple[list[str], list[Change]]:
    """What changed between two manifests: names of terms, and counts of rows by table.

    Raises:
        Refused: what reading of parts raises.
    """
    mine, other = draft_of(old), draft_of(new)
    terms = [n for n in ("issuer", "scope", "defaults", "split") if _differs(mine, other, n)]
    return terms, [_compare(name, mine.tables, other.tables) for name in TABLES]


def check_grows(old: Manifest, draft: Draft, now: datetime) -> None:
    """Consent events stay as they are; of an exclusion rule only an end ahead of now may come.

    Raises:
        Refused: ``DRAFT_FORGETS``, or what reading of parts raises.
    """
    parts, rules = parts_of(draft.tables), _by_key("exclusions", draft.tables)
    if parts is not None:
        lost = first_forgotten(batches("consent", old.tables.consent), parts)
    else:
        events = _by_key("consent", draft.tables)
        rows = enumerate(old.tables.consent, 1)
        lost = next((n for n, event in rows if events.get((event.event_id,)) != event), None)
    if lost is not None:
        _forgets("consent", lost, old)
    for n, rule in enumerate(old.tables.exclusions, 1):
        found = rules.get((rule.rule_id,))
        until = found and found.effective_until
        ended = until is not None and until >= now
        if (
            found is None
            or (replace(found, effective_until=rule.effective_until) != rule)
            or (found != rule and not ended)
        ):
            _forgets("exclusions", n, old)


def first_forgotten(old: Iterable[pa.Table], new: Parts) -> int | None:
    """The number of the first consent event, from 1, that is missing or not the same in new parts.

    Args:
        old: events, some at a time.
        new: parts that should have all of them.

    Raises:
        Refused: what reading of ``new`` raises.
    """
    before = 0
    for events in old:
        rows = concat(ConsentEvent, [events])
        of = _part_of_events(rows, new)
        lost = []
        for part in np.unique(of).tolist():
            chosen = np.flatnonzero(of == part)
            log = concat(ConsentEvent, [new.read("consent", part).table])
            there, same = _matched("consent", rows.take(chosen), log)
            lost += chosen[~(there & same)].tolist()
        if lost:
            return before + int(min(lost)) + 1
        before += rows.num_rows
    return None


def _compare(name: str, old: Tables, new: Tables) -> Change:
    here, there = parts_of(old), parts_of(new)
    if name in LARGE and here is not None and there is not None:
        return _compare_parts(name, here, there)
    before, after = _by_key(name, old), _by_key(name, new)
    both = before.keys() & after.keys()
    return Change(
        name, len(after.keys() - both), len(before.keys() - both),
        sum(before[key] != after[key] for key in both),
    )  # fmt: skip


def _compare_parts(name: str, old: Parts, new: Parts) -> Change:
    added = removed = changed = 0
    for before, after in _slices(name, old, new):
        there, same = _matched(name, before, after)
        both = int(there.sum())
        removed += before.num_rows - both
        added += after.num_rows - both
        changed += int((there & ~same).sum())
    return Change(name, added, removed, changed)


def _slices(name: str, old: Parts, new: Parts) -> Iterator[tuple[pa.Table, pa.Table]]:
    """The rows of both that belong into one part of the new, one part after another."""
    kind, bounds = TABLES[name][0], _bounds(new)

    def place(rows: pa.Table) -> Numbers:
        if name == "consent":
            return _part_of_events(rows, new)
        ids = rows.column("meeting_id").combine_chunks().cast(pa.string())
        return np.asarray(pc.search_sorted(bounds, ids, side="right").to_numpy(), np.int64)

    key = "subject_key" if name == "consent" else "meeting_id"
    reached = [{*place(pa.table({key: column})).tolist()} for column in old.column(name, key)]
    for part in range(new.count(name)):
        rows = [
            table.filter(pa.array(place(table) == part))
            for number, parts in enumerate(reached)
            if part in parts
            for table in [old.read(name, number).table]
        ]
        yield concat(kind, rows), concat(kind, [new.read(name, part).table])


def _bounds(parts: Parts) -> pa.Array:
    """The first meeting of each part but the first; of an empty one, that of the next."""
    firsts = [ids[:1].to_pylist() for ids in parts.column("meetings", "meeting_id")]
    found: list[str] = []
    for first in reversed(firsts[1:]):
        found += first or found[-1:]
    return pa.array(found[::-1], pa.string())


def _part_of_events(events: pa.Table, parts: Parts) -> Numbers:
    return part_of(events.column("subject_key").combine_chunks(), parts.count("consent"))


def _matched(name: str, old: pa.Table, new: pa.Table) -> tuple[Mask, Mask]:
    """Whether each old row is among new ones by the ids that name it, and if it is the same."""
    found = pc.index_in(_named(name, old), _named(name, new)).fill_null(-1).to_numpy()
    there = np.asarray(found >= 0)
    same = np.zeros(old.num_rows, bool)
    beside = new.take(pa.array(found[there]))
    mine = old.filter(pa.array(there))
    equal = np.ones(mine.num_rows, bool)
    for column, other in zip(mine.columns, beside.columns, strict=True):
        equal &= _equal(column.combine_chunks(), other.combine_chunks())
    same[there] = equal
    return there, same


def _named(name: str, rows: pa.Table) -> pa.Array:
    """What names each row of a table, as one word."""
    words = [rows.column(key).combine_chunks() for key in TABLES[name][1]]
    return pc.binary_join_element_wise(*words, "\n") if len(words) > 1 else words[0]


def _equal(one: pa.Array, other: pa.Array) -> Mask:
    """Where two columns have the same, null like null; a list has no line feed in a word."""
    if pa.types.is_list(one.type):
        lengths = pc.equal(pc.list_value_length(one), pc.list_value_length(other))
        joined = [pc.binary_join(lists.cast(_WORDS), "\n") for lists in (one, other)]
        words = pc.equal(*joined)
        return np.asarray(pc.and_(lengths, words).to_numpy(zero_copy_only=False))
    equal = pc.equal(one, other).fill_null(False)
    both_null = pc.and_(one.is_null(), other.is_null())
    return np.asarray(pc.or_(equal, both_null).to_numpy(zero_copy_only=False))


_WORDS = pa.list_(pa.string())


def _differs(old: Draft, new: Draft, name: str) -> bool:
    return bool(getattr(old, name) != getattr(new, name))


def _by_key(name: str, tables: Tables) -> dict[tuple[Any, ...], Any]:
    key = TABLES[name][1]
    return {tuple(getattr(row, k) for k in key): row for row in getattr(tables, name)}


def _forgets(table: str, n: int, old: Manifest) -> NoReturn:
    raise Refused("DRAFT_FORGETS", "a row of the last epoch is missing or changed",
                  f"{table} row {n} of epoch {old.head.epoch}",
                  "restore it: consent ends by a new event, a rule by effective_until ahead of "
                  "now")  # fmt: skip
