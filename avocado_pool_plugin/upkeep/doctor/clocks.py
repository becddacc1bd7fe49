"""The clock of a file system: how fine it is, whether it is right, whether changes show in it."""

import os
import time
from collections.abc import Iterator

from avocado_pool_plugin.core import durable
from avocado_pool_plugin.core.records import Stamp
from avocado_pool_plugin.upkeep.doctor import judge
from avocado_pool_plugin.upkeep.doctor.finding import Finding

#: Seconds to wait for times to differ, how many of such differences are enough, and how many of
#: those that are far above what other processes can be the reason for.
_LONGEST, _ENOUGH, _FAR = 3.5, 8, 2
#: Seconds without a new time after which the processor is left alone.
_BUSY = 0.05


def times(place: str, work: str) -> Iterator[Finding]:
    """Look at all that a stamp depends on."""
    between = granularity(work)
    yield from judge.granularity(place, between)
    yield from judge.stamps(place, *_stamps(work))
    yield from skew(place, work, between or 0)


def granularity(directory: str) -> int | None:
    """Return the least nanoseconds between two times, None if there was only one for seconds."""
    begin = moment = time.monotonic()
    last = durable.clock(directory)
    apart: list[int] = []
    while not _plenty(apart) and time.monotonic() - begin < _LONGEST:
        now = durable.clock(directory)
        if now != last:
            apart.append(abs(now - last))
            last, moment = now, time.monotonic()
        elif time.monotonic() - moment > _BUSY:
            time.sleep(0.001)
    return min(apart, default=None)


def _plenty(apart: list[int]) -> bool:
    far = min(apart, default=0) > 10 * judge.COARSE
    return len(apart) >= (_FAR if far else _ENOUGH)


def skew(place: str, directory: str, between: int) -> Iterator[Finding]:
    """Compare the clock of a file system with this host's."""
    before = time.time_ns()
    there = durable.clock(directory)
    after = time.time_ns()
    # a time that the file system rounded down may be that old
    ahead = max(there - after, 0) or min(there + between - before, 0)
    yield from judge.skew(place, ahead / 1e9, "the file system's clock")


def _stamps(work: str) -> tuple[bool, bool]:
    """Return whether a hidden change shows, and whether a stamp stays if nothing changes."""
    path = os.path.join(work, "stamped")
    with open(path, "wb") as file:
        file.write(b"one")
    before = os.stat(path)
    deadline = time.monotonic() + _LONGEST
    while durable.clock(work) <= before.st_ctime_ns and time.monotonic() < deadline:
        time.sleep(0.001)
    again = Stamp.of(os.stat(path))
    with open(path, "r+b") as file:
        file.write(b"two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return Stamp.of(os.stat(path)) != again, again == Stamp.of(before)
