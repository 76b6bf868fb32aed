"""How far long work is, and how much time is left: a bar for people, a line for logs."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from harness.consent.passes import Tick

LINE_EVERY_S = 30.0


@contextmanager
def progress(what: str) -> Iterator[Tick]:
    """Show how far something is on stderr; short work shows nothing in logs.

    Args:
        what: what is done, as a word.
    """
    if not sys.stderr.isatty():
        yield _Lines(what)
        return
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class _Lines:
    """Says how far it is, at most twice a minute."""

    def __init__(self, what: str) -> None:
        self._what, self._start, self._last = what, time.monotonic(), time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last < LINE_EVERY_S or not done:
            return
        self._last = now
        left = (now - self._start) / done * (total - done)
        print(f"{self._what}: {done} of {total}, {_spoken(left)} left", file=sys.stderr, flush=True)


def _spoken(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
