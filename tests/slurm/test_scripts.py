"""The scripts that users copy: what they submit, and what they do with a stop."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

SLURM = Path(__file__).parents[2] / "slurm"


def tool(folder: Path, name: str, body: str) -> None:
    """Put an executable on the PATH of a test."""
    path = folder / name
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("name", ["gate.sbatch", "gate.sh", "pipeline.sh", "train.sbatch"])
def test_bash_can_read_it_and_stops_at_the_first_error(name: str) -> None:
    subprocess.run(["bash", "-n", SLURM / name], check=True)
    assert "\nset -euo pipefail\n" in (SLURM / name).read_text()


def test_the_directives_that_a_stop_needs() -> None:
    lines = (SLURM / "train.sbatch").read_text().splitlines()
    options = {line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH ")}
    assert options >= {"--signal=B:USR2@120", "--requeue", "--open-mode=append", "--ntasks=1"}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A PATH with stand-ins that write down how they were called."""
    tool(tmp_path, "sbatch", f'echo "$@" >> {tmp_path}/submitted\nwc -l < {tmp_path}/submitted')
    tool(tmp_path, "scontrol", f'echo "$@" >> {tmp_path}/requeued')
    return os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "4242",
        "SLURM_JOB_NAME": "harness",
    }


def test_the_stages_wait_for_one_another(environment: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run([SLURM / "pipeline.sh", "run_dir=runs/a"], env=environment, text=True,
                          check=True, capture_output=True)  # fmt: skip
    assert done.stdout == "gate 1, train 2, probe 3, report 4\n"
    calls = (tmp_path / "submitted").read_text().splitlines()
    stages = [call.partition("STAGE=")[2].split()[0] for call in calls]
    assert stages == ["gate", "train", "probe", "report"]
    waits = [call.partition("--dependency=")[2].split(" ")[0] for call in calls]
    assert waits == ["", "afterok:1", "afterok:2", "afterany:3"]
    assert all(call.endswith("train.sbatch run_dir=runs/a") for call in calls)
    assert all("--kill-on-invalid-dep=yes" in call for call in calls)


def test_shares_have_one_clock_and_the_merge_waits_for_all(
    environment: dict[str, str], tmp_path: Path
) -> None:
    done = subprocess.run([SLURM / "gate.sh", "16", "run_dir=runs/a"], env=environment, text=True,
                          check=True, capture_output=True)  # fmt: skip
    assert done.stdout == "shares 1, merge 2\n"
    shares, merge = (tmp_path / "submitted").read_text().splitlines()
    assert "--array=0-15 " in shares
    assert "--dependency=afterok:1 " in merge
    assert "STAGE=gate" in merge
    assert shares.partition("gate.sbatch ")[2] == merge.partition("train.sbatch ")[2]
    assert "gate.shards=16 gate.decided_at=20" in shares


def test_a_share_knows_its_number(environment: dict[str, str], tmp_path: Path) -> None:
    tool(tmp_path, "harness", f'echo "$@" > {tmp_path}/called')
    job = {
        "HARNESS": str(tmp_path / "harness"),
        "SLURM_ARRAY_JOB_ID": "7",
        "SLURM_ARRAY_TASK_ID": "3",
    }
    words = [SLURM / "gate.sbatch", "gate.shards=16"]
    subprocess.run(["bash", *words], env=environment | job, check=True)
    called = (tmp_path / "called").read_text()
    assert called == "gate gate.shard=3 gate.processes=2 gate.shards=16\n"


def test_nothing_is_submitted_after_a_submission_that_failed(
    environment: dict[str, str], tmp_path: Path
) -> None:
    tool(tmp_path, "sbatch", f'echo "$@" >> {tmp_path}/submitted\nexit 1')
    done = subprocess.run([SLURM / "pipeline.sh"], env=environment, check=False)
    assert done.returncode == 1
    assert len((tmp_path / "submitted").read_text().splitlines()) == 1


def test_the_job_id_of_a_federation_is_cut_from_its_cluster(
    environment: dict[str, str], tmp_path: Path
) -> None:
    tool(tmp_path, "sbatch", f'echo "$@" >> {tmp_path}/submitted\necho "7;cluster"')
    subprocess.run([SLURM / "pipeline.sh"], env=environment, check=True)
    assert (tmp_path / "submitted").read_text().count("afterok:7 ") == 2


@pytest.mark.parametrize(("code", "requeued"), [(0, False), (4, False), (75, True)])
def test_only_a_saved_checkpoint_is_requeued(
    environment: dict[str, str], tmp_path: Path, code: int, requeued: bool
) -> None:
    tool(tmp_path, "harness", f'echo "$@" > {tmp_path}/called\necho said\nexit {code}')
    done = subprocess.run(
        ["bash", SLURM / "train.sbatch", "run_dir=runs/a"],
        env=environment | {"HARNESS": str(tmp_path / "harness"), "SLURM_RESTART_COUNT": "2"},
        check=False, cwd=tmp_path,
    )  # fmt: skip
    assert (tmp_path / "slurm-harness-4242-attempt-3.log").read_text() == "said\n"
    assert done.returncode == code
    assert (tmp_path / "called").read_text().strip() == "train run_dir=runs/a"
    assert (tmp_path / "requeued").exists() == requeued


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM])
def test_a_signal_reaches_the_harness_and_its_exit_code_comes_back(
    environment: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    name = number.name.removeprefix("SIG")
    tool(tmp_path, "harness",
         f"trap 'sleep 0.3; exit 75' {name}\ntouch {tmp_path}/up\nwhile :; do sleep 0.05; done"
         )  # fmt: skip
    process = subprocess.Popen(
        ["bash", SLURM / "train.sbatch"],
        env=environment | {"HARNESS": str(tmp_path / "harness")}, cwd=tmp_path,
    )  # fmt: skip
    while not (tmp_path / "up").exists():
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(timeout=20) == 75
    assert (tmp_path / "requeued").read_text().strip() == "requeue 4242"
