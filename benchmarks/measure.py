"""Timing of contenders in turn, with medians, spread, bytes read and processes started."""

import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

#: Calls that start a process, as Python's audit events name them.
_STARTS = ("subprocess.Popen", "os.fork", "os.posix_spawn")
_started = 0


def _count(event: str, _: tuple[object, ...]) -> None:
    global _started  # noqa: PLW0603 - an audit hook has nowhere else to count
    if event in _STARTS:
        _started += 1


sys.addaudithook(_count)


@dataclass
class Samples:
    """
    What one contender needed.

    :ivar seconds: of each run
    :ivar read: bytes that each run read, with the processes it waited for (the loader of
        ``qemu-img`` alone reads about 0.4 MiB)
    :ivar started: processes that each run started
    """

    seconds: list[float] = field(default_factory=list)
    read: list[int] = field(default_factory=list)
    started: list[int] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Median of the seconds."""
        return statistics.median(self.seconds)

    def __str__(self) -> str:
        return f"{show(self.median)} ({show(min(self.seconds))} - {show(max(self.seconds))})"


def show(seconds: float) -> str:
    """Return a time as people read it."""
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _bytes_read() -> int:
    with open("/proc/self/io", encoding="ascii") as file:
        return int(file.readline().split()[1])


@dataclass(frozen=True)
class Contender:
    """
    Something to be timed.

    :param run: the work; returns its own seconds if it timed itself (a process elsewhere)
    :param before: brings everything back to where the work begins, not timed
    """

    run: Callable[[], float | None]
    before: Callable[[], object] = lambda: None


def alternate(contenders: dict[str, Contender], runs: int) -> dict[str, Samples]:
    """
    Run contenders in turn, once without counting and then ``runs`` times.

    The machine's speed drifts; in turns it drifts for all of them alike.
    """
    found = {name: Samples() for name in contenders}
    for turn in range(runs + 1):
        for name, contender in contenders.items():
            contender.before()
            read, started, begun = _bytes_read(), _started, time.perf_counter()
            own = contender.run()
            seconds = time.perf_counter() - begun if own is None else own
            if turn:
                found[name].seconds.append(seconds)
                found[name].read.append(_bytes_read() - read)
                found[name].started.append(_started - started)
    return found


def ratio(ours: Samples, theirs: Samples) -> float:
    """Return the median of the ratios pair by pair."""
    pairs = zip(ours.seconds, theirs.seconds, strict=True)
    return statistics.median(mine / other for mine, other in pairs)


def sync() -> None:
    """Leave no writing back of earlier runs to the next one."""
    os.sync()


def drop_caches() -> None:
    """Forget what is in the page cache, where that is allowed (root)."""
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
        file.write("1")


def blocks(path: Path) -> int:
    """Return how many bytes of disk a file takes."""
    return path.stat().st_blocks * 512
