"""What stands on the states of a host's directory, for the rules of core/dependents.py."""

import os
from collections.abc import Iterable
from functools import partial

from avocado_pool_plugin.core import records, users
from avocado_pool_plugin.core.errors import ImageRefused
from avocado_pool_plugin.core.records import Record
from avocado_pool_plugin.core.trash import name_of
from avocado_pool_plugin.core.users import User
from avocado_pool_plugin.ssh.looks import Look, backing_of, reaches_further
from avocado_pool_plugin.ssh.shell import Shell


class FarShelf:
    """
    The directory of a file over there; see ``dependents.Shelf``.

    Looked at once, when it is made.

    :param shell: over there
    :param path: the file
    """

    def __init__(self, shell: Shell, path: str) -> None:
        self._shell = shell
        self._look = shell.shelf(path)

    def children(self, path: str, name: str) -> Iterable[str]:
        """See ``dependents.Shelf``."""
        home = os.path.dirname(path)
        for file, look in sorted(self._look.states.items()):
            other = os.path.basename(file).removesuffix(".qcow2")
            if other != name and _stands_on(look) == name and os.path.dirname(file) == home:
                yield other

    def exists(self, path: str) -> bool:
        """See ``dependents.Shelf``."""
        look = self._of(path)
        return look is not None and look.regular

    def record(self, path: str) -> Record | None:
        """See ``dependents.Shelf``."""
        look = self._of(path)
        return records.decode(look.record) if look and look.record else None

    def users(self, path: str, own: str | None) -> list[User]:
        """See ``dependents.Shelf``; an overlay of a third host can't be looked at."""
        noted = (users.decode(text) for _, text in self._look.users.get(path, ()))
        state = self._of(path)
        return [
            user
            for user in noted
            if user and user.counts(self._shell.host, partial(self._is_on, user.path, state))
        ]

    def open_overlay(self, user: User) -> bool:
        """See ``dependents.Shelf``."""
        look = self._look.overlays.get(user.path)
        return look is not None and self._look.is_open(look)

    def stays_open(self, path: str) -> bool:
        """See ``dependents.Shelf``; it is not waited for what may be a glance only."""
        look = self._of(path)
        return look is not None and self._look.is_open(look)

    def throw(self, path: str) -> str:
        """See ``dependents.Shelf``."""
        name = name_of(path)
        self._shell.remove(path, name)
        return name

    def _of(self, path: str) -> Look | None:
        return self._look.states.get(path) or self._look.rams.get(path)

    def _is_on(self, overlay: str, state: Look | None) -> bool:
        # a symlink to the state, or an overlay on it
        found = self._look.overlays.get(overlay), self._look.below.get(overlay)
        return any(_same(state, look) for look in found)


def _same(one: Look | None, other: Look | None) -> bool:
    """Tell whether two looks are at the same file that is there."""
    if one is None or other is None or one.stamp is None or other.stamp is None:
        return False
    return (one.device, one.stamp.inode) == (other.device, other.stamp.inode)


def _stands_on(look: Look) -> str:
    """
    Return the state that an image stands on, empty for none.

    :raises ImageRefused: that can't be told
    """
    try:
        return backing_of(look, look.path).state
    except ImageRefused:
        if reaches_further(look):
            raise  # it may stand on anything
        return ""  # nothing that could stand on a state
