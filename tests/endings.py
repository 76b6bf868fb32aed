"""What two equal trainings agree on, for tests that disturb one of them."""

import json
import shutil
from pathlib import Path
from typing import Any

TIMINGS = ("tokens_per_second", "supervised_tokens_per_second", "mfu", "peak_memory_mb")


def ends(run_dir: Path) -> tuple[bytes, list[dict[str, Any]], dict[str, Any]]:
    """Adapter, metrics without timings, receipt."""
    lines = (run_dir / "train" / "metrics.jsonl").read_text().splitlines()
    metrics = [json.loads(line) for line in lines]
    for line in metrics:
        for key in TIMINGS:
            del line[key]
    receipt = json.loads((run_dir / "train" / "receipt.json").read_text())
    return (run_dir / "adapter" / "adapter_model.safetensors").read_bytes(), metrics, receipt


def with_key_of(undisturbed: Path, run_dir: Path) -> Path:
    """A fresh run directory under the same audit key, so that receipts can be compared."""
    (run_dir / "private").mkdir(parents=True)
    shutil.copy(undisturbed / "private" / "audit.key", run_dir / "private" / "audit.key")
    return run_dir
