"""Temporary files that a later attempt goes on with, after a transfer was cut off."""

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Iterator

from avocado_pool_plugin.core import durable, layout
from avocado_pool_plugin.core.errors import HostUnreachable, PoolSilent

LOG = logging.getLogger("avocado." + __name__)

#: How long what a transfer left is kept, in seconds.
KEEP = 24 * 3600.0


def key_of(*identity: str) -> str:
    """Return the part of a name that says which content a temporary file is to have."""
    return hashlib.sha256("\0".join(identity).encode("utf-8", "surrogateescape")).hexdigest()[:16]


@contextlib.contextmanager
def resumable(path: str, key: str, fsync: bool = True) -> Iterator[tuple[str, int]]:
    """
    Give a temporary file for what is to become ``path``: its name, and it open for writing.

    It holds what an earlier attempt at the same content left. It stays if the connection breaks or
    the process dies, else it is removed if it is still there.

    :param key: of ``key_of``
    """
    with durable.typed_failures(path):
        durable.make_meta(path, fsync)
        _sweep(layout.meta_dir(path))
        part, fd = _open(path, key)
        keep = False
        try:
            yield part, fd
        except (HostUnreachable, PoolSilent, KeyboardInterrupt):
            keep = True
            raise
        finally:
            if not keep:
                _remove(part, fd)
            os.close(fd)


def _open(path: str, key: str) -> tuple[str, int]:
    """Open the file of a key, or one of its own while another process fills that."""
    part = layout.resumable_path(path, key)
    fd = -1
    try:
        fd = _open_shared(part)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is(part, fd):
            return part, fd
    except OSError as error:
        if fd < 0 and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        LOG.debug("%s can't be gone on with: %s", part, error)
    if fd >= 0:
        os.close(fd)
    part = layout.part_path(path, durable.new_token())
    return part, os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)


def _open_shared(part: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(part, flags, 0o666)
    except PermissionError:
        if not os.path.lexists(part):
            raise
        # whoever was cut off just before the end had made it read-only already
        os.chmod(part, os.lstat(part).st_mode & 0o777 | 0o200)
        return os.open(part, flags, 0o666)


def _is(part: str, fd: int) -> bool:
    return os.stat(part).st_ino == os.fstat(fd).st_ino


def _remove(part: str, fd: int) -> None:
    """Remove a file while its lock is held, unless it is in its place and the name another's."""
    with contextlib.suppress(FileNotFoundError):
        if _is(part, fd):
            os.unlink(part)


def remove_idle(path: str) -> bool:
    """Remove a temporary file unless a transfer holds it; return whether it was removed."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        durable.unlink(path)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def _sweep(directory: str) -> None:
    """Remove what no attempt went on with for long."""
    for name in os.listdir(directory):
        if not name.endswith(f".resume{layout.PART}"):
            continue
        old = os.path.join(directory, name)
        with contextlib.suppress(OSError):
            fd = os.open(old, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if time.time() - os.fstat(fd).st_mtime > KEEP:
                    LOG.info("removing %s, which a transfer left long ago", old)
                    os.unlink(old)
            finally:
                os.close(fd)
