"""Lay large tables out in parts: any number of rows in any order, a part in memory at a time."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from harness.consent.columns import Numbers, schema_of
from harness.consent.head import TABLES, FileEntry
from harness.consent.parquet import write_part
from harness.consent.parts import BY_MEETING, part_name, part_of
from harness.digest import sha256_hex

MEETINGS_A_PART = 25_000
EVENTS_A_PART = 250_000
Source = Callable[[], Iterator[pa.Table]]
"""Gives the rows of a table, some at a time; it is asked twice for meetings."""


def lay_out(sources: Mapping[str, Source], folder: Path) -> dict[str, tuple[FileEntry, ...]]:
    """Write the parts of the large tables.

    Args:
        sources: table name to its rows, each table of the columns of its record.
        folder: where the parts are written.

    Returns:
        Table name to its files, in the order of parts.
    """
    bounds = _bounds(sources["meetings"])
    entries = {
        name: _scatter(
            name, sources[name](), folder, len(bounds) + 1,
            lambda rows: pc.search_sorted(bounds, _ids(rows), side="right").to_numpy(),
        )
        for name in BY_MEETING
    }  # fmt: skip
    events = sum(rows.num_rows for rows in sources["consent"]())
    parts = max(1, -(-events // EVENTS_A_PART))
    entries["consent"] = _scatter(
        "consent", sources["consent"](), folder, parts,
        lambda rows: part_of(rows.column("subject_key").combine_chunks(), parts),
    )  # fmt: skip
    return entries


def _bounds(meetings: Source) -> pa.Array:
    """The first id of each part but the first."""
    ids = pa.chunked_array([_ids(rows) for rows in meetings()], pa.string()).combine_chunks()
    return ids.take(pc.sort_indices(ids))[MEETINGS_A_PART::MEETINGS_A_PART]


def _ids(rows: pa.Table) -> pa.Array:
    return rows.column("meeting_id").combine_chunks()


def _scatter(
    table: str, batches: Iterable[pa.Table], folder: Path, parts: int,
    place: Callable[[pa.Table], Numbers],
) -> tuple[FileEntry, ...]:  # fmt: skip
    kind = TABLES[table][0]
    schema = schema_of(kind)
    with tempfile.TemporaryDirectory(prefix=".parts-", dir=folder) as scratch:
        piles = [Path(scratch) / f"{part}.arrow" for part in range(parts)]
        writers = [pa.ipc.new_stream(str(pile), schema) for pile in piles]
        for rows in batches:
            of = place(rows)
            turn = np.argsort(of, kind="stable")
            ends = np.searchsorted(of[turn], np.arange(parts + 1))
            for part in np.unique(of):
                chosen = pa.array(turn[ends[part] : ends[part + 1]])
                writers[part].write_table(rows.cast(schema).take(chosen))
        for writer in writers:
            writer.close()
        made = []
        for part, pile in enumerate(piles):
            with pa.OSFile(str(pile)) as file:
                made.append(_write(table, part, pa.ipc.open_stream(file).read_all(), folder))
        return tuple(made)


def _write(table: str, part: int, rows: pa.Table, folder: Path) -> FileEntry:
    keys = _CONSENT_ORDER if table == "consent" else ("meeting_id",)
    turn = pc.sort_indices(rows, sort_keys=[(key, "ascending") for key in keys])
    data, name = write_part(TABLES[table][0], rows.take(turn)), part_name(table, part)
    (folder / name).write_bytes(data)
    return FileEntry(name, sha256_hex(data), len(data), rows.num_rows)


_CONSENT_ORDER = ("subject_key", "event_time", "seq")
