"""Admitted content is what was signed, a plain file below the store, and wholly read."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.consent.content import read_turns
from harness.consent.records import ContentRow
from harness.errors import Refused

World = Any


def row_of(world: World, **changes: Any) -> ContentRow:
    row: ContentRow = world.draft.tables.content[0]
    return replace(row, **changes)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"path": "/etc/passwd"}, "CONTENT_PATH_ESCAPE"),
        ({"path": "../store/m0/turns.jsonl"}, "CONTENT_PATH_ESCAPE"),
        ({"path": "m0/./turns.jsonl"}, "CONTENT_PATH_ESCAPE"),
        ({"path": "m0\\turns.jsonl"}, "CONTENT_PATH_ESCAPE"),
        ({"path": "m0/none"}, "CONTENT_FILE_MISSING"),
        ({"path": "m0"}, "CONTENT_NOT_REGULAR"),
        ({"bytes": 3}, "CONTENT_TOO_LARGE"),
        ({"sha256": "0" * 64}, "CONTENT_HASH_MISMATCH"),
        ({"format": "docx"}, "CONTENT_FORMAT_UNKNOWN"),
        ({"format": "qmsum-json"}, "PARSE_REFUSED"),
        ({"turns": 3}, "CONTENT_TURNS_MISMATCH"),
    ],
)
def test_refuses_what_the_row_does_not_say(
    changes: dict[str, Any], code: str, shared_world: World
) -> None:
    store = shared_world.source.store
    assert len(read_turns(store, row_of(shared_world))) == 2
    with pytest.raises(Refused, match=f"^{code}: "):
        read_turns(store, row_of(shared_world, **changes))


@pytest.mark.parametrize("place", ["file", "folder", "pipe"])
def test_follows_no_link_and_waits_for_no_pipe(place: str, world: World, tmp_path: Path) -> None:
    store = world.source.store
    if place == "folder":
        (store / "m0").rename(tmp_path / "moved")
        (store / "m0").symlink_to(tmp_path / "moved")
    elif place == "file":
        (store / "m0/turns.jsonl").rename(tmp_path / "moved")
        (store / "m0/turns.jsonl").symlink_to(tmp_path / "moved")
    else:
        (store / "m0/turns.jsonl").unlink()
        os.mkfifo(store / "m0/turns.jsonl")
    with pytest.raises(Refused, match="CONTENT_NOT_REGULAR"):
        read_turns(store, row_of(world))
