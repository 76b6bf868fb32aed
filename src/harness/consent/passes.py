"""Decide meetings that do not fit into memory: in three passes over the parts of a manifest.

The first pass goes over meetings: it finds every code that needs no consent, and sorts the rows of
rosters by the part of the consent log that their people are in. The second goes over the log: it
finds the codes of consent of these rows. The third joins both to decisions. The rules are those of
:func:`harness.consent.decide.rule_tables`; here is only where rows lie and when they are read.

Parts may be decided by several processes. What one pass hands to the next lies as plain arrays in
a folder that is removed at the end.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

import numpy as np
import pyarrow as pa

from harness.consent import scratch
from harness.consent.agreement import Terms, consent_codes
from harness.consent.attendance import Attendance
from harness.consent.bits import Codes, Mask
from harness.consent.columns import Columns, Numbers, to_arrow
from harness.consent.decide import Bench, Question, Roll, Verdicts
from harness.consent.events import KEY, Events
from harness.consent.frame import Frame
from harness.consent.modality import ORDER
from harness.consent.names import Hashes, Index, draw_seed, hashes, open_table
from harness.consent.parquet import concat
from harness.consent.parts import Parts, check_purposes, part_of, unknown_name
from harness.consent.pool import Pool
from harness.consent.records import ALL, AgeBand, ConsentEvent, Operation, Relation, RuleKind
from harness.errors import Refused
from harness.meetings.model import Modality

R = TypeVar("R")
Tick = Callable[[int, int], None]
"""Is told how much of all work is done."""
Finish = Callable[["Work", int, Verdicts], R]
"""Makes something of the decisions about one part; a function or object that can be pickled."""

_ROW = np.dtype([("key", "V16"), ("row", "<u4"), ("meeting", "<u4"), ("flags", "u1")])
_GUARDED, _EMPLOYED = 1, 2
_STRENGTH, _EMPLOYEE_OK, _ALL_PARTY = 3, 4, 8  # bits of a meeting's terms


@dataclass(frozen=True)
class Work:
    """What is decided, and where.

    Attributes:
        parts: the large tables.
        question: small tables, request and clock; its modalities are those of the whole manifest.
        folder: for what one pass hands to the next.
        mine: parts of the meetings that are decided here; all, unless this is one of many shards.
        withdrawn: events of the withdrawals log, after those of the manifest.
        seed: of hashes.
    """

    parts: Parts
    question: Question
    folder: Path
    mine: range
    withdrawn: tuple[ConsentEvent, ...] = ()
    seed: int = 0

    @property
    def operations(self) -> tuple[Operation, ...]:
        """What consent is asked for."""
        return self.question.request.operations

    @cached_property
    def rule_names(self) -> pa.Array:
        """Meetings that exclusion rules name."""
        rules = self.question.tables.exclusions
        names = {name for rule in rules for name in rule.scope.meetings} - {ALL}
        return pa.array(sorted(names), pa.string())

    def ids(self, part: int) -> pa.Array:
        """Ids of the meetings of one part, as the first pass has read them."""
        begin, end = self.parts.offsets("meetings")[part : part + 2].tolist()
        return scratch.words(self.folder, "meetings")[begin:end]

    def shared(self, name: str) -> Any:
        """An array that all processes see."""
        return scratch.shared(self.folder, name)


@dataclass(frozen=True)
class Met:
    """What the first pass tells of one part of the meetings.

    Attributes:
        first, last: ids, None where it has none.
        series: names, in the order of the numbers that the part gave them.
        named: whether it has each of ``Work.rule_names``.
    """

    first: str | None
    last: str | None
    series: pa.Array
    named: Mask


def decide_parts(work: Work, finish: Finish[R], processes: int, tick: Tick) -> Iterator[R]:
    """Decide the meetings of every part that is decided here.

    Args:
        work: what and where; the folder exists and is empty.
        finish: what is made of the decisions about a part, in the process that made them.
        processes: how many work at once.
        tick: is told how far it is.

    Yields:
        What ``finish`` made, in the order of parts.

    Raises:
        Refused: a code of manifest, rows or references, before anything is yielded.
    """
    try:
        yield from _decide(replace(work, seed=draw_seed()), finish, processes, tick)
    finally:
        scratch.forget()
        _names.cache_clear()


def _decide(work: Work, finish: Finish[R], processes: int, tick: Tick) -> Iterator[R]:
    _make_arrays(work)
    meetings, people = work.parts.count("meetings"), work.parts.count("consent")
    total = meetings + people + len(work.mine)
    with Pool(work, processes) as pool:
        passed = pool.each(first_pass, range(meetings), lambda n: tick(n, total))
        _join_names(work, _keep_ids(work, passed))
        _join_rows(work)
        done = pool.each(second_pass, range(people), lambda n: tick(meetings + n, total))
        _check_sequence(work, sum(done))
        duplicates = pool.each(_find_duplicates, range(_ranges(work)), lambda n: None)
        _check_event_ids(work, np.concatenate([*duplicates]))
        last = _Last(finish)
        yield from pool.each(last, work.mine, lambda n: tick(meetings + people + n, total))


def modalities_of(parts: Parts, asked: Iterable[Modality]) -> tuple[Modality, ...]:
    """Kinds of content that any meeting has or the request names, in ``ORDER``."""
    columns = parts.column("content", "modality")
    present = {*asked, *(word for column in columns for word in column.unique().to_pylist())}
    return tuple(m for m in ORDER if m in present)


def first_pass(work: Work, part: int) -> tuple[Met, pa.Array]:
    """Everything about the meetings of one part but their people's consent.

    Returns:
        What it tells, and the ids of its meetings.
    """
    start, end = work.parts.offsets("meetings")[part : part + 2]
    if part in work.mine:
        frame = work.parts.read_frame(part)
        bench = Bench(work.question, frame)
        _keep_codes(work, part, bench)
        _keep_rows(work, part, frame)
        _keep_terms(work, bench, slice(start, end))
        work.shared("start")[start:end] = frame.start
        _check_turn_rules(work, frame)
    else:
        frame = Frame.bare(work.parts.read("meetings", part))
    ids = frame.meetings.array("meeting_id")
    work.shared("series")[start:end] = frame.series
    work.shared("hash")[start:end] = hashes(ids, work.seed)
    first, last = (ids[0].as_py(), ids[-1].as_py()) if len(ids) else (None, None)
    return Met(first, last, frame.series_names, frame.find_meetings(work.rule_names) >= 0), ids


def second_pass(work: Work, part: int) -> int:
    """The codes of consent of everybody whose events are in one part of the log.

    Returns:
        How many events it has.
    """
    log = work.parts.read_events(part)
    file = work.parts.files["consent"][part].path
    _keep_log(work, part, log, file)
    attendance = _attendance(work, part, Events(_with_withdrawn(work, part, log)))
    unknown = attendance.scopes.unknown
    if len(unknown):
        seq = attendance.events.columns.array("seq").take(pa.array(unknown)).to_numpy().min()
        unknown_name(f"{file} seq {seq} key scope")
    place = int(_segments(work)[part, 0])
    for modality in work.question.modalities:
        terms = {o: _terms(work, modality, o, attendance.number) for o in work.operations}
        uses, policies = work.question.uses(modality), work.question.policies
        codes = consent_codes(attendance, uses, policies, terms)
        scratch.write(work.folder, f"consent-{modality}", codes, place)
    return int(log.size)


def third_pass(work: Work, part: int) -> Verdicts:
    """The decisions about the meetings of one part."""
    kept = np.load(work.folder / f"codes-{part}.npz")
    roll = Roll(kept["meeting"], kept["subject"], kept["one_to_one"])
    size = int(scratch.load(work.folder, f"sizes-{part}").sum())
    rows = np.frombuffer(scratch.read(work.folder, f"rows-{part}", _ROW, 0, size), _ROW)
    verdicts, has = {}, {}
    for modality in work.question.modalities:
        people = kept[f"people-{modality}"]
        people[rows["row"]] |= _consent_of(work, part, modality)
        defaults = work.question.head.defaults
        verdicts[modality] = roll.join(kept[f"meetings-{modality}"], people, defaults)
        has[modality] = kept[f"has-{modality}"]
    return Verdicts(work.question.request, verdicts, has, kept["arm"])


@dataclass(frozen=True)
class _Last(Generic[R]):
    """The third pass, and what is made of it."""

    finish: Finish[R]

    def __call__(self, work: Work, part: int) -> R:
        return self.finish(work, part, third_pass(work, part))


# --- what the first pass keeps ---------------------------------------------------------------


def _make_arrays(work: Work) -> None:
    meetings = int(work.parts.offsets("meetings")[-1])
    kinds: dict[str, Any] = {"start": np.int64, "series": np.int64, "hash": np.uint64}
    for modality in work.question.modalities:
        kinds[f"origins-{modality}"] = np.uint32
        for operation in work.operations:
            kinds[_terms_name(work, modality, operation)] = np.uint8
    for name, kind in kinds.items():
        scratch.make(work.folder, name, kind, meetings)
    scratch.make(work.folder, "seq", np.bool_, int(work.parts.offsets("consent")[-1]))


def _keep_codes(work: Work, part: int, bench: Bench) -> None:
    roll = Roll.of(bench.frame, work.question.head.defaults.mode)
    kept: dict[str, Any] = {
        "meeting": roll.meeting, "subject": roll.subject, "one_to_one": roll.one_to_one,
        "arm": bench.frame.arm,
    }  # fmt: skip
    for modality in work.question.modalities:
        kept[f"meetings-{modality}"], kept[f"people-{modality}"] = bench.codes(modality)
        kept[f"has-{modality}"] = bench.frame.content_rows(modality) >= 0
    np.savez(work.folder / f"codes-{part}.npz", **kept)


def _keep_rows(work: Work, part: int, frame: Frame) -> None:
    """Rows of identified people, those of each part of the log together."""
    known = np.flatnonzero(~frame.roster.null("subject_key"))
    keys = frame.roster.array("subject_key").take(pa.array(known))
    parts = work.parts.count("consent")
    shard = part_of(keys, parts)
    order = np.argsort(shard.astype(np.uint16 if parts < 2**16 else np.int64), kind="stable")
    rows = np.empty(len(known), _ROW)
    rows["key"] = np.frombuffer(keys.cast(KEY).buffers()[1] or b"", "V16")[: len(keys)][order]
    rows["row"] = known[order]
    rows["meeting"] = frame.meeting[known[order]]
    guarded = frame.roster.equal("age_band", AgeBand.MINOR_WITH_GUARDIAN)
    employed = ~frame.roster.equal("relation", Relation.OTHER)
    rows["flags"] = (guarded * _GUARDED + employed * _EMPLOYED)[known[order]]
    scratch.write(work.folder, f"rows-{part}", rows)
    scratch.save(work.folder, f"sizes-{part}", np.bincount(shard, minlength=parts))


def _keep_terms(work: Work, bench: Bench, place: slice) -> None:
    for modality in work.question.modalities:
        work.shared(f"origins-{modality}")[place] = bench.frame.origins(modality)
        for operation, terms in bench.terms(modality).items():
            bits = terms.strength + terms.employee_ok * _EMPLOYEE_OK
            bits = bits + terms.all_party_recording * _ALL_PARTY
            work.shared(_terms_name(work, modality, operation))[place] = bits


def _check_turn_rules(work: Work, frame: Frame) -> None:
    """Refuse a rule about a turn that a meeting which it names does not have."""
    rules = [r for r in work.question.tables.exclusions if r.kind is RuleKind.TURN]
    turns = frame.content.array("turns").to_numpy()
    for rule in rules:
        modality, _, place = rule.value.partition("/")
        named = pa.array([name for name in rule.scope.meetings if name != ALL], pa.string())
        meetings = frame.find_meetings(named)
        rows = frame.content_rows(Modality(modality))[meetings[meetings >= 0]]
        if (turns[rows[rows >= 0]] <= int(place)).any():
            unknown_name(f"exclusions.jsonl rule {rule.rule_id} key value")


# --- between the passes ----------------------------------------------------------------------


def _keep_ids(work: Work, passed: Iterable[tuple[Met, pa.Array]]) -> list[Met]:
    """Write the ids of all parts one after another, as they come."""
    met, words = [], scratch.Words(work.folder, "meetings")
    for part, ids in passed:
        words.add(ids)
        met.append(part)
    return met


def _join_names(work: Work, met: Sequence[Met]) -> None:
    """Number the series of all parts alike, and make tables of all names."""
    ends = [(part.first, part.last) for part in met if part.first and part.last]
    if any(not last < first for (_, last), (first, _) in pairwise(ends)):
        raise Refused("DUPLICATE_ID", "ids of meetings do not rise from part to part",
                      "meetings key meeting_id", "write them with harness manifest")  # fmt: skip
    if not np.logical_or.reduce([part.named for part in met]).all():
        unknown_name("exclusions.jsonl key scope")
    offsets, series = work.parts.offsets("meetings"), work.shared("series")
    names = pa.concat_arrays([part.series.cast(pa.string()) for part in met]).dictionary_encode()
    numbers, begin = names.indices.to_numpy(), 0
    for part, (first, last) in zip(met, pairwise(offsets), strict=True):
        own = numbers[begin : begin + len(part.series)]
        begin += len(part.series)
        series[first:last] = own[series[first:last]]
    scratch.Words(work.folder, "series").add(names.dictionary)
    scratch.save(work.folder, "series-table", open_table(hashes(names.dictionary, work.seed)))
    scratch.save(work.folder, "meetings-table", open_table(work.shared("hash")))


def _join_rows(work: Work) -> None:
    """Where the rows of each part of the meetings lie among those of each part of the log."""
    sizes = np.array([scratch.load(work.folder, f"sizes-{part}") for part in work.mine])
    columns, rows = len(work.mine), work.parts.count("consent")
    ends = np.concatenate([[0], np.cumsum(sizes.reshape(columns, rows).T.ravel())])
    place = np.arange(rows + 1)[:, None] * columns + np.arange(columns + 1)
    segments = ends[np.minimum(place, rows * columns)]
    scratch.save(work.folder, "segments", segments.astype(np.int64))


def _segments(work: Work) -> Numbers:
    """Of each part of the log (rows) where the rows of each part of the meetings begin."""
    return np.asarray(scratch.load(work.folder, "segments"))


@dataclass(frozen=True)
class _Names:
    """The numbers of all meetings and series of a manifest."""

    meetings: Index
    series: Index

    def find_meetings(self, ids: pa.Array) -> Numbers:
        return self.meetings.find(ids)

    def find_series(self, ids: pa.Array) -> Numbers:
        return self.series.find(ids)


@lru_cache(maxsize=1)
def _names(folder: Path, seed: int) -> _Names:
    def index(name: str) -> Index:
        return Index(scratch.words(folder, name), scratch.shared(folder, f"{name}-table"), seed)

    return _Names(index("meetings"), index("series"))


# --- what the second pass reads and keeps ----------------------------------------------------


def _with_withdrawn(work: Work, part: int, log: Columns) -> Columns:
    if not work.withdrawn:
        return log
    more = to_arrow(ConsentEvent, work.withdrawn)
    keys = more.column("subject_key").combine_chunks()
    mine = part_of(keys, work.parts.count("consent")) == part
    return Columns(concat(ConsentEvent, [log.table, more.filter(pa.array(mine))]))


def _attendance(work: Work, part: int, events: Events) -> Attendance:
    """Rows of all meetings whose people's events are in one part of the log."""
    sizes, pieces = np.diff(_segments(work)[part]), []
    for n, size in zip(work.mine, sizes, strict=True):
        before = int(scratch.load(work.folder, f"sizes-{n}")[:part].sum())
        pieces.append(scratch.read(work.folder, f"rows-{n}", _ROW, before, before + size))
    rows = np.frombuffer(b"".join(pieces), _ROW)
    base = work.parts.offsets("meetings")[np.asarray(work.mine, np.int64)]
    number = rows["meeting"] + np.repeat(base, sizes)
    keys = pa.FixedSizeBinaryArray.from_buffers(
        KEY, len(rows), [None, pa.py_buffer(np.ascontiguousarray(rows["key"]))]
    )
    names = _names(work.folder, work.seed)
    return Attendance(
        np.arange(len(rows)), (rows["flags"] & _GUARDED) > 0, (rows["flags"] & _EMPLOYED) > 0,
        work.shared("start")[number], number, work.shared("series")[number], events,
        *events.of(keys), names,
    )  # fmt: skip


def _terms(work: Work, modality: Modality, operation: Operation, meetings: Numbers) -> Terms:
    bits = work.shared(_terms_name(work, modality, operation))[meetings]
    origins = work.shared(f"origins-{modality}")[meetings].astype(np.int64)
    strength = (bits & _STRENGTH).astype(np.int64)
    return Terms(origins, strength, (bits & _EMPLOYEE_OK) > 0, (bits & _ALL_PARTY) > 0)


def _terms_name(work: Work, modality: Modality, operation: Operation) -> str:
    return f"terms-{modality}-{work.operations.index(operation)}"


def _consent_of(work: Work, part: int, modality: Modality) -> Codes:
    """Codes of consent of the rows of one part of the meetings, in the order of its file."""
    column = work.mine.index(part)
    places = _segments(work)[:-1, column : column + 2].tolist()
    pieces = [
        scratch.read(work.folder, f"consent-{modality}", np.uint64, begin, end)
        for begin, end in places
    ]
    return np.frombuffer(b"".join(pieces), np.uint64)


def _keep_log(work: Work, part: int, events: Columns, file: str) -> None:
    """What is checked of the log as a whole: its numbers, its ids, its purposes."""
    start = int(work.parts.offsets("consent")[part])
    seq, marks = events.array("seq").to_numpy(), work.shared("seq")
    if events.size and seq.max() >= len(marks):
        _gap(file)
    marks[seq] = True
    ids = hashes(events.array("event_id"), work.seed)
    place = (ids >> np.uint64(64 - _range_bits(work))).astype(np.uint16)
    scratch.write(work.folder, "event-ids", ids[np.argsort(place, kind="stable")], start)
    scratch.save(work.folder, f"in-range-{part}", np.bincount(place, minlength=_ranges(work)))
    tables, scope = work.question.tables, work.question.head.scope
    policies = (name for policy in tables.policies for name in policy.purposes)
    check_purposes(events, [*policies, *scope.purposes], file)


# --- what is checked of the log as a whole ---------------------------------------------------


def _check_sequence(work: Work, events: int) -> None:
    if events != np.count_nonzero(work.shared("seq")):
        _gap("consent")


def _gap(file: str) -> NoReturn:
    raise Refused("EVENT_SEQUENCE_GAP", "the log's numbers are not 0, 1, 2 and so on",
                  f"{file} key seq", "restore the whole log")  # fmt: skip


def _find_duplicates(work: Work, number: int) -> Hashes:
    """Hashes of ids of events that stand twice, in one range of hashes."""
    parts = range(work.parts.count("consent"))
    sizes = np.array([scratch.load(work.folder, f"in-range-{part}") for part in parts])
    begins = work.parts.offsets("consent")[:-1] + sizes[:, :number].sum(axis=1)
    places = zip(begins.tolist(), (begins + sizes[:, number]).tolist(), strict=True)
    pieces = [scratch.read(work.folder, "event-ids", np.uint64, *place) for place in places]
    ids = np.sort(np.frombuffer(b"".join(pieces), np.uint64))
    return np.unique(ids[1:][ids[1:] == ids[:-1]])


def _ranges(work: Work) -> int:
    """How many ranges of hashes there are, each by its first bits, so that one is sorted fast."""
    return int(2 ** _range_bits(work))


def _range_bits(work: Work) -> int:
    events = int(work.parts.offsets("consent")[-1])
    return min(max(1, events.bit_length() - 19), 16)


def _check_event_ids(work: Work, twice: Hashes) -> None:
    """Refuse ids of events that stand twice; equal hashes alone prove nothing."""
    seen: set[str] = set()
    for part in range(work.parts.count("consent") if len(twice) else 0):
        ids = work.parts.read("consent", part).array("event_id")
        for place in np.flatnonzero(np.isin(hashes(ids, work.seed), twice)):
            name = ids[int(place)].as_py()
            if name in seen:
                file = work.parts.files["consent"][part].path
                raise Refused("DUPLICATE_ID", "two rows carry the same id",
                              f"{file} row {place + 1} key event_id", "keep one")  # fmt: skip
            seen.add(name)
