"""
How much disk a cache or pool takes.

Counted are allocated blocks, of each file once whatever names it has, of: states, root images, what
is in the trash and in quarantine, and temporary files. Symlinks count nothing, and neither do
records, locks and the like, which have a few KiB each.
"""

import os
from collections.abc import Iterator

from avocado_pool_plugin.core import layout
from avocado_pool_plugin.core.names import IMAGE_SUFFIX, VM_SUFFIX
from avocado_pool_plugin.upkeep.listing import is_home
from avocado_pool_plugin.upkeep.site import Entry

#: Directories of ours whose files count.
_KEPT = (layout.TRASH, layout.QUARANTINE)
#: Endings of files of ours that count.
_TEMPORARY = (layout.PART, ".tmp")
_STATES = (IMAGE_SUFFIX, VM_SUFFIX)
_BLOCK = 512


def is_in(path: str, name: str) -> bool:
    """Tell whether a file is in one of our directories, such as ``trash``."""
    directory = os.path.dirname(path)
    return directory.endswith(f"{os.sep}{layout.META}{os.sep}{name}")


def counts(note: Entry) -> bool:
    """Tell whether a file of ours counts."""
    return note.path.endswith(_TEMPORARY) or any(is_in(note.path, name) for name in _KEPT)


def measure(root: str) -> int:
    """
    Return how many bytes of disk a cache of this host takes, found out as fast as can be.

    What can't be listed counts nothing.
    """
    found: dict[tuple[int, int], int] = {}
    for entry in _counted(root, 0):
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError:
            continue  # gone meanwhile
        found[status.st_dev, status.st_ino] = status.st_blocks * _BLOCK
    return sum(found.values())


def _counted(directory: str, depth: int) -> Iterator[os.DirEntry[str]]:
    for entry in _listed(directory):
        name = entry.name
        if name == layout.META:
            yield from _ours(entry.path)
        elif name.endswith(_STATES):
            if depth and name[0] != "." and entry.is_file(follow_symlinks=False):
                yield entry
        elif depth < 2 and is_home(entry):
            yield from _counted(entry.path, depth + 1)


def _ours(directory: str) -> Iterator[os.DirEntry[str]]:
    for entry in _listed(directory):
        if entry.name.endswith(_TEMPORARY):
            yield entry
        elif entry.name in _KEPT:
            yield from _listed(entry.path)


def _listed(directory: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except OSError:
        return []
