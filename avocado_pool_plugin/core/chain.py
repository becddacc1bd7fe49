"""Which state a state stands on, as its header says, and whether the chain holds together."""

import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from avocado_pool_plugin.core import knowledge, layout
from avocado_pool_plugin.core.errors import (
    ChainBroken,
    ImageRefused,
    ParentChanged,
    StateMissing,
    unreachable,
)
from avocado_pool_plugin.core.names import IMAGE_SUFFIX, state_name
from avocado_pool_plugin.core.policy import Policy
from avocado_pool_plugin.core.qcow2 import Header, check_movable, read_header
from avocado_pool_plugin.core.records import FileInfo, Stamp


@dataclass(frozen=True)
class Backing:
    """
    What an image stands on.

    :param state: name of the state beside it, empty if it is none
    :param outside: absolute path of a backing file that is no state of the same object and image
    :param relative: whether the header names it without any directory
    """

    state: str = ""
    outside: str = ""
    relative: bool = True


def backing_of(path: str, home: str | None = None) -> Backing:
    """
    Return what an image stands on.

    :param home: the directory of states of its object and image; default: the file's own directory
    :raises ImageRefused: its backing is not a plain file, or it is no QCOW2 image
    :raises FileNotFoundError: there is no such file
    """
    header = read_header(path)
    check_movable(path, header)
    return named_backing(header, path, home or os.path.dirname(path))


def named_backing(header: Header, path: str, home: str) -> Backing:
    """Return what a header's backing name means for the image at ``path``."""
    if not header.backing:
        return Backing()
    directory, base = os.path.split(header.backing)
    name = state_name(base)
    if not directory and name and _is_in(path, home):
        return Backing(state=name)
    absolute = os.path.normpath(os.path.join(os.path.dirname(path), header.backing))
    if name and _object_and_image(os.path.dirname(absolute)) == _object_and_image(home):
        return Backing(state=name, relative=False)
    return Backing(outside=absolute, relative=False)


def _is_in(path: str, directory: str) -> bool:
    """Tell whether a file is right in a directory."""
    own = os.path.dirname(path)
    return own == directory or os.path.abspath(own) == os.path.abspath(directory)


def _object_and_image(directory: str) -> tuple[str, str]:
    above, image = os.path.split(os.path.abspath(directory))
    return os.path.basename(above), image


def state_file(directory: str, name: str) -> str:
    """Return the file of an image state in the directory of its object and image."""
    return os.path.join(directory, name + IMAGE_SUFFIX)


def walk(name: str, parent_of: Callable[[str], str]) -> Iterator[str]:
    """
    Yield a state and all that it stands on, the state first; a parent is asked for when needed.

    :param parent_of: returns the name of a state's parent, empty at the end
    :raises ChainBroken: a state stands on itself
    """
    names: list[str] = []
    while name:
        if name in names:
            circle = " -> ".join([*names[names.index(name) :], name])
            raise ChainBroken(
                f"the chain of state {names[0]!r} is a circle: {circle}; set these states again"
            )
        names.append(name)
        yield name
        name = parent_of(name)


def parent_in(directory: str) -> Callable[[str], str]:
    """
    Return a function that reads a state's parent in a directory of states.

    It raises ``StateMissing`` for a state that is not there, ``ChainBroken`` for one that stands on
    a file which is no state.
    """

    def parent_of(name: str) -> str:
        path = state_file(directory, name)
        try:
            backing = backing_of(path)
        except FileNotFoundError:
            raise _missing(path, name) from None
        if backing.outside:
            raise ChainBroken(
                f"{path} stands on {backing.outside}, which is no state of the same image; set "
                f"the state again, so that its base is brought into the chain"
            )
        return backing.state

    return parent_of


def _missing(path: str, name: str) -> StateMissing:
    return StateMissing(f"{path} is missing, another state stands on it; set state {name!r} again")


def states_in(directory: str) -> list[str]:
    """
    Return the names of the image states in a directory, sorted; none if it does not exist.

    :raises PoolUnreachable: it can't be listed
    """
    try:
        with os.scandir(directory) as entries:
            files = [e.name for e in entries if not layout.is_ours(e.name) and e.is_file()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise unreachable(directory, error) from error
    return sorted(name for name in map(state_name, files) if name)


def children_of(directory: str, name: str) -> Iterator[str]:
    """Yield the states in a directory that stand directly on a state."""
    for other in states_in(directory):
        path = state_file(directory, other)
        try:
            if other != name and _parent_as(path, Stamp.of(os.stat(path))) == name:
                yield other
        except (FileNotFoundError, ImageRefused):
            continue  # gone meanwhile, or nothing that could stand on a state


@functools.lru_cache(maxsize=1 << 14)
def _parent_as(path: str, _stamp: Stamp) -> str:
    """Return the parent of a state's file; read once for each stamp, as many ask for all."""
    return backing_of(path).state


def leads_away(path: str) -> bool:
    """
    Tell whether a state's file names its parent by a path that is not the state beside it.

    One whose header is damaged leads nowhere, and so not to the state beside it either; one that is
    not there names none.
    """
    if not path.endswith(IMAGE_SUFFIX):
        return False
    try:
        header = read_header(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except ImageRefused:
        return True
    name = named_backing(header, path, os.path.dirname(path)).state
    beside = state_file(os.path.dirname(path), name)
    named = os.path.join(os.path.dirname(path), header.backing)
    return bool(name) and os.path.realpath(named) != os.path.realpath(beside)


def verify(directory: str, name: str, policy: Policy, seen_dir: str | None = None) -> list[str]:
    """
    Make sure that a state can be used: every file there, whole, and on the parent it was made on.

    :returns: the names of its chain, the state first
    :raises StateMissing: a file is not there
    :raises ChainBroken: the chain is a circle, leaves the directory, or has another parent in it
    :raises FileCorrupt: a file is not what was recorded
    """
    names = list(walk(name, parent_in(directory)))
    below: FileInfo | None = None
    for current in reversed(names):
        path = state_file(directory, current)
        if leads_away(path):
            raise ChainBroken(
                f"{path} names its parent by the path {read_header(path).backing}, which is not "
                f"the state beside it; get the state from a pool, or set it again"
            )
        info = knowledge.identify(path, policy, seen_dir)
        if info is None:
            raise _missing(path, current)
        if below:
            check_parent(path, info, below)
        below = info
    return names


def on_parent(
    source: str, target: str, info: FileInfo, here: FileInfo | None, there: FileInfo | None
) -> FileInfo:
    """
    Return what a copy of a state is at its target, on the parent that is there.

    :param info: of the copy, with the name of its parent
    :param here: the parent beside the source, None if there is none
    :param there: the parent beside the target, None if there is none
    :raises ParentChanged: that is another one than the state was made on
    """
    if there is None:
        return info
    if here and here.same_content(there):
        check_parent(source, info, here)
    elif here and not (info.parent_digest or info.parent_generation):
        check_parent(target, replace(info, parent_digest=here.digest), there)
    else:
        check_parent(target, info, there)
    return replace(info, parent_digest=there.digest or info.parent_digest)


def check_parent(child: str, info: FileInfo, parent: FileInfo) -> None:
    """
    Make sure that the parent is the one that a state was made on.

    :raises ParentChanged: it was replaced since
    """
    if info.parent_digest and parent.digest:
        same = info.parent_digest in (parent.digest, parent.source_digest)
    elif info.parent_generation and parent.generation:
        same = info.parent_generation == parent.generation
    else:
        return
    if not same:
        raise ParentChanged(
            f"{child} was made on another {info.parent!r} than the one beside it (expected "
            f"{info.parent_digest or info.parent_generation}, found "
            f"{parent.digest or parent.generation}); get or set the state again"
        )
