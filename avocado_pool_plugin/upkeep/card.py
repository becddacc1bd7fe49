"""All that is known of one copy of a state, and of what stands on it."""

import os
from dataclasses import dataclass

from avocado_pool_plugin.core import dependents, layout
from avocado_pool_plugin.core.names import VM_SUFFIX, State
from avocado_pool_plugin.core.users import User
from avocado_pool_plugin.upkeep.holders import held_locks
from avocado_pool_plugin.upkeep.site import Item, Site
from avocado_pool_plugin.upkeep.stock import Stock, info_of


@dataclass(frozen=True)
class Lock:
    """
    The lock of a state.

    :param holder: who held it last, as its file says
    :param held: whether it is held; None if its host does not tell
    """

    holder: str
    held: bool | None


@dataclass(frozen=True)
class Dependents:
    """
    What stands on a state.

    :param states: image states, nearest first, as commands take them
    :param vm_states: vm states that it or one of these belongs to
    :param overlays: registered working overlays and symlinks, and whether a QEMU has each open
    :param open: whether a QEMU has the state itself open
    """

    states: tuple[str, ...] = ()
    vm_states: tuple[str, ...] = ()
    overlays: tuple[tuple[User, bool], ...] = ()
    open: bool = False


@dataclass(frozen=True)
class Card:
    """
    A copy of a state.

    :param stock: the place that it is in
    :param images: of a vm state: its images by its passport, and what there is of each: ``there``,
        ``missing`` or ``another one is there``
    :param lock: None if nobody ever locked it
    """

    stock: Stock
    item: Item
    dependents: Dependents
    images: tuple[tuple[str, str], ...]
    lock: Lock | None


def look(site: Site, stock: Stock, item: Item) -> Card:
    """
    Return all that is known of a copy of a state; its content is not read.

    :raises PoolUnreachable: it can't be looked at
    """
    found = Dependents() if item.entry.stamp is None else _dependents(site, stock, item)
    return Card(stock, item, found, _images(stock, item), _lock(site, stock, item))


def _dependents(site: Site, stock: Stock, item: Item) -> Dependents:
    shelf = site.shelf(item.path)
    tops = dependents.states_on(item.path, shelf=shelf)
    users = shelf.users(item.path, None)
    return Dependents(
        tuple(_title(stock, top) for top in tops if not top.endswith(VM_SUFFIX)),
        tuple(_title(stock, top) for top in dict.fromkeys(tops) if top.endswith(VM_SUFFIX)),
        tuple((user, shelf.open_overlay(user)) for user in users),
        shelf.stays_open(item.path),
    )


def _title(stock: Stock, path: str) -> str:
    """Return a state as commands take it."""
    return os.path.splitext(os.path.relpath(path, stock.root))[0]


def _images(stock: Stock, item: Item) -> tuple[tuple[str, str], ...]:
    passport = info_of(item).passport
    if passport is None or item.state is None:
        return ()
    found = []
    for image, mark in passport.images:
        part = stock.find(State(item.state.object_id, image, item.state.name))
        info = info_of(part) if part else None
        told = "missing"
        if info is not None:
            good = mark.is_of(info.generation, {info.digest, info.source_digest})
            known = (mark.generation and info.generation) or (mark.digest and info.digest)
            told = "there" if good else "another one is there" if known else "there, not compared"
        found.append((image, told))
    return tuple(found)


def _lock(site: Site, stock: Stock, item: Item) -> Lock | None:
    path = layout.lock_path(item.entry.link or item.path)
    entry = stock.locks.get(path)
    if entry is None:
        return None
    text = site.read([path]).get(path, b"").decode("utf-8", "replace").strip()
    known = held_locks(site)
    return Lock(text, None if known is None else any(lock.is_on(entry) for lock in known))
