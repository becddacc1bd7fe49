"""Copies of whole files: shared blocks where the file system can, else sparse and hashed."""

import fcntl
import os
import shutil
from dataclasses import dataclass

from avocado_pool_plugin.core import digest, durable
from avocado_pool_plugin.core.digest import Progress
from avocado_pool_plugin.core.errors import FileChanging, SpaceMissing
from avocado_pool_plugin.core.records import Stamp

_FICLONE = 0x40049409
#: Room left over on a file system for records and directories, in bytes.
_MARGIN = 1 << 20


@dataclass(frozen=True)
class Copied:
    """
    A copy that was made.

    :param digest: of the content
    :param cloned: whether the copy shares the source's blocks
    :param stamp: of the source, before and after
    """

    digest: str
    cloned: bool
    stamp: Stamp


def copy_file(
    source: str,
    target: str,
    known: tuple[Stamp, str] | None = None,
    progress: Progress | None = None,
) -> Copied:
    """
    Copy a file to a new name.

    :param known: a trusted stamp of the source and the digest under it: a clone need not be read
    :raises FileChanging: the source was written to meanwhile
    """
    reading = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    writing = -1
    try:
        writing = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        before = Stamp.of(os.fstat(reading))
        cloned = _clone(reading, writing)
        if not cloned:
            found = digest.copy_fd(reading, writing, before.size, progress)
        elif known and known[0] == before:
            found = known[1]
        else:
            found = digest.digest_fd(writing, before.size, progress)
        if Stamp.of(os.fstat(reading)) != before:
            raise FileChanging(f"{source} was written to while it was copied; try again")
        return Copied(found, cloned, before)
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)


def fill(source: str, target: int) -> None:
    """
    Give an open empty file the content of another one, which may change meanwhile.

    It stays empty if that has no room or can't be read.
    """
    reading = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if not _clone(reading, target):
            digest.copy_fd(reading, target, os.fstat(reading).st_size)
    except (OSError, FileChanging):
        os.ftruncate(target, 0)
    finally:
        os.close(reading)


def _clone(source: int, target: int) -> bool:
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True


def can_clone(source: str, near: str) -> bool:
    """Tell whether a file can share its blocks with a copy beside ``near``, by trying."""
    reading = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with durable.unnamed(os.path.dirname(near)) as writing:
            return _clone(reading, writing)
    finally:
        os.close(reading)


def require_space(directory: str, needed: int, what: str) -> None:
    """
    Make sure that there is room before the first byte is written.

    :param directory: an existing directory of the file system
    :param needed: bytes
    :raises SpaceMissing: there is less
    """
    require_room(directory, free_space(directory), needed, what)


def require_room(directory: str, free: int, needed: int, what: str) -> None:
    """Do the same for a directory anywhere, of which it is known how many bytes are free."""
    if needed and needed + _MARGIN > free:
        raise SpaceMissing(
            f"{what} needs {needed / 2**20:.1f} MiB in {directory}, only {free / 2**20:.1f} MiB "
            f"are free; free some there (what was removed lies in .pool/trash), nothing changed"
        )


def free_space(directory: str) -> int:
    """Return how many bytes are free on the file system of a directory."""
    return shutil.disk_usage(directory).free


def allocated(path: str) -> int:
    """Return how many bytes of disk a file takes."""
    return os.stat(path).st_blocks * 512
