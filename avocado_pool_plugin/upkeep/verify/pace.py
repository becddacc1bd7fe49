"""How fast content is read, and how reading ends when somebody wants it to."""

import threading
import time

#: Seconds to sleep at once at most: who reads over a connection must not be silent for long.
_NAP = 5.0


class Stopped(Exception):
    """Reading was told to end."""


class Pace:
    """
    Keeps readers, who may be several threads, at a rate on average.

    :param rate: bytes a second, 0 for as fast as it goes
    """

    def __init__(self, rate: float = 0.0) -> None:
        self.rate = rate
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._done = 0
        self._started = 0.0

    @property
    def done(self) -> int:
        """How many bytes were read."""
        return self._done

    def count(self, size: int) -> None:
        """
        Count bytes that were read, and sleep for a while if that was too fast.

        :raises Stopped: it is to end
        """
        with self._lock:
            self._started = self._started or time.monotonic()
            self._done += size
        self._sleep()

    def settle(self) -> None:
        """Sleep until the average is right; for where reading itself can't be slowed down."""
        while self._sleep():
            pass

    def stop(self) -> None:
        """Let all readers end soon."""
        self._stop.set()

    def _sleep(self) -> bool:
        """Sleep if there is a reason to; return whether there was one."""
        if self._stop.is_set():
            raise Stopped
        with self._lock:
            ahead = self._done / self.rate - (time.monotonic() - self._started) if self.rate else 0
            ahead = min(ahead, _NAP) if self._started else 0
        if ahead > 0 and self._stop.wait(ahead):
            raise Stopped
        return ahead > 0
