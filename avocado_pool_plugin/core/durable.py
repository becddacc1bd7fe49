"""Files that appear whole or not at all, and directories that stay."""

import contextlib
import errno
import os
import secrets
import time
from collections.abc import Iterator

from avocado_pool_plugin.core import layout
from avocado_pool_plugin.core.errors import PoolError, PoolUnreachable, SpaceMissing, no_use

#: Of linux/fcntl.h and linux/fs.h.
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
#: The longest name of a file, in bytes.
_MAX_NAME = 255


def sync_file(path: str) -> None:
    """Make a file's content survive a power cut."""
    _sync(path, os.O_RDONLY)


def sync_dir(directory: str) -> None:
    """Make the names in a directory survive a power cut."""
    _sync(directory, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: str, flags: int) -> None:
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_dirs(directory: str, fsync: bool = True) -> None:
    """
    Make a directory with its parents.

    :raises PoolUnreachable: it can't be made; the text names it and the reason
    """
    missing = []
    current = directory
    while not os.path.isdir(current):
        missing.append(current)
        parent = os.path.dirname(current)
        if parent == current:
            break
        current = parent
    try:
        os.makedirs(directory, exist_ok=True)
        if fsync:
            for made in reversed(missing):
                sync_dir(os.path.dirname(made))
    except OSError as error:
        raise PoolUnreachable(
            f"directory {directory} can't be made: {error.strerror}; check that its file system "
            f"is mounted and writable"
        ) from error


def make_meta(path: str, fsync: bool = True) -> str:
    """Make our directory beside a file, as :func:`make_like_parent` does, and return it."""
    return make_like_parent(layout.meta_dir(path), fsync)


def make_like_parent(directory: str, fsync: bool = True) -> str:
    """
    Make a directory that the same people can use as the one it is in, and return it.

    :raises PoolUnreachable: it can't be made; the text names it and the reason
    """
    if not os.path.isdir(directory):
        make_dirs(directory, fsync)
        # what can't be given to them is still a directory for us
        with contextlib.suppress(OSError):
            owner = os.stat(os.path.dirname(directory))
            os.chown(directory, -1, owner.st_gid)
            os.chmod(directory, owner.st_mode & 0o3777)
    return directory


def new_token() -> str:
    """Return a random name part."""
    return secrets.token_hex(8)


def is_token(text: str) -> bool:
    """Tell whether a name part is one of ``new_token``."""
    return len(text) == 16 and set(text) <= set("0123456789abcdef")


@contextlib.contextmanager
def typed_failures(path: str) -> Iterator[None]:
    """
    Make any failure of the system in the body an error of ours.

    :param path: what the body makes or changes
    :raises SpaceMissing: the file system is full
    :raises PoolUnreachable: it can't be written, or what the body reads can't be read
    :raises PoolSilent: the same, for want of an answer in time
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SpaceMissing(
                f"no room left for {path} ({error.strerror}); free space on its file system and "
                f"try again, what is there is whole"
            ) from error
        if isinstance(error, PoolError):
            raise
        raise no_use(error)(
            f"{path} can't be used: {error.strerror or error}; check that all file systems are "
            f"mounted, sound and writable"
        ) from error


@contextlib.contextmanager
def new_part(path: str, fsync: bool = True) -> Iterator[str]:
    """
    Give an unused temporary name for what is to become ``path``; it is removed if still there.

    Failures of the system in the body become errors of ours, see :func:`typed_failures`.
    """
    with typed_failures(path):
        make_meta(path, fsync)
        part = layout.part_path(path, new_token())
        try:
            yield part
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part)


@contextlib.contextmanager
def unnamed(directory: str) -> Iterator[int]:
    """Give an open empty file in a directory that leaves nothing behind."""
    try:
        fd = os.open(directory, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    except OSError:
        # not on every file system: hidden for a moment then
        name = os.path.join(directory, f".{new_token()}.tmp")
        fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.unlink(name)
    try:
        yield fd
    finally:
        os.close(fd)


def exchange(one: str, other: str) -> bool:
    """Swap two names of a directory tree in one step; return whether the file system can."""
    import ctypes

    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except (OSError, AttributeError):
        return False  # a C library without it
    names = os.fsencode(one), os.fsencode(other)
    return bool(renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0)


def write_whole(path: str, data: bytes, fsync: bool = True) -> None:
    """Write a small file of ours so that readers see the old or the new content."""
    temporary = write_temporary(path, data, fsync)
    try:
        os.replace(temporary, path)
    except BaseException:
        unlink(temporary)
        raise
    if fsync:
        sync_dir(os.path.dirname(path))


def write_temporary(path: str, data: bytes, fsync: bool = True) -> str:
    """Write data under an unused name beside ``path`` and return that name."""
    directory, name = os.path.split(path)
    ending = f".{new_token()}.tmp"
    # in the trash names are longer than that of the state
    short = os.fsencode(name)[: _MAX_NAME - len(ending)].decode(errors="ignore")
    temporary = os.path.join(directory, short + ending)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            if fsync:
                os.fsync(fd)
    except BaseException:
        unlink(temporary)
        raise
    return temporary


def create_whole(path: str, data: bytes) -> bool:
    """Write a small file of ours unless there is one; return whether it was written."""
    temporary = write_temporary(path, data, fsync=False)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError:
        # a file system without hard links: no reader takes a half written one for a record
        return _create_plain(path, data)
    finally:
        unlink(temporary)
    return True


def _create_plain(path: str, data: bytes) -> bool:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        return False
    with os.fdopen(fd, "wb") as file:
        file.write(data)
    return True


def unlink(path: str) -> None:
    """Remove a file that may be gone already."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def clock(directory: str) -> int:
    """
    Return what time the file system of a directory stamps on changes now, in nanoseconds.

    Files are compared with this clock and not with the machine's: it has the file system's
    granularity, and for a network file system it is the server's.
    """
    probe = os.path.join(directory, f".clock-{new_token()}.tmp")
    try:
        fd = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        os.utime(directory)  # takes no room
        return os.stat(directory).st_ctime_ns
    try:
        return os.fstat(fd).st_ctime_ns
    finally:
        os.close(fd)
        os.unlink(probe)


def seconds(directory: str) -> float:
    """
    Return the time by which all who share a directory go, in seconds since 1970; see :func:`clock`.

    Where nothing can be written it is this host's.
    """
    try:
        return clock(directory) / 1e9
    except OSError:
        return time.time()
