"""Results come in order, few tasks are under way, and a refusal in a task reaches who asked."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from consent import parted
from harness.consent.pool import Pool
from harness.errors import Refused

BOTH = pytest.mark.parametrize("processes", [1, 2])
AHEAD = 8


def nothing(_: int) -> None: ...


@BOTH
def test_results_come_in_the_order_of_the_numbers(processes: int) -> None:
    ticks: list[int] = []
    numbers = [5, 3, 3, 0, *range(9, 30)]
    with Pool(100, processes) as pool:
        assert [*pool.each(parted.sleepy_sum, numbers, ticks.append)] == [100 + n for n in numbers]
        assert [*pool.each(parted.sleepy_sum, [], ticks.append)] == []
        assert [*pool.each(parted.sleepy_sum, iter([1]), ticks.append)] == [101]
    assert ticks == [*range(1, len(numbers) + 1), 1]


def drawn(numbers: list[int], size: int) -> Iterator[int]:
    for number in range(size):
        numbers.append(number)
        yield number


@pytest.mark.parametrize(("processes", "ahead"), [(1, 1), (2, AHEAD)])
def test_few_tasks_are_begun_before_their_results_are_taken(processes: int, ahead: int) -> None:
    begun: list[int] = []
    with Pool(0, processes) as pool:
        results = pool.each(parted.sleepy_sum, drawn(begun, 100), nothing)
        assert begun == []
        for taken in range(1, 20):
            next(results)
            assert len(begun) <= taken + ahead
        assert len(begun) >= 19


@BOTH
def test_a_refusal_in_a_task_reaches_who_asked(processes: int) -> None:
    found: list[int] = []
    with Pool(7, processes) as pool, pytest.raises(Refused) as refused:
        found.extend(pool.each(parted.refuse_three, range(20), nothing))
    assert found == [0, 1, 2]
    error = refused.value
    assert type(error) is Refused
    assert (error.code, error.what, error.where, error.remedy) == ("A_CODE", "what", "7", "do")
    assert str(error) == "A_CODE: what (7); do"


@BOTH
def test_another_error_is_not_swallowed(processes: int) -> None:
    with Pool(7, processes) as pool, pytest.raises(ZeroDivisionError):
        list(pool.each(parted.divide, range(20), nothing))


def has_ended(process: int) -> bool:
    for _ in range(100):
        if not Path(f"/proc/{process}").exists():
            return True
        time.sleep(0.05)
    return False


def finish(pool: Pool[int]) -> set[int]:
    return {*pool.each(parted.process, range(30), nothing)}


def stop_in_the_middle(pool: Pool[int]) -> set[int]:
    results = pool.each(parted.process, range(30), nothing)
    return {next(results), next(results)}


def refused_in_the_middle(pool: Pool[int]) -> set[int]:
    found = {*pool.each(parted.process, range(4), nothing)}
    with pytest.raises(Refused):
        list(pool.each(parted.refuse_three, range(30), nothing))
    return found


@pytest.mark.parametrize("work", [finish, stop_in_the_middle, refused_in_the_middle])
def test_processes_end_with_the_pool(work: Callable[[Pool[int]], set[int]]) -> None:
    with Pool(0, 2) as pool:
        found = work(pool)
    assert found
    assert os.getpid() not in found
    assert all(has_ended(process) for process in found)


def test_one_process_is_this_one() -> None:
    with Pool(0, 1) as pool:
        assert finish(pool) == {os.getpid()}
