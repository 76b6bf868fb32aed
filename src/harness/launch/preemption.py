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

    def arm(self) -> None:
        """Take the signals, also back from a library that took them meanwhile.

        Lightning puts a SIGTERM handler of its own around ours when it starts; it would end the
        process with exit code 0 and nothing saved.
        """
        for number in SIGNALS:
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = number


@contextmanager
def watch() -> Iterator[Preemption]:
    """Note SIGTERM, SIGUSR1 and SIGUSR2 instead of dying; former handlers come back at the end."""
    state = Preemption()
    before = {number: signal.getsignal(number) for number in SIGNALS}
    state.arm()
    try:
        yield state
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
