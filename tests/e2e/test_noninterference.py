"""What is denied does not move one bit of the adapter; what is admitted does."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "noninterference.py"
QUICK = [
    "model=tiny", "train.threads=1", "corpus.row_tokens=256", "corpus.meeting_tokens=250",
    "canaries.per_level=4", "canaries.repetitions=[1,2]", "train.epochs=2", "train.batch_rows=4",
    "train.accelerator=cpu",
]  # fmt: skip


def test_denied_content_deleted_or_replaced_leaves_the_adapter_bit_identical(
    tmp_path: Path,
) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment.pop("HARNESS_TRUST", None)
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path), *QUICK], env=environment, text=True,
        capture_output=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    digests = dict(line.split() for line in done.stdout.splitlines()[:4])
    assert digests["original"] == digests["deleted"] == digests["replaced"]
    assert digests["control"] != digests["original"]
