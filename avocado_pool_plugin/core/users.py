"""
Working overlays that stand on states, so that no state is pulled away from under an image.

So do symlinks in caches that lead to states of a pool.
"""

import contextlib
import hashlib
import json
import logging
import os
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial

from avocado_pool_plugin.core import durable, layout, typed
from avocado_pool_plugin.core.errors import ImageRefused, PoolUnreachable, unreachable
from avocado_pool_plugin.core.qcow2 import in_use, read_header
from avocado_pool_plugin.core.records import read_small

LOG = logging.getLogger("avocado." + __name__)

#: So often a note is written whose directory others remove meanwhile.
_ATTEMPTS = 10
#: Stands for a file that is not there, or an overlay that was never seen empty.
_NOTHING = (0, 0, 0)
#: A symlink of another host can't be looked at. It counts for so many seconds after it was noted,
#: and is noted anew by who uses it after this many.
_FORGOTTEN, _RENEWED = 30 * 24 * 3600.0, 24 * 3600.0


@dataclass(frozen=True)
class User:
    """
    A working overlay on a state, or a symlink to it.

    :param path: the overlay or symlink
    :param host: where it was made
    :param pid: process that made it
    :param since: when, in seconds since 1970
    :param generation: of the state when the overlay was made on it
    :param made_as: inode, size in bytes and mtime in nanoseconds of the overlay, fresh and empty;
        zeros if it never was
    :param reads_on: generation that is about to replace the state and reads the same under it
    :param link: whether it is a symlink in a cache, to a state of a pool; hosts may share that
    """

    path: str
    host: str
    pid: int
    since: float
    generation: str
    made_as: tuple[int, int, int]
    reads_on: str = ""
    link: bool = False

    @property
    def untouched(self) -> bool:
        """Whether nothing was written to the overlay since it was made."""
        made_as = tuple(self.made_as)
        return made_as != _NOTHING and _made_as(self.path) == made_as

    @property
    def open(self) -> bool:
        """
        Whether a QEMU of this host has it open; a symlink is none, but the state itself.

        One that can't be looked at passes for closed: a QEMU has the state open then as well.
        """
        try:
            return not self.link and in_use(self.path)
        except PoolUnreachable:
            return False

    def counts(self, host: str, look: Callable[[], bool]) -> bool:
        """
        Tell whether it still stands on its state, as far as that can be known.

        :param host: where it can be looked at from
        :param look: looks at what is at its path there
        """
        if self.link and self.host != host:
            return time.time() - self.since < _FORGOTTEN
        return look()

    def __str__(self) -> str:
        kind = "symlink" if self.link else "overlay"
        return f"{kind} {self.path} (host {self.host}, process {self.pid})"


def _entry(state: str, overlay: str, host: str = "") -> str:
    """Return where something is noted; of symlinks, as caches have the same path on many hosts."""
    path = f"{host}:{os.path.abspath(overlay)}" if host else os.path.abspath(overlay)
    key = hashlib.sha256(os.fsencode(path)).hexdigest()[:32]
    return os.path.join(layout.users_dir(state), f"{key}.json")


def _made_as(path: str) -> tuple[int, int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return _NOTHING
    return (found.st_ino, found.st_size, found.st_mtime_ns)


def register(state: str, overlay: str, generation: str, fresh: str | None = None) -> None:
    """
    Note that a working overlay stands on a state.

    :param generation: of the state
    :param fresh: the overlay's file while nothing was written on it, None if something was
    """
    path = os.path.abspath(overlay)
    made_as = _made_as(fresh) if fresh else _NOTHING
    host, now = socket.gethostname(), time.time()
    _write(state, User(path, host, os.getpid(), now, generation, made_as))


def register_link(state: str, link: str, generation: Callable[[], str]) -> None:
    """
    Note that a symlink of this host leads to a state, unless that was noted of late.

    :param generation: tells that of the state
    """
    host, now = socket.gethostname(), time.time()
    noted = _load(_entry(state, link, host))
    if noted is None or now - noted.since > _RENEWED:
        path = os.path.abspath(link)
        _write(state, User(path, host, os.getpid(), now, generation(), _NOTHING, link=True))


def expect(state: str, overlay: str, generation: str) -> None:
    """Note that a registered overlay stays good when this generation of the state comes."""
    user = registered(state, overlay)
    if user is not None:
        _write(state, replace(user, reads_on=generation))


def _write(state: str, user: User) -> None:
    durable.make_meta(state, fsync=False)
    entry = _entry(state, user.path, user.host if user.link else "")
    data = json.dumps(asdict(user)).encode()
    for attempt in range(_ATTEMPTS):
        durable.make_like_parent(os.path.dirname(entry), fsync=False)
        try:
            durable.write_whole(entry, data, fsync=False)
            return
        except FileNotFoundError:
            # whoever removed the state just now took the directory along
            if attempt + 1 == _ATTEMPTS:
                raise


def unregister(state: str, overlay: str) -> None:
    """Forget that a working overlay stands on a state."""
    durable.unlink(_entry(state, overlay))


def registered(state: str, overlay: str) -> User | None:
    """Return what is noted of one overlay on a state, None if nothing is."""
    return _load(_entry(state, overlay))


def users_of(state: str, but: str | None = None) -> list[User]:
    """
    Return the registered overlays and symlinks that exist and still stand on a state.

    What is of no more use is forgotten, a symlink of another host when it was not used for long.

    :param but: an overlay that does not count: the one that the caller is about to replace
    :raises PoolUnreachable: what is noted can't be read
    """
    directory, host = layout.users_dir(state), socket.gethostname()
    found = []
    for name in _list(directory):
        entry = os.path.join(directory, name)
        user = _load(entry)
        if user is None or not user.counts(host, partial(stands_on, user.path, state)):
            with contextlib.suppress(OSError):
                durable.unlink(entry)
        elif but is None or user.path != os.path.abspath(but):
            found.append(user)
    return found


def _list(directory: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(directory) if name.endswith(".json"))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise unreachable(directory, error) from error


def _load(entry: str) -> User | None:
    return decode(read_small(entry) or b"")


def decode(text: bytes) -> User | None:
    """Return a noted overlay, None if the note is damaged."""
    try:
        return typed.fill(User, typed.mapping(text))
    except ValueError:
        return None


def stands_on(overlay: str, state: str) -> bool:
    """
    Tell whether an overlay stands on a state right now, or a symlink leads to it.

    One that is there and can't be looked at, such as another user's, passes for one that does.
    """
    if os.path.islink(overlay) and os.path.realpath(overlay) == os.path.realpath(state):
        return True
    try:
        backing = read_header(overlay).backing
    except (FileNotFoundError, NotADirectoryError, ImageRefused):
        return False
    except PoolUnreachable:
        return True
    named = os.path.join(os.path.dirname(overlay), backing)
    return bool(backing) and os.path.realpath(named) == os.path.realpath(state)
