"""Work on the blocks of a file in as many threads as there are idle cores."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeVar

#: Work on less than this is not worth starting threads for, in bytes.
_SERIAL = 4 << 20
_THREADS = 4
#: How often, and with how many seconds in between, it is looked whether others are at work.
_LOOKS, _PAUSE = 4, 0.001
#: Blocks handed to a thread at once.
_RUN = 4

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_runs(blocks: Iterator[_Item]) -> Iterator[list[_Item]]:
    """Yield blocks by the few: what a thread is given at once."""
    run: list[_Item] = []
    for block in blocks:
        run.append(block)
        if len(run) == _RUN:
            yield run
            run = []
    if run:
        yield run


def in_parallel(
    work: Callable[[_Item], _Result], runs: Iterator[_Item], size: int
) -> Iterator[_Result]:
    """
    Yield the result of work on each run in their order, with few runs under way at any time.

    :param size: bytes of the whole file; a small one is not worth starting threads for
    """
    threads = 1 if size <= _SERIAL else min(_THREADS, _idle_cores())
    if threads == 1:
        yield from map(work, runs)
        return
    from concurrent.futures import Future, ThreadPoolExecutor

    waiting: deque[Future[_Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for run in runs:
                waiting.append(pool.submit(work, run))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _idle_cores() -> int:
    """
    Return how many cores a scan may use, at least its own.

    Where others are at work too, further threads only stand in each other's way: eight copies at
    once on two cores take a third longer with two threads each.
    """
    cores = len(os.sched_getaffinity(0))
    others = _running() - 1
    for _ in range(_LOOKS):
        if others <= 0:
            break
        # those who only wait for a lock wake up now and then, those at work are there every time
        time.sleep(_PAUSE)
        others = min(others, _running() - 1)
    return max(1, cores - max(0, others))


def _running() -> int:
    """Return how many threads of the whole machine run or could run now; 1 if that is not known."""
    try:
        with open("/proc/loadavg", encoding="ascii") as file:
            return int(file.read().split()[3].partition("/")[0])
    except (OSError, ValueError, IndexError):
        return 1
