"""Pins in a cache or pool of another host; see core/pins.py."""

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from avocado_pool_plugin.core import durable, heart, layout
from avocado_pool_plugin.core.errors import PoolError
from avocado_pool_plugin.core.pins import BEATS, Pin
from avocado_pool_plugin.ssh.session import Session
from avocado_pool_plugin.ssh.shell import Shell

LOG = logging.getLogger("avocado." + __name__)

#: Seconds for which a pin is live after it was touched; the way to a host may be lost for a while.
LEASE = 600.0


class Held:
    """
    A pin over there while it is held; nothing where it can't be made.

    :ivar pin: what is pinned
    """

    def __init__(self, session: Session, root: str, pin: Pin) -> None:
        self.pin = pin
        self._session = session
        self._path = f"{layout.pins_dir(root)}/{durable.new_token()}.json"
        self._lock = threading.Lock()
        self._over = False
        self._pid = os.getpid()

    def add(self, files: Iterable[str]) -> None:
        """Pin more files: paths relative to the cache or pool."""
        if self._pid != os.getpid():
            return
        with self._lock:
            pin = replace(self.pin, files=self.pin.files.union(files))
            if pin != self.pin:
                self.pin = pin
                self._do(self._write)

    def begin(self) -> None:
        """Have the pin made; that it was made is not waited for."""
        with self._lock:
            self._do(self._write)

    def beat(self) -> None:
        """Keep the pin live; one that is gone is made again."""
        with self._lock:
            if not self._over:
                self._do(self._keep)

    def end(self) -> None:
        """Have the pin removed; where nothing is connected any more it ends by itself."""
        if self._pid != os.getpid():
            return  # a forked child has no share in what its parent talks
        with self._lock:
            self._over = True
            if self._session.alive:
                self._do(lambda shell: shell.unpin(self._path))

    def _write(self, shell: Shell) -> None:
        shell.pin(self._path, self.pin.encode())

    def _keep(self, shell: Shell) -> None:
        if not shell.beat(self._path):
            self._write(shell)

    def _do(self, work: Callable[[Shell], None]) -> None:
        try:
            with self._session.shell() as shell:
                work(shell)
        except PoolError as error:
            LOG.debug("pin %s on %s: %s", self._path, self._session, error)


@contextlib.contextmanager
def hold(
    session: Session, root: str, files: Iterable[str], *, lease: float = LEASE, by: str = ""
) -> Iterator[Held]:
    """
    Keep states on another host from being removed to make room, as long as the body runs.

    What fails is no reason to do without what the pin is for.

    :param root: directory of the cache or pool over there
    :param files: paths relative to it, which need not exist
    :param lease: seconds after which the pin ends if nothing is heard from here
    :param by: what for, such as ``test NAME``
    """
    held = Held(session, root, Pin.new(files, lease, by))
    held.begin()
    try:
        with heart.every(lease / BEATS, held.beat):
            yield held
    finally:
        held.end()
