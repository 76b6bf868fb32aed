"""A world's large tables as parts in a folder, and what the three passes make of them."""

import copy
import os
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from hypothesis import strategies as st

from consent.test_oracle import KINDS_OF_RECORDING, asked
from consent.worlds import Row, World, worlds
from harness.consent.columns import to_arrow
from harness.consent.decide import Question, Rulings, Verdicts, rule_tables
from harness.consent.events import Events
from harness.consent.frame import Frame
from harness.consent.head import TABLES, FileEntry
from harness.consent.parquet import write_part
from harness.consent.parts import BY_MEETING, LARGE, Parts, part_name
from harness.consent.passes import Work, decide_parts, modalities_of
from harness.consent.present import as_meant
from harness.consent.records import ConsentEvent, parse
from harness.errors import Refused

Rows = list[list[Row]]
"""The rows of a table, part by part."""


@dataclass
class Parted:
    """A world whose large tables are parted, to be changed and written.

    Attributes:
        world: its small tables, head, request and clock.
        rows: of each large table.
        withdrawn: events of the withdrawals log.
        signed: changes a part after it was signed, by its file name.
    """

    world: World
    rows: dict[str, Rows]
    withdrawn: list[Row] = field(default_factory=list)
    signed: dict[str, Callable[[FileEntry], FileEntry]] = field(default_factory=dict)

    def whole(self) -> World:
        """The world with the rows as they are now; withdrawn events are the last of the log."""
        large = {name: [row for part in parts for row in part] for name, parts in self.rows.items()}
        large["consent"] = sorted(large["consent"], key=lambda e: e["seq"]) + self.withdrawn
        return replace(self.world, tables=self.world.tables | large)

    def write(self, folder: Path) -> Parts:
        files = {
            name: tuple(self._write(folder, name, n, rows) for n, rows in enumerate(parts))
            for name, parts in self.rows.items()
        }
        return Parts(folder, files)

    def _write(self, folder: Path, table: str, part: int, rows: list[Row]) -> FileEntry:
        kind, _ = TABLES[table]
        data = write_part(kind, to_arrow(kind, [parse(kind, row, table) for row in rows]))
        name = part_name(table, part)
        (folder / name).write_bytes(data)
        entry = FileEntry(name, sha256(data).hexdigest(), len(data), len(rows))
        return self.signed.get(name, lambda entry: entry)(entry)


# --- making parts --------------------------------------------------------------------------------


def spread(value: Any, salt: str) -> Any:
    """The world with other keys of people, which fall into all parts of the log."""
    if isinstance(value, dict):
        return {name: spread(inner, salt) for name, inner in value.items()}
    if isinstance(value, list):
        return [spread(inner, salt) for inner in value]
    if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{32}", value):
        return sha256(f"{salt}{value}".encode()).hexdigest()[:32]
    return value


def part_of_key(key: str, parts: int) -> int:
    """As the page of parts says, in whole numbers."""
    return int(key[:8], 16) * parts >> 32


def part(world: World, cuts: list[int], logs: int, rng: random.Random) -> Parted:
    """Part a world's tables: by meeting at the cuts, and by person; parts may be empty.

    Args:
        world: with meetings in the order of their ids.
        cuts: number of the first meeting of each part but the first, rising.
        logs: parts of the log.
        rng: of the order of rows whose order means nothing.
    """
    ids = [row["meeting_id"] for row in world.tables["meetings"]]
    place = {name: sum(n >= cut for cut in cuts) for n, name in enumerate(ids)}
    rows: dict[str, Rows] = {name: [[] for _ in range(len(cuts) + 1)] for name in BY_MEETING}
    rows["consent"] = [[] for _ in range(logs)]
    for name in BY_MEETING:
        for row in world.tables[name]:
            rows[name][place[row["meeting_id"]]].append(row)
    for event in world.tables["consent"]:
        rows["consent"][part_of_key(event["subject_key"], logs)].append(event)
    for table in (*rows["content"], *rows["split"], *rows["consent"]):
        rng.shuffle(table)
    return Parted(world, rows)


def narrow(tables: dict[str, list[Row]], rng: random.Random) -> None:
    """Let some events name one series or a few meetings, which may lie in several parts."""
    for event in tables["consent"] if tables["meetings"] else []:
        row = rng.choice(tables["meetings"])
        some = sorted({row["meeting_id"], rng.choice(tables["meetings"])["meeting_id"]})
        narrower = [{"meetings": [], "series": [row["series_id"]]}, {"meetings": some}, {}, {}]
        event["scope"] |= rng.choice(narrower)


def mend(tables: dict[str, list[Row]]) -> None:
    """Take out names that a manifest would be refused for."""
    meetings = {row["meeting_id"] for row in tables["meetings"]} | {"*"}
    series = {row["series_id"] for row in tables["meetings"]} | {"*"}
    for event in tables["consent"]:
        scope = event["scope"]
        scope["meetings"] = [name for name in scope["meetings"] if name in meetings]
        scope["series"] = [name for name in scope["series"] if name in series]
    for rule in tables["exclusions"]:
        scope = rule["scope"]
        scope["meetings"] = [name for name in scope["meetings"] if name in meetings] or ["*"]


@st.composite
def parted(draw: st.DrawFn, withdrawals: bool = False, least: int = 1) -> Parted:
    """Worlds of the oracle in parts, of the meetings at least so many."""
    world = draw(worlds(KINDS_OF_RECORDING))
    rng = random.Random(draw(st.integers(0, 2**20)))
    tables = spread(copy.deepcopy(world.tables), str(rng.random()))
    tables["meetings"].sort(key=lambda row: row["meeting_id"])
    narrow(tables, rng)
    mend(tables)
    log, withdrawn = tables["consent"], []
    if withdrawals:
        kept = [event for event in log if rng.random() < 0.6]
        withdrawn = [event for event in log if event not in kept]
        tables["consent"] = kept
        for seq, event in enumerate([*kept, *withdrawn]):
            event["seq"] = seq
    place = st.integers(0, len(tables["meetings"]))
    cuts = draw(st.lists(place, min_size=least - 1, max_size=3).map(sorted))
    found = part(replace(world, tables=tables), cuts, draw(st.integers(1, 4)), rng)
    found.withdrawn = withdrawn
    return found


# --- what is decided -----------------------------------------------------------------------------


def keep(_: Work, number: int, verdicts: Verdicts) -> tuple[int, Verdicts]:
    """What is made of the decisions about a part: nothing else."""
    return number, verdicts


Result = tuple[int, Verdicts]


def decide(
    made: Parted, mine: range | None = None, processes: int = 1, ticks: list[Any] | None = None
) -> Iterator[Result]:
    """The decisions about each part that is decided here."""
    with TemporaryDirectory() as tables, TemporaryDirectory() as folder:
        parts = made.write(Path(tables))
        small, head, request, now = asked(replace(made.world, tables=_small(made)))
        question = Question(head, small, request, now, modalities_of(parts, request.modalities))
        withdrawn = [parse(ConsentEvent, event, "withdrawn") for event in made.withdrawn]
        mine = range(parts.count("meetings")) if mine is None else mine
        meant = as_meant(withdrawn, parts.having)
        work = Work(parts, question, Path(folder), mine, meant)
        seen = [] if ticks is None else ticks
        yield from decide_parts(work, keep, processes, lambda n, total: seen.append((n, total)))


def _small(made: Parted) -> dict[str, list[Row]]:
    return made.world.tables | {name: [] for name in LARGE}


def at_once(made: Parted) -> Rulings:
    """The decisions of the engine that has everything in memory."""
    tables, head, request, now = asked(made.whole())
    frame, events = Frame.of(tables), Events.from_rows(tables.consent)
    return rule_tables(head, tables, frame, events, request, now)


def plain(found: Mapping[int, Verdicts]) -> dict[str, Any]:
    """Decisions about parts, one part after another, as plain values."""
    parts = [found[number] for number in sorted(found)]
    names = {*parts[0].verdicts}
    assert all({*part.verdicts} == names for part in parts)
    result: dict[str, Any] = {"codes": [], "denials": []}
    for part in parts:
        result["codes"] += [part.codes(n) for n in range(len(part.arm))]
        result["denials"] += [tuple(int(x[n]) for x in part.denials) for n in range(len(part.arm))]
    for name in ("arm", "usable", "admitted"):
        result[name] = np.concatenate([getattr(part, name) for part in parts]).tolist()
    for modality in sorted(names):
        result[f"has {modality}"] = np.concatenate([p.has[modality] for p in parts]).tolist()
        for bits in ("meeting", "people", "joined"):
            arrays = [getattr(part.verdicts[modality], bits) for part in parts]
            result[f"{bits} {modality}"] = np.concatenate(arrays).tolist()
        result[f"codes {modality}"] = [
            part.modality_codes(n, modality) for part in parts for n in range(len(part.arm))
        ]
    return result


# --- tasks of a pool, which other processes find here --------------------------------------------


def sleepy_sum(work: int, number: int) -> int:
    """Later numbers are ready sooner."""
    time.sleep(0.02 / (1 + number))
    return work + number


def refuse_three(work: int, number: int) -> int:
    if number == 3:
        raise Refused("A_CODE", "what", str(work), "do")
    return number


def divide(_: int, number: int) -> float:
    return 1 / number


def process(_: int, number: int) -> int:
    """Which process this is."""
    time.sleep(0.01)
    return os.getpid()
