"""What one cache or pool holds, and what of it stands on what."""

import functools
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from avocado_pool_plugin.core import chain, layout
from avocado_pool_plugin.core.errors import ParentChanged
from avocado_pool_plugin.core.names import State
from avocado_pool_plugin.core.records import FileInfo
from avocado_pool_plugin.upkeep.site import Entry, Item, Site


@dataclass(frozen=True)
class Stock:
    """
    What one cache or pool holds.

    :param where: its location
    :param root: its directory
    :param items: what is in it, with what is known of each
    :param cache: whether it is the cache
    :param host: label of its host, empty for this one
    :param used: when files were used last, by path, in seconds since 1970
    :param locks: lock files, by path
    """

    where: str
    root: str
    items: tuple[Item, ...]
    cache: bool = False
    host: str = ""
    used: Mapping[str, float] = field(default_factory=dict)
    locks: Mapping[str, Entry] = field(default_factory=dict)

    def key(self, item: Item) -> str:
        """Return the path of a file below the cache or pool."""
        return item.path[len(self.root.rstrip("/")) + 1 :]

    @functools.cached_property
    def _states(self) -> Mapping[State, Item]:
        return {item.state: item for item in self.items if item.state}

    @functools.cached_property
    def _parents(self) -> Mapping[str, Item]:
        """What states stand on, by their paths."""
        paths = {item.path: item for item in self.items if item.state}
        beside = {
            item.path: chain.state_file(os.path.dirname(item.path), item.parent)
            for item in self.items
            if item.state and item.parent
        }
        return {path: paths[other] for path, other in beside.items() if other in paths}

    @functools.cached_property
    def _circular(self) -> frozenset[str]:
        """The paths of states that stand on themselves."""
        found: set[str] = set()
        done: set[str] = set()
        for start in self._parents:
            way: dict[str, int] = {}
            path = start
            while path in self._parents and path not in done and path not in way:
                way[path] = len(way)
                path = self._parents[path].path
            if path in way:
                found.update(list(way)[way[path] :])
            done.update(way)
        return frozenset(found)

    @functools.cached_property
    def _children(self) -> Mapping[State, list[Item]]:
        found = defaultdict(list)
        for item in self.items:
            if item.state and item.parent:
                found[replace(item.state, name=item.parent)].append(item)
        return found

    @functools.cached_property
    def _parts(self) -> Mapping[tuple[str, str], list[Item]]:
        """Image states by object id and name."""
        found = defaultdict(list)
        for item in self.items:
            if item.state and item.state.image is not None:
                found[item.state.object_id, item.state.name].append(item)
        return found

    def find(self, state: State) -> Item | None:
        """Return the file of a state, None if there is none."""
        return self._states.get(state)

    def parent(self, item: Item) -> Item | None:
        """Return what a state stands on, None for nothing or what is missing."""
        return self._parents.get(item.path)

    def children(self, item: Item) -> list[Item]:
        """Return the states that stand directly on a state."""
        return self._children.get(item.state, []) if item.state else []

    def chain(self, item: Item) -> list[Item]:
        """Return a state and all that it stands on, as far as that is there, the state first."""
        found: dict[str, Item] = {}
        below: Item | None = item
        while below is not None and below.path not in found:
            found[below.path] = below
            below = self.parent(below)
        return list(found.values())

    def images(self, item: Item) -> list[Item]:
        """Return the image states that a vm state needs, of those that are there."""
        if item.state is None or item.state.image is not None:
            return []
        parts = self._parts.get((item.state.object_id, item.state.name), [])
        passport = info_of(item).passport
        if passport is None:
            return parts
        named = dict(passport.images)
        return [part for part in parts if part.state and part.state.image in named]

    def needed(self, item: Item) -> list[Item]:
        """Return all files that a state needs, its own first."""
        found = [*self.chain(item)]
        for part in self.images(item):
            found += self.chain(part)
        return found

    def last_use(self, item: Item) -> float:
        """Return when a state was used or made last, in seconds since 1970."""
        return max(self.used_at(item), item.made)

    def used_at(self, item: Item) -> float:
        """Return when a use of a state was noted last, in seconds since 1970; 0.0 if none was."""
        return self.used.get(item.entry.link or item.path, 0.0)

    def problem(self, item: Item) -> str:
        """Return what is wrong with a state as far as that shows without reading, or nothing."""
        if item.problem or item.state is None:
            return item.problem
        if item.state.image is None:
            return self._lack(item)
        if not item.parent:
            return ""
        parent = self.parent(item)
        if parent is None:
            return f"stands on {item.parent!r}, which is missing"
        if item.path in self._circular:
            return "stands on itself"
        try:
            chain.check_parent(item.path, info_of(item), info_of(parent))
        except ParentChanged:
            return f"was made on another {item.parent!r} than the one beside it"
        return ""

    def _lack(self, item: Item) -> str:
        """Return what a vm state lacks of its images."""
        passport = info_of(item).passport
        parts = {part.state.image: part for part in self.images(item) if part.state}
        if passport is None:
            return "" if parts else "lacks states of its images"
        for image, mark in passport.images:
            if image not in parts:
                return f"lacks its state of image {image!r}"
            info = info_of(parts[image])
            known = (info.generation and mark.generation) or (info.digest and mark.digest)
            if known and not mark.is_of(info.generation, {info.digest, info.source_digest}):
                return f"belongs to another state of image {image!r} than the one beside it"
        return ""


def info_of(item: Item) -> FileInfo:
    """Return what is known of a file without reading it."""
    if item.peek is not None:
        return item.peek.info
    return FileInfo(item.entry.stamp.size if item.entry.stamp else 0)


def allocated(items: Iterable[Item]) -> int:
    """Return the bytes on disk of files; one with several names or links to it counts once."""
    found = {}
    for item in items:
        if item.entry.stamp is not None:
            found[item.entry.device, item.entry.stamp.inode] = item.entry.allocated
    return sum(found.values())


def take(site: Site, cache: bool = False, below: str = "") -> Stock:
    """
    Look at all that a cache or pool holds; no content is read.

    :param below: an object id, or one with an image, for that only
    :raises PoolUnreachable: it can't be looked at
    """
    items = site.items(below, known=True)
    notes = site.notes(below)
    locks = {note.path: note for note in notes if note.path.endswith(layout.LOCK)}
    place = site.place
    return Stock(str(place), site.root, tuple(items), cache, place.label, last_uses(notes), locks)


def last_uses(notes: Iterable[Entry]) -> dict[str, float]:
    """
    Return when states were used last, in seconds since 1970, by path, as far as that was noted.

    :param notes: of ``Site.notes``
    """
    return {
        state: note.stamp.mtime_ns / 1e9
        for note in notes
        if note.stamp and (state := layout.subject(note.path, layout.USED))
    }
