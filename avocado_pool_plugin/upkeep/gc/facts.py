"""What is known of a cache or pool when it is decided what goes."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from avocado_pool_plugin.upkeep.gc import size
from avocado_pool_plugin.upkeep.site import Entry, Item
from avocado_pool_plugin.upkeep.trashcan import Thrown


@dataclass(frozen=True)
class Facts:
    """
    A cache or pool.

    :param root: its directory
    :param now: what its file system's clock says, in seconds since 1970
    :param items: its states and root images, with what is known of their content
    :param notes: its files of ours
    :param held: what must not go for now, by path, with the reason
    :param pins: what live processes need, by path, with who
    :param leftovers: of the notes, what dead processes left
    :param trash: of the notes, what is in the trash or in quarantine, the oldest first
    """

    root: str
    now: float
    items: tuple[Item, ...] = ()
    notes: tuple[Entry, ...] = ()
    held: Mapping[str, str] = field(default_factory=dict)
    pins: Mapping[str, str] = field(default_factory=dict)
    leftovers: tuple[Entry, ...] = ()
    trash: tuple[Thrown, ...] = ()

    def relative(self, path: str) -> str:
        """Return a path without that of the cache or pool."""
        return os.path.relpath(path, self.root)

    def counted(self) -> Iterator[Entry]:
        """Yield all files that count; see size.py."""
        for item in self.items:
            if item.entry.stamp and not item.entry.link:
                yield item.entry
        for note in self.notes:
            if note.stamp and not note.link and size.counts(note):
                yield note
