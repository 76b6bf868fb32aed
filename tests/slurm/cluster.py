"""A real SLURM of two nodes on this machine, for as long as a test needs it."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

CONFIG = """
ClusterName=harness
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1
KillWait=2
ReturnToService=2
MpiDefault=none
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={first} CPUs=2
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={second} CPUs=2
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""
NEEDED = ("slurmctld", "slurmd", "sbatch", "munged")
START_S = 20.0


@dataclass(frozen=True)
class Cluster:
    """A running cluster.

    Attributes:
        folder: its configuration and logs.
        environment: for SLURM's commands.
    """

    folder: Path
    environment: dict[str, str]

    def run(self, *words: str, cwd: Path | None = None, **variables: str) -> str:
        """Run a command of SLURM, or one that calls them; return what it prints."""
        done = subprocess.run(words, env=self.environment | variables, cwd=cwd, check=True,
                              capture_output=True, text=True)  # fmt: skip
        return done.stdout

    def wait(self, job: str, seconds: float) -> str:
        """The state of a job when it has ended.

        Raises:
            TimeoutError: when it has not in time.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            shown = self.run("scontrol", "show", "job", job, "--oneliner")
            states = {part.partition("=")[2] for part in shown.split() if part[:9] == "JobState="}
            if not states & {"PENDING", "RUNNING", "COMPLETING", "CONFIGURING"}:
                return " ".join(sorted(states))
            time.sleep(0.5)
        raise TimeoutError(f"job {job} goes on")


def is_here() -> bool:
    """Whether this machine has SLURM, and the rights to start its daemons."""
    return os.geteuid() == 0 and all(map(shutil.which, NEEDED))


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """Start a cluster in a folder, and stop it at the end."""
    for name in ("state", "spool-n1", "spool-n2"):
        (folder / name).mkdir(parents=True)
    ports = dict(zip(("port", "first", "second"), _free_ports(3), strict=True))
    host = socket.gethostname()
    (folder / "slurm.conf").write_text(CONFIG.format(folder=folder, host=host, **ports))
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
    environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
    with ExitStack() as running:
        if subprocess.run(["munge", "-n"], check=False, capture_output=True).returncode:
            Path("/run/munge").mkdir(exist_ok=True)
            shutil.chown("/run/munge", "munge", "munge")
            subprocess.run(["runuser", "-u", "munge", "--", "munged"], check=True)
        for words in (
            ["slurmctld", "-D"],
            ["slurmd", "-D", "-N", "n1"],
            ["slurmd", "-D", "-N", "n2"],
        ):
            running.enter_context(_daemon(words, environment))
        made = Cluster(folder, environment)
        _until_idle(made)
        yield made


@contextmanager
def _daemon(words: list[str], environment: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def _until_idle(made: Cluster) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        shown = subprocess.run(["sinfo", "-h", "-N", "-o", "%T"], env=made.environment, check=False,
                               capture_output=True, text=True)  # fmt: skip
        if shown.stdout.split() == ["idle", "idle"]:
            return
        time.sleep(0.5)
    raise TimeoutError(
        "the nodes do not come up: " + (made.folder / "slurmctld.log").read_text()[-800:]
    )


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
