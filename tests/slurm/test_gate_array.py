"""Shares of the gate as an array of a real SLURM on two nodes: the result of one process."""

import json
import re
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from consent import conftest
from consent.conftest import World
from consent.test_shards import Job
from slurm.cluster import cluster, is_here

SLURM = Path(__file__).parents[2] / "slurm"
SHARES = 3

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(not is_here(), reason="needs slurm-wlm, munge and root"),
]


world = conftest.world


def test_an_array_gives_what_one_process_gives(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(world, tmp_path / "job", monkeypatch)
    assert job.gate("whole") == 0
    source = job.source
    words = [
        f"run_dir={job.folder / 'shared'}", "data=folder", f"data.root={source.store}",
        f"data.manifest={source.manifest}", f"data.withdrawals={source.withdrawals}",
        f"data.state={source.seen}", f"gate.key={job.folder / 'gate.pem'}", "tracking.mode=off",
    ]  # fmt: skip
    harness = str(Path(sys.executable).parent / "harness")
    with cluster(tmp_path / "slurm") as slurm:
        said = slurm.run(str(SLURM / "gate.sh"), str(SHARES), *words, cwd=tmp_path, HARNESS=harness)
        shares, merge = re.findall(r"\d+", said)
        assert slurm.wait(merge, 120) == "COMPLETED", (tmp_path).glob("*.log")
        nodes = [path.read_text() for path in tmp_path.glob(f"slurm-*-{shares}-*.log")]
    assert len(nodes) == SHARES
    print(f"shares {shares}, merge {merge}", *(re.findall(r"share .*", text)[0] for text in nodes))
    runs = [job.folder / name for name in ("whole", "shared")]
    rows = [pq.read_table(run / "private" / "decisions.parquet").to_pylist() for run in runs]
    assert rows[0] == rows[1]
    first, second = (json.loads((run / "gate" / "summary.json").read_bytes()) for run in runs)
    assert first | {"decided_at": None} == second | {"decided_at": None}
