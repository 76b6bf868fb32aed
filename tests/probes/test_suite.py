"""The probe stage calls members only what the receipt says was trained."""

from typing import Any

import pytest

from harness.commitments.receipt import Committer, Observer, receipt
from harness.corpus.documents import Document
from harness.errors import Refused
from harness.probes.suite import check_receipt

COMMITTER = Committer(b"k" * 32)
KEPT = {"heldout": (("h", "1"),), "sentinel": (("s", "2"),)}


def made(members: list[Document]) -> dict[str, Any]:
    observer = Observer(COMMITTER, 1, 2, COMMITTER.documents(members))
    return receipt(COMMITTER, members, [], KEPT, observer) | {"base_sha256": "b"}


def test_the_training_itself_passes(trained: list[Document]) -> None:
    check_receipt(made(trained), COMMITTER, trained, KEPT, "b")


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("train_root", {"members": 1}),
        ("heldout_root", {"kept_out": {"heldout": (("s", "2"),), "sentinel": (("s", "2"),)}}),
        ("sentinel_root", {"kept_out": {"heldout": (("h", "1"),)}}),
        ("base_sha256", {"base_sha256": "c"}),
        ("equal", {"receipt": {"equal": False}}),
        ("train_root", {"receipt": {"train_root": None}}),
    ],
)
def test_anything_else_is_refused_by_name(
    trained: list[Document], key: str, change: dict[str, Any]
) -> None:
    written = made(trained) | change.get("receipt", {})
    members = trained[change.get("members", 0) :]
    with pytest.raises(Refused, match=f"TRAINING_DIFFERS.*{key}"):
        check_receipt(written, COMMITTER, members, change.get("kept_out", KEPT),
                      change.get("base_sha256", "b"))  # fmt: skip
