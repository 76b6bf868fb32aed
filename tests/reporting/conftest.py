"""A realistic run directory, made of the files that the stages leave."""

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from harness.config import Config
from harness.rundir import RunDir, write_json

MANIFEST = "ab" * 32


def record(name: str, value: float | None, **fields: Any) -> dict[str, Any]:
    """One record of probes/results.json with an interval of a tenth around the value."""
    low, high = (None, None) if value is None else (value - 0.05, value + 0.05)
    plain = {"name": name, "metric": "AUC", "value": value, "ci_low": low, "ci_high": high,
             "p_value": None, "n": 48, "unit": "meeting", "primary": False, "verdict": None,
             "threshold": None, "resolved": True, "strata": []}  # fmt: skip
    return plain | fields


def probes() -> list[dict[str, Any]]:
    """Records of a run that memorised and did not leak, in the order of the format."""
    rate = "base-subtracted rate of windows"
    stratum = {"name": "k=8", "value": 0.4, "ci_low": 0.3, "ci_high": 0.5, "n": 72,
               "adapter": 0.42, "base": 0.02}  # fmt: skip
    return [
        record("membership_reference", 0.94, primary=True, verdict="FAIL", p_value=0.0005,
               threshold=0.5),
        record("membership_loss", 0.71),
        record("membership_reference_tpr", None, metric="TPR at FPR<=0.1", resolved=False,
               reason="24 non-members bound the rate at 0.13."),
        record("model_free", 0.52, metric="AUC inside series"),
        record("membership_minus_model_free", 0.42, metric="difference of AUC inside series"),
        record("extraction", 0.55, primary=True, verdict="FAIL", p_value=0.0005, threshold=0.0,
               metric="base-subtracted rate, members minus held-out", strata=[stratum]),
        record("extraction_members", 0.56, metric=rate, unit="window"),
        record("exposure_planted_16", 11.6, metric="median exposure (bits)", unit="canary", n=17),
        record("exposure_unplanted", 1.1, metric="median exposure (bits)", unit="canary"),
        record("sentinel_leak", -0.01, primary=True, verdict="PASS", p_value=0.61, threshold=0.0,
               metric="difference of reference score (nats per token)", minimum_detectable=0.04),
        record("leak_control", 1.4, metric="difference of reference score (nats per token)"),
        record("secrets_sentinel", 0.0, primary=True, verdict="INCONCLUSIVE", unit="secret",
               metric="rate of exposed secrets", ci_low=0.0, ci_high=0.05, n=66,
               reason="The control found too few.", strata=[{"name": "phone", "n": 20,
                                                              "exposed": 0}]),
    ]  # fmt: skip


def box(values: list[float]) -> dict[str, Any]:
    """Five numbers, an interval and the values themselves."""
    ordered = sorted(values)
    middle = ordered[len(ordered) // 2]
    return {"n": len(values), "median": middle, "q1": ordered[len(ordered) // 4],
            "q3": ordered[3 * len(ordered) // 4], "min": ordered[0], "max": ordered[-1],
            "ci_low": middle - 0.5, "ci_high": middle + 0.5, "values": values}  # fmt: skip


def curves() -> dict[str, Any]:
    """Every curve of the format, drawn with a fixed seed."""
    draw = random.Random(1)
    grid = [i / 24 for i in range(25)]
    scores = ("reference", 0.25, 0.94), ("loss", 0.6, 0.71), ("zlib", 0.7, 0.68), (
        "min_k", 0.65, 0.7), ("min_k_plus_plus", 0.5, 0.78), ("free", 0.95, 0.52)  # fmt: skip
    roc = [
        {"name": "model_free" if label == "free" else f"membership_{label}",
         "label": "text only, no model" if label == "free" else label, "auc": auc,
         "primary": label == "reference", "fpr": grid, "tpr": [x**power for x in grid]}
        for label, power, auc in scores
    ]  # fmt: skip
    twins = [[-math.log2(draw.random()) for _ in range(16)] for _ in range(3)]
    planted = [[min(12.0, draw.gauss(peak, 0.8)) for _ in range(16)] for peak in (4, 9, 11.8)]
    levels = [
        {"level": level, "planted": box(planted[i]), "unplanted": box(twins[i])}
        for i, level in enumerate((1, 4, 16))
    ]
    points = [
        {"k": k, "arm": arm, "adapter": net + 0.02, "base": 0.02, "net": net,
         "ci_low": max(0.0, net - 0.08), "ci_high": net + 0.08, "windows": 72, "meetings": 24}
        for k, trained in ((8, 0.3), (16, 0.52), (32, 0.66))
        for arm, net in (("member", trained), ("heldout", 0.005))
    ]  # fmt: skip
    centres = {"member": 1.5, "heldout": 0.12, "sentinel": 0.1}
    meetings = [
        {"meeting": f"m-{i:08x}", "series": f"s-{i % 12:08x}", "arm": arm,
         "score": round(draw.gauss(centre, 0.12), 3)}
        for arm, centre in centres.items() for i in range(24)
    ]  # fmt: skip
    means = {arm: {"value": centre, "ci_low": centre - 0.05, "ci_high": centre + 0.05, "n": 24}
             for arm, centre in centres.items()}  # fmt: skip
    gap = {"value": -0.02, "ci_low": -0.06, "ci_high": 0.03, "p_value": 0.7}
    arms = [
        {"arm": arm, "n": 66, "exposed": exposed, "rate": exposed / 66,
         "ci_low": max(0.0, exposed / 66 - 0.05), "ci_high": min(1.0, exposed / 66 + 0.05)}
        for arm, exposed in (("member", 60), ("heldout", 0), ("sentinel", 0))
    ]  # fmt: skip
    return {
        "roc": roc,
        "exposure": {"max_bits": 12.0, "space": 4096, "levels": levels},
        "extraction_by_k": {"suffix": 16, "points": points},
        "excluded_vs_heldout": {
            "unit": "nats per token over the base model", "meetings": meetings, "means": means,
            "difference": gap, "control": gap | {"value": 1.38, "ci_low": 1.3, "ci_high": 1.46},
        },
        "secrets": {"arms": arms},
        "verbatim": None,
    }  # fmt: skip


def results() -> dict[str, Any]:
    """probes/results.json."""
    primaries = [item["name"] for item in probes() if item["primary"]]
    counts = {"members": 24, "heldout": 24, "sentinels": 24, "windows": 216}
    return {"schema": "harness/probes/v1", "randomised": True, "manifest_sha256": MANIFEST,
            "epoch": 1, "decided_at": "2026-01-01T00:00:00Z", "primaries": primaries,
            "holm": {}, "probes": probes(), "counts": counts, "curves": curves()}  # fmt: skip


def gate() -> dict[str, Any]:
    """gate/summary.json of the demo."""
    codes = {"EXCLUDED_MODALITY": 153, "MODALITY_NOT_COVERED": 145, "HELDOUT_ARM": 24,
             "SENTINEL_ARM": 24, "CONSENT_REFUSED": 2, "MINOR": 2,
             "HOST_CONSENT_NOT_PARTICIPANT": 2, "POLICY_VERSION_SUPERSEDED": 2}  # fmt: skip
    return {"manifest_sha256": MANIFEST, "epoch": 1, "meetings_total": 108,
            "meetings_admitted": 32, "turns_total": 2243, "turns_admitted": 525,
            "by_code": codes, "corpus_root": "cd" * 32, "trust_sha256": "ef" * 32,
            "arms": {"train": 24, "heldout": 24, "sentinel": 24, "validation": 8},
            "randomised": True, "decided_at": "2026-01-01T00:00:00Z"}  # fmt: skip


def metrics() -> list[dict[str, Any]]:
    """train/metrics.jsonl: a loss that falls and a validation loss that turns."""
    draw = random.Random(0)
    return [
        {"step": step, "loss": 0.3 + 3 * math.exp(-step / 60) + draw.uniform(0, 0.2), "lr": 1e-3,
         "tokens": 500 * step, "supervised_tokens": 490 * step, "tokens_per_second": 316.6,
         "mfu": None, "peak_memory_mb": 2395.6,
         "eval_loss": 2.9 + abs(step - 87) / 200 if step % 29 == 0 else None}
        for step in range(1, 233)
    ]  # fmt: skip


def receipt() -> dict[str, Any]:
    """train/receipt.json of a clean run."""
    arms = ("train", "heldout", "sentinel", "canary", "observed")
    roots = {f"{arm}_root": f"{i:02d}" * 32 for i, arm in enumerate(arms)}
    return roots | {"equal": True, "tokens": 111776, "dropped": 0, "masked": 0,
                    "manifest_sha256": MANIFEST, "epoch": 1, "base_sha256": "12" * 32}  # fmt: skip


def fill(folder: Path) -> None:
    """Write the files of all stages below a run directory."""
    for name in ("gate", "train", "probes"):
        (folder / name).mkdir(exist_ok=True)
    write_json(folder / "gate" / "summary.json", gate())
    write_json(folder / "train" / "receipt.json", receipt())
    write_json(folder / "probes" / "results.json", results())
    lines = "".join(json.dumps(row) + "\n" for row in metrics())
    (folder / "train" / "metrics.jsonl").write_text(lines)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A finished run directory with tracking off."""
    config = Config(name="demo", run_dir=str(tmp_path / "run"))
    config.tracking.mode = "off"
    made = RunDir(tmp_path / "run", config)
    fill(made.path)
    return made
