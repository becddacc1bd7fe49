"""Temporary files that a later attempt goes on with, after a transfer was cut off."""

import contextlib
import errno
import fcntl
import functools
import hashlib
import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator

from avocado_pool_plugin.core import durable, layout, process
from avocado_pool_plugin.core.errors import HostUnreachable, PoolSilent

LOG = logging.getLogger("avocado." + __name__)

#: How long what a transfer left is kept, in seconds.
KEEP = 24 * 3600.0
#: How many letters of a part's name tell the machine of who fills it.
_MACHINE = 6
#: Parts that this process fills at the moment, by the host that they are on.
_FILLED: set[tuple[str, str]] = set()
_GUARD = threading.Lock()


def key_of(*identity: str) -> str:
    """Return the part of a name that says which content a temporary file is to have."""
    return hashlib.sha256("\0".join(identity).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def part_for(path: str, key: str) -> str:
    """Return the temporary file that this process fills with some content for ``path``."""
    return layout.resumable_path(path, f"{key}-{_machine()}{os.getpid():x}")


@contextlib.contextmanager
def filling(part: str, where: str = "") -> Iterator[bool]:
    """
    Tell whether no other thread of this process fills a part meanwhile.

    :param where: the host that it is on, empty for this one
    """
    with _GUARD:
        sole = (where, part) not in _FILLED
        if sole:
            _FILLED.add((where, part))
    try:
        yield sole
    finally:
        if sole:
            _FILLED.discard((where, part))


def abandoned(parts: Iterable[str], part: str) -> list[str]:
    """
    Return those of some files that were to become the same as a part, and whose process is gone.

    No lock tells that but their names. Of processes elsewhere nothing is known: what they left
    stays until it is swept.
    """
    content, _, _ = _mark(part)
    found = []
    for other in parts:
        theirs, machine, pid = _mark(other)
        if theirs == content and machine == _machine() and not process.started(pid):
            found.append(other)
    return found


def _mark(part: str) -> tuple[str, str, int]:
    """Return what a part is to become, and the machine and the process that fill it."""
    content, _, filler = part.removesuffix(layout.RESUME).rpartition("-")
    machine, pid = filler[:_MACHINE], filler[_MACHINE:]
    known = bool(pid) and set(pid) <= set("0123456789abcdef")
    return content, machine if known else "", int(pid, 16) if known else 0


@functools.cache
def _machine() -> str:
    return hashlib.sha256(process.machine().encode()).hexdigest()[:_MACHINE]


@contextlib.contextmanager
def resumable(path: str, key: str, fsync: bool = True) -> Iterator[tuple[str, int]]:
    """
    Give a temporary file for what is to become ``path``: its name, and it open for writing.

    It holds what an earlier attempt at the same content left; nobody else has it open. It stays if
    the connection breaks or the process dies, else it is removed if it is still there.

    :param key: of ``key_of``
    """
    wanted = part_for(path, key)
    with durable.typed_failures(path), filling(wanted) as sole:
        durable.make_meta(path, fsync)
        _sweep(layout.meta_dir(path))
        part, fd = _open(path, wanted if sole else "")
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


def _open(path: str, part: str) -> tuple[str, int]:
    """Open a part, or one that no later attempt finds if that can't be or there is no name."""
    fd = -1
    try:
        if part:
            _take_over(part)
            fd = _open_shared(part)
            # for those who sweep
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


def _take_over(part: str) -> None:
    """Let a part be what a process that is gone has left, if there is any."""
    if os.path.lexists(part):
        return
    directory = os.path.dirname(part)
    files = (os.path.join(directory, name) for name in os.listdir(directory))
    for other in abandoned((file for file in files if file.endswith(layout.RESUME)), part):
        with contextlib.suppress(FileNotFoundError):
            os.rename(other, part)
            return


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
        if not name.endswith(layout.RESUME):
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
