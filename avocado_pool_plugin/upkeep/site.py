"""
A cache or pool as its keeper sees it: all of its files, wherever they are.

What keepers do is written once, over this contract; here.py keeps it for directories of this host,
there.py for those of other hosts. Paths are absolute, as that host has them.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from avocado_pool_plugin.core.chain import Backing
from avocado_pool_plugin.core.dependents import Shelf
from avocado_pool_plugin.core.digest import Progress
from avocado_pool_plugin.core.evidence import Peek
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.core.names import State
from avocado_pool_plugin.core.policy import Policy
from avocado_pool_plugin.core.records import FileInfo, Stamp
from avocado_pool_plugin.core.store import Store

if TYPE_CHECKING:
    from avocado_pool_plugin.upkeep.eyes import Eyes
    from avocado_pool_plugin.upkeep.hands import Hands

#: Where a host's kernel tells of all locks on files; to be read as any file of a place's host.
KERNEL_LOCKS = "/proc/locks"


@dataclass(frozen=True)
class Entry:
    """
    A file as a listing shows it.

    :param stamp: of what a link leads to; None if that is nothing
    :param allocated: bytes on disk
    :param device: number of its file system's device
    :param mode: permission bits
    :param links: how many names the file has on its file system, hard links
    :param link: where it leads if it is a symlink, else empty
    """

    path: str
    stamp: Stamp | None
    allocated: int = 0
    device: int = 0
    mode: int = 0
    link: str = ""
    links: int = 1


@dataclass(frozen=True)
class Item:
    """
    A file of a cache or pool that is a state, or a root image of a pool.

    :param state: None for a root image
    :param entry: the file
    :param parent: name of the state that it stands on, empty for none
    :param problem: why that can't be told, or what it stands on that is no state; empty if all is
        well
    :param peek: what is known of its content without reading it, None if that was not asked for
    :param relative: whether it names its parent without any directory
    """

    state: State | None
    entry: Entry
    parent: str = ""
    problem: str = ""
    peek: Peek | None = None
    relative: bool = True

    @property
    def path(self) -> str:
        """The file."""
        return self.entry.path

    @property
    def title(self) -> str:
        """What users call it: as commands take states; a root image by its file."""
        if self.state is None:
            above, name = os.path.split(self.path)
            return os.path.join(os.path.basename(above), name)
        return self.state.title

    @property
    def made(self) -> float:
        """When it was made, in seconds since 1970, as far as that is known."""
        if self.peek is not None and self.peek.info.made:
            return self.peek.info.made
        return self.entry.stamp.mtime_ns / 1e9 if self.entry.stamp else 0.0


class Site(Protocol):
    """
    A cache or pool.

    Each method raises ``PoolUnreachable`` if it can't do what it should: what can't be reached is
    never taken for absent or empty.
    """

    @property
    def place(self) -> Location:
        """Where it is."""

    @property
    def store(self) -> Store:
        """The files in it, with the policy that the site was opened with."""

    @property
    def policy(self) -> Policy:
        """How careful and patient to be."""

    @property
    def root(self) -> str:
        """Its directory."""

    def title(self, path: str) -> str:
        """Return a path as users are told it: with its host if that is another one."""

    def exists(self) -> bool:
        """Tell whether there is such a directory; false also for what is something else."""

    def items(self, below: str = "", known: bool = False) -> list[Item]:
        """
        Return all states and root images, sorted by path; none if there is no such directory.

        Content is not read.

        :param below: an object id, or one with an image as ``vm1/image1``, for those of it only
        :param known: what is known of their content is wanted as well; that takes longer
        """

    def notes(self, below: str = "") -> list[Entry]:
        """
        Return all files of ours: records, locks, trash, temporary files..., sorted by path.

        :param below: as for :meth:`items`, for those beside its files only
        """

    def ours(self, *directories: str) -> list[Entry]:
        """Return the files in directories of ours, sorted by path; none of one that is absent."""

    def read(self, paths: Iterable[str]) -> Mapping[str, bytes]:
        """Return what is in small files of ours, of those that are there."""

    def write(self, path: str, data: bytes) -> None:
        """Write a small file of ours, atomically, with its directory."""

    def drop(self, paths: Iterable[str]) -> None:
        """Remove files of ours for good; those that are gone are fine."""

    def drop_idle(self, paths: Iterable[str]) -> list[str]:
        """Remove temporary files for good unless somebody holds them; return the removed ones."""

    def backing(self, path: str, home: str) -> Backing:
        """
        Return what an image of ours would stand on in a directory of states.

        :raises StateMissing: there is no such file
        :raises ImageRefused: that can't be told
        """

    def digest(
        self, path: str, wanted: FileInfo, progress: Progress | None = None
    ) -> tuple[str, Stamp]:
        """
        Read a file and return its digest and stamp; nothing is recorded.

        :param wanted: has the digest be by an algorithm that this has one of, if it has any
        :raises StateMissing: there is no such file
        :raises FileChanging: it is being written to
        """

    def evict(self, path: str) -> str:
        """
        Move a state's file with its record into the trash, its lock being held by the caller.

        If the disk is too full for that, it becomes a temporary file beside its place.

        :returns: where it is now, empty if it was gone
        :raises StateNeeded: a state or working overlay stands on it, or a QEMU has it open
        """

    def move_new(self, old: str, new: str) -> bool:
        """Rename a file on its file system; return False if the new name is taken."""

    @property
    def eyes(self) -> "Eyes":
        """What only who checks it looks at."""

    def shelf(self, path: str) -> Shelf:
        """Return what stands on the states in a file's directory, as it is now."""

    def clock(self) -> float:
        """Return what time its file system stamps on changes now, in seconds since 1970."""

    @property
    def hands(self) -> "Hands":
        """What few keepers have to do with its files."""
