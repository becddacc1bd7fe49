"""What only who takes over a place, or looks who is in it, has to do with its files."""

import contextlib
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from avocado_pool_plugin.core import dependents, durable, knowledge, users
from avocado_pool_plugin.core.digest import BLOCK, Progress, tree_fd
from avocado_pool_plugin.core.errors import FileChanging, unreachable
from avocado_pool_plugin.core.local import LocalStore
from avocado_pool_plugin.core.qcow2 import Change
from avocado_pool_plugin.core.records import FileInfo, Stamp
from avocado_pool_plugin.core.users import User
from avocado_pool_plugin.upkeep.listing import files_below
from avocado_pool_plugin.upkeep.site import Entry

#: Bytes that are read of how a file begins: all that matters of an image's header.
START = 4096
#: Endings of states, of root images, and of the locks of avocado-i2n.
ENDINGS = (".qcow2", ".state", ".lock")
#: How many directories deep it is looked for them: one more than a state lies.
_DEPTH = 4


@dataclass(frozen=True)
class Foreseen:
    """
    What a file is, and what it would be with a change to it.

    :param info: of the file as it is, made sure of
    :param digest: of the whole content after the change
    :param stamp: the file's, under which this is true
    """

    info: FileInfo
    digest: str
    stamp: Stamp


class Hands(Protocol):
    """Work on the files of a :class:`~avocado_pool_plugin.upkeep.site.Site`; same errors."""

    def starts(self, paths: Iterable[str]) -> Mapping[str, bytes]:
        """Return how files begin, ``START`` bytes or all there are, of those that can be read."""

    def others(self) -> list[Entry]:
        """Return all files called like states or locks, wherever below the place they are."""

    def foresee(self, path: str, change: Change, progress: Progress | None = None) -> Foreseen:
        """
        Read a file once, to make sure that it is what was recorded and to tell what it would be.

        A file without a record gets one.

        :raises FileCorrupt: it is not what was recorded
        :raises FileChanging: it is being written to
        """

    def change(self, path: str, change: Change, stamp: Stamp) -> None:
        """
        Write some bytes of a file in one step; readers and a power cut find the old or the new.

        :param change: within one sector
        :param stamp: what the file has to be
        :raises FileChanging: it is another one by now
        """

    def trusted(self, path: str) -> Stamp | None:
        """Return a file's stamp once any later change will show in it, None if that takes long."""

    def in_use(self, path: str) -> bool:
        """Tell whether a QEMU has an image open, for longer than a glance."""

    def standing(self, path: str, noted: Iterable[User]) -> Mapping[str, bool]:
        """
        Return which of the overlays and links noted of a state do stand on it; nothing is changed.

        :returns: by their paths, whether a QEMU has them open
        """


class LocalHands:
    """
    In a directory of this host.

    :param root: the directory
    :param store: for the files in it
    """

    def __init__(self, root: str, store: LocalStore) -> None:
        self._root = root
        self._store = store

    def starts(self, paths: Iterable[str]) -> Mapping[str, bytes]:
        """See :class:`Hands`."""
        found = {}
        for path in paths:
            try:
                with open(path, "rb") as file:
                    found[path] = file.read(START)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise unreachable(path, error) from error
        return found

    def others(self) -> list[Entry]:
        """See :class:`Hands`."""
        return sorted(files_below(self._root, ENDINGS, _DEPTH), key=lambda entry: entry.path)

    def foresee(self, path: str, change: Change, progress: Progress | None = None) -> Foreseen:
        """See :class:`Hands`."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise unreachable(path, error) from error
        with durable.typed_failures(path):
            try:
                stamp = Stamp.of(os.fstat(fd))
                tree = tree_fd(fd, stamp.size, progress)
                digest = tree.digest()
                tree.add(0, memoryview(change.applied(os.pread(fd, BLOCK, 0))))
                if Stamp.of(os.fstat(fd)) != stamp:
                    raise FileChanging(f"{path} is being written to; wait until that is done")
            finally:
                os.close(fd)
        info = knowledge.judge(path, digest, stamp, self._store.seen_dir)
        if info is None:
            known = knowledge.peek(path, self._store.seen_dir)
            raise knowledge.corrupt(path, known.info.digest if known else None, digest)
        return Foreseen(info, tree.digest(), stamp)

    def change(self, path: str, change: Change, stamp: Stamp) -> None:
        """See :class:`Hands`."""
        with durable.typed_failures(path), _writable(path, self._store.policy.fsync) as fd:
            same = Stamp.of(os.fstat(fd)).same_file(stamp)
            if not same or os.pread(fd, len(change.old), change.at) != change.old:
                raise FileChanging(f"{path} was written to by others meanwhile; try again")
            os.pwrite(fd, change.new, change.at)

    def trusted(self, path: str) -> Stamp | None:
        """See :class:`Hands`."""
        with durable.typed_failures(path):
            return knowledge.wait_trusted(path)

    def in_use(self, path: str) -> bool:
        """See :class:`Hands`."""
        return dependents.LOCAL.stays_open(path)

    def standing(self, path: str, noted: Iterable[User]) -> Mapping[str, bool]:
        """See :class:`Hands`."""
        host = socket.gethostname()
        return {
            user.path: user.open
            for user in noted
            if user.counts(host, partial(users.stands_on, user.path, path))
        }


@contextlib.contextmanager
def _writable(path: str, fsync: bool) -> Iterator[int]:
    """Open a file to write to it; it has its mode back at the end if that had to change."""
    flags = os.O_RDWR | os.O_CLOEXEC
    mode = None
    try:
        fd = os.open(path, flags)
    except PermissionError:
        mode = os.stat(path).st_mode & 0o7777
        os.chmod(path, mode | 0o200)
        try:
            fd = os.open(path, flags)
        except OSError:
            os.chmod(path, mode)
            raise
    try:
        try:
            yield fd
        finally:
            if mode is not None:
                os.fchmod(fd, mode)
        if fsync:
            os.fsync(fd)
    finally:
        os.close(fd)
