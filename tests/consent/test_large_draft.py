"""Drafts with large tables in Parquet: what is refused where, and what they are signed to."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from consent.conftest import World
from harness.consent import authoring, large_draft
from harness.consent.authoring import lines, write_manifest
from harness.consent.columns import to_arrow
from harness.consent.drafting import TERMS, Terms, lint, open_draft
from harness.consent.head import TABLES
from harness.consent.parts import LARGE, parts_of
from harness.consent.records import to_json
from harness.errors import Refused

Edit = Callable[[dict[str, pa.Table]], None]


def written(world: World, folder: Path, edit: Edit = lambda tables: None) -> Path:
    """A draft of the world whose large tables are Parquet."""
    folder.mkdir()
    draft = world.draft
    terms = Terms(draft.issuer, draft.scope, draft.defaults, draft.split)
    (folder / TERMS).write_text(json.dumps(to_json(terms)))
    for name in TABLES.keys() - {*LARGE}:
        (folder / f"{name}.jsonl").write_bytes(lines(getattr(draft.tables, name)))
    tables = {n: to_arrow(TABLES[n][0], getattr(draft.tables, n)) for n in LARGE}
    edit(tables)
    for name, rows in tables.items():
        pq.write_table(rows, folder / f"{name}.parquet")
    return folder


def cell(table: str, column: str, row: int, value: Any) -> Edit:
    """Change one cell."""

    def edit(tables: dict[str, pa.Table]) -> None:
        rows = tables[table]
        values = rows.column(column).to_pylist()
        values[row] = value
        place = rows.column_names.index(column)
        field = rows.schema.field(column).with_nullable(True)
        array = pa.array(values, field.type)
        tables[table] = rows.set_column(place, field, array)

    return edit


def twice(tables: dict[str, pa.Table]) -> None:
    tables["meetings"] = pa.concat_tables([tables["meetings"], tables["meetings"][:1]])


def without_column(tables: dict[str, pa.Table]) -> None:
    tables["split"] = tables["split"].drop_columns(["arm"])


def kind(table: str, column: str, type_: pa.DataType, values: Any = None) -> Edit:
    """Give a column another type, with values that fit."""

    def edit(tables: dict[str, pa.Table]) -> None:
        rows = tables[table]
        array = rows.column(column).cast(type_) if values is None else pa.array(
            [values] * rows.num_rows, type_)  # fmt: skip
        place = rows.column_names.index(column)
        tables[table] = rows.set_column(place, pa.field(column, type_, nullable=False), array)

    return edit


REFUSED: dict[str, tuple[Edit, str, str]] = {
    "word": (cell("participants", "role", 4, "chief"), "SCHEMA_INVALID",
             "participants.parquet row 5 key role"),
    "null": (cell("consent", "state", 1, None), "SCHEMA_INVALID", "consent.parquet"),
    "naive times": (kind("consent", "event_time", pa.timestamp("us")), "SCHEMA_INVALID",
                    "consent.parquet"),
    "times as numbers": (kind("meetings", "start", pa.int64()), "SCHEMA_INVALID",
                         "meetings.parquet"),
    "ids as numbers": (kind("meetings", "meeting_id", pa.int64(), 7), "SCHEMA_INVALID",
                       "meetings.parquet"),
    "flags as numbers": (kind("consent", "retroactive", pa.int8(), 1), "SCHEMA_INVALID",
                         "consent.parquet"),
    "column": (without_column, "SCHEMA_INVALID", "split.parquet"),
    "twice": (twice, "DUPLICATE_ID", "meetings-00000.parquet row 2 key meeting_id"),
    "reference": (cell("content", "meeting_id", 0, "m9"), "UNKNOWN_REFERENCE",
                  "content-00000.parquet row 3 key meeting_id"),
    "scope": (cell("consent", "scope.meetings", 0, ["m9"]), "UNKNOWN_REFERENCE",
              "consent-00000.parquet seq 0 key scope"),
    "sequence": (cell("consent", "seq", 0, 99), "EVENT_SEQUENCE_GAP", "consent-00000.parquet"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_off_is_refused_as_it_would_be_later(
    name: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_draft, "_ROWS_AT_ONCE", 2)
    edit, code, where = REFUSED[name]
    folder = written(world, tmp_path / "draft", edit)
    errors, warnings = lint(folder, world.now)
    assert ([error.code for error in errors], warnings) == ([code], [])
    assert errors[0].where.startswith(where)
    with pytest.raises(Refused, match=code), open_draft(folder, world.now, tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".draft-")] == []


@pytest.mark.parametrize("kind", ["text", "jsonl"])
def test_a_table_of_another_kind_is_refused(kind: str, world: World, tmp_path: Path) -> None:
    folder = written(world, tmp_path / "draft")
    path = folder / ("split.parquet" if kind == "text" else "split.jsonl")
    path.write_bytes(lines(world.draft.tables.split))
    with pytest.raises(Refused, match="SCHEMA_INVALID") as error, open_draft(folder, world.now):
        pass
    assert error.value.where == path.name


@pytest.mark.parametrize(("name", "make", "code"), [
    ("consents-2.parquet", Path.touch, "SCHEMA_INVALID"),
    ("aliases.parquet", Path.touch, "SCHEMA_INVALID"),
    ("consent-2.parquet", os.mkfifo, "DRAFT_NOT_REGULAR"),
    ("consent-2.parquet", lambda path: path.symlink_to("consent.parquet"), "DRAFT_NOT_REGULAR"),
])  # fmt: skip
def test_no_other_file_is_passed_over_or_followed(
    name: str, make: Callable[[Path], None], code: str, world: World, tmp_path: Path
) -> None:
    folder = written(world, tmp_path / "draft")
    make(folder / name)
    with pytest.raises(Refused, match=code) as error, open_draft(folder, world.now):
        pass
    assert error.value.where == name


@pytest.mark.parametrize("edit", [
    kind("meetings", "start", pa.timestamp("ns", "Europe/Berlin")),
    kind("meetings", "platform", pa.dictionary(pa.int8(), pa.string())),
    kind("meetings", "tags", pa.large_list(pa.large_string())),
    kind("content", "turns", pa.uint16()), kind("consent", "subject_key", pa.binary()),
])  # fmt: skip
def test_another_width_or_coding_is_read_as_the_same(
    edit: Edit, world: World, tmp_path: Path
) -> None:
    with open_draft(written(world, tmp_path / "draft", edit), world.now) as draft:
        for name in LARGE:
            assert {*getattr(draft.tables, name)} == {*getattr(world.draft.tables, name)}


def test_it_is_signed_to_the_parts_that_lines_would_be(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, until = written(world, tmp_path / "draft"), world.now + timedelta(days=1)
    with open_draft(folder, world.now, tmp_path) as draft:
        assert parts_of(draft.tables) is not None
        large = write_manifest(tmp_path / "large", draft, [world.key], world.now, until)
    monkeypatch.setattr(authoring, "JSONL_ROWS", 0)
    small = write_manifest(tmp_path / "small", world.draft, [world.key], world.now, until)
    assert large == small
    found = [lint(path, world.now) for path in (folder, tmp_path / "large")]
    assert [*map(str, found[0][1])] == [*map(str, found[1][1])]
    assert [errors for errors, _ in found] == [[], []]
    files = {path.name: path.read_bytes() for path in (tmp_path / "large").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "small").iterdir()}


def test_some_tables_may_be_lines(world: World, tmp_path: Path) -> None:
    folder = written(world, tmp_path / "draft")
    (folder / "split.parquet").unlink()
    (folder / "split.jsonl").write_bytes(lines(world.draft.tables.split))
    with open_draft(folder, world.now) as draft:
        assert {*draft.tables.split} == {*world.draft.tables.split}
        changed = replace(draft.tables, content=())
        assert parts_of(changed) is None  # else the parts would be written, not what was changed
