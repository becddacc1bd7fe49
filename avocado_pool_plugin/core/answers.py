"""
Whether a file system answers at all.

A system call on a network mount whose server is gone may wait for ever, and nothing in its thread
can end it. So one is tried in a thread of its own first, which is left behind if it stays there.
"""

import contextlib
import os
import threading

from avocado_pool_plugin.core.errors import PoolSilent

#: Seconds that an answer may take even if nobody wants to wait for locks.
LEAST = 5.0


def require_answer(directory: str, timeout: float) -> None:
    """
    Make sure that the file system of a directory answers, be it that there is no such directory.

    :param timeout: seconds to wait, at least ``LEAST``
    :raises PoolSilent: no answer came
    """
    answered = threading.Event()

    def ask() -> None:
        with contextlib.suppress(OSError):
            os.statvfs(directory)
        answered.set()

    longest = max(timeout, LEAST)
    threading.Thread(target=ask, name=f"look at {directory}", daemon=True).start()
    if not answered.wait(longest):
        raise PoolSilent(
            f"{directory} does not answer, waited {longest:g} seconds; check the server of its "
            f"mount, or take it out of the locations"
        )
