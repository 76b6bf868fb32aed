"""A signal asks for a stop; the work honours it at the next boundary where its state is whole."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


@dataclass
class Preemption:
    """Attributes: received: number of the signal that arrived, None before one does."""

    received: int | None = None


@contextmanager
def watch() -> Iterator[Preemption]:
    """Note SIGTERM, SIGUSR1 and SIGUSR2 instead of dying; former handlers come back at the end.

    Handlers are set before Lightning starts, which then leaves these signals alone.
    """
    state = Preemption()

    def note(number: int, frame: FrameType | None) -> None:
        state.received = number

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield state
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
