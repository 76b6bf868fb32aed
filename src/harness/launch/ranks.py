"""Which of the processes that share a training this one is, and starting the others.

torchrun and this module tell a process its place through the environment. Followers run the
training and nothing else: the run directory belongs to rank 0.
"""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import UsageError

FOLLOWER = ("-m", "harness.cli", "follow")
STARTED = "HARNESS_STARTED"  # set where rank 0 started a process
PATIENCE = 30.0  # seconds that followers have to end after rank 0 did


@dataclass(frozen=True)
class Ranks:
    """Attributes: rank: of this process; processes: that share the training; local: number of
    this process among those of its machine, and of its device; launched: whether torchrun, or
    what does as it does, started all of them; alive: whether all that this one has started still
    run."""

    rank: int = 0
    processes: int = 1
    local: int = 0
    launched: bool = False
    alive: Callable[[], bool] = field(default=lambda: True, compare=False)


def ranks() -> Ranks:
    """What the environment says; one process where it says nothing.

    Raises:
        UsageError: ``DEVICES`` where srun has started several, which know nothing of each other.
    """
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        return Ranks(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]),
                     int(os.environ.get("LOCAL_RANK", "0")), STARTED not in os.environ)  # fmt: skip
    tasks = os.environ.get("SLURM_STEP_NUM_TASKS", "1") if "SLURM_STEP_ID" in os.environ else "1"
    if tasks != "1":
        raise UsageError("DEVICES", f"srun started {tasks} tasks", "train.devices",
                         "start one task, with train.devices=N or torchrun in it")  # fmt: skip
    return Ranks()


@contextlib.contextmanager
def together(processes: int, run_dir: Path) -> Iterator[Ranks]:
    """Be one of ``processes``; where nobody else has started the others, start them here.

    Args:
        processes: that the settings ask for.
        run_dir: whose ``config.yaml`` the others read; their output goes to its ``logs/``.

    Raises:
        UsageError: ``DEVICES`` where a launcher has started another number.
    """
    here = ranks()
    if here.processes not in (1, processes):
        raise UsageError("DEVICES", f"{here.processes} processes were started",
                         "train.devices", f"set it to {here.processes}")  # fmt: skip
    if here.processes == processes:
        yield here
        return
    place = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": str(processes),
             "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}  # fmt: skip
    before = {name: os.environ.get(name) for name in place}
    os.environ |= place
    followers = [_start(rank, run_dir) for rank in range(1, processes)]
    try:
        yield Ranks(0, processes, alive=lambda: all(each.poll() is None for each in followers))
        for follower in followers:
            with contextlib.suppress(subprocess.TimeoutExpired):  # it has given all it had to give
                follower.wait(PATIENCE)
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        for follower in followers:
            _end(follower)


def _start(rank: int, run_dir: Path) -> subprocess.Popen[bytes]:
    log = run_dir / "logs" / f"rank-{rank}.log"
    log.parent.mkdir(exist_ok=True)
    place = {"RANK": str(rank), "LOCAL_RANK": str(rank), STARTED: "1"}
    with log.open("ab") as file:
        return subprocess.Popen([sys.executable, *FOLLOWER, str(run_dir)],
                                env=os.environ | place, stdin=subprocess.DEVNULL, stdout=file,
                                stderr=file, start_new_session=True)  # fmt: skip


def _end(follower: subprocess.Popen[bytes]) -> None:
    if follower.poll() is None:
        follower.kill()
        follower.wait()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
