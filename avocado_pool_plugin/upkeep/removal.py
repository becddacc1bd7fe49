"""Which files go when states of a cache or pool are removed, and in which order."""

import os
from collections.abc import Iterable
from dataclasses import dataclass

from avocado_pool_plugin.core import dependents
from avocado_pool_plugin.core.errors import StateMissing, StateNeeded
from avocado_pool_plugin.core.names import State
from avocado_pool_plugin.core.users import User
from avocado_pool_plugin.upkeep.naming import state_at
from avocado_pool_plugin.upkeep.site import Item, Site


@dataclass(frozen=True)
class Removal:
    """
    What goes.

    :param items: the files, each before what it stands on
    :param users: working overlays and symlinks that are invalid then
    """

    items: tuple[Item, ...]
    users: tuple[User, ...] = ()


def present(site: Site, state: State, images: bool = False) -> list[Item]:
    """
    Return the files of a state that are there, the RAM file first.

    :param images: with those of a vm state, the image states of its name
    """
    named = [
        item for item in site.items(state.owner) if item.state and item.state.name == state.name
    ]
    own = [item for item in named if item.state == state]
    others = [item for item in named if item not in own]
    return [*own, *others] if own and images and state.image is None else own


def plan(site: Site, wanted: Iterable[Item], cascade: bool) -> Removal:
    """
    Return what has to go with some states; nothing is changed.

    :param cascade: what stands on them may go as well
    :raises StateNeeded: something stands on one of them, or is open in a QEMU; the text names it
    """
    chosen = {item.path: item for item in wanted}
    order: dict[str, Item] = {}
    users: dict[str, User] = {}
    for path, item in chosen.items():
        shelf = site.shelf(path)
        tops = dependents.states_on(path, shelf=shelf)
        _require_free(site, [path, *tops], shelf)
        others = [top for top in tops if top not in chosen]
        if others and not cascade:
            raise StateNeeded(_needed(site, path, others))
        known = _items(site, path) if tops else {}
        for top in [*reversed(tops), path]:
            order.setdefault(top, chosen.get(top) or known.get(top) or item)
            for user in shelf.users(top, None):
                users.setdefault(user.path, user)
    return Removal(tuple(order.values()), tuple(users.values()))


def _require_free(site: Site, files: list[str], shelf: dependents.Shelf) -> None:
    try:
        dependents.refuse_open(files, None, shelf)
    except StateNeeded as error:
        # its text begins with the file
        raise StateNeeded(site.title(str(error))) from error


def _needed(site: Site, path: str, tops: list[str]) -> str:
    names = ", ".join(_name(site, top) for top in tops)
    return (
        f"{site.title(path)} is needed by {names}; remove these first, or all at once with "
        f"--cascade"
    )


def _name(site: Site, path: str) -> str:
    state = state_at(site.root, path)
    return state.title if state else os.path.basename(path)


def _items(site: Site, path: str) -> dict[str, Item]:
    """Return what lies around a state: its vm's files."""
    vm = os.path.relpath(path, site.root).split("/")[0]
    return {item.path: item for item in site.items(vm)}


def remove(site: Site, item: Item) -> None:
    """
    Move a file to the trash, or remove a link.

    :raises StateNeeded: something stands on it by now
    :raises StateMissing: somebody else removed it
    :raises LockTimeout: someone else held its lock all the time
    """
    if not site.store.has(item.path) and not item.entry.link:
        raise StateMissing(f"{site.title(item.path)} is gone, somebody else removed it")
    site.store.remove(item.path)
