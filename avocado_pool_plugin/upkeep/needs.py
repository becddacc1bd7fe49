"""What a state in the trash needs to be of use: what has to come back along with it."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from avocado_pool_plugin.core import chain, vmstate
from avocado_pool_plugin.core.errors import (
    ChainBroken,
    ImageRefused,
    ParentChanged,
    StateMissing,
)
from avocado_pool_plugin.core.names import IMAGE_SUFFIX, VM_SUFFIX
from avocado_pool_plugin.core.passport import Mark
from avocado_pool_plugin.core.records import FileInfo
from avocado_pool_plugin.upkeep.site import Item, Site
from avocado_pool_plugin.upkeep.trashcan import Thrown


@dataclass
class Needs:
    """
    Finds out what states need that was thrown away as well.

    :param site: where
    :param trash: all that is in the trash there
    """

    site: Site
    trash: tuple[Thrown, ...]
    _homes: dict[str, dict[str, Item]] = field(default_factory=dict)

    def with_needed(self, wanted: Iterable[Thrown]) -> list[Thrown]:
        """
        Return files of the trash with those that they need, in the order to restore them.

        :raises StateMissing: one needs a state that is neither in place nor in the trash
        :raises ParentChanged: one needs another state than the one in place
        :raises ChainBroken: their chain is a circle
        """
        found: list[Thrown] = []
        for thrown in wanted:
            self._add(thrown, found, ())
        return found

    def _add(self, thrown: Thrown, found: list[Thrown], above: tuple[str, ...]) -> None:
        if any(thrown.original == other.original for other in found):
            return
        if thrown.original in above:
            raise ChainBroken(f"the chain of {thrown.title} in the trash is a circle")
        for need in self._needs(thrown):
            self._add(need, found, (*above, thrown.original))
        found.append(thrown)

    def _needs(self, thrown: Thrown) -> list[Thrown]:
        """Return what must come back for a file, right below it."""
        if thrown.original.endswith(VM_SUFFIX):
            passport = thrown.record.info.passport if thrown.record else None
            images = passport.images if passport else ()
            found = [self._image(thrown, name, mark) for name, mark in images]
        elif thrown.state is not None:
            found = [self._parent(thrown)]
        else:
            found = []
        return [one for one in found if one is not None]

    def _parent(self, thrown: Thrown) -> Thrown | None:
        home = os.path.dirname(thrown.original)
        try:
            name = self.site.backing(thrown.path, home).state
        except ImageRefused:
            return None  # damaged, or never more than that: its record tells
        if not name:
            return None
        path = chain.state_file(home, name)
        info = thrown.record.info if thrown.record else None
        there = self._present(path)
        if there is not None and there.peek is not None:
            if info is not None:
                chain.check_parent(thrown.title, info, there.peek.info)
            return None
        known = [other for other in self._thrown(path) if not _is_another(info, other)]
        sure = [other for other in known if info and _is_parent(info, other)]
        if not sure and len(known) > 1:
            ids = ", ".join(other.id for other in known)
            raise StateMissing(
                f"{thrown.title} stands on state {name!r}, and which of {ids} in the trash that "
                f"was is not recorded; restore one of them first"
            )
        return self._last(thrown, path, sure or known)

    def _image(self, thrown: Thrown, image: str, mark: Mark) -> Thrown | None:
        path = vmstate.image_file(thrown.original, image)
        there = self._present(path)
        if there is not None and there.peek is not None:
            if vmstate.belongs(mark, there.peek):
                return None
            raise ParentChanged(
                f"{thrown.title} belongs to another state of {image} than the one in "
                f"{self.site.title(path)}; remove that with 'avocado pool rm {there.title}' first"
            )
        fitting = [other for other in self._thrown(path) if _is_meant(mark, other)]
        return self._last(thrown, path, fitting)

    def _last(self, thrown: Thrown, path: str, found: list[Thrown]) -> Thrown:
        if not found:
            raise StateMissing(
                f"{thrown.title} needs {self.site.title(path)}, which is neither there nor in the "
                f"trash as it was; fetch that from a pool or set it again, then restore this"
            )
        return found[-1]

    def _thrown(self, path: str) -> list[Thrown]:
        """Return what the trash holds of a path, the newest last."""
        return [one for one in self.trash if one.original == path and not one.quarantined]

    def _present(self, path: str) -> Item | None:
        home = os.path.dirname(path)
        if home not in self._homes:
            below = os.path.relpath(home, self.site.root)
            items = self.site.items(below, known=True)
            self._homes[home] = {item.path: item for item in items}
        return self._homes[home].get(path)


def _is_parent(info: FileInfo, other: Thrown) -> bool:
    """Tell whether a state was certainly made on what is in the trash."""
    if other.record is None:
        return False
    parent = other.record.info
    digests = {parent.digest, parent.source_digest} - {None}
    if info.parent_digest and digests:
        return info.parent_digest in digests
    return bool(info.parent_generation) and info.parent_generation == parent.generation


def _is_another(info: FileInfo | None, other: Thrown) -> bool:
    """Tell whether a state was certainly made on something else."""
    if info is None or other.record is None:
        return False
    try:
        chain.check_parent(other.title, info, other.record.info)
    except ParentChanged:
        return True
    return False


def _is_meant(mark: Mark, other: Thrown) -> bool:
    """Tell whether an image state in the trash belongs to a RAM file."""
    if other.record is None or not other.original.endswith(IMAGE_SUFFIX):
        return False
    info, stamp = other.record.info, other.record.made_as
    if mark.is_of(info.generation, {info.digest, info.source_digest}):
        return True
    return mark.stamp[:3] == (stamp.inode, stamp.size, stamp.mtime_ns)
