"""Timing of contenders in turn, with medians, spread, bytes read and processes started."""

import contextlib
import mmap
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

GIB = 1 << 30
#: Memory that :func:`settle` leaves alone, in bytes.
_SPARED = 2 * GIB
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
    :ivar read: bytes that each run read, with the processes it waited for and what their loaders
        read of libraries
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


def bytes_read() -> int:
    """Return how many bytes this process has read so far, with those it waited for."""
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


def alternate(
    contenders: dict[str, Contender], runs: int, *, uncounted: int = 1
) -> dict[str, Samples]:
    """
    Run contenders in turn, once without counting and then ``runs`` times.

    The machine's speed drifts; in turns it drifts for all of them alike. Each turn begins with
    another contender, so that none always comes after the same one.

    :param uncounted: turns before those that count: 0 for what takes so long that what the first
        one finds nowhere in memory yet makes no difference
    :return: what each needed, in the order given
    """
    found = {name: Samples() for name in contenders}
    order = list(contenders.items())
    for turn in range(uncounted + runs):
        first = turn % len(order)
        for name, contender in order[first:] + order[:first]:
            contender.before()
            read, started, begun = bytes_read(), _started, time.perf_counter()
            own = contender.run()
            seconds = time.perf_counter() - begun if own is None else own
            if turn >= uncounted:
                found[name].seconds.append(seconds)
                found[name].read.append(bytes_read() - read)
                found[name].started.append(_started - started)
    return found


def ratio(ours: Samples, theirs: Samples) -> float:
    """Return the median of the ratios pair by pair."""
    pairs = zip(ours.seconds, theirs.seconds, strict=True)
    return statistics.median(mine / other for mine, other in pairs)


def settle(gib: float) -> None:
    """
    Make the next run start as any other would: nothing to write back, free memory at hand.

    A virtual machine with free page reporting hands freed memory back to its host after some two
    seconds, and the host has to find it anew when it is used again, at some 2.5 s for a GiB. Who
    comes first after a large removal would pay for all. So that much memory is used once here and
    freed just before the run. It has to be in huge pages: free memory is handed back in large
    blocks, and small pages would be taken from the rest, which serves small writes but not large
    ones (a copy in 1 MiB writes then had 1.2 to 5 s of system time, with huge pages 0.6 to 1 s).

    :param gib: about what the run will take for the files it writes, in GiB; less is done where
        less than 2 GiB would be left available
    """
    os.sync()
    size = min(int(gib * GIB), _available() - _SPARED) // mmap.PAGESIZE * mmap.PAGESIZE
    if size > 0:
        with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
            with contextlib.suppress(OSError):  # a kernel without huge pages
                memory.madvise(mmap.MADV_HUGEPAGE)
            memory[:: mmap.PAGESIZE] = bytes(size // mmap.PAGESIZE)


def _available() -> int:
    """Return how much memory programs can have without swapping, in bytes."""
    with open("/proc/meminfo", encoding="ascii") as file:
        lines = dict(line.split(":") for line in file)
    return int(lines["MemAvailable"].split()[0]) * 1024


def start_over(gib: float, *paths: Path) -> None:
    """
    Remove what earlier runs left, then settle.

    :param gib: as in :func:`settle`
    :param paths: files or directories, there or not
    """
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    settle(gib)


def drop_caches() -> None:
    """Forget what is in the page cache, where that is allowed (root)."""
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
        file.write("1")


def sync(*paths: Path) -> None:
    """Wait until files, or the names in directories, are on the disk."""
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)


def blocks(path: Path) -> int:
    """Return how many bytes of disk a file takes."""
    return path.stat().st_blocks * 512
