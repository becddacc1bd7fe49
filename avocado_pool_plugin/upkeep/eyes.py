"""What only who checks a place looks at."""

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from avocado_pool_plugin import qemu
from avocado_pool_plugin.core import layout
from avocado_pool_plugin.core.errors import unreachable
from avocado_pool_plugin.core.local import LocalStore
from avocado_pool_plugin.core.names import IMAGE_SUFFIX, VM_SUFFIX
from avocado_pool_plugin.core.records import Stamp
from avocado_pool_plugin.upkeep.listing import is_home, listed


class Eyes(Protocol):
    """Looks at the files of a :class:`~avocado_pool_plugin.upkeep.site.Site`; same errors."""

    def stamps(self, paths: Iterable[str]) -> Mapping[str, Stamp]:
        """Return the stamps of files as they are now, of those that are there."""

    def strays(self, below: str = "") -> list[str]:
        """
        Return what is where a state would be by its name and is no file, sorted.

        :param below: an object id, or one with an image, to look there only
        """

    def check_image(self, path: str) -> str | None:
        """
        Return what QEMU finds wrong with an image by itself, in use or not; empty for nothing.

        :returns: None if the host has no qemu-img
        """


class LocalEyes:
    """
    In a directory of this host.

    :param root: the directory
    :param store: for the files in it
    """

    def __init__(self, root: str, store: LocalStore) -> None:
        self._root = root
        self._store = store

    def stamps(self, paths: Iterable[str]) -> Mapping[str, Stamp]:
        """See :class:`Eyes`."""
        found = {}
        for path in paths:
            try:
                found[path] = Stamp.of(os.stat(path))
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise unreachable(path, error) from error
        return found

    def strays(self, below: str = "") -> list[str]:
        """See :class:`Eyes`."""
        return sorted(
            path
            for path in self._places(below)
            if os.path.exists(path) and not os.path.isfile(path)
        )

    def _places(self, below: str) -> Iterator[str]:
        """Yield all that is called like a state where a state would be."""
        depth = below.count("/") + 1 if below else 0
        homes = [os.path.join(self._root, below) if below else self._root]
        for level in range(depth, 3):
            ending = {1: VM_SUFFIX, 2: IMAGE_SUFFIX}.get(level)
            found = [entry for home in homes for entry in listed(home)]
            for entry in found:
                if ending and entry.name.endswith(ending) and not layout.is_ours(entry.name):
                    yield entry.path
            homes = [entry.path for entry in found if is_home(entry)]

    def check_image(self, path: str) -> str | None:
        """See :class:`Eyes`."""
        return qemu.damage(path)
