"""Three passes over parts decide as the engine does that has everything in memory."""

import copy
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as fixed_seed
from hypothesis import strategies as st

from consent.parted import Parted, at_once, decide, part, part_of_key, parted, plain, spread
from consent.test_oracle import KINDS_OF_RECORDING
from consent.worlds import Row, World, a_rule, clean, moment
from consent.worlds import finish as finish_world
from harness.consent import names, passes
from harness.consent.columns import to_arrow
from harness.consent.head import TABLES, FileEntry
from harness.consent.names import Hashes, hashes
from harness.consent.parts import LARGE, part_of, tables_of_parts
from harness.consent.records import ParticipantRow, parse
from harness.errors import Refused

QUICK = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
FEW = settings(QUICK, max_examples=25)
WHOLE = settings(QUICK, max_examples=2000, phases=[Phase.generate])


def check_equal(made: Parted) -> None:
    """Every code, of meetings and of people, and what follows from them."""
    assert plain(dict(decide(made))) == plain({0: at_once(made)})


@QUICK
@given(parted())
def test_parts_are_decided_as_the_whole(made: Parted) -> None:
    check_equal(made)


@FEW
@given(parted(withdrawals=True))
def test_withdrawn_events_count_as_the_last_of_the_log(made: Parted) -> None:
    check_equal(made)


@pytest.mark.slow
@fixed_seed(20261124)
@WHOLE
@given(st.booleans().flatmap(parted))
def test_parts_are_decided_as_the_whole_on_two_thousand(made: Parted) -> None:
    check_equal(made)


def check_shards(made: Parted, cut: int) -> None:
    parts = len(made.rows["meetings"])
    shards = [*decide(made, range(cut)), *decide(made, range(cut, parts))]
    assert [number for number, _ in shards] == [*range(parts)]
    assert plain(dict(shards)) == plain({0: at_once(made)})


@FEW
@given(parted(withdrawals=True, least=2), st.integers(0, 4))
def test_shards_together_decide_as_the_whole(made: Parted, cut: int) -> None:
    check_shards(made, 1 + cut % (len(made.rows["meetings"]) - 1))


def test_a_shard_may_be_empty() -> None:
    check_shards(two_parts(), 0)


# --- a world to break ----------------------------------------------------------------------------


def world_of_four() -> World:
    """Four clean meetings m1 to m4 of two series, with everybody's consent."""
    for seed in range(1000):
        draft = clean(random.Random(seed), KINDS_OF_RECORDING)
        series = [row["series_id"] for row in draft.tables["meetings"]]
        people = {row["subject_key"] for row in draft.tables["participants"]}
        if len(series) == 4 and len({*series}) == 2 and len(people) == 4:
            world = finish_world(draft)
            for table, key in (("meetings", "meeting_id"), ("consent", "seq")):
                world.tables[table].sort(key=lambda row, key=key: row[key])  # type: ignore[misc]
            return world
    raise AssertionError("no such world")


FOUR = world_of_four()


def two_parts(salt: int = 0) -> Parted:
    """The clean world in two parts of the meetings and two of the log, none of which is empty."""
    tables = spread(copy.deepcopy(FOUR.tables), str(salt))
    made = part(replace(FOUR, tables=tables), [2], 2, random.Random(0))
    return made if all(len(rows) > 1 for rows in made.rows["consent"]) else two_parts(salt + 1)


def test_two_processes_decide_as_one() -> None:
    made, ticks = two_parts(), []
    found = [*decide(made, processes=2, ticks=ticks)]
    assert [number for number, _ in found] == [0, 1]
    assert plain(dict(found)) == plain(dict(decide(made))) == plain({0: at_once(made)})
    assert ticks == [(n, 6) for n in range(1, 7)]


def test_two_processes_refuse_as_one() -> None:
    made = two_parts()
    made.rows["consent"][1][0]["purposes"] = ["unheard-of"]
    with pytest.raises(Refused) as refused:
        list(decide(made, processes=2))
    assert refused.value.code == "UNKNOWN_REFERENCE"
    assert "key purposes" in refused.value.where


def test_a_tick_tells_how_far_it_is() -> None:
    ticks: list[Any] = []
    list(decide(two_parts(), ticks=ticks))
    assert ticks == [(n, 6) for n in range(1, 7)]


@pytest.mark.parametrize("series", ["s1", "s2"])
@pytest.mark.parametrize("cuts", [[1], [2], [3], [1, 2, 3]])
def test_a_series_is_the_same_in_every_part(cuts: list[int], series: str) -> None:
    tables = copy.deepcopy(FOUR.tables)
    for event in tables["consent"]:
        event["scope"] |= {"meetings": [], "series": [series]}
    made = part(replace(FOUR, tables=tables), cuts, 2, random.Random(0))
    check_equal(made)
    codes = plain(dict(decide(made)))["codes"]
    outside = [row["series_id"] != series for row in tables["meetings"]]
    assert ["SCOPE_MEETING" in found for found in codes] == outside


@pytest.mark.parametrize("logs", [1, 3])
def test_nobody_has_an_event(logs: int) -> None:
    tables = FOUR.tables | {"consent": []}
    check_equal(part(replace(FOUR, tables=tables), [2], logs, random.Random(0)))


@pytest.mark.parametrize("cuts", [[], [0, 0]])
def test_there_are_no_meetings(cuts: list[int]) -> None:
    tables = FOUR.tables | {name: [] for name in LARGE}
    check_equal(part(replace(FOUR, tables=tables), cuts, 2, random.Random(0)))


def test_parts_may_be_decided_again_in_one_process() -> None:
    """Nothing of the one manifest is remembered for the other."""
    first, second = two_parts(), two_parts(100)
    second.rows["consent"][0][0]["state"] = "withdrawn"
    for made in (first, second, first):
        check_equal(made)


# --- refusals ------------------------------------------------------------------------------------

Change = Callable[[Parted], None]


def twin(row: Row, **changes: Any) -> Row:
    return copy.deepcopy(row) | changes


def meeting_twice(made: Parted) -> None:
    made.rows["meetings"][0].append(twin(made.rows["meetings"][0][-1]))


def meeting_twice_across(made: Parted) -> None:
    made.rows["meetings"][1].insert(0, twin(made.rows["meetings"][0][-1]))


def falling_ids(made: Parted) -> None:
    made.rows["meetings"][1].reverse()


def falling_parts(made: Parted) -> None:
    for name in ("meetings", "participants", "content", "split"):
        made.rows[name].reverse()


def falling_around_an_empty_part(made: Parted) -> None:
    falling_parts(made)
    for name in ("meetings", "participants", "content", "split"):
        made.rows[name].insert(1, [])


def elsewhere(table: str) -> Change:
    def change(made: Parted) -> None:
        made.rows[table][1].append(made.rows[table][0].pop())

    return change


def twice(table: str) -> Change:
    def change(made: Parted) -> None:
        made.rows[table][1].insert(0, twin(made.rows[table][1][-1]))

    return change


def other_series(made: Parted) -> None:
    row = made.rows["split"][1][0]
    row["series_id"] = "s1" if row["series_id"] == "s2" else "s2"


def event_with(**changes: Any) -> Change:
    def change(made: Parted) -> None:
        made.rows["consent"][1][-1].update(copy.deepcopy(changes))

    return change


def scope_with(**changes: Any) -> Change:
    def change(made: Parted) -> None:
        made.rows["consent"][1][-1]["scope"].update(copy.deepcopy(changes))

    return change


def exclude(kind: str, value: str, meetings: list[str]) -> Change:
    def change(made: Parted) -> None:
        rule = a_rule(kind, value, moment(FOUR.now)) | {"rule_id": "x"}
        rule["scope"]["meetings"] = meetings
        made.world.tables["exclusions"].append(rule)

    return change


def beyond_the_turns(made: Parted) -> None:
    row = made.rows["content"][1][0]
    exclude("turn", f"{row['modality']}/{row['turns']}", [row["meeting_id"]])(made)


def seq_gap(made: Parted) -> None:
    last = max((e for rows in made.rows["consent"] for e in rows), key=lambda e: e["seq"])
    last["seq"] += 1


def seq_far_off(made: Parted) -> None:
    made.rows["consent"][0][0]["seq"] = 2**52


def seq_twice(made: Parted) -> None:
    made.rows["consent"][1][0]["seq"] = made.rows["consent"][1][1]["seq"]


def seq_twice_across(made: Parted) -> None:
    made.rows["consent"][1][0]["seq"] = made.rows["consent"][0][0]["seq"]


def first_left_out(made: Parted) -> None:
    for rows in made.rows["consent"]:
        rows[:] = [event for event in rows if event["seq"] != 0]


def id_twice(made: Parted) -> None:
    made.rows["consent"][1][0]["event_id"] = made.rows["consent"][1][1]["event_id"]


def id_twice_across(made: Parted) -> None:
    made.rows["consent"][1][0]["event_id"] = made.rows["consent"][0][0]["event_id"]


def wrong_part(made: Parted) -> None:
    made.rows["consent"].reverse()


def signed(table: str, **changes: Any) -> Change:
    def change(made: Parted) -> None:
        def other(entry: FileEntry) -> FileEntry:
            return replace(entry, **{name: of(entry) for name, of in changes.items()})

        made.signed[f"{table}-00001.parquet"] = other

    return change


DUPLICATE, UNKNOWN, GAP = "DUPLICATE_ID", "UNKNOWN_REFERENCE", "EVENT_SEQUENCE_GAP"
REFUSALS: dict[str, tuple[Change, str, str]] = {
    "meeting twice": (meeting_twice, DUPLICATE, "meetings-00000.parquet row 3 key meeting_id"),
    "meeting twice across": (meeting_twice_across, DUPLICATE, "key meeting_id"),
    "ids fall": (falling_ids, DUPLICATE, "meetings-00001.parquet row 2 key meeting_id"),
    "ids fall across": (falling_parts, DUPLICATE, "key meeting_id"),
    "ids fall around": (falling_around_an_empty_part, DUPLICATE, "key meeting_id"),
    "split of another series": (other_series, UNKNOWN, "split-00001.parquet row 1 key series_id"),
    "purpose": (event_with(purposes=["unheard-of"]), UNKNOWN, "consent-00001.parquet"),
    "two purposes": (event_with(purposes=["research", "Research"]), UNKNOWN, "key purposes"),
    "meeting of an event": (scope_with(meetings=["m9"]), UNKNOWN, "key scope"),
    "meeting beside all": (scope_with(meetings=["*", "m9"]), UNKNOWN, "key scope"),
    "meeting beside known": (scope_with(meetings=["m1", "m4", "m"]), UNKNOWN, "key scope"),
    "series as a meeting": (scope_with(meetings=["s1"]), UNKNOWN, "key scope"),
    "series of an event": (scope_with(series=["s9"]), UNKNOWN, "key scope"),
    "meeting as a series": (scope_with(series=["s1", "m1"]), UNKNOWN, "key scope"),
    "meeting of a rule": (exclude("tag", "x", ["m1", "m9"]), UNKNOWN, "exclusions.jsonl"),
    "series of a rule": (exclude("tag", "x", ["s1"]), UNKNOWN, "exclusions.jsonl"),
    "turn": (beyond_the_turns, UNKNOWN, "exclusions.jsonl rule x key value"),
    "seq gap": (seq_gap, GAP, "key seq"),
    "seq far off": (seq_far_off, GAP, "consent-00000.parquet key seq"),
    "seq twice": (seq_twice, GAP, "key seq"),
    "seq twice across": (seq_twice_across, GAP, "key seq"),
    "first event left out": (first_left_out, GAP, "key seq"),
    "event id twice": (id_twice, DUPLICATE, "consent-00001.parquet row 2 key event_id"),
    "event id twice across": (id_twice_across, DUPLICATE, "consent-00001.parquet row 1"),
    "event in another part": (wrong_part, "SCHEMA_INVALID", "row 1 key subject_key"),
}  # fmt: skip
for _table, _key in (("participants", "label"), ("content", "modality"), ("split", "meeting_id")):
    _at = f"{_table}-00001.parquet row"
    REFUSALS[f"{_table} of another part"] = (elsewhere(_table), UNKNOWN, _at)
    REFUSALS[f"{_table} twice"] = (twice(_table), DUPLICATE, f"{_at} 1 key {_key}")
for _table in LARGE:
    _mismatch = f"{_table}-00001.parquet"
    REFUSALS |= {
        f"digest of {_table}": (
            signed(_table, sha256=lambda entry: entry.sha256[::-1]),
            "MANIFEST_HASH_MISMATCH", _mismatch,
        ),
        f"size of {_table}": (
            signed(_table, bytes=lambda entry: entry.bytes + 1),
            "MANIFEST_HASH_MISMATCH", _mismatch,
        ),
        f"more rows of {_table}": (
            signed(_table, rows=lambda entry: entry.rows + 1),
            "MANIFEST_COUNT_MISMATCH", _mismatch,
        ),
        f"fewer rows of {_table}": (
            signed(_table, rows=lambda entry: entry.rows - 1),
            "MANIFEST_COUNT_MISMATCH", _mismatch,
        ),
        f"file of {_table}": (
            signed(_table, path=lambda entry: f"no-{entry.path}"),
            "MANIFEST_FILE_MISSING", _mismatch,
        ),
    }  # fmt: skip


def check_refused(results: Iterator[Any], code: str, where: str) -> None:
    """A refusal of one line before anything is yielded."""
    yielded = []
    with pytest.raises(Refused) as refused:
        yielded.extend(results)
    assert yielded == []
    assert (refused.value.code, "\n" in str(refused.value)) == (code, False)
    assert where in refused.value.where


@pytest.mark.parametrize("name", REFUSALS)
def test_what_is_wrong_anywhere_is_refused_before_a_decision(name: str) -> None:
    change, code, where = REFUSALS[name]
    made = two_parts()
    check_equal(made)
    change(made)
    check_refused(decide(made), code, where)


OF_ALL = [
    name for name, (_, _, where) in REFUSALS.items() if "consent" in where or "scope" in where
]


@pytest.mark.parametrize("name", [*OF_ALL, "meeting twice across", "meeting of a rule"])
@pytest.mark.parametrize("mine", [range(0, 1), range(1, 2)])
def test_every_shard_refuses_what_is_wrong_about_all(name: str, mine: range) -> None:
    change, code, where = REFUSALS[name]
    made = two_parts()
    change(made)
    check_refused(decide(made, mine), code, where)


def few_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ids have one of two hashes, so that only the ids themselves tell them apart."""

    def colliding(words: pa.Array, seed: int) -> Hashes:
        return (hashes(words, seed) % np.uint64(2)) << np.uint64(62)

    monkeypatch.setattr(names, "hashes", colliding)
    monkeypatch.setattr(passes, "hashes", colliding)


def test_equal_hashes_prove_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    few_hashes(monkeypatch)
    monkeypatch.setattr(passes, "draw_seed", lambda: 3)
    check_equal(two_parts())


@pytest.mark.parametrize("name", ["event id twice", "event id twice across", "meeting of an event"])
@pytest.mark.parametrize("bits", [1, 3, 6])
@pytest.mark.parametrize("few", [False, True])
def test_what_stands_twice_is_found_however_it_is_looked_for(
    name: str, bits: int, few: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if few:
        few_hashes(monkeypatch)
    monkeypatch.setattr(passes, "_range_bits", lambda work: bits)
    change, code, where = REFUSALS[name]
    made = two_parts()
    change(made)
    check_refused(decide(made), code, where)


@pytest.mark.parametrize("series", [False, True])
def test_a_rule_and_an_event_may_name_what_is_in_any_part(series: bool) -> None:
    made = two_parts()
    exclude("tag", "x", ["m1", "m4"])(made)
    scope_with(
        **{"series": ["s2", "s1"], "meetings": []} if series else {"meetings": ["m4", "m1"]}
    )(made)
    check_equal(made)


def test_a_turn_rule_may_name_a_meeting_without_such_content() -> None:
    """As :func:`harness.consent.manifest.check_references` has it."""
    made = two_parts()
    held = {row["modality"] for row in made.rows["content"][1]}
    assert "whiteboard" not in held
    exclude("turn", "whiteboard/0", [made.rows["meetings"][1][0]["meeting_id"]])(made)
    check_equal(made)


@pytest.mark.parametrize("scope", [{"meetings": ["m9"], "series": []}, {"series": ["s9"]}])
def test_a_withdrawal_that_names_nothing_known_means_everything(scope: dict[str, Any]) -> None:
    made, meant = two_parts(), two_parts()
    event = twin(made.rows["consent"][1][0], state="withdrawn", event_id="w", seq=99)
    made.withdrawn, meant.withdrawn = [event], [copy.deepcopy(event)]
    event["scope"] |= scope
    meant.withdrawn[0]["scope"] |= {"meetings": [], "series": []}
    assert plain(dict(decide(made))) == plain({0: at_once(meant)})


def open_files() -> set[str]:
    return {os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")
            if Path(f"/proc/self/fd/{n}").is_symlink()}  # fmt: skip


def test_no_file_stays_open_after_decisions() -> None:
    before = open_files()
    list(decide(two_parts()))
    assert {name for name in open_files() - before if ".bin" in name} == set()


def test_no_file_stays_open_after_a_refusal() -> None:
    made, before = two_parts(), open_files()
    id_twice(made)
    with pytest.raises(Refused):
        list(decide(made))
    assert {name for name in open_files() - before if ".bin" in name} == set()


# --- names of parts, and where people are --------------------------------------------------------


@given(st.lists(st.binary(min_size=16, max_size=16), max_size=9), st.integers(1, 70_000),
       st.integers(0, 9))  # fmt: skip
@settings(deadline=None)
def test_the_part_of_a_person_is_told_by_the_key(keys: list[bytes], parts: int, first: int) -> None:
    rows = [
        parse(ParticipantRow, FOUR.tables["participants"][0] | {"subject_key": key.hex()}, "row")
        for key in keys
    ]
    array = to_arrow(ParticipantRow, rows).column("subject_key").combine_chunks()[first:]
    assert part_of(array, parts).tolist() == [part_of_key(k.hex(), parts) for k in keys[first:]]


def test_files_of_parts_are_told_by_their_names() -> None:
    names = [f"{table}-{part:05d}.parquet" for table in LARGE for part in (1, 0)]
    others = ["policies-00000.parquet", "meetings-0.parquet", "meetings-00000.parquet.tmp",
              "meetings.jsonl", "Meetings-00000.parquet", "meetings-00000.parquet\n"]  # fmt: skip
    assert tables_of_parts([*names, *others]) == {
        table: [f"{table}-00000.parquet", f"{table}-00001.parquet"] for table in LARGE
    }
    assert set(LARGE) <= {*TABLES}
