"""Files for readers: the shared fixtures, and bytes that are read as a stream."""

import io
from pathlib import Path
from typing import Any

import pytest

from harness.meetings.model import Turn

FIXTURES = Path(__file__).parents[3].parent / "shared" / "data" / "transcript_fixtures"


def fixture(name: str) -> bytes:
    if not FIXTURES.is_dir():
        pytest.skip(f"no {FIXTURES}")
    return (FIXTURES / name).read_bytes()


def turns_of(reader: Any, data: bytes) -> list[Turn]:
    """All turns that a reader finds in a file."""
    return list(reader.read(io.BytesIO(data)))
