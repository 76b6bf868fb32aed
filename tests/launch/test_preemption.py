"""Signals become a flag, and handlers come back."""

import os
import signal

import pytest

from harness.launch.preemption import SIGNALS, watch


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noted_and_the_former_handler_restored(number: int) -> None:
    heard: list[int] = []
    before = signal.signal(number, lambda n, _: heard.append(n))
    try:
        with watch() as state:
            assert state.received is None
            os.kill(os.getpid(), number)
            assert state.received == number
        assert heard == []
        os.kill(os.getpid(), number)
        assert heard == [number]
    finally:
        signal.signal(number, before)
