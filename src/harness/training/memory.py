"""Running out of memory, in one line that says what to lower."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from harness.errors import ExitCode, HarnessError


class OutOfMemory(HarnessError):
    """A step does not fit (exit 5); the last checkpoint stays."""

    exit_code = ExitCode.INTERNAL


@contextmanager
def memory() -> Iterator[None]:
    """Turn running out of memory into one line that names what to lower.

    Raises:
        OutOfMemory: ``OUT_OF_MEMORY``.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and "DefaultCPUAllocator" not in str(error):  # has no class of its own
            raise
        raise OutOfMemory(
            "OUT_OF_MEMORY", "a step needs more memory than there is", "train.micro_rows",
            "set it to 1, then lower corpus.row_tokens, or set train.activation_checkpointing=true;"
            " the last checkpoint is kept",
        ) from None  # fmt: skip
