"""Finds out what is to be known of a cache or pool to decide what goes."""

import os
import time
from collections.abc import Iterable, Mapping

from avocado_pool_plugin.core import layout
from avocado_pool_plugin.core.dependents import Shelf
from avocado_pool_plugin.ssh.answers import parse_locks
from avocado_pool_plugin.upkeep.gc import pinned
from avocado_pool_plugin.upkeep.gc.facts import Facts
from avocado_pool_plugin.upkeep.gc.size import is_in
from avocado_pool_plugin.upkeep.leftovers import leftovers
from avocado_pool_plugin.upkeep.site import KERNEL_LOCKS, Entry, Item, Site
from avocado_pool_plugin.upkeep.trashcan import contents


def survey(
    site: Site,
    refused: Mapping[str, str] | None = None,
    without: Iterable[str] = (),
    own: Iterable[str] = (),
) -> Facts:
    """
    Return what is known of a cache or pool now.

    :param refused: states that could not go, by path, with the reason
    :param without: files of ours that are about to go and count no more
    :param own: files of states that the caller needs
    """
    items, left_out = tuple(site.items(known=True)), set(without)
    notes = tuple(note for note in site.notes() if note.path not in left_out)
    if not items and not notes:
        return Facts(site.root, time.time())  # asking for the clock would make the directory
    now = site.clock()
    held = {**_used(site, items, notes), **_open(site, items), **_unfinished(items, notes)}
    pins = {**pinned.live(site), **dict.fromkeys(own, "what is fetched now")}
    held.update(refused or {})
    dead = tuple(one for one in leftovers(site, notes, now) if one.path not in held)
    return Facts(site.root, now, items, notes, held, pins, dead, tuple(contents(site, notes)))


def intents_of(path: str) -> tuple[str, ...]:
    """Return the directories in which it is noted what is being done with a state's neighbours."""
    home = os.path.dirname(path)
    return layout.intents_dir(home), layout.intents_dir(os.path.dirname(home))


def _used(site: Site, items: Iterable[Item], notes: Iterable[Entry]) -> dict[str, str]:
    """Return the states that working overlays or links stand on, with one of these."""
    noted = {layout.subject(os.path.dirname(note.path), layout.USERS) for note in notes}
    found, shelves = {}, dict[str, Shelf]()
    for path in (item.path for item in items if item.path in noted):
        home = os.path.dirname(path)
        if home not in shelves:
            shelves[home] = site.shelf(path)
        users = shelves[home].users(path, None)
        if users:
            found[path] = f"is in use by {users[0]}"
    return found


def _open(site: Site, items: Iterable[Item]) -> dict[str, str]:
    """Return the states that a QEMU of the place's host has open, as far as its kernel shows it."""
    locks = parse_locks(site.read([KERNEL_LOCKS]).get(KERNEL_LOCKS, b""))
    inodes = {lock.inode for lock in locks}
    return {
        item.path: "is open in a running QEMU"
        for item in items
        if item.entry.stamp
        and item.entry.stamp.inode in inodes
        and any(lock.is_at(item.entry.device, item.entry.stamp.inode) for lock in locks)
    }


def _unfinished(items: Iterable[Item], notes: Iterable[Entry]) -> dict[str, str]:
    """Return the states that an image may stand on which is on its way to another place."""
    homes = {os.path.dirname(note.path) for note in notes if is_in(note.path, layout.INTENTS)}
    return {
        item.path: "is beside an image that is being saved; the next get or set there completes it"
        for item in items
        if homes.intersection(intents_of(item.path))
    }
