"""Which states a cache or pool holds, without reading their content."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from avocado_pool_plugin.core import chain, layout
from avocado_pool_plugin.core.errors import ImageRefused, PoolUnreachable
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


def list_states(root: str) -> list[Entry]:
    """
    Return the states below a cache or pool directory, sorted by name; none if it does not exist.

    :raises PoolUnreachable: it can't be listed
    """
    try:
        return list(_walk(root))
    except OSError as error:
        raise PoolUnreachable(
            f"{error.filename} can't be listed: {error.strerror}; check that it is mounted and "
            f"readable"
        ) from error


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
    parent = ""
    if image is not None:
        try:
            backing = chain.backing_of(file.path)
            parent = backing.state or backing.outside
        except ImageRefused as error:
            parent = f"({error})"
    found = file.stat()
    return Entry(owner, image, name, found.st_blocks * 512, parent, found.st_mtime)
