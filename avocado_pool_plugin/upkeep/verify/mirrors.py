"""Where a file can be had that should be in a place: the cache and the pools besides it."""

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from avocado_pool_plugin.core.errors import FileCorrupt, PoolError
from avocado_pool_plugin.core.names import IMAGE_SUFFIX
from avocado_pool_plugin.core.records import FileInfo, Stamp
from avocado_pool_plugin.upkeep.comparing import comparable, given_generation
from avocado_pool_plugin.upkeep.site import Item, Site

LOG = logging.getLogger("avocado." + __name__)


@dataclass(frozen=True)
class Copy:
    """
    A file of a mirror that was read and is true to its record there.

    :param site: the mirror
    :param path: the file
    :param info: what it is
    """

    site: Site
    path: str
    info: FileInfo


@dataclass
class Mirrors:
    """
    Places that may have what another one lacks.

    :param sites: these, with a policy to read content always
    :ivar silent: what was said by those that could not be asked, by their location
    """

    sites: Sequence[Site]
    silent: dict[str, str] = field(default_factory=dict)
    _homes: dict[tuple[str, str], dict[str, Item]] = field(default_factory=dict)

    def copies(self, site: Site, path: str, wanted: Iterable[FileInfo]) -> Iterator[Copy]:
        """
        Yield good copies of a file, nearest first.

        :param site: where it should be
        :param path: there
        :param wanted: what it should contain, each good enough
        """
        asked = [info for info in wanted if known(info)]
        for copy in self.same(site, path, asked):
            if any(self.fits(copy, info) for info in asked):
                yield copy

    def same(
        self, site: Site, path: str, asked: Sequence[FileInfo] = (), *, recorded: bool = False
    ) -> Iterator[Copy]:
        """
        Yield all true files of a name in other places.

        :param asked: leaves out those that are known to have other contents
        :param recorded: leaves out those without a record, which would get one by being looked at
        """
        name = os.path.relpath(path, site.root)
        for mirror in self.sites:
            if (mirror.place.label, mirror.root) == (site.place.label, site.root):
                continue
            there = os.path.join(mirror.root, name)
            try:
                item = self._items(mirror, os.path.dirname(name)).get(there)
                if item is None or _is(item, site, path) or not _may_be(item, asked):
                    continue
                if recorded and not (item.peek and item.peek.recorded):
                    continue
                info = mirror.store.info(there)
            except FileCorrupt as error:
                LOG.debug("%s is of no use to repair %s: %s", there, path, error)
                continue
            except PoolError as error:
                LOG.debug("%s is of no use to repair %s: %s", there, path, error)
                self.silent.setdefault(str(mirror.place), str(error))
                continue
            if info is not None:
                yield Copy(mirror, there, info)

    def fits(self, copy: Copy, wanted: FileInfo) -> bool:
        """Tell whether a copy has the content that is wanted."""
        if same(copy.info, wanted):
            return True
        if not (wanted.digest or wanted.also) or comparable(copy.info, wanted):
            return False
        # known by a digest that is not made everywhere
        return self.digest(copy, wanted) in (wanted.digest, *wanted.also)

    def digest(self, copy: Copy, wanted: FileInfo) -> str:
        """Return the digest of a copy, by an algorithm that something else has one of."""
        return copy.site.digest(copy.path, wanted)[0]

    def _items(self, mirror: Site, below: str) -> dict[str, Item]:
        key = (str(mirror.place), below)
        if key not in self._homes:
            self._homes[key] = {item.path: item for item in mirror.items(below, known=True)}
        return self._homes[key]


def known(info: FileInfo) -> bool:
    """Tell whether there is anything to tell a content by."""
    return bool(info.digest or info.also or given_generation(info))


def same(copy: FileInfo, wanted: FileInfo) -> bool:
    """Tell whether a file has the content that is wanted, as far as what is known of it tells."""
    if copy.same_content(wanted):
        return True
    unknown = not wanted.digest and not wanted.also
    return unknown and bool(given_generation(wanted)) and wanted.generation == copy.generation


def _is(item: Item, site: Site, path: str) -> bool:
    """Tell whether a file of a mirror is a link to the one that is to be repaired."""
    link = item.entry.link
    return bool(link) and not site.place.remote and link == os.path.realpath(path)


def _may_be(item: Item, asked: Sequence[FileInfo]) -> bool:
    """Tell whether a file can have a content that is asked for, without reading it."""
    if item.entry.stamp is None:
        return False
    if not asked or item.peek is None or not item.peek.info.digest:
        return True
    info = item.peek.info
    return any(same(info, one) or not comparable(info, one) for one in asked)


def stamp_of(site: Site, path: str) -> Stamp | None:
    """Return the stamp of a file as it is now, None if it is gone."""
    return site.eyes.stamps([path]).get(path)


def is_image(path: str) -> bool:
    """Tell whether a file is called like an image."""
    return path.endswith(IMAGE_SUFFIX)
