"""Doing something again and again, for as long as a block of code takes."""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator

LOG = logging.getLogger("avocado." + __name__)


class _Beating:
    """One thing that is done again and again; it has a thread once it was due."""

    def __init__(self, seconds: float, beat: Callable[[], None]) -> None:
        self.seconds, self.over = seconds, threading.Event()
        self._beat = beat

    def run(self) -> None:
        while not self.over.is_set():
            try:
                self._beat()
            except Exception as error:  # the next one may work, and nobody is there to catch it
                LOG.debug("a heartbeat failed: %s", error)
            self.over.wait(self.seconds)


class _Clock:
    """
    Waits until things are due for the first time.

    One thread waits for all, so that what is short starts none. What is due gets one of its own:
    it may hang on a file system that does not answer, and no other thing is to wait for that.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Begin with nothing; a forked child has no share in its parent's threads."""
        self._changed = threading.Condition()
        self._waiting: dict[_Beating, float] = {}
        self._thread: threading.Thread | None = None
        self._until: float | None = None

    def add(self, one: _Beating) -> None:
        due = time.monotonic() + one.seconds
        with self._changed:
            self._waiting[one] = due
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="pool-heart", daemon=True)
                self._thread.start()
            elif self._until is None or due < self._until:
                self._changed.notify()

    def drop(self, one: _Beating) -> None:
        one.over.set()
        with self._changed:
            self._waiting.pop(one, None)

    def _run(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for one in [one for one, due in self._waiting.items() if due <= now]:
                    del self._waiting[one]
                    threading.Thread(target=one.run, name="pool-beat", daemon=True).start()
                self._until = min(self._waiting.values(), default=None)
                self._changed.wait(None if self._until is None else self._until - now)


_clock = _Clock()
os.register_at_fork(after_in_child=_clock.begin)


@contextlib.contextmanager
def every(seconds: float, beat: Callable[[], None]) -> Iterator[None]:
    """
    Do something every so many seconds as long as the body runs, for the first time after that.

    It is done in another thread. A forked child does not do it.

    :param beat: what fails in it goes to the debug log
    """
    one, pid = _Beating(seconds, beat), os.getpid()
    _clock.add(one)
    try:
        yield
    finally:
        if os.getpid() == pid:  # a child that comes by here has only copies
            _clock.drop(one)
