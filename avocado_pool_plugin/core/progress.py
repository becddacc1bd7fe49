"""
How a long operation on a file gets on: who is told, and in which words.

Who works only says what begins (:func:`reported`). Who is told is up to the program: a line in the
log every few seconds, unless a command installs somebody else for its run (:func:`reporting`).
"""

import contextlib
import functools
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from avocado_pool_plugin.core.digest import Progress, data_spans

LOG = logging.getLogger("avocado." + __name__)

#: Seconds between two lines.
_PERIOD = 10.0


@dataclass(frozen=True)
class Task:
    """
    A long operation.

    :param doing: what goes on, such as ``fetching``
    :param path: the file that is read
    :param size: tells how many bytes of it are no holes; None to look at a file of this host
    :param told: tells what else there is to say of how it gets on, such as ``3 of 9 states``
    """

    doing: str
    path: str
    size: Callable[[], int] | None = None
    told: Callable[[], str] | None = None


#: Reports one operation while its context lasts: it gives whom to tell each further number of
#: bytes.
Reporter = Callable[[Task], contextlib.AbstractContextManager[Progress]]


class Count:
    """The bytes of a task that are done, from now on."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.done = 0
        self.started = time.monotonic()

    @functools.cached_property
    def data(self) -> int:
        """Bytes of the file that are no holes; looked up when first asked for, as few ask."""
        return self.task.size() if self.task.size else data_size(self.task.path)

    @property
    def total(self) -> int:
        """Bytes in all; what is done again, as the file was replaced meanwhile, counts again."""
        return max(self.data, self.done)

    @property
    def seconds(self) -> float:
        """Seconds since the count began."""
        return time.monotonic() - self.started

    def __str__(self) -> str:
        rate = self.done / max(self.seconds, 1e-6)
        left = f"{(self.total - self.done) / rate:.0f}" if rate else "?"
        more = f"{self.task.told()}, " if self.task.told else ""
        done, total = (f"{size / 2**20:.1f}" for size in (self.done, self.total))
        return f"{more}{done} of {total} MiB, {rate / 2**20:.1f} MiB/s, {left} s left"


class LogProgress:
    """
    Tells a log of one long operation; call it with each further number of bytes.

    :param task: the operation
    """

    def __init__(self, task: Task, log: logging.Logger = LOG) -> None:
        self.task = task
        self.log = log
        self.count = Count(task)
        self.said = self.count.started

    def __call__(self, done: int) -> None:
        """Count bytes; say so if the last line is long ago."""
        self.count.done += done
        now = time.monotonic()
        if now - self.said >= _PERIOD:
            self.said = now
            self.log.info("%s %s: %s", self.task.doing, self.task.path, str(self.count))


def lines(log: logging.Logger = LOG) -> Reporter:
    """Return who reports by lines in a log."""

    @contextlib.contextmanager
    def report(task: Task) -> Iterator[Progress]:
        yield LogProgress(task, log)

    return report


#: Who is told in this process, the one in charge last; threads have no other ones.
_reporters: list[Reporter] = [lines()]


def reported(
    doing: str,
    path: str,
    size: Callable[[], int] | None = None,
    told: Callable[[], str] | None = None,
) -> contextlib.AbstractContextManager[Progress]:
    """Report what is done while the context lasts; see :class:`Task`."""
    return _reporters[-1](Task(doing, path, size, told))


@contextlib.contextmanager
def reporting(reporter: Reporter) -> Iterator[None]:
    """Put somebody in charge of reports while the context lasts."""
    _reporters.append(reporter)
    try:
        yield
    finally:
        _reporters.pop()


def data_size(path: str) -> int:
    """Return how many bytes of a file are no holes, and so take time; 0 if it is gone."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            return sum(end - start for start, end in data_spans(file.fileno(), size))
    except OSError:
        return 0
