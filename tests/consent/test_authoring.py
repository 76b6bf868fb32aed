"""A folder is replaced as a whole: readers find the old one or the new one."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.consent import authoring
from harness.consent.authoring import replace_folder


def says(text: str) -> Callable[[Path], Any]:
    return lambda target: (target / "file").write_text(text)


def can_exchange(folder: Path) -> bool:
    for name in ("one", "other"):
        (folder / name).mkdir()
    return authoring._exchange(folder / "one", folder / "other")


def test_there_is_no_moment_without_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not can_exchange(tmp_path):
        pytest.skip("this system cannot exchange two folders in one step")
    place, moments = tmp_path / "place", []
    replace_folder(place, says("old"))

    def watch(work: Callable[..., None]) -> Callable[..., None]:
        def watched(*paths: Any, **options: Any) -> None:
            work(*paths, **options)
            moments.append((place / "file").read_text() if place.exists() else None)

        return watched

    for name in ("rename", "rmdir", "unlink"):
        monkeypatch.setattr(os, name, watch(getattr(os, name)))
    replace_folder(place, says("new"))
    assert {*moments} == {"new"}


@pytest.mark.parametrize("exchange", [True, False])
def test_nothing_is_left_beside_the_new_folder(
    exchange: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchange:
        monkeypatch.setattr(authoring, "_exchange", lambda *_: False)
    for text in ("old", "new"):
        replace_folder(tmp_path / "place", says(text))
    assert [path.name for path in tmp_path.iterdir()] == ["place"]
    assert (tmp_path / "place" / "file").read_text() == "new"


def test_a_folder_that_cannot_be_filled_replaces_nothing(tmp_path: Path) -> None:
    replace_folder(tmp_path / "place", says("old"))
    with pytest.raises(ZeroDivisionError):
        replace_folder(tmp_path / "place", lambda target: says("new")(target) and 1 / 0)
    assert [path.name for path in tmp_path.iterdir()] == ["place"]
    assert (tmp_path / "place" / "file").read_text() == "old"
