"""
The connection of the agent with whoever sent it; sent there with it.

Only the standard library, and nothing newer than Python 3.6.
"""

import contextlib
import fcntl
import json
import os
import struct
import threading
import time

from avocado_pool_plugin.ssh.far_files import BLOCK

TYPE_CHECKING = False  # importing typing takes a while
if TYPE_CHECKING:
    from collections.abc import Callable

#: How a frame begins: its kind, a number, and how many bytes follow.
HEAD = struct.Struct("!cQI")

_F_SETPIPE_SZ = 1031
#: Seconds between signs of life, and for how long a single call of the system may last.
_BEAT, _PATIENCE = 0.25, 900


class Line:
    """The connection."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done = 0
        self._said = time.monotonic()
        for fd in (0, 1):
            os.set_blocking(fd, True)
            # not if it is a socket, or if others used up what there is
            with contextlib.suppress(OSError):
                fcntl.fcntl(fd, _F_SETPIPE_SZ, BLOCK)

    def hear(self, view: memoryview) -> bool:
        """Fill a buffer; return False if the other side is gone."""
        have = 0
        while have < len(view):
            got = os.readv(0, [view[have:]])
            if not got:
                return False
            have += got
        return True

    def say(self, kind: bytes, number: int = 0, body: "bytes | memoryview" = b"") -> None:
        """Send a frame."""
        head = HEAD.pack(kind, number, len(body))
        with self._lock:
            try:
                sent = os.writev(1, [head, body])
                for part in (head, memoryview(body)):
                    skip = min(sent, len(part))
                    sent -= skip
                    while skip < len(part):
                        skip += os.write(1, part[skip:])
            except OSError:
                os._exit(1)  # nobody listens; whatever thread this is
            self._said = time.monotonic()

    def answer(self, **what: object) -> None:
        """Send the answer that ends a request."""
        if self._done:
            self.beat(now=True)
        self.say(b"r", 0, json.dumps(what).encode())

    def refuse(self, error: OSError) -> None:
        """Send what went wrong."""
        self.answer(error=error.strerror or str(error), errno=error.errno or 0)

    def beat(self, done: int = 0, now: bool = False) -> None:
        """Tell that bytes got done, unless something was told just before."""
        self._done += done
        if now or time.monotonic() - self._said > _BEAT:
            told, self._done = self._done, 0
            self.say(b"b", told)

    def waiting(self, call: "Callable[[], object]") -> None:
        """Do what may take long and can't tell how it gets on, with signs of life."""
        over = threading.Event()

        def live() -> None:
            for _ in range(int(_PATIENCE / _BEAT)):
                if over.wait(_BEAT):
                    return
                self.say(b"b")

        thread = threading.Thread(target=live)
        thread.start()
        try:
            call()
        finally:
            over.set()
            thread.join()
