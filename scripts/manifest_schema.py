"""Write docs/manifest.schema.json from the record classes; a test keeps the two equal."""

import json
from pathlib import Path

from harness.consent.head import TABLES, Head
from harness.consent.schema import json_schema


def schema_text() -> str:
    """The document as it is written."""
    records = {name: kind for name, (kind, _) in TABLES.items()}
    return json.dumps(json_schema({"MANIFEST": Head, **records}), indent=1) + "\n"


if __name__ == "__main__":
    target = Path(__file__).resolve().parents[1] / "docs" / "manifest.schema.json"
    target.write_text(schema_text(), encoding="utf-8")
