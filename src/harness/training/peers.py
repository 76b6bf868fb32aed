"""What the processes of one training tell each other, and how Lightning holds them together.

The adapter is small and whole in every process, whatever becomes of the base: one sum a step over
its gradients, with the loss and the wish to stop beside them, is all that is exchanged.
"""

import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy, Strategy
from torch import Tensor, distributed, nn

from harness.config import Train
from harness.errors import ExitCode, HarnessError
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


@contextmanager
def exchange(here: Ranks, settings: Train) -> Iterator[None]:
    """Wait until all processes are here; let them exchange, and end it however they end.

    Raises:
        PeerLost: ``PEER_LOST`` where one does not come.
    """
    if here.processes == 1:
        yield
        return
    try:
        store = _meet(here)
        distributed.init_process_group(_backend(settings), store=store, rank=here.rank,
                                       world_size=here.processes, timeout=LOST)  # fmt: skip
    except RuntimeError:  # of torch's store and of its exchange
        raise lost() from None
    try:
        yield
    finally:
        leave()


def _meet(here: Ranks) -> Any:
    """The store that all processes have come to; rank 0 serves it, or torchrun does."""
    first = here.rank == 0
    serves = first and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    # who was started by rank 0 finds it served
    patience = LOST if STARTED in os.environ else MEETING
    store = distributed.PrefixStore("harness", distributed.TCPStore(  # type: ignore[attr-defined]
        os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), here.processes, serves, patience,
        wait_for_workers=False,
    ))  # fmt: skip
    store.set(f"here/{here.rank}", "")
    if not first:
        store.wait(["all"], MEETING)
        return store
    until, others = time.monotonic() + MEETING.total_seconds(), range(1, here.processes)
    while not store.check([f"here/{rank}" for rank in others]):
        if not here.alive() or time.monotonic() > until:
            raise lost()
        time.sleep(0.05)
    store.set("all", "")
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


def lost() -> PeerLost:
    """The error for a process that is gone."""
    return PeerLost("PEER_LOST", "another process of this training ended", "logs/rank-*.log",
                    "give the same command to go on from the last checkpoint")  # fmt: skip


def leave() -> None:
    """End the exchange: whoever goes on does so alone."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
