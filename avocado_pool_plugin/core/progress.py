"""A line in the log every few seconds while something long goes on."""

import logging
import time

LOG = logging.getLogger("avocado." + __name__)

#: Seconds between two lines.
_PERIOD = 10.0


class LogProgress:
    """
    Counts the bytes of one long operation; call it with each further number of bytes.

    :param what: what goes on, for the log
    :param total: bytes to come
    """

    def __init__(self, what: str, total: int) -> None:
        self.what = what
        self.total = total
        self.done = 0
        self.started = self.said = time.monotonic()

    def __call__(self, done: int) -> None:
        """Count bytes; say so if the last line is long ago."""
        self.done += done
        now = time.monotonic()
        if now - self.said < _PERIOD:
            return
        self.said = now
        rate = self.done / (now - self.started)
        left = max(self.total - self.done, 0) / rate if rate else 0.0
        LOG.info(
            "%s: %.1f of %.1f MiB, %.1f MiB/s, %.0f s left",
            self.what,
            self.done / 2**20,
            self.total / 2**20,
            rate / 2**20,
            left,
        )
