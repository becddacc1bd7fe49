"""What a plan reads of the files in a cache or pool, on this host or on another one."""

import os
from typing import Protocol

from avocado_pool_plugin.core import chain, knowledge
from avocado_pool_plugin.core.chain import Backing
from avocado_pool_plugin.core.copy import allocated
from avocado_pool_plugin.core.policy import Policy
from avocado_pool_plugin.core.records import FileInfo


class Reader(Protocol):
    """Reads the files of a cache or pool; paths are relative to it."""

    @property
    def root(self) -> str:
        """What tells the place from all others; of a directory on this host its path."""

    def backing(self, path: str) -> Backing:
        """
        Return what an image stands on.

        :raises FileNotFoundError: there is no such file
        :raises ImageRefused: its backing is not a plain file, or it is no QCOW2 image
        :raises PoolUnreachable: it is neither there nor absent
        """

    def leads_away(self, path: str) -> bool:
        """Tell whether an image, used where it is, would stand on another file than on a state."""

    def believe(self, path: str) -> FileInfo | None:
        """Return what a file is, without reading it needlessly; see ``knowledge.believe``."""

    def allocated(self, path: str) -> int:
        """Return how many bytes of disk a file takes."""


class Here:
    """
    Reads files of this host.

    :param root: the cache's or pool's directory
    :param policy: whether content is read that nothing speaks against
    :param seen_dir: where knowledge about files in read-only directories is kept
    """

    def __init__(self, root: str, policy: Policy, seen_dir: str) -> None:
        self.root = root
        self._policy, self._seen_dir = policy, seen_dir

    def _path(self, path: str) -> str:
        return os.path.join(self.root, path)

    def backing(self, path: str) -> Backing:
        """See :meth:`Reader.backing`."""
        return chain.backing_of(self._path(path))

    def leads_away(self, path: str) -> bool:
        """See :meth:`Reader.leads_away`."""
        return chain.leads_away(self._path(path))

    def believe(self, path: str) -> FileInfo | None:
        """See :meth:`Reader.believe`."""
        return knowledge.believe(self._path(path), self._policy, self._seen_dir)

    def allocated(self, path: str) -> int:
        """See :meth:`Reader.allocated`."""
        return allocated(self._path(path))
