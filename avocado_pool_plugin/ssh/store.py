"""The store on another host, reached by OpenSSH; see core/store.py for the contract."""

import contextlib
import itertools
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from avocado_pool_plugin.core import chain, durable, knowledge, locks
from avocado_pool_plugin.core.copy import require_room
from avocado_pool_plugin.core.digest import Progress
from avocado_pool_plugin.core.errors import (
    FileChanging,
    HostUnreachable,
    ImageInUse,
    LoginRefused,
    PoolError,
    PoolSilent,
    PoolUnreachable,
    StateMissing,
)
from avocado_pool_plugin.core.local import LocalStore, made_alike
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.core.plan import End, Plan
from avocado_pool_plugin.core.qcow2 import in_use
from avocado_pool_plugin.core.records import FileInfo
from avocado_pool_plugin.core.store import Moved
from avocado_pool_plugin.core.trash import name_of
from avocado_pool_plugin.ssh.fetch import Fetch
from avocado_pool_plugin.ssh.judge import Judge
from avocado_pool_plugin.ssh.publish import WORTH_LEAVES, Publish, held
from avocado_pool_plugin.ssh.session import Session
from avocado_pool_plugin.ssh.view import View

LOG = logging.getLogger("avocado." + __name__)

#: Attempts at a file that is replaced while it is transferred: so many at least, and for so many
#: seconds.
_ATTEMPTS, _PATIENCE = 5, 30.0
#: Seconds before the second one; each further one waits twice as long, up to the longest.
_PAUSE, _LONGEST = 0.05, 1.0

#: Seconds for which a state that was made counts as used, without any word on it.
_NEW = 3600.0

_Result = TypeVar("_Result")


class RemoteStore:
    """
    Directories of another host.

    What breaks on the way is tried again; what was transferred until then does not travel anew.

    :param session: with the host
    :param here: this host's side of transfers: how careful to be, what may be replaced
    """

    def __init__(self, session: Session, here: LocalStore) -> None:
        self.session = session
        self.here = here
        self.policy = here.policy
        self.view = View(session, here.seen_dir)
        self.judge = Judge(self.view, here.policy)

    def names(self, directory: str) -> list[str]:
        """See :meth:`Store.names`."""
        return self.view.names(directory)

    def info(self, path: str, progress: Progress | None = None) -> FileInfo | None:
        """See :meth:`Store.info`; the digest may be one that this host does not use itself."""
        return self.judge.identify(path, progress)

    def parent(self, path: str) -> str:
        """See :meth:`Store.parent`."""
        return self.view.parent(path)

    def has(self, path: str) -> bool:
        """See :meth:`Store.has`."""
        return self.view.has(path)

    def allocated(self, path: str) -> int:
        """See :meth:`Store.allocated`."""
        return self.view.look(path).allocated

    def equal(self, local: str, path: str) -> bool:
        """See :meth:`Store.equal`."""
        if not os.path.exists(local) or chain.leads_away(local):
            return False
        mine = self.here.info(local)
        with durable.typed_failures(local):
            return mine is not None and self.judge.equal(path, local, mine)

    def fetch(self, path: str, local: str, progress: Progress | None = None) -> Moved:
        """See :meth:`Store.fetch`. One download of a file serves all of this host who wait."""
        started = time.monotonic()
        title = self.view.title(path)

        def attempt() -> Moved:
            try:
                return once()
            except StateMissing:
                # it may have been taken away for a moment only
                self.view.forget(path)
                self.wait_for([path])
                return once()

        def once() -> Moved:
            there = self.view.must(path)
            mine = self.here.usable(local) if self._comparable(local) else None
            if mine and self.judge.equal(path, local, mine):
                return Moved("kept", there.stamp.size)
            if self.here.working(local) and in_use(local):
                raise ImageInUse(f"image {local} can't be replaced, a running QEMU has it open")
            info = Fetch(self.view, self.judge, self.here).run(path, local, progress)
            return Moved("copied", info.size, time.monotonic() - started)

        with locks.hold(local, self.policy.timeout):
            moved = self._settled(local, path, f"fetching {title} to {local}", attempt)
            self.here.used(local)
        self.used(path)
        return moved

    def publish(self, local: str, path: str, progress: Progress | None = None) -> Moved:
        """See :meth:`Store.publish`. The pool's lock is not held while content travels."""
        started = time.monotonic()

        def attempt() -> Moved:
            size = self._kept(local, path)
            if size is not None:
                return Moved("kept", size)
            info, changed = Publish(self.view, self.judge, self.here).run(local, path, progress)
            if changed and time.time() - info.made > _NEW:
                self.used(path)
            action = "copied" if changed else "kept"
            return Moved(action, info.size, time.monotonic() - started)

        doing = f"publishing {local} to {self.view.title(path)}"
        return self._settled(local, path, doing, attempt)

    def used(self, *paths: str) -> None:
        """See :meth:`Store.used`; it is not waited for."""
        if not self.session.alive:
            return
        try:
            with self.session.shell() as shell:
                shell.used(*paths)
        except PoolError as error:
            LOG.debug("what is used on %s can't be noted: %s", self.session, error)

    def remove(self, path: str) -> None:
        """See :meth:`Store.remove`."""

        def attempt() -> None:
            with self.session.shell() as shell:
                if shell.look([path])[path].stamp is None and not shell.linked(path):
                    return
                with held(shell, path, self.policy.timeout):
                    self.view.forget(path)
                    self.view.make_way(shell, path, None, self.here.guard)
                    shell.remove(path, name_of(path), fsync=self.policy.fsync)
                    self.view.forget(path, beside=True)

        self.session.again(f"removing {self.view.title(path)}", attempt)

    @contextlib.contextmanager
    def lock(self, path: str, timeout: float) -> Iterator[None]:
        """See :meth:`Store.lock`."""
        with self.session.shell() as shell, held(shell, path, timeout):
            yield

    def wait_for(self, paths: Iterable[str]) -> None:
        """
        Wait for whoever took pinned files away, and may put them back; see ``pins.is_absent``.

        :raises LockTimeout: they held a file's lock all the time
        """
        for path in paths:
            if not self.view.has(path) and self.view.names(os.path.dirname(path)):
                try:
                    with self.lock(path, self.policy.timeout):
                        pass
                except (HostUnreachable, LoginRefused, PoolSilent):
                    raise
                except PoolUnreachable as error:
                    # where no lock can be taken nobody can take a file away either
                    LOG.debug("%s is not waited for: %s", self.view.title(path), error)
                self.view.forget(path)

    # -- planning ----------------------------------------------------------------------------

    @property
    def end(self) -> End:
        """Return this host as one end of a transfer whose files are given as locations."""
        return End(
            lambda place: self.view.peek(Location.parse(place).path),
            lambda place: self.view.look(Location.parse(place).path).allocated,
        )

    def check_space(self, plan: Plan) -> None:
        """
        Make sure that a plan whose targets are locations over there fits before any of it is done.

        :raises SpaceMissing: it does not; the text says how much is needed and free
        """
        needed: dict[str, int] = {}
        for step in plan.steps:
            if step.action != "keep":
                directory = os.path.dirname(Location.parse(step.target).path)
                needed[directory] = needed.get(directory, 0) + step.size
        rooms: dict[str, tuple[str, int, int]] = {}
        with self.session.shell() as shell:
            for directory, size in needed.items():
                device, free = shell.space(directory)
                rooms[device] = (directory, free, rooms.get(device, ("", 0, 0))[2] + size)
        for directory, free, size in rooms.values():
            what = f"a chain of {len(plan.steps)} states"
            require_room(self.view.title(directory), free, size, what)

    # -- details -----------------------------------------------------------------------------

    def _comparable(self, local: str) -> bool:
        real = not os.path.islink(local) and os.path.exists(local)
        return real and not chain.leads_away(local)

    def _kept(self, local: str, path: str) -> int | None:
        """Return the size of a file over there that needs no new content and no new record."""
        there = self.view.peek(path)
        if there is None:
            return None
        known = knowledge.peek(local, self.here.seen_dir)
        if known and known.untouched and there.fresh and known.stamp.size >= WORTH_LEAVES:
            return None  # what differs is found out while it is sent, without reading it twice
        mine = self.here.info(local)
        if mine is None or not self.judge.usable(path, local, mine):
            return None
        again = self.view.peek(path)
        return there.stamp.size if again and made_alike(mine, again.info) else None

    def _settled(
        self, local: str, path: str, doing: str, attempt: Callable[[], _Result]
    ) -> _Result:
        """Do something with a file until nobody replaces it meanwhile, whatever breaks."""
        deadline = time.monotonic() + _PATIENCE
        for number in itertools.count():
            try:
                with durable.typed_failures(local):
                    return self.session.again(doing, attempt)
            except FileChanging:
                if number + 1 >= _ATTEMPTS and time.monotonic() > deadline:
                    raise
            self.view.forget(path)
            time.sleep(min(_PAUSE * 2**number, _LONGEST))
        raise AssertionError("not reached")
