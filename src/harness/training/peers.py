"""What the processes of one training tell each other, and how Lightning holds them together.

The adapter is small and whole in every process, whatever becomes of the base: one sum a step over
its gradients, with the loss and the wish to stop beside them, is all that is exchanged.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy, Strategy
from torch import Tensor, distributed, nn

from harness.config import Train
from harness.errors import ExitCode, HarnessError

_EXCHANGE = re.compile("gloo|nccl", re.IGNORECASE)  # what libraries say is theirs
LOST = timedelta(seconds=60)  # a process that says nothing for so long is taken for dead


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
    backend = "gloo" if settings.accelerator == "cpu" or not torch.cuda.is_available() else "nccl"
    if settings.strategy == "ddp":
        return Replicated(process_group_backend=backend, timeout=LOST)
    return ModelParallelStrategy(data_parallel_size=processes, tensor_parallel_size=1,
                                 process_group_backend=backend, timeout=LOST)  # fmt: skip


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
