"""Processes come together, or say in one line why not."""

import threading
import time
from datetime import timedelta

import pytest
from torch import distributed

from harness.config import Train
from harness.errors import Preempted
from harness.launch.ranks import Ranks, _free_port
from harness.training import peers
from harness.training.peers import Meeting, PeerLost, exchange


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(_free_port()))


def test_a_process_that_ended_before_it_came_is_missed_at_once() -> None:
    """Not after the half hour that a long start may take."""
    here = Ranks(0, 2, alive=lambda: False)
    with pytest.raises(PeerLost, match="PEER_LOST"), exchange(here, Train(), "run", lambda: False):
        pytest.fail("alone")
    assert not distributed.is_initialized()


def test_a_signal_ends_the_wait_for_others() -> None:
    with (
        pytest.raises(Preempted, match="before all processes were here"),
        exchange(Ranks(0, 2), Train(), "run", lambda: True),
    ):
        pytest.fail("alone")


def test_a_process_alone_meets_nobody() -> None:
    with exchange(Ranks(), Train(), "run", lambda: False) as meeting, meeting.first_alone("saved"):
        assert not distributed.is_initialized()


def stores() -> tuple[object, object]:
    port = _free_port()
    first = distributed.TCPStore("127.0.0.1", port, 2, True, wait_for_workers=False)  # type: ignore[attr-defined]
    return first, distributed.TCPStore("127.0.0.1", port, 2, False)  # type: ignore[attr-defined]


def test_the_others_wait_while_the_first_does_what_takes_long() -> None:
    first, second = stores()
    order = []

    def follow() -> None:
        with Meeting(second, 1).first_alone("saved/1"):
            order.append("second")

    thread = threading.Thread(target=follow)
    with Meeting(first, 0).first_alone("saved/1"):
        thread.start()
        time.sleep(0.3)
        order.append("first")
    thread.join(20)
    assert order == ["first", "second"]


def test_who_waits_for_a_first_that_does_not_come_back_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peers, "MEETING", timedelta(seconds=0.2))
    _, second = stores()
    with pytest.raises(PeerLost), Meeting(second, 1).first_alone("saved/1"):
        pytest.fail("went on")
