"""A pool on another host; see site.py. What is done takes one round trip each, however much."""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from stat import S_IMODE, S_ISREG
from typing import TypeVar

from avocado_pool_plugin.core.dependents import Shelf
from avocado_pool_plugin.core.errors import ImageRefused, PoolUnreachable
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.core.names import IMAGE_SUFFIX
from avocado_pool_plugin.ssh import survey
from avocado_pool_plugin.ssh.looks import Look, backing_of
from avocado_pool_plugin.ssh.shelf import FarShelf
from avocado_pool_plugin.ssh.shell import Shell
from avocado_pool_plugin.ssh.store import RemoteStore
from avocado_pool_plugin.upkeep.naming import is_root_image, state_at
from avocado_pool_plugin.upkeep.site import Entry, Item

_Result = TypeVar("_Result")
#: What is looked at of a file to tell what it stands on, and what is known of it.
_BACKING, _KNOWN = "header", "pending json seen header"


class FarSite:
    """
    A directory of another host; see :class:`~avocado_pool_plugin.upkeep.site.Site`.

    :param place: where
    :param store: for the files on that host
    """

    def __init__(self, place: Location, store: RemoteStore) -> None:
        self.place = place
        self.store = store
        self.policy = store.policy

    @property
    def root(self) -> str:
        """See :class:`Site`."""
        return self.place.path

    def title(self, path: str) -> str:
        """See :class:`Site`."""
        return self.store.view.title(path)

    def items(self, below: str = "", known: bool = False) -> list[Item]:
        """See :class:`Site`."""
        what = _KNOWN if known else _BACKING

        def look(shell: Shell) -> dict[str, Look]:
            looks, links = survey.survey(shell, self.root, below, what)
            # what lies about the file that a link leads to lies beside that one
            return {**looks, **(shell.look(links) if links else {})}

        looks = self._do(f"listing {self.title(self.root)}", look)
        found = (self._item(look, known) for look in looks.values())
        return sorted((item for item in found if item), key=lambda item: item.path)

    def _item(self, look: Look, known: bool) -> Item | None:
        state = state_at(self.root, look.path)
        if state is None and not is_root_image(self.root, look.path):
            return None
        link = look.real if look.real != look.path else ""
        entry = Entry(look.path, look.stamp, look.allocated, look.device, look.mode, link)
        if look.stamp is None:
            gone = Item(state, entry, problem=f"leads to {link}, which does not exist")
            return gone if link else None
        parent = problem = ""
        if look.path.endswith(IMAGE_SUFFIX):
            try:
                backing = backing_of(look, self.title(look.path))
                parent = backing.state
                problem = f"stands on {backing.outside}" if backing.outside else ""
            except ImageRefused as error:
                problem = str(error)
        peek = self.store.view.weigh(look) if known else None
        return Item(state, entry, parent, problem, peek)

    def notes(self) -> list[Entry]:
        """See :class:`Site`."""
        found = self._do(
            f"listing {self.title(self.root)}", lambda shell: survey.notes(shell, self.root)
        )
        return [
            Entry(path, status.stamp, status.allocated, status.device, S_IMODE(status.mode))
            for path, status in sorted(found.items())
            if S_ISREG(status.mode)
        ]

    def read(self, paths: Iterable[str]) -> Mapping[str, bytes]:
        """See :class:`Site`."""
        wanted = list(paths)
        if not wanted:
            return {}
        return self._do(
            f"reading {self.title(wanted[0])}", lambda shell: survey.read(shell, wanted)
        )

    def write(self, path: str, data: bytes) -> None:
        """See :class:`Site`."""
        self._do(
            f"writing {self.title(path)}",
            lambda shell: shell.write(path, data, self.policy.fsync),
        )

    def drop(self, paths: Iterable[str]) -> None:
        """See :class:`Site`."""
        wanted = list(paths)
        if wanted:
            self._do(
                f"removing {self.title(wanted[0])}", lambda shell: survey.forget(shell, wanted)
            )

    def move_new(self, old: str, new: str) -> bool:
        """See :class:`Site`."""
        fsync = self.policy.fsync
        return self._do(
            f"renaming {self.title(old)}", lambda shell: survey.move_new(shell, old, new, fsync)
        )

    def shelf(self, path: str) -> Shelf:
        """See :class:`Site`."""
        return self._do(
            f"looking at {self.title(os.path.dirname(path))}", lambda shell: FarShelf(shell, path)
        )

    def clock(self) -> float:
        """See :class:`Site`; this host's clock if nothing can be written there."""

        def ask(shell: Shell) -> float:
            with contextlib.suppress(PoolUnreachable):
                shell.prepare(os.path.join(self.root, "x"), fsync=False)
                return shell.clock(self.root) / 1e9
            return time.time()

        return self._do(f"asking {self.title(self.root)} for its clock", ask)

    def free(self) -> int:
        """See :class:`Site`."""
        return self._do(
            f"looking at {self.title(self.root)}", lambda shell: shell.space(self.root)[1]
        )

    def kernel_locks(self) -> str:
        """See :class:`Site`."""
        found = self.read(["/proc/locks"])
        return found.get("/proc/locks", b"").decode("ascii", "replace")

    def _do(self, doing: str, ask: Callable[[Shell], _Result]) -> _Result:
        session = self.store.session

        def work() -> _Result:
            with session.shell() as shell:
                return ask(shell)

        return session.again(doing, work)
