"""What a report is made of: files of earlier stages, each of which may be missing."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import Refused
from harness.rundir import RunDir, read_json


@dataclass(frozen=True, slots=True)
class Inputs:
    """Contents of a run directory; None, or empty, where a stage has not run.

    Attributes:
        record: run.json.
        alpha: false-positive rate at which the true-positive rate is read.
        gate: gate/summary.json.
        metrics: rows of train/metrics.jsonl, in order.
        receipt: train/receipt.json.
        results: probes/results.json.
    """

    record: dict[str, Any]
    alpha: float
    gate: dict[str, Any] | None
    metrics: tuple[dict[str, Any], ...]
    receipt: dict[str, Any] | None
    results: dict[str, Any] | None


def read(run: RunDir) -> Inputs:
    """Read what the earlier stages left.

    Raises:
        Refused: ``RUN_EMPTY`` when none has left anything; ``RUN_FILE`` for a broken file.
    """
    folder = run.path
    found = Inputs(
        run.record,
        run.config.probe.alpha_fpr,
        _optional(folder / "gate" / "summary.json"),
        _rows(folder / "train" / "metrics.jsonl"),
        _optional(folder / "train" / "receipt.json"),
        _optional(folder / "probes" / "results.json"),
    )
    if not (found.gate or found.metrics or found.receipt or found.results):
        raise Refused("RUN_EMPTY", "no stage has left anything to report", folder.name,
                      "run gate, train or probe first")  # fmt: skip
    return found


def _optional(path: Path) -> dict[str, Any] | None:
    return dict(read_json(path)) if path.exists() else None


def _rows(path: Path) -> tuple[dict[str, Any], ...]:
    if not path.exists():
        return ()
    try:
        return tuple(json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    except ValueError:
        raise Refused("RUN_FILE", "not readable as JSON lines", path.name,
                      "run that stage again") from None  # fmt: skip
