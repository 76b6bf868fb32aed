"""Decide meetings that do not fit into memory: in three passes over the parts of a manifest.

The first pass goes over meetings: it finds every code that needs no consent, and sorts the rows of
rosters by the part of the consent log that their people are in. The second goes over the log: it
finds the codes of consent of these rows. The third joins both to decisions. The rules are those of
:func:`harness.consent.decide.rule_tables`; here is only where rows lie and when they are read.

Parts may be decided by several processes. What one pass hands to the next lies as plain arrays in
a folder that is removed at the end.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

import numpy as np
import pyarrow as pa

from harness.consent.agreement import Terms, consent_codes
from harness.consent.attendance import Attendance
from harness.consent.bits import Codes, Mask
from harness.consent.columns import Columns, Numbers, to_arrow
from harness.consent.decide import Bench, Question, Roll, Verdicts
from harness.consent.events import KEY, Events
from harness.consent.frame import Frame
from harness.consent.modality import ORDER
from harness.consent.names import Index, draw_seed, hashes
from harness.consent.parquet import concat
from harness.consent.parts import Parts, check_purposes, part_of, unknown_name
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

    def array(self, name: str, kind: Any = None, size: int = 0) -> Any:
        """An array on disk, made with the kind and size given or opened as it is."""
        path = self.folder / f"{name}.npy"
        if kind is None:
            return _mapped(path)
        return np.lib.format.open_memmap(path, "w+", kind, (size,))

    @cached_property
    def uses(self) -> list[tuple[Modality, Operation]]:
        """What consent is asked for."""
        request = self.question.request
        return [(m, o) for m in self.question.modalities for o in request.operations]

    @cached_property
    def rule_names(self) -> pa.Array:
        """Meetings that exclusion rules name."""
        rules = self.question.tables.exclusions
        names = {name for rule in rules for name in rule.scope.meetings} - {ALL}
        return pa.array(sorted(names), pa.string())


@cache
def _mapped(path: Path) -> Any:
    return np.load(path, mmap_mode="r+")


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
    work = replace(work, seed=draw_seed())
    _make_arrays(work)
    meetings, people = work.parts.count("meetings"), work.parts.count("consent")
    total = meetings + people + len(work.mine)
    with Pool(work, processes) as pool:
        met = [*pool.each(first_pass, range(meetings), lambda n: tick(n, total))]
        _join_names(work, met)
        _join_rows(work)
        done = pool.each(second_pass, range(people), lambda n: tick(meetings + n, total))
        _check_sequence(work, sum(done))
        duplicates = pool.each(_find_duplicates, range(_ranges(work)), lambda n: None)
        _check_event_ids(work, np.concatenate([*duplicates]))
        last = _Last(finish)
        yield from pool.each(last, work.mine, lambda n: tick(meetings + people + n, total))


def modalities_of(parts: Parts, asked: Iterable[Modality]) -> tuple[Modality, ...]:
    """Kinds of content that any meeting has or the request names, in ``ORDER``."""
    present: set[str | None] = {*asked}
    for part in range(parts.count("content")):
        present |= {*Columns(parts.read("content", part)).coded("modality")[1]}
    return tuple(m for m in ORDER if m in present)


def first_pass(work: Work, part: int) -> Met:
    """Everything about the meetings of one part but their people's consent."""
    start, end = work.parts.offsets("meetings")[part : part + 2]
    if part in work.mine:
        frame = work.parts.read_frame(part)
        bench = Bench(work.question, frame)
        _keep_codes(work, part, bench)
        _keep_rows(work, part, frame)
        _keep_terms(work, bench, slice(start, end))
        work.array("start")[start:end] = frame.start
    else:
        frame = Frame.bare(work.parts.read("meetings", part))
    ids = frame.meetings.array("meeting_id")
    work.array("series")[start:end] = frame.series
    work.array("hash")[start:end] = hashes(ids, work.seed)
    _write_ids(work, f"ids-{part}", ids)
    first, last = (ids[0].as_py(), ids[-1].as_py()) if len(ids) else (None, None)
    found = frame.find_meetings(work.rule_names) >= 0
    _check_turn_rules(work, frame)
    return Met(first, last, frame.series_names, found)


def second_pass(work: Work, part: int) -> int:
    """The codes of consent of everybody whose events are in one part of the log.

    Returns:
        How many events it has.
    """
    table = work.parts.read_events(part)
    file = work.parts.files["consent"][part].path
    log = Columns(table)
    _keep_log(work, part, log, file)
    if work.withdrawn:
        more = to_arrow(ConsentEvent, work.withdrawn)
        keys = more.column("subject_key").combine_chunks()
        mine = part_of(keys, work.parts.count("consent")) == part
        table = concat(ConsentEvent, [table, more.filter(pa.array(mine))])
    attendance = _attendance(work, part, Events(table))
    unknown = attendance.scopes.unknown
    if len(unknown):
        seq = attendance.events.columns.array("seq").take(pa.array(unknown)).to_numpy().min()
        unknown_name(f"{file} seq {seq} key scope")
    for modality in work.question.modalities:
        terms = {
            o: _terms(work, modality, o, attendance.number)
            for o in work.question.request.operations
        }
        uses, policies = work.question.uses(modality), work.question.policies
        codes = consent_codes(attendance, uses, policies, terms)
        place = _segments(work.folder)
        work.array(f"consent-{modality}")[place[part, 0] : place[part + 1, 0]] = codes
    return int(log.size)


def third_pass(work: Work, part: int) -> Verdicts:
    """The decisions about the meetings of one part."""
    kept = np.load(work.folder / f"codes-{part}.npz")
    roll = Roll(kept["meeting"], kept["subject"], kept["one_to_one"])
    rows = np.fromfile(work.folder / f"rows-{part}.bin", _ROW)
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


def _keep_codes(work: Work, part: int, bench: Bench) -> None:
    frame = bench.frame
    roll = Roll.of(frame, work.question.head.defaults.mode)
    kept: dict[str, Any] = {
        "meeting": roll.meeting, "subject": roll.subject, "one_to_one": roll.one_to_one,
        "arm": frame.arm,
    }  # fmt: skip
    for modality in work.question.modalities:
        kept[f"meetings-{modality}"], kept[f"people-{modality}"] = bench.codes(modality)
        kept[f"has-{modality}"] = frame.content_rows(modality) >= 0
    np.savez(work.folder / f"codes-{part}.npz", **kept)


def _keep_rows(work: Work, part: int, frame: Frame) -> None:
    """Rows of identified people, those of each part of the log together."""
    keys = frame.roster.array("subject_key")
    known = np.flatnonzero(~frame.roster.null("subject_key"))
    keys = keys.take(pa.array(known))
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
    (work.folder / f"rows-{part}.bin").write_bytes(rows.tobytes())
    np.save(work.folder / f"sizes-{part}.npy", np.bincount(shard, minlength=parts))


def _keep_terms(work: Work, bench: Bench, place: slice) -> None:
    for modality in work.question.modalities:
        work.array(f"origins-{modality}")[place] = bench.frame.origins(modality)
        for operation, terms in bench.terms(modality).items():
            bits = terms.strength + terms.employee_ok * _EMPLOYEE_OK
            bits = bits + terms.all_party_recording * _ALL_PARTY
            work.array(f"terms-{modality}-{_place(work, operation)}")[place] = bits


def _keep_log(work: Work, part: int, events: Columns, file: str) -> None:
    """What is checked of the log as a whole: its numbers, its ids, its purposes."""
    start, end = work.parts.offsets("consent")[part : part + 2]
    seq, marks = events.array("seq").to_numpy(), work.array("seq")
    if events.size and seq.max() >= len(marks):
        _gap(file)
    marks[seq] = True
    work.array("event-hash")[start:end] = hashes(events.array("event_id"), work.seed)
    tables, scope = work.question.tables, work.question.head.scope
    policies = (name for policy in tables.policies for name in policy.purposes)
    check_purposes(events, [*policies, *scope.purposes], file)


def _make_arrays(work: Work) -> None:
    meetings = int(work.parts.offsets("meetings")[-1])
    events = int(work.parts.offsets("consent")[-1])
    kinds: dict[str, tuple[Any, int]] = {
        "start": (np.int64, meetings), "series": (np.int64, meetings),
        "hash": (np.uint64, meetings), "seq": (np.bool_, events),
        "event-hash": (np.uint64, events),
    }  # fmt: skip
    for modality in work.question.modalities:
        kinds[f"origins-{modality}"] = (np.uint32, meetings)
    for modality, operation in work.uses:
        kinds[f"terms-{modality}-{_place(work, operation)}"] = (np.uint8, meetings)
    for name, (kind, size) in kinds.items():
        work.array(name, kind, size)


def _join_names(work: Work, met: Sequence[Met]) -> None:
    """Number the series of all parts alike, and put the hashes of ids in order."""
    ends = [end for part in met for end in (part.first, part.last) if end is not None]
    bounds = [*zip(ends[1:-1:2], ends[2::2], strict=True)]
    if any(not last < first for last, first in bounds):
        raise Refused("DUPLICATE_ID", "ids of meetings do not rise from part to part",
                      "meetings key meeting_id", "write them with harness manifest")  # fmt: skip
    found = np.logical_or.reduce([part.named for part in met])
    if not found.all():
        unknown_name("exclusions.jsonl key scope")
    offsets, series = work.parts.offsets("meetings"), work.array("series")
    names = pa.concat_arrays([part.series for part in met]).dictionary_encode()
    numbers, begin = names.indices.to_numpy(), 0
    for n, part in enumerate(met):
        own = numbers[begin : begin + len(part.series)]
        begin += len(part.series)
        place = slice(offsets[n], offsets[n + 1])
        series[place] = own[series[place]]
    _write_ids(work, "series-ids", names.dictionary)
    _order(work, "series-hash", hashes(names.dictionary, work.seed))
    _order(work, "meeting-hash", work.array("hash"))


def _order(work: Work, name: str, found: "np.typing.NDArray[np.uint64]") -> None:
    order = np.argsort(found)
    np.save(work.folder / f"{name}-order.npy", order.astype(np.uint32))
    np.save(work.folder / f"{name}.npy", found[order])


def _write_ids(work: Work, name: str, ids: pa.Array) -> None:
    table = pa.table({"id": ids.cast(pa.string())})
    with (
        pa.OSFile(str(work.folder / f"{name}.arrow"), "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as writer,
    ):
        writer.write_table(table)


def _read_ids(folder: Path, names: Iterable[str]) -> pa.ChunkedArray:
    columns = [
        pa.ipc.open_file(pa.memory_map(str(folder / f"{name}.arrow"))).read_all().column("id")
        for name in names
    ]
    return pa.chunked_array([c for column in columns for c in column.chunks], pa.string())


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
def _names(folder: Path, parts: int, seed: int) -> _Names:
    def index(name: str, ids: Iterable[str]) -> Index:
        order = np.load(folder / f"{name}-order.npy", mmap_mode="r")
        ordered = np.load(folder / f"{name}.npy", mmap_mode="r")
        return Index(_read_ids(folder, ids), order, ordered, seed)

    of_parts = (f"ids-{part}" for part in range(parts))
    return _Names(index("meeting-hash", of_parts), index("series-hash", ["series-ids"]))


def _join_rows(work: Work) -> None:
    """Where the rows of each part of the meetings lie among those of each part of the log."""
    sizes = np.array([np.load(work.folder / f"sizes-{part}.npy") for part in work.mine])
    sizes = sizes.reshape(len(work.mine), work.parts.count("consent")).T
    ends = np.cumsum(sizes.ravel()).reshape(sizes.shape)
    begins = np.column_stack([ends - sizes, ends[:, -1:]]) if len(work.mine) else np.zeros((1, 1))
    last = np.full((1, begins.shape[1]), begins[-1, -1])
    np.save(work.folder / "segments.npy", np.concatenate([begins, last]).astype(np.int64))
    for modality in work.question.modalities:
        work.array(f"consent-{modality}", np.uint64, int(last[0, 0]))


@lru_cache(maxsize=1)
def _segments(folder: Path) -> Numbers:
    """Of each part of the log (rows) where the rows of each part of the meetings begin."""
    return np.asarray(np.load(folder / "segments.npy"))


def _attendance(work: Work, part: int, events: Events) -> Attendance:
    """Rows of all meetings whose people's events are in one part of the log."""
    sizes = np.diff(_segments(work.folder)[part])
    pieces = []
    for n, size in zip(work.mine, sizes, strict=True):
        before = _row_offsets(work.folder, n)[part]
        with (work.folder / f"rows-{n}.bin").open("rb") as file:
            pieces.append(os.pread(file.fileno(), size * _ROW.itemsize, before * _ROW.itemsize))
    rows = np.frombuffer(b"".join(pieces), _ROW)
    base = work.parts.offsets("meetings")[np.asarray(work.mine, np.int64)]
    number = rows["meeting"] + np.repeat(base, sizes)
    keys = pa.FixedSizeBinaryArray.from_buffers(
        KEY, len(rows), [None, pa.py_buffer(np.ascontiguousarray(rows["key"]))]
    )
    names = _names(work.folder, work.parts.count("meetings"), work.seed)
    return Attendance(
        np.arange(len(rows)), (rows["flags"] & _GUARDED) > 0, (rows["flags"] & _EMPLOYED) > 0,
        work.array("start")[number], number, work.array("series")[number], events,
        *events.of(keys), names,
    )  # fmt: skip


@cache
def _row_offsets(folder: Path, part: int) -> Numbers:
    sizes = np.load(folder / f"sizes-{part}.npy")
    return np.asarray(np.cumsum(sizes) - sizes)


def _terms(work: Work, modality: Modality, operation: Operation, meetings: Numbers) -> Terms:
    bits = work.array(f"terms-{modality}-{_place(work, operation)}")[meetings]
    origins = work.array(f"origins-{modality}")[meetings].astype(np.int64)
    strength = (bits & _STRENGTH).astype(np.int64)
    return Terms(origins, strength, (bits & _EMPLOYEE_OK) > 0, (bits & _ALL_PARTY) > 0)


def _place(work: Work, operation: Operation) -> int:
    return work.question.request.operations.index(operation)


def _consent_of(work: Work, part: int, modality: Modality) -> Codes:
    """Codes of consent of the rows of one part of the meetings, in the order of its file."""
    codes, column = work.array(f"consent-{modality}"), work.mine.index(part)
    places = _segments(work.folder)[:-1, column : column + 2]
    pieces = [codes[begin:end] for begin, end in places]
    return np.concatenate([np.zeros(0, np.uint64), *pieces])


def _check_turn_rules(work: Work, frame: Frame) -> None:
    """Refuse a rule about a turn that a meeting which it names does not have."""
    rules = [r for r in work.question.tables.exclusions if r.kind is RuleKind.TURN]
    for n, rule in enumerate(rules):
        modality, _, place = rule.value.partition("/")
        named = pa.array([name for name in rule.scope.meetings if name != ALL], pa.string())
        meetings = frame.find_meetings(named)
        rows = frame.content_rows(Modality(modality))[meetings[meetings >= 0]]
        turns = frame.content.array("turns").to_numpy()
        if (rows < 0).any() or (turns[rows] <= int(place)).any():
            unknown_name(f"exclusions.jsonl rule {n + 1} of kind turn, key value")


def _check_sequence(work: Work, events: int) -> None:
    if events != np.count_nonzero(work.array("seq")):
        _gap("consent")


def _gap(file: str) -> NoReturn:
    raise Refused("EVENT_SEQUENCE_GAP", "the log's numbers are not 0, 1, 2 and so on",
                  f"{file} key seq", "restore the whole log")  # fmt: skip


def _find_duplicates(work: Work, part: int) -> "np.typing.NDArray[np.uint64]":
    """Hashes of ids of events that stand twice, in one range of hashes."""
    ids = work.array("event-hash")
    step = 2**64 // _ranges(work)
    mine = np.sort(ids[(ids >= np.uint64(part * step)) & (ids <= np.uint64((part + 1) * step - 1))])
    return np.unique(mine[1:][mine[1:] == mine[:-1]])


def _ranges(work: Work) -> int:
    """A power of two, so that one range of hashes is sorted in some hundred megabytes."""
    return int(2 ** max(1, len(work.array("event-hash")).bit_length() - 24))


def _check_event_ids(work: Work, twice: "np.typing.NDArray[np.uint64]") -> None:
    """Refuse ids of events that stand twice; equal hashes alone prove nothing."""
    seen: set[str] = set()
    for part in range(work.parts.count("consent") if len(twice) else 0):
        ids = work.parts.read("consent", part).column("event_id").combine_chunks()
        for place in np.flatnonzero(np.isin(hashes(ids, work.seed), twice)):
            name = ids[int(place)].as_py()
            if name in seen:
                file = work.parts.files["consent"][part].path
                raise Refused("DUPLICATE_ID", "two rows carry the same id",
                              f"{file} row {place + 1} key event_id", "keep one")  # fmt: skip
            seen.add(name)


class Pool(AbstractContextManager["Pool"]):
    """Processes that each work on some parts; one process is this one.

    Args:
        work: handed to every task.
        processes: how many.
    """

    def __init__(self, work: Work, processes: int) -> None:
        self._work, self._executor = work, None
        if processes > 1:
            self._executor = ProcessPoolExecutor(
                processes, get_context("spawn"), initializer=_begin, initargs=(work,)
            )
        else:
            _begin(work)

    def __exit__(self, *_: object) -> None:
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    def each(
        self, task: Callable[[Work, int], R], parts: Iterable[int], tick: Callable[[int], None]
    ) -> Iterator[R]:
        """Results in the order of parts; few are under way at once, so that few wait."""
        if self._executor is None:
            for done, part in enumerate(parts, 1):
                yield task(self._work, part)
                tick(done)
            return
        waiting: deque[Future[R]] = deque()
        left, done = iter(parts), 0
        while True:
            for part in islice(left, _AHEAD - len(waiting)):
                waiting.append(self._executor.submit(_run, task, part))
            if not waiting:
                return
            yield waiting.popleft().result()
            done += 1
            tick(done)


_AHEAD = 8
_CURRENT: list[Work] = []


def _begin(work: Work) -> None:
    _CURRENT[:] = [work]
    pa.set_cpu_count(1)
    for function in (_mapped, _names, _segments, _row_offsets):
        function.cache_clear()


def _run(task: Callable[[Work, int], R], part: int) -> R:
    return task(_CURRENT[0], part)
