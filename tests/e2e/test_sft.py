"""Training on pairs by the shipped command: QMSum, a tiny model, all four stages."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.meetings.formats import READERS

Finished = Callable[..., tuple[int, str, str]]
QMSUM = Path(__file__).parents[2].parent / "shared" / "data" / "qmsum"
SERIES = ("ES2002", "ES2003", "ES2005", "ES2010", "IS1004")
SFT = ["experiment=qmsum-sft", f"data.series=[{','.join(SERIES)}]", f"data.root={QMSUM}",
       "corpus.row_tokens=1800", "corpus.meeting_tokens=300", "train.epochs=1",
       "probe.resamples=50", "probe.prefixes=[4,8]", "probe.suffix=4"]  # fmt: skip


@pytest.mark.skipif(not QMSUM.is_dir(), reason=f"QMSum is not at hand: no {QMSUM}")
def test_a_run_on_pairs_ends_with_an_equal_receipt_and_no_text_outside_private(
    finished: Finished, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    code, out, err = finished("run", run, *SFT)
    assert code == 0, err
    receipt = json.loads((run / "train" / "receipt.json").read_text())
    assert receipt["equal"] is True
    assert receipt["leaves"]["template"] == 4
    last = json.loads((run / "train" / "metrics.jsonl").read_text().splitlines()[-1])
    assert 0 < last["supervised_tokens"] < last["tokens"] == receipt["tokens"]
    counts = json.loads((run / "probes" / "results.json").read_text())["counts"]
    assert counts["documents"] > counts["members"] + counts["heldout"] > 0
    texts = {
        text
        for series in SERIES
        for path in QMSUM.glob(f"{series}*.json")
        for pair in READERS["qmsum-pairs"](path.read_bytes())
        for text in (pair.text[:60], pair.text[-60:])
    }
    shown = [path for path in run.rglob("*") if path.is_file() and "private" not in path.parts]
    for said in (out, err, *(path.read_bytes().decode("utf-8", "replace") for path in shown)):
        assert not any(text in said for text in texts)


def test_without_what_it_needs_the_task_is_refused_in_one_line(
    finished: Finished, tmp_path: Path
) -> None:
    code, _, err = finished("run", tmp_path / "run", "corpus.task=sft")
    assert code == 2
    assert err.startswith("harness: CONFIG_VALUE")
    assert len(err.strip().splitlines()) == 1
    assert "job.modalities" in err
