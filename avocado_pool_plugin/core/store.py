"""
The contract of a place that keeps files of states; local.py, link.py and ssh/store.py keep it.

Paths are absolute, of whole files. Absent is absent: ``info`` returns None, ``names`` an empty
list. What can't be reached is an error and never looks empty. What a store delivers or shows is
whole and true to its record.
"""

import contextlib
from dataclasses import dataclass
from typing import Protocol

from avocado_pool_plugin.core.digest import Progress
from avocado_pool_plugin.core.policy import Policy
from avocado_pool_plugin.core.records import FileInfo


@dataclass(frozen=True)
class Moved:
    """
    What became of one file of a transfer.

    :param action: ``kept`` (was equal already), ``copied``, ``cloned`` or ``linked``
    :param size: bytes of the file
    :param seconds: how long it took
    """

    action: str
    size: int = 0
    seconds: float = 0.0

    @property
    def changed(self) -> bool:
        """Whether anything had to be done."""
        return self.action != "kept"


class Store(Protocol):
    """
    A place that keeps files of states.

    :ivar policy: how careful and patient it is
    """

    policy: Policy

    def names(self, directory: str) -> list[str]:
        """
        Return the names in a directory, without locks, temporaries and records.

        :returns: an empty list if there is no such directory
        :raises PoolUnreachable: it can't be listed
        """

    def has(self, path: str) -> bool:
        """
        Tell whether there is such a file.

        :raises PoolUnreachable: it is neither there nor absent
        """

    def allocated(self, path: str) -> int:
        """Return how many bytes of a file are no holes, 0 if it is gone."""

    def info(self, path: str, progress: Progress | None = None) -> FileInfo | None:
        """
        Return what a file is, digest included, None if absent.

        :param progress: told how many bytes more were read, if any have to be
        :raises FileCorrupt: it is not what was recorded
        """

    def parent(self, path: str) -> str:
        """
        Return the state that an image state stands on, empty for none.

        :raises StateMissing: there is no such file
        :raises ChainBroken: it stands on something that is no state
        """

    def equal(self, local: str, path: str) -> bool:
        """
        Tell whether a local file and one of the store both exist and have the same content.

        :raises FileCorrupt: one of them is not what was recorded
        """

    def fetch(self, path: str, local: str, progress: Progress | None = None) -> Moved:
        """
        Make ``local`` equal to the store's file: atomically, verified, with its directories.

        :raises StateMissing: the store has no such file
        :raises FileCorrupt: the store's file is not what was recorded; ``local`` is as before
        :raises StateNeeded: ``local`` differs and something stands on it
        :raises SpaceMissing: too little room; ``local`` is as before
        """

    def publish(self, local: str, path: str, progress: Progress | None = None) -> Moved:
        """
        Make the store's file equal to ``local``: atomically, verified, with its directories.

        :raises StateMissing: there is no file at ``local``
        :raises FileCorrupt: ``local`` is not what was recorded; the store is as before
        :raises StateNeeded: the store's file differs and something stands on it
        :raises SpaceMissing: too little room; the store is as before
        """

    def used(self, *paths: str) -> None:
        """Note that files are used now; where that can't be noted nothing happens."""

    def remove(self, path: str) -> None:
        """
        Take a file away, into the trash; an absent one is fine.

        :raises StateNeeded: something stands on it
        """

    def lock(self, path: str, timeout: float) -> contextlib.AbstractContextManager[None]:
        """
        Order writers of a file.

        :param timeout: seconds, 0 tries once
        :raises LockTimeout: someone else held it; the text says who
        """
