"""The probe stage calls members only what the receipt says was trained."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from peft import PeftModel

from factories import AUTHORITY, meeting, tiny_config
from harness.commitments.receipt import Committer, KeptOut, Observer, arm_leaves, receipt
from harness.corpus.canaries import candidates, space
from harness.corpus.documents import Document
from harness.errors import Refused
from harness.models.tokenizer import TextTokenizer
from harness.probes.audit import Claim
from harness.probes.exposure import Exposed, measure
from harness.probes.extraction import cut_windows, decide
from harness.probes.suite import PRIMARIES, Measured, _results, _score_arm, check_receipt
from harness.rundir import RunDir

COMMITTER = Committer(b"k" * 32)
KEPT: KeptOut = {"heldout": (("h", "1"),), "sentinel": (("s", "2"),)}


def made(members: list[Document]) -> dict[str, Any]:
    observer = Observer(COMMITTER, 1, 2, COMMITTER.documents(members))
    return receipt(COMMITTER, arms(members), [], observer) | {"base_sha256": "b"}


def arms(members: list[Document], kept_out: KeptOut = KEPT) -> dict[str, set[bytes]]:
    return arm_leaves(COMMITTER, members, kept_out)


def listed(members: list[Document]) -> dict[str, list[str]]:
    return {arm: sorted(leaf.hex() for leaf in leaves) for arm, leaves in arms(members).items()}


def test_the_training_itself_passes(trained: list[Document]) -> None:
    check_receipt(made(trained), listed(trained), arms(trained), "b")
    fewer = arms(trained[1:], {"heldout": (("h", "1"),)})  # not all agreed to being measured
    check_receipt(made(trained), listed(trained), fewer, "b")


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("train_root", {"trained": 1}),
        ("train_root", {"listed": 1}),
        ("heldout_root", {"kept_out": {"heldout": (("s", "2"),), "sentinel": (("s", "2"),)}}),
        ("sentinel_root", {"kept_out": {"heldout": (("h", "1"),), "sentinel": (("h", "1"),)}}),
        ("base_sha256", {"base_sha256": "c"}),
        ("equal", {"receipt": {"equal": False}}),
        ("train_root", {"receipt": {"train_root": None}}),
    ],
)
def test_anything_else_is_refused_by_name(
    trained: list[Document], key: str, change: dict[str, Any]
) -> None:
    then = trained[change.get("trained", 0) :]
    written = made(then) | change.get("receipt", {})
    leaves = listed(then[change.get("listed", 0) :])
    now = arms(trained, change.get("kept_out", KEPT))
    with pytest.raises(Refused, match=f"TRAINING_DIFFERS.*{key}"):
        check_receipt(written, leaves, now, change.get("base_sha256", "b"))


@pytest.mark.parametrize(
    ("arms", "longest"),
    [({"member": 6}, 8), ({"member": 6, "heldout": 6}, 8), ({"member": 1, "sentinel": 1}, 8),
     ({"member": 4, "heldout": 4, "sentinel": 4}, 5000)],
)  # fmt: skip
def test_missing_arms_and_short_documents_give_nulls_and_no_verdict(
    memorised: PeftModel, tokenizer: TextTokenizer, tmp_path: Path, arms: dict[str, int],
    longest: int,
) -> None:  # fmt: skip
    config = tiny_config()
    config.run_dir, config.corpus.row_tokens = str(tmp_path), 96
    config.probe.resamples, config.probe.suffix, config.probe.prefixes = 30, 4, [4, longest]
    run, measured = RunDir(tmp_path, config), Measured()
    for arm, count in arms.items():
        spoken = [meeting(f"{i}{arm}") for i in range(count)]
        _score_arm(measured, arm, spoken, memorised, tokenizer, config, run)
    texts = [(arm, item.document) for arm, item in measured.documents]
    windows = cut_windows(texts, config.probe)
    measured.windows = decide(memorised, windows, config.probe, measured.cost)
    canaries, secrets = candidates(config.canaries, tokenizer), space(tokenizer)
    measured.exposed = measure(memorised, canaries, secrets, measured.cost)
    results = _results(config.probe, measured, AUTHORITY, canaries, secrets, run)
    json.dumps(results, allow_nan=False)
    rows = {row["name"]: row for row in results["probes"]}
    assert {rows[name]["verdict"] for name in PRIMARIES if name != "membership_reference"} == {
        "INCONCLUSIVE"
    }
    assert {rows[f"dp_audit_{level}"]["verdict"] for level in (1, 2)} == {None}
    if "heldout" not in arms:
        assert rows["membership_reference"]["verdict"] == "INCONCLUSIVE"
        assert rows["extraction"]["value"] is None


def test_a_claim_of_privacy_is_measured_without_a_random_split_too(
    memorised: PeftModel, tokenizer: TextTokenizer, tmp_path: Path
) -> None:
    """The canaries' coins were tossed in any case; no other row keeps a verdict or a p-value."""
    config = tiny_config()
    config.run_dir, config.corpus.row_tokens = str(tmp_path), 96
    config.probe.resamples, config.canaries.per_level = 30, 40
    run = RunDir(tmp_path, config)
    canaries, secrets = candidates(config.canaries, tokenizer), space(tokenizer)
    known = [9.0 * canary.planted for canary in canaries]
    measured = Measured(exposed=Exposed([1.0] * len(canaries), known))
    for arm in ("member", "heldout"):
        spoken = [meeting(f"{i}{arm}") for i in range(4)]
        _score_arm(measured, arm, spoken, memorised, tokenizer, config, run)
    authority = replace(AUTHORITY, randomised=False)
    results = _results(config.probe, measured, authority, canaries, secrets, run, Claim(0.5, 1e-6))
    rows = {row["name"]: row for row in results["probes"]}
    assert (rows["dp_audit_1"]["verdict"], rows["dp_audit_1"]["threshold"]) == ("FAIL", 0.5)
    assert rows["dp_audit_2"]["verdict"] is None
    assert [name for name, row in rows.items() if row["p_value"] is not None] == ["dp_audit_1"]
