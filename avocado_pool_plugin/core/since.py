"""How long the test of this process has been making what it leaves behind."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass
class _Watch:
    """
    A stopwatch.

    :ivar began: when the test began, as of ``time.monotonic``; None outside of tests
    :ivar spared: seconds since then that do not count
    :ivar depth: how many blocks that do not count are under way, one in the other
    """

    began: float | None = None
    spared: float = 0.0
    depth: int = 0


_watch = _Watch()


def begin() -> None:
    """Note that a test begins in this process."""
    _watch.began, _watch.spared = time.monotonic(), 0.0


def seconds() -> float:
    """Return for how long the test has been at work, 0.0 outside of tests."""
    if _watch.began is None:
        return 0.0
    return max(0.0, time.monotonic() - _watch.began - _watch.spared)


@contextlib.contextmanager
def spared() -> Iterator[None]:
    """Leave out what the body takes: a get of states is not what makes others."""
    started = time.monotonic()
    _watch.depth += 1
    try:
        yield
    finally:
        _watch.depth -= 1
        if not _watch.depth:
            _watch.spared += time.monotonic() - started
