"""Processes that share work by its numbers, and hand results back in order."""

import ctypes
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import AbstractContextManager, suppress
from itertools import islice
from multiprocessing import get_context
from typing import Any, Generic, TypeVar

import pyarrow as pa

W = TypeVar("W")
R = TypeVar("R")
_AHEAD = 8
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_CURRENT: list[Any] = []


class Pool(AbstractContextManager["Pool[W]"], Generic[W]):
    """Processes that each do some of the tasks of one work; one process is this one.

    Args:
        work: handed to every task.
        processes: how many.
    """

    def __init__(self, work: W, processes: int) -> None:
        self._work = work
        self._executor: ProcessPoolExecutor | None = None
        if processes > 1:
            self._executor = ProcessPoolExecutor(
                processes, get_context("spawn"), initializer=_begin, initargs=(work,)
            )

    def __exit__(self, *_: object) -> None:
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    def each(
        self, task: Callable[[W, int], R], numbers: Iterable[int], tick: Callable[[int], None]
    ) -> Iterator[R]:
        """Results in the order of the numbers; few are under way at once, so that few wait.

        Args:
            task: takes the work and a number; it can be pickled.
            numbers: of the tasks.
            tick: is told how many are done.
        """
        if self._executor is None:
            for done, number in enumerate(numbers, 1):
                yield task(self._work, number)
                tick(done)
            return
        waiting: deque[Future[R]] = deque()
        left, done = iter(numbers), 0
        while True:
            for number in islice(left, _AHEAD - len(waiting)):
                waiting.append(self._executor.submit(_run, task, number))
            if not waiting:
                return
            yield waiting.popleft().result()
            done += 1
            tick(done)


def _begin(work: Any) -> None:
    """Begin in a process of its own, which keeps its memory: giving it back and forth costs."""
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, 1 << 25)
        library.mallopt(_M_TRIM_THRESHOLD, 1 << 30)
    pa.set_cpu_count(1)
    _CURRENT[:] = [work]


def _run(task: Callable[[Any, int], R], number: int) -> R:
    return task(_CURRENT[0], number)
