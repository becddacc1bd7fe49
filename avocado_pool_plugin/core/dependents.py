"""
What stands on a state, and whether the state may be replaced or removed.

States on top and working overlays are invalid as soon as the content under them changes. So nothing
they stand on goes silently: it is refused with their names, or by request they go to the trash too.
"""

import logging
import os
import time
from dataclasses import dataclass

from avocado_pool_plugin.core import chain, records, trash, users
from avocado_pool_plugin.core.errors import StateNeeded
from avocado_pool_plugin.core.names import VM_SUFFIX, state_name
from avocado_pool_plugin.core.qcow2 import in_use
from avocado_pool_plugin.core.records import FileInfo

LOG = logging.getLogger("avocado." + __name__)

#: Seconds for which a file may be open without anybody standing on it.
_GLANCE = 1.0


@dataclass(frozen=True)
class Guard:
    """
    What the caller knows about dependents.

    :param own: the working overlay that the caller is about to make anew
    :param cascade: dependents go to the trash too instead of being a reason to refuse
    :param source: directory that a replacement comes from; states that are there as well can be
        fetched again and so are no reason to refuse
    :param along: vm state that is replaced or removed as a whole; its RAM file does not count
    """

    own: str | None = None
    cascade: bool = False
    source: str | None = None
    along: str = ""


def check_replace(path: str, new: FileInfo | None, guard: Guard) -> None:
    """
    Make way for a replacement (or the removal) of a state, or refuse it.

    :param new: what replaces it, None for a removal
    :raises StateNeeded: something stands on it; the text names it
    """
    if new is not None and _repairs(path, new):
        return
    tops = states_on(path, new, guard.along)
    refuse_open([path, *tops], guard.own)
    keepers = [top for top in tops if not _elsewhere(top, guard.source)]
    if keepers and not guard.cascade:
        names = ", ".join(os.path.basename(top) for top in keepers)
        raise StateNeeded(
            f"{path} is needed by {names} in the same directory; remove these first, or have them "
            f"removed along (set_cascade=yes, unset_cascade=yes)"
        )
    for top in reversed(tops):
        LOG.warning("%s goes to the trash with the state it stands on: %s", top, trash.throw(top))
    for user in users.users_of(path, guard.own):
        LOG.warning("%s is invalid now, the state %s under it is another or gone", user, path)


def refuse_open(files: list[str], own: str | None) -> None:
    """
    Refuse to touch states that a QEMU has open, by way of a registered overlay or any other.

    :param own: the working overlay that the caller is about to make anew
    :raises StateNeeded: one is open; the text says by what
    """
    for file in files:
        opened = [user for user in users.users_of(file, own) if user.open]
        if opened:
            raise StateNeeded(
                f"{file} is in use by {'; '.join(map(str, opened))}; end what runs on it first"
            )
    for file in files:
        if not os.path.islink(file) and _stays_in_use(file):
            raise StateNeeded(f"{file} is in use by a running QEMU; end what runs on it first")


def _stays_in_use(path: str) -> bool:
    """Tell whether a QEMU has a file open for longer than a qemu-img call on its chain takes."""
    deadline = time.monotonic() + _GLANCE
    while in_use(path):
        if time.monotonic() > deadline:
            return True
        time.sleep(0.02)
    return False


def _repairs(path: str, new: FileInfo) -> bool:
    """Tell whether the new content is what the record of the old file asks for."""
    record = records.read_record(path)
    return bool(record and record.info.same_content(new))


def states_on(path: str, new: FileInfo | None = None, along: str = "") -> list[str]:
    """
    Return the files of all states that stand on a state, directly or not, nearest first.

    RAM files that belong to one of them, or to the state itself, come last.

    :param new: content that is to replace it; states made on exactly this do not count
    :param along: vm state whose RAM file does not count
    """
    directory = os.path.dirname(path)
    name = state_name(os.path.basename(path))
    found: list[str] = []
    rams = _rams_on(path, new, along)
    waiting = [name] if name else []
    while waiting:
        parent = waiting.pop(0)
        for child in chain.children_of(directory, parent):
            file = chain.state_file(directory, child)
            direct = parent == name
            if file not in found and not (new and direct and _made_on(file, new)):
                found.append(file)
                rams += _rams_on(file, None, along)
                waiting.append(child)
    return found + rams


def _rams_on(path: str, new: FileInfo | None, along: str) -> list[str]:
    """Return the RAM file that an image state belongs to, if there is one."""
    directory, name = os.path.dirname(path), state_name(os.path.basename(path))
    ram = os.path.join(os.path.dirname(directory), f"{name}{VM_SUFFIX}")
    if not name or name == along or path.endswith(VM_SUFFIX) or not os.path.isfile(ram):
        return []
    record = records.read_record(ram)
    passport = record.info.passport if record else None
    if passport is None:
        return [ram]  # saved by others: a vm's state needs a state of each image
    mark = dict(passport.images).get(os.path.basename(directory))
    if mark is None or (new and mark.is_of(new.generation, {new.digest, new.source_digest})):
        return []
    return [ram]


def _made_on(child: str, parent: FileInfo) -> bool:
    record = records.read_record(child)
    if record is None:
        return False
    digest, generation = record.info.parent_digest, record.info.parent_generation
    return bool(
        (digest and digest in (parent.digest, parent.source_digest))
        or (generation and generation == parent.generation)
    )


def _elsewhere(path: str, source: str | None) -> bool:
    if not source:
        return False
    if path.endswith(VM_SUFFIX):
        source = os.path.dirname(source)
    return os.path.isfile(os.path.join(source, os.path.basename(path)))
