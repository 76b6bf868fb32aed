"""The published schema is that of the code, and the reader agrees with it."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from harness.consent.head import TABLES
from harness.consent.records import parse, to_json
from harness.errors import Refused

ROOT = Path(__file__).parents[2]
World = Any


def published() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "docs" / "manifest.schema.json").read_text())
    return found


def test_the_published_schema_is_that_of_the_code() -> None:
    path = ROOT / "scripts" / "manifest_schema.py"
    spec = importlib.util.spec_from_file_location("manifest_schema", path)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.schema_text() == (ROOT / "docs" / "manifest.schema.json").read_text()


@pytest.mark.parametrize("table", TABLES)
def test_every_row_has_just_the_properties_of_the_schema(table: str, shared_world: World) -> None:
    definition = published()["$defs"][table]
    assert definition["additionalProperties"] is False
    for row in getattr(shared_world.draft.tables, table):
        value = to_json(row)
        assert [*value] == definition["required"]
        for key in value:
            with pytest.raises(Refused, match="SCHEMA_INVALID"):
                parse(TABLES[table][0], {k: v for k, v in value.items() if k != key}, "row")
