"""What the processes of one training tell each other, and how Lightning holds them together.

The adapter is small and whole in every process, whatever becomes of the base: one sum a step over
its gradients, with the loss and the wish to stop beside them, is all that is exchanged.
"""

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy, Strategy
from torch import Tensor, distributed, nn

from harness.config import Train
from harness.errors import ExitCode, HarnessError, Preempted
from harness.launch.ranks import STARTED, Ranks

_EXCHANGE = re.compile("gloo|nccl", re.IGNORECASE)  # what libraries say is theirs
LOST = timedelta(seconds=60)  # a process that says nothing for so long is taken for dead
MEETING = timedelta(minutes=30)  # but it may need longer to decide, load and cut the corpus


class PeerLost(HarnessError):
    """Another process of the training is gone (exit 5); the last checkpoint stays."""

    exit_code = ExitCode.INTERNAL


class Replicated(DDPStrategy):
    """Data parallel without a wrapper around the model: gradients are summed by :func:`add_up`.

    The wrapper sums after every backward pass of a step; with several passes in a step, or with
    one for each document, that is neither needed nor exact.
    """

    def _setup_model(self, model: nn.Module) -> Any:
        return model

    def _register_ddp_hooks(self) -> None:
        """There is no wrapper to hook into."""

    def _configure_launcher(self) -> None:
        """All processes are here; Lightning would start its own, and set their threads."""


class Surroundings(LightningEnvironment):
    """The environment says who is who, and goes on saying it when Lightning is done."""

    @property
    def creates_processes_externally(self) -> bool:
        """Lightning starts nobody."""
        return True

    def teardown(self) -> None:
        """Nothing is taken away: another training may follow."""


def strategy(settings: Train, processes: int) -> Strategy | str:
    """Lightning's strategy for the settings."""
    if processes == 1:
        return "auto"
    if settings.strategy == "ddp":
        return Replicated(process_group_backend=_backend(settings))
    return ModelParallelStrategy(data_parallel_size=processes, tensor_parallel_size=1,
                                 process_group_backend=_backend(settings))  # fmt: skip


def _backend(settings: Train) -> str:
    return "gloo" if settings.accelerator == "cpu" or not torch.cuda.is_available() else "nccl"


class Meeting:
    """Where the processes of a training have come together.

    Args:
        store: of torch, which all of them reach; None for a process alone.
        rank: of this process.
    """

    def __init__(self, store: Any = None, rank: int = 0) -> None:
        self._store, self._rank = store, rank

    @contextmanager
    def first_alone(self, what: str) -> Iterator[None]:
        """Let rank 0 do what may take long; the others wait for it, longer than for a sum.

        Args:
            what: a name of its own.

        Raises:
            PeerLost: ``PEER_LOST`` where rank 0 does not come back.
        """
        if self._store is not None and self._rank:
            try:
                self._store.wait([what], MEETING)
            except RuntimeError:
                raise lost() from None
        yield
        if self._store is not None and not self._rank:
            self._store.set(what, "")


@contextmanager
def exchange(
    here: Ranks, settings: Train, name: str, stopping: Callable[[], bool]
) -> Iterator[Meeting]:
    """Wait until all processes are here; let them exchange, and end it however they end.

    Args:
        here: this process.
        settings: choose the backend.
        name: of the training, the same for all.
        stopping: whether a signal arrived.

    Raises:
        PeerLost: ``PEER_LOST`` where one does not come.
        Preempted: a signal arrived before all were here.
    """
    if here.processes == 1:
        yield Meeting()
        return
    try:
        store = _meet(here, name, stopping)
        distributed.init_process_group(_backend(settings), store=store, rank=here.rank,
                                       world_size=here.processes, timeout=LOST)  # fmt: skip
    except RuntimeError as error:  # of torch's store and of its exchange
        raise lost(str(error).partition("\n")[0][:200]) from None
    try:
        yield Meeting(store, here.rank)
    finally:
        leave()


def _meet(here: Ranks, name: str, stopping: Callable[[], bool]) -> Any:
    """The store that all processes have come to; rank 0 serves it, or torchrun's agent does."""
    agent = here.launched and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    serves = here.rank == 0 and not agent
    # who was started by rank 0 finds it served
    patience = LOST if STARTED in os.environ else MEETING
    tcp = distributed.TCPStore(  # type: ignore[attr-defined]
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        here.processes,
        serves,
        patience,
        wait_for_workers=False,
    )
    # an agent's store outlives the processes: who met before are not who meet now
    start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = distributed.PrefixStore(f"harness/{start}/{name}", tcp)  # type: ignore[attr-defined]
    store.set(f"here/{here.rank}", "")
    until, others = time.monotonic() + MEETING.total_seconds(), range(here.processes)
    while not store.check([f"here/{rank}" for rank in others]):
        if stopping():
            raise Preempted("PREEMPTED", "stopped by a signal before all processes were here",
                            "train.devices", "give the same command to go on")  # fmt: skip
        if not here.alive() or time.monotonic() > until:
            raise lost()
        time.sleep(0.05)
    return store


def add_up(tensors: Sequence[Tensor]) -> None:
    """Replace tensors by their sums over all processes, in one exchange.

    Args:
        tensors: float32, the same shapes in every process.

    Raises:
        PeerLost: ``PEER_LOST``.
    """
    if not distributed.is_initialized():
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    try:
        distributed.all_reduce(flat)
    except RuntimeError:
        raise lost() from None
    for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


def gather(mine: Any) -> list[Any]:
    """What every process gives, in order of rank, in rank 0; nothing elsewhere."""
    if not distributed.is_initialized():
        return [mine]
    first = distributed.get_rank() == 0
    found: list[Any] = [None] * distributed.get_world_size()
    try:
        distributed.gather_object(mine, found if first else None)
    except RuntimeError:
        raise lost() from None
    return found if first else []


@contextmanager
def company() -> Iterator[None]:
    """Tell a lost process from other errors, wherever the strategy was waiting for it.

    Raises:
        PeerLost: ``PEER_LOST``.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, distributed.DistError) or _EXCHANGE.search(str(error)):
            raise lost() from None
        raise


def lost(told: str = "") -> PeerLost:
    """The error for a process that is gone.

    Args:
        told: what torch said of it.
    """
    what = "another process of this training ended" + (f" ({told})" if told else "")
    return PeerLost("PEER_LOST", what, "logs/rank-*.log",
                    "give the same command to go on from the last checkpoint")  # fmt: skip


def leave() -> None:
    """End the exchange: whoever goes on does so alone."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
