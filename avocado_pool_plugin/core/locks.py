"""
Locks that order writers and save work; correctness never rests on them.

flock by way of filelock: excludes processes and threads of a host, and hosts where the file system
passes flock on. A held lock's file says who holds it.
"""

import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator

from avocado_pool_plugin.core import durable, layout
from avocado_pool_plugin.core.errors import LockTimeout, PoolUnreachable

LOG = logging.getLogger("avocado." + __name__)

#: Asked at each call: true takes no locks at all (``states.pool.SKIP_LOCKS``).
skip: Callable[[], bool] = lambda: False  # noqa: E731

#: Seconds between two tries.
_POLL = 0.01
#: A wait longer than this many seconds is worth a line in the log.
_NOTABLE = 1.0


@contextlib.contextmanager
def hold(path: str, timeout: float) -> Iterator[None]:
    """
    Hold the lock of a file.

    :param path: the file, which need not exist
    :param timeout: seconds to wait, 0 tries once
    :raises LockTimeout: someone else held it all the time; the text says who
    :raises PoolUnreachable: the lock's directory can't be made
    """
    if skip():
        yield
        return
    from filelock import FileLock, Timeout

    durable.make_meta(path, fsync=False)
    lock_file = layout.lock_path(path)
    lock = FileLock(
        lock_file, mode=0o666, thread_local=False, poll_interval=_POLL, on_acquired=_sign
    )
    started = time.monotonic()
    try:
        lock.acquire(timeout=timeout)
    except Timeout:
        raise _timeout(path, timeout) from None
    except OSError as error:
        raise PoolUnreachable(
            f"{lock_file} can't be locked: {error}; check that its file system is mounted and "
            f"writable"
        ) from error
    try:
        waited = time.monotonic() - started
        if waited > _NOTABLE:
            LOG.info("waited %.1f s for the lock of %s", waited, path)
        yield
    finally:
        lock.release()


def _timeout(path: str, waited: float) -> LockTimeout:
    error = LockTimeout(
        f"{path} is locked by {_holder(layout.lock_path(path))}; waited {waited:g} seconds - wait "
        f"for it to finish, or raise the lock timeout (update_pool_timeout)"
    )
    error.path = path
    return error


def _sign(fd: int) -> None:
    """Write into a lock file who holds it; for people only, so failing to is no failure."""
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    text = f"host {socket.gethostname()}, process {os.getpid()}, since {since}\n".encode()
    with contextlib.suppress(OSError):
        os.ftruncate(fd, 0)
        os.pwrite(fd, text, 0)


def _holder(lock_file: str) -> str:
    try:
        with open(lock_file, encoding="utf-8", errors="replace") as file:
            return file.read().strip() or "an unknown process"
    except OSError as error:
        return f"an unknown process ({error.strerror})"
