"""
What stands on a state, and whether the state may be replaced or removed.

States on top and working overlays are invalid as soon as the content under them changes. So nothing
they stand on goes silently: it is refused with their names, or by request they go to the trash too.
The rules are the same wherever a state is; a *shelf* is what they look at.
"""

import logging
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from avocado_pool_plugin.core import chain, records, trash, users
from avocado_pool_plugin.core.errors import StateNeeded
from avocado_pool_plugin.core.names import VM_SUFFIX, state_name
from avocado_pool_plugin.core.qcow2 import in_use
from avocado_pool_plugin.core.records import FileInfo, Record
from avocado_pool_plugin.core.users import User

LOG = logging.getLogger("avocado." + __name__)

#: Seconds for which a file may be open without anybody standing on it.
_GLANCE = 1.0


class Shelf(Protocol):
    """The directory of states that a file is in, with what lies around it."""

    def children(self, path: str, name: str) -> Iterable[str]:
        """Return the states beside a file that stand directly on state ``name``."""

    def exists(self, path: str) -> bool:
        """Tell whether there is such a file."""

    def record(self, path: str) -> Record | None:
        """Return the committed record of a file."""

    def users(self, path: str, own: str | None) -> list[User]:
        """Return the registered overlays that stand on a state, except the caller's own."""

    def open_overlay(self, user: User) -> bool:
        """Tell whether a QEMU has an overlay open."""

    def stays_open(self, path: str) -> bool:
        """Tell whether a QEMU has a state open, for longer than a glance."""

    def throw(self, path: str) -> str:
        """Move a file with its record into the trash and return where it is now."""


class LocalShelf:
    """Any directory of this host."""

    def children(self, path: str, name: str) -> Iterable[str]:
        """See :class:`Shelf`."""
        return chain.children_of(os.path.dirname(path), name)

    def exists(self, path: str) -> bool:
        """See :class:`Shelf`."""
        return os.path.isfile(path)

    def record(self, path: str) -> Record | None:
        """See :class:`Shelf`."""
        return records.read_record(path)

    def users(self, path: str, own: str | None) -> list[User]:
        """See :class:`Shelf`."""
        return users.users_of(path, own)

    def open_overlay(self, user: User) -> bool:
        """See :class:`Shelf`."""
        return user.open

    def stays_open(self, path: str) -> bool:
        """See :class:`Shelf`; a qemu-img call on a file's chain does not count."""
        if os.path.islink(path):
            return False
        deadline = time.monotonic() + _GLANCE
        while in_use(path):
            if time.monotonic() > deadline:
                return True
            time.sleep(0.02)
        return False

    def throw(self, path: str) -> str:
        """See :class:`Shelf`."""
        return trash.throw(path)


LOCAL: Shelf = LocalShelf()


@dataclass(frozen=True)
class Guard:
    """
    What the caller knows about dependents.

    :param own: the working overlay that the caller is about to make anew
    :param cascade: dependents go to the trash too instead of being a reason to refuse
    :param elsewhere: tells of a dependent's file whether it can be had again from where a
        replacement comes from, and so is no reason to refuse
    :param along: vm state that is replaced or removed as a whole; its RAM file does not count
    """

    own: str | None = None
    cascade: bool = False
    elsewhere: Callable[[str], bool] = lambda _: False
    along: str = ""


def had_beside(path: str) -> Callable[[str], bool]:
    """Return a function that tells whether the directory of a file has a state as well."""

    def has(top: str) -> bool:
        directory = os.path.dirname(path)
        if top.endswith(VM_SUFFIX):
            directory = os.path.dirname(directory)
        return os.path.isfile(os.path.join(directory, os.path.basename(top)))

    return has


def check_replace(path: str, new: FileInfo | None, guard: Guard, shelf: Shelf = LOCAL) -> None:
    """
    Make way for a replacement (or the removal) of a state, or refuse it.

    :param new: what replaces it, None for a removal
    :raises StateNeeded: something stands on it; the text names it
    """
    if new is not None and _repairs(path, new, shelf):
        return
    tops = states_on(path, new, guard.along, shelf)
    refuse_open([path, *tops], guard.own, shelf)
    keepers = [top for top in tops if not guard.elsewhere(top)]
    if keepers and not guard.cascade:
        names = ", ".join(os.path.basename(top) for top in keepers)
        raise StateNeeded(
            f"{path} is needed by {names} in the same directory; remove these first, or have them "
            f"removed along (set_cascade=yes, unset_cascade=yes)"
        )
    for top in reversed(tops):
        LOG.warning("%s goes to the trash with the state it stands on: %s", top, shelf.throw(top))
    for user in shelf.users(path, guard.own):
        LOG.warning("%s is invalid now, the state %s under it is another or gone", user, path)


def refuse_used(path: str, shelf: Shelf = LOCAL) -> None:
    """
    Refuse to take a state away from under a working overlay, whether anybody has that open or not.

    :raises StateNeeded: there is one; the text says which
    """
    found = shelf.users(path, None)
    if found:
        raise StateNeeded(f"{path} is in use by {'; '.join(map(str, found))}")


def refuse_open(files: list[str], own: str | None, shelf: Shelf = LOCAL) -> None:
    """
    Refuse to touch states that a QEMU has open, by way of a registered overlay or any other.

    :param own: the working overlay that the caller is about to make anew
    :raises StateNeeded: one is open; the text says by what
    """
    for file in files:
        opened = [user for user in shelf.users(file, own) if shelf.open_overlay(user)]
        if opened:
            raise StateNeeded(
                f"{file} is in use by {'; '.join(map(str, opened))}; end what runs on it first"
            )
    for file in files:
        if shelf.stays_open(file):
            raise StateNeeded(f"{file} is in use by a running QEMU; end what runs on it first")


def _repairs(path: str, new: FileInfo, shelf: Shelf) -> bool:
    """Tell whether the new content is what the record of the old file asks for."""
    record = shelf.record(path)
    return bool(record and record.info.same_content(new))


def states_on(
    path: str, new: FileInfo | None = None, along: str = "", shelf: Shelf = LOCAL
) -> list[str]:
    """
    Return the files of all states that stand on a state, directly or not, nearest first.

    RAM files that belong to one of them, or to the state itself, come last.

    :param new: content that is to replace it; states made on exactly this do not count
    :param along: vm state whose RAM file does not count
    """
    directory = os.path.dirname(path)
    name = state_name(os.path.basename(path))
    found: list[str] = []
    rams = _rams_on(path, new, along, shelf)
    waiting = [name] if name else []
    while waiting:
        parent = waiting.pop(0)
        for child in shelf.children(path, parent):
            file = chain.state_file(directory, child)
            direct = parent == name
            if file not in found and not (new and direct and _made_on(shelf.record(file), new)):
                found.append(file)
                rams += _rams_on(file, None, along, shelf)
                waiting.append(child)
    return found + rams


def _rams_on(path: str, new: FileInfo | None, along: str, shelf: Shelf) -> list[str]:
    """Return the RAM file that an image state belongs to, if there is one."""
    directory, name = os.path.dirname(path), state_name(os.path.basename(path))
    ram = os.path.join(os.path.dirname(directory), f"{name}{VM_SUFFIX}")
    if not name or name == along or path.endswith(VM_SUFFIX) or not shelf.exists(ram):
        return []
    record = shelf.record(ram)
    passport = record.info.passport if record else None
    if passport is None:
        return [ram]  # saved by others: a vm's state needs a state of each image
    mark = dict(passport.images).get(os.path.basename(directory))
    if mark is None or (new and mark.is_of(new.generation, {new.digest, new.source_digest})):
        return []
    return [ram]


def _made_on(record: Record | None, parent: FileInfo) -> bool:
    if record is None:
        return False
    digest, generation = record.info.parent_digest, record.info.parent_generation
    return bool(
        (digest and digest in (parent.digest, parent.source_digest))
        or (generation and generation == parent.generation)
    )
