"""Which states a cache or pool holds, without reading their content."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from avocado_pool_plugin.core import chain, layout
from avocado_pool_plugin.core.chain import Backing
from avocado_pool_plugin.core.errors import ImageRefused, PoolUnreachable
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.core.names import VM_SUFFIX, state_name


@dataclass(frozen=True)
class Entry:
    """
    A state that is there.

    :param image: None for a vm state
    :param size: bytes on disk
    :param parent: state it stands on, empty for none
    :param made: when it was made, in seconds since 1970
    """

    object_id: str
    image: str | None
    state: str
    size: int
    parent: str
    made: float


def list_states(place: Location, params: Any) -> list[Entry]:
    """
    Return the states in a cache or pool, sorted by name; none if it does not exist.

    :param params: say how its host is reached
    :raises PoolUnreachable: it can't be listed
    :raises SettingRefused: a param about its host makes no sense
    """
    if place.remote:
        return _list_far(place, params)
    try:
        return list(_walk(place.path))
    except OSError as error:
        raise PoolUnreachable(
            f"{error.filename} can't be listed: {error.strerror}; check that it is mounted and "
            f"readable"
        ) from error


# -- directories of this host --------------------------------------------------------------------


def _walk(root: str) -> Iterator[Entry]:
    for owner in _sorted(root):
        if not owner.is_dir():
            continue
        for entry in _sorted(owner.path):
            if entry.is_dir():
                yield from _images(owner.name, entry)
            else:
                name = state_name(entry.name, VM_SUFFIX)
                if name:
                    yield _entry(owner.name, None, name, entry)


def _images(owner: str, directory: os.DirEntry[str]) -> Iterator[Entry]:
    for file in _sorted(directory.path):
        name = state_name(file.name)
        if name and file.is_file():
            yield _entry(owner, directory.name, name, file)


def _sorted(directory: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return sorted(
                (entry for entry in entries if not layout.is_ours(entry.name)),
                key=lambda entry: entry.name,
            )
    except FileNotFoundError:
        return []


def _entry(owner: str, image: str | None, name: str, file: os.DirEntry[str]) -> Entry:
    parent = _parent(lambda: chain.backing_of(file.path)) if image is not None else ""
    found = file.stat()
    return Entry(owner, image, name, found.st_blocks * 512, parent, found.st_mtime)


def _parent(backing: Callable[[], Backing]) -> str:
    """Return what an image stands on, in words if that is no state."""
    try:
        found = backing()
    except ImageRefused as error:
        return f"({error})"
    return found.state or found.outside


# -- directories of other hosts ------------------------------------------------------------------


def _list_far(place: Location, params: Any) -> list[Entry]:
    from avocado_pool_plugin.states.far import FarFiles

    far = FarFiles.at(place, params)
    named = list(_named_far(far.names, place.path))
    paths = [path for path, *_ in named]
    found = []
    for number, (path, owner, image, name) in enumerate(named):
        look = far.look(path, paths[number:])
        if look.stamp is not None and look.regular:
            parent = _parent(lambda: far.backing(path)) if image is not None else ""  # noqa: B023
            made = look.stamp.mtime_ns / 1e9
            found.append(Entry(owner, image, name, look.allocated, parent, made))
    return found


def _named_far(
    names: Callable[[str], list[str]], root: str
) -> Iterator[tuple[str, str, str | None, str]]:
    """Yield path, object id, image and name of all that may be states by its name."""
    for owner in names(root):
        home = os.path.join(root, owner)
        for entry in names(home):
            path = os.path.join(home, entry)
            state = state_name(entry, VM_SUFFIX)
            if state:
                yield path, owner, None, state
                continue
            for file in names(path):
                state = state_name(file)
                if state:
                    yield os.path.join(path, file), owner, entry, state
