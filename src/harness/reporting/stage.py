"""The report stage: report.html, and the same numbers in the run's wandb record."""

from typing import Any

from harness.config import Config
from harness.reporting import html, inputs
from harness.reporting.inputs import Inputs
from harness.rundir import Attempt, RunDir, write_bytes
from harness.tracking import Tracker, Value


def run(config: Config, run: RunDir, attempt: Attempt) -> dict[str, Any]:
    """Write ``report.html`` from what earlier stages left in the run directory.

    Returns:
        ``{"report": path}``; the command prints it.

    Raises:
        Refused: ``RUN_EMPTY`` or ``RUN_FILE``; see :func:`harness.reporting.inputs.read`.
    """
    found = inputs.read(run)
    path = run.file("report.html")
    page = html.render(found).encode()
    run.publish(attempt)
    write_bytes(path, page)
    with Tracker(run) as tracker:
        tracker.summary(numbers(found))
    return {"report": str(path)}


def numbers(found: Inputs) -> dict[str, Value]:
    """Every figure of the report under the key that wandb shows: ``probe/NAME/value`` and so on."""
    table: dict[str, Value] = {}
    for record in (found.results or {}).get("probes", []):
        for key in ("value", "ci_low", "ci_high", "p_value", "n", "threshold", "verdict"):
            table[f"probe/{record['name']}/{key}"] = record.get(key)
    for name, value in (found.gate or {}).items():
        if isinstance(value, int):
            table[f"gate/{name}"] = value
    for code, count in (found.gate or {}).get("by_code", {}).items():
        table[f"gate/by_code/{code}"] = count
    for name in ("equal", "tokens", "dropped", "masked", "train_root", "observed_root"):
        table[f"receipt/{name}"] = (found.receipt or {}).get(name)
    return table
