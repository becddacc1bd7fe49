"""
Which states live processes need in a cache or pool, so that nobody makes room by removing them.

A *pin* is a file ``<root>/.pool/pins/<token>.json``. Who holds it touches it again and again; it is
live for its lease after that, by the clock of its file system, so a killed holder's pin ends by
itself. Who removes states reads the pins once more after a state is out of its place.
"""

import contextlib
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from avocado_pool_plugin.core import durable, heart, layout, locks, typed
from avocado_pool_plugin.core.errors import PoolError, PoolUnreachable

LOG = logging.getLogger("avocado." + __name__)

#: Seconds for which a pin is live after it was touched, unless its holder says otherwise.
LEASE = 60.0
#: A pin is touched so many times in its lease.
BEATS = 3
#: Seconds for which what a killed process left is kept.
_KEEP = 24 * 3600.0


@dataclass(frozen=True)
class Pin:
    """
    States that a process needs.

    :param files: paths relative to the cache or pool
    :param by: who needs them
    :param since: from when on, in seconds since 1970
    :param lease: seconds for which it is live after it was touched
    """

    files: frozenset[str]
    by: str
    since: float
    lease: float = LEASE

    @classmethod
    def new(cls, files: Iterable[str], lease: float = LEASE, by: str = "") -> "Pin":
        """Return a pin of this process; ``by`` says what for, such as ``test NAME``."""
        who = f"host {socket.gethostname()}, process {os.getpid()}"
        return cls(frozenset(files), f"{who}, {by}" if by else who, time.time(), lease)

    def encode(self) -> bytes:
        """Return the pin as it is stored."""
        return json.dumps({**vars(self), "files": sorted(self.files)}).encode()


def decode(text: bytes) -> Pin | None:
    """Return a stored pin, None if it is damaged."""
    try:
        return typed.fill(Pin, typed.mapping(text))
    except ValueError:
        return None


class Held:
    """
    A pin of this process while it is held; nothing where it could not be made.

    :ivar pin: what is pinned
    """

    def __init__(self, root: str, pin: Pin) -> None:
        self.pin = pin
        self._root = root
        self._path = os.path.join(layout.pins_dir(root), f"{durable.new_token()}.json")
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._made = self._over = False

    def add(self, files: Iterable[str]) -> None:
        """Pin more files: paths relative to the cache or pool."""
        if self._pid != os.getpid():
            return
        with self._lock:
            pin = replace(self.pin, files=self.pin.files.union(files))
            if pin != self.pin:
                self.pin = pin
                if self._made:
                    self._write()

    def _write(self) -> None:
        self._made = True
        try:
            durable.write_whole(self._path, self.pin.encode(), fsync=False)
        except FileNotFoundError:
            directory = os.path.dirname(self._path)
            durable.make_like_parent(os.path.dirname(directory), fsync=False)
            durable.make_like_parent(directory, fsync=False)
            durable.write_whole(self._path, self.pin.encode(), fsync=False)

    def begin(self) -> None:
        """Make the pin, if the cache or pool can be written to."""
        with self._lock:
            try:
                self._write()
            except (OSError, PoolError) as error:
                self._made = False
                LOG.debug("nothing can be pinned in %s: %s", self._root, error)

    def beat(self) -> None:
        """
        Keep the pin live; one that is gone is made again.

        So is one that could not be made, as when the disk was full.
        """
        with self._lock:
            if self._over:
                return
            try:
                os.utime(self._path)
            except FileNotFoundError:
                self._write()

    def end(self) -> None:
        """Remove the pin; a forked child leaves its parent's alone."""
        if self._pid != os.getpid():
            return
        with self._lock:
            self._over = True
            if self._made:
                self._made = False
                with contextlib.suppress(OSError):
                    os.unlink(self._path)


@contextlib.contextmanager
def hold(root: str, files: Iterable[str], *, lease: float = LEASE, by: str = "") -> Iterator[Held]:
    """
    Keep states from being removed to make room, as long as the body runs.

    Where the cache or pool can't be written to there is no pin: nobody removes anything there.

    :param root: directory of the cache or pool
    :param files: paths relative to it, which need not exist
    :param lease: seconds after which the pin ends if this process is killed
    :param by: what for, such as ``test NAME``
    """
    held = Held(root, Pin.new(files, lease, by))
    held.begin()
    try:
        with heart.every(lease / BEATS, held.beat):
            yield held
    finally:
        held.end()


def live(root: str) -> list[Pin]:
    """
    Return the live pins in a cache or pool; what was left there long ago is removed.

    :raises PoolUnreachable: the pins can't be read, so nothing may be taken for not pinned
    """
    directory = layout.pins_dir(root)
    with durable.typed_failures(directory):
        try:
            names = sorted(os.listdir(directory))
        except (FileNotFoundError, NotADirectoryError):
            return []
        if not names:
            return []
        now = durable.seconds(directory)
        found = [_read(os.path.join(directory, name), now) for name in names]
    return [pin for pin in found if pin is not None]


def pinned(root: str) -> set[str]:
    """Return the files that live pins in a cache or pool name; errors of :func:`live`."""
    return {file for pin in live(root) for file in pin.files}


def is_absent(path: str, timeout: float) -> bool:
    """
    Tell whether a pinned file is not there; one that is being judged is waited for.

    Who makes room moves a file away under its lock, looks for pins and may put it back.

    :param timeout: seconds to wait for the lock
    :raises LockTimeout: someone held it all the time
    """
    if os.path.exists(path):
        return False
    if os.path.exists(layout.lock_path(path)):
        # where no lock can be taken nobody can take a file away either
        with contextlib.suppress(PoolUnreachable), locks.hold(path, timeout):
            pass
    return not os.path.exists(path)


def _read(path: str, now: float) -> Pin | None:
    """Return a pin if it is live."""
    try:
        with open(path, "rb") as file:
            # of the open file: a network file system asks its server then
            touched = os.fstat(file.fileno()).st_mtime
            pin = decode(file.read()) if path.endswith(".json") else None
    except FileNotFoundError:
        return None  # its holder is done
    if pin is not None and now - touched <= pin.lease:
        return pin
    if pin is None and path.endswith(".json"):
        LOG.warning("%s is damaged and pins nothing", path)
    if now - touched > max(_KEEP, pin.lease if pin else 0.0):
        with contextlib.suppress(OSError):
            os.unlink(path)
    return None
