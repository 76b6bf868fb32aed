"""Packing: every document once, no row too full, nearly no waste."""

import math
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config import Config
from harness.consent import gate
from harness.consent.sources import prepare
from harness.corpus.datamodule import MeetingData
from harness.corpus.packing import epoch_order, pack
from harness.errors import Refused
from harness.models.tokenizer import TextTokenizer

QMSUM = Path(__file__).parents[2].parent / "shared" / "data" / "qmsum"
SERIES = ["ES2002", "ES2003", "ES2005", "ES2008", "ES2010", "ES2012", "ES2014", "IS1004", "IS1008",
          "TS3007"]  # fmt: skip

lengths = st.lists(st.integers(1, 64), min_size=1, max_size=200)


@given(lengths)
def test_every_document_stands_in_exactly_one_row(sizes: list[int]) -> None:
    rows = pack(sizes, 64)
    assert sorted(i for row in rows for i in row) == list(range(len(sizes)))
    assert all(row and sum(sizes[i] for i in row) <= 64 for row in rows)


@given(lengths)
def test_no_row_would_have_held_the_documents_of_another(sizes: list[int]) -> None:
    """Best fit opens a row only when no other has room, so at most one is half empty or less."""
    loads = [sum(sizes[i] for i in row) for row in pack(sizes, 64)]
    assert sum(load <= 32 for load in loads) <= 1


def test_short_documents_fill_the_gaps_to_one_percent() -> None:
    sizes = [350 + i % 100 for i in range(60)] + [15] * 900
    assert len(pack(sizes, 512)) <= 1.01 * -(-sum(sizes) // 512) + 1


def test_a_document_longer_than_a_row_is_refused_by_name() -> None:
    with pytest.raises(Refused, match=r"DOCUMENT_TOO_LONG.*65.*corpus\.row_tokens"):
        pack([65], 64)


@given(st.integers(1, 300), st.integers(0, 2**32), st.integers(0, 50))
def test_the_order_of_an_epoch_is_a_permutation_and_a_function_of_seed_and_epoch(
    rows: int, seed: int, epoch: int
) -> None:
    order = epoch_order(rows, seed, epoch)
    assert sorted(order) == list(range(rows))
    assert order == epoch_order(rows, seed, epoch)
    if rows > 20:
        assert order != epoch_order(rows, seed, epoch + 1)


@pytest.mark.parametrize("source", ["demo", "qmsum"])
def test_real_corpora_fill_their_rows(
    source: str, tokenizer: TextTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if source == "qmsum" and not QMSUM.is_dir():
        pytest.skip(f"QMSum is not at hand: no {QMSUM}")
    monkeypatch.delenv("HARNESS_TRUST", raising=False)
    config = Config()
    config.data.source, config.data.work = source, str(tmp_path)
    if source == "qmsum":
        config.data.root, config.data.series = str(QMSUM), SERIES
    permission = gate.admit(prepare(config.data), config, datetime.now(UTC))
    data = MeetingData(permission, tokenizer, config)
    tokens = sum(len(document) for document in data.steps.documents)
    rows, row = len(data.steps.rows), config.corpus.row_tokens
    assert rows <= math.ceil(1.01 * -(-tokens // row))
    assert tokens >= 0.97 * rows * row
    assert sum(len(d) == row for d in data.meetings) > 40  # full documents are never split
