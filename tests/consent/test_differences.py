"""Two epochs in parts are compared as their rows would be, and nothing is forgotten unseen."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consent.conftest import World
from harness.consent.authoring import batches, trial_manifest
from harness.consent.columns import to_arrow
from harness.consent.differences import differences, first_forgotten
from harness.consent.head import TABLES, Tables
from harness.consent.layout import lay_out
from harness.consent.manifest import Manifest
from harness.consent.parts import LARGE, PartRows, Parts
from harness.consent.records import ConsentEvent

QUICK = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@QUICK
@given(data=st.data())
def test_the_first_event_that_is_forgotten_is_found(
    data: st.DataObject, shared_world: World
) -> None:
    (some, *_) = shared_world.draft.tables.consent
    people = st.sampled_from(["0" * 32, "7" * 32, "f" * 32])
    keys = data.draw(st.lists(people, min_size=1, max_size=8))
    old = [replace(some, seq=n, event_id=f"e{n}", subject_key=key) for n, key in enumerate(keys)]
    kept = [event for event in old if data.draw(st.booleans()) or data.draw(st.booleans())]
    changes = [{}, {}, {}, {"purposes": ("other",)}, {"retroactive": not some.retroactive}]
    new = [replace(event, **data.draw(st.sampled_from(changes))) for event in kept]
    new += [replace(some, seq=99, event_id="e99", subject_key="3" * 32)] * data.draw(st.booleans())
    parts, step = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.consent.layout.EVENTS_A_PART", -(-len(new) // parts) or 1)
        sources = dict.fromkeys(LARGE, list[pa.Table]) | {
            "meetings": lambda: [
                to_arrow(TABLES["meetings"][0], shared_world.draft.tables.meetings)
            ],
            "consent": lambda: [to_arrow(ConsentEvent, new)],
        }
        log = Parts(Path(name), lay_out(sources, Path(name)))
        table = to_arrow(ConsentEvent, old)
        found = first_forgotten([table[n : n + step] for n in range(0, len(old), step)], log)
    there = {event.event_id: event for event in new}
    wanted = next((n for n, e in enumerate(old, 1) if there.get(e.event_id) != e), None)
    assert found == wanted


CHANGED: dict[str, dict[str, Any]] = {
    "meetings": {"tags": ("hr",)}, "participants": {"role": "guest", "subject_key": None},
    "content": {"turns": 9}, "consent": {"retroactive": True}, "split": {"arm": "train"},
}  # fmt: skip


def edited(data: st.DataObject, tables: Tables) -> Tables:
    """Some rows left out, some changed, and some of new meetings added."""
    fates = st.sampled_from(["kept", "kept", "kept", "gone", "changed", "twin"])
    found: dict[str, tuple[Any, ...]] = {}
    for name in LARGE:
        rows: list[Any] = []
        for row in getattr(tables, name):
            match data.draw(fates):
                case "kept":
                    rows.append(row)
                case "changed":
                    rows.append(replace(row, **CHANGED[name]))
                case "twin":
                    key = TABLES[name][1][0]
                    rows += [row, replace(row, **{key: f"{getattr(row, key)}-2"})]
        found[name] = tuple(rows)
    return replace(tables, **found)


def in_parts(data: st.DataObject, manifest: Manifest, folder: Path) -> Manifest:
    tables = manifest.tables
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MEETINGS_A_PART", "EVENTS_A_PART"):
            patch.setattr(f"harness.consent.layout.{name}", data.draw(st.integers(1, 4)))
        sources = {n: lambda n=n: batches(n, getattr(tables, n)) for n in LARGE}
        folder.mkdir()
        parts = Parts(folder, lay_out(sources, folder))
    rows = {name: PartRows(parts, name) for name in LARGE}
    return replace(manifest, tables=replace(tables, **rows), parts=parts)


@QUICK
@given(data=st.data())
def test_parts_differ_as_their_rows_do(data: st.DataObject, shared_world: World) -> None:
    draft, now = shared_world.draft, shared_world.now
    tables = [edited(data, draft.tables) for _ in range(2)]
    old, new = (trial_manifest(replace(draft, tables=found), now) for found in tables)
    with TemporaryDirectory() as name:
        folder = Path(name)
        parted = [in_parts(data, old, folder / "old"), in_parts(data, new, folder / "new")]
        assert differences(*parted) == differences(old, new)
        assert differences(old, parted[1]) == differences(old, new)
