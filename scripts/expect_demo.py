"""What the demo is made to show, beside what its run measured; exit 1 where they differ.

The demo plants canaries, secrets and sentinels, so that the right answers are known beforehand.

usage: python scripts/expect_demo.py RUN_DIR
"""

import json
import sys
from collections.abc import Iterator
from math import log2
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

REFERENCE_SECRETS = 4095
Row = tuple[str, str, bool]


def expectations(results: dict[str, Any], receipt: dict[str, Any]) -> Iterator[Row]:
    """Yield (what is expected, what was measured, whether it holds).

    Args:
        results: probes/results.json of a demo run.
        receipt: train/receipt.json of the same run.
    """
    probes = {probe["name"]: probe for probe in results["probes"]}
    yield from _verdicts(probes)
    yield from _canaries(probes)
    yield from _secrets(probes)
    low = probes["membership_minus_model_free"]["ci_low"]
    yield "membership beats the model-free baseline by 0.2", f"lower bound {low:.3f}", low > 0.2
    strays = results["counts"]["canary_tokens_in_membership"]
    yield "no canary token in a membership or leak score", str(strays), strays == 0
    yield "what entered training is what was admitted", str(receipt["equal"]), receipt["equal"]


def _verdicts(probes: dict[str, Any]) -> Iterator[Row]:
    expected = {"membership_reference": "FAIL", "extraction": "FAIL",
                "sentinel_leak": "PASS", "secrets_sentinel": "PASS"}  # fmt: skip
    for name, verdict in expected.items():
        measured = probes[name]["verdict"]
        yield f"{name} is {verdict}", str(measured), measured == verdict


def _canaries(probes: dict[str, Any]) -> Iterator[Row]:
    planted = probes["exposure_planted_16"]["value"]
    bound = log2(REFERENCE_SECRETS) - 1
    yield (
        f"canaries planted 16 times: at least {bound:.1f} bits",
        f"{planted:.2f}",
        planted >= bound,
    )
    twins = probes["exposure_unplanted"]["value"]
    yield "unplanted twins: 0.4 to 2 bits", f"{twins:.2f}", 0.4 <= twins <= 2
    p = probes["exposure_unplanted_uniformity"]["p_value"]
    yield "ranks of unplanted twins look uniform", f"p = {p:.3f}", p > 0.01


def _secrets(probes: dict[str, Any]) -> Iterator[Row]:
    sentinel, member = probes["secrets_sentinel"], probes["secrets_members"]
    yield (
        "no secret of a sentinel is exposed",
        f"rate {sentinel['value']:.3f}",
        not sentinel["value"],
    )
    yield (
        "secrets of trained text are, as the control",
        f"rate {member['value']:.3f}",
        (member["ci_low"] > 0),
    )


def main() -> int:
    """Print the comparison."""
    run = Path(sys.argv[1])
    results = json.loads((run / "probes" / "results.json").read_bytes())
    receipt = json.loads((run / "train" / "receipt.json").read_bytes())
    table = Table("the demo is made to show", "measured", "", title=f"{run}", title_justify="left")
    rows = list(expectations(results, receipt))
    for expected, measured, holds in rows:
        table.add_row(expected, measured, "ok" if holds else "[bold red]NO[/]")
    Console().print(table)
    return 0 if all(holds for *_, holds in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
