"""A pool on another host; see site.py. What is done takes one round trip each, however much."""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from stat import S_IMODE, S_ISREG

from avocado_pool_plugin.core import durable, layout
from avocado_pool_plugin.core.chain import Backing
from avocado_pool_plugin.core.dependents import Shelf, check_replace, refuse_used
from avocado_pool_plugin.core.digest import Progress
from avocado_pool_plugin.core.errors import (
    ImageRefused,
    PoolUnreachable,
    SpaceMissing,
    StateMissing,
    StateNeeded,
)
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.core.names import IMAGE_SUFFIX
from avocado_pool_plugin.core.records import FileInfo, Stamp
from avocado_pool_plugin.core.trash import name_of
from avocado_pool_plugin.ssh import survey
from avocado_pool_plugin.ssh.looks import Look, Status, backing_of
from avocado_pool_plugin.ssh.shelf import FarShelf
from avocado_pool_plugin.ssh.shell import Shell
from avocado_pool_plugin.ssh.store import RemoteStore
from avocado_pool_plugin.upkeep.far_eyes import FarEyes
from avocado_pool_plugin.upkeep.far_hands import FarHands
from avocado_pool_plugin.upkeep.naming import is_root_image, state_at
from avocado_pool_plugin.upkeep.site import Entry, Item

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
        self._ask = store.view.ask
        self.policy = store.policy

    @property
    def root(self) -> str:
        """See :class:`Site`."""
        return self.place.path

    def title(self, path: str) -> str:
        """See :class:`Site`."""
        return self.store.view.title(path)

    def exists(self) -> bool:
        """See :class:`Site`."""
        return self._ask("looking at", self.root, lambda shell: survey.exists(shell, self.root))

    def items(self, below: str = "", known: bool = False) -> list[Item]:
        """See :class:`Site`."""
        what = _KNOWN if known else _BACKING

        def look(shell: Shell) -> dict[str, Look]:
            looks, again = survey.survey(shell, self.root, below, what)
            # what lies about the file that a link leads to lies beside that one
            return {**looks, **(shell.look(again) if again else {})}

        looks = self._ask("listing", self.root, look)
        found = (self._item(look, known) for look in looks.values())
        return sorted((item for item in found if item), key=lambda item: item.path)

    def _item(self, look: Look, known: bool) -> Item | None:
        state = state_at(self.root, look.path)
        if state is None and not is_root_image(self.root, look.path):
            return None
        entry = _entry(look)
        link = entry.link
        if look.stamp is None:
            gone = Item(state, entry, problem=f"leads to {link}, which does not exist")
            return gone if link else None
        if not look.regular:
            return None
        parent = problem = ""
        relative = True
        if look.path.endswith(IMAGE_SUFFIX):
            try:
                backing = backing_of(look, self.title(look.path))
                parent, relative = backing.state, backing.relative or not backing.state
                problem = f"stands on {backing.outside}" if backing.outside else ""
            except ImageRefused as error:
                problem = str(error)
        peek = self.store.view.weigh(look) if known else None
        return Item(state, entry, parent, problem, peek, relative)

    def notes(self, below: str = "") -> list[Entry]:
        """See :class:`Site`."""
        found = self._ask(
            "listing",
            self.root,
            lambda shell: survey.notes(shell, self.root, below),
        )
        return _entries(found)

    def ours(self, *directories: str) -> list[Entry]:
        """See :class:`Site`."""
        found = self._ask(
            "listing",
            directories[0],
            lambda shell: survey.ours(shell, self.root, directories),
        )
        return _entries(found)

    def read(self, paths: Iterable[str]) -> Mapping[str, bytes]:
        """See :class:`Site`."""
        wanted = list(paths)
        if not wanted:
            return {}
        return self._ask("reading", wanted[0], lambda shell: survey.read(shell, wanted))

    def write(self, path: str, data: bytes) -> None:
        """See :class:`Site`."""
        self._ask(
            "writing",
            path,
            lambda shell: shell.write(path, data, self.policy.fsync),
        )

    def drop(self, paths: Iterable[str]) -> None:
        """See :class:`Site`."""
        wanted = list(paths)
        if wanted:
            self._ask("removing", wanted[0], lambda shell: survey.forget(shell, wanted))

    def drop_idle(self, paths: Iterable[str]) -> list[str]:
        """See :class:`Site`."""
        wanted = list(paths)
        if not wanted:
            return []
        return self._ask("removing", wanted[0], lambda shell: survey.drop_idle(shell, wanted))

    def backing(self, path: str, home: str) -> Backing:
        """See :class:`Site`."""
        look = self._ask("looking at", path, lambda shell: shell.look([path])[path])
        if look.stamp is None:
            raise StateMissing(f"{self.title(path)} is gone meanwhile; look again what is there")
        place = os.path.join(home, os.path.basename(path))
        return backing_of(replace(look, path=place, real=place), self.title(path))

    def digest(
        self, path: str, wanted: FileInfo, progress: Progress | None = None
    ) -> tuple[str, Stamp]:
        """See :class:`Site`."""
        return self.store.judge.digest(path, [wanted], progress)

    def evict(self, path: str) -> str:
        """See :class:`Site`."""
        kept = os.path.join(layout.trash_dir(path), name_of(path))
        aside = layout.part_path(path, durable.new_token())

        def work(shell: Shell) -> str:
            self.store.view.forget(path, beside=True)
            look = shell.look([path])[path]
            if look.real != path:
                raise StateNeeded(f"{self.title(path)} is a symlink, there is nothing to gain")
            if look.stamp is not None:
                shelf = FarShelf(shell, path)
                with self._titled():
                    refuse_used(path, shelf)
                    check_replace(path, None, self.store.here.guard, shelf)
                try:
                    shell.remove(path, os.path.basename(kept), fsync=self.policy.fsync)
                except SpaceMissing:
                    survey.move_new(shell, path, aside, self.policy.fsync)
                    known = layout.record_path(path), layout.seen_path(path)
                    survey.forget(shell, [*known, layout.leaves_path(path), layout.used_path(path)])
            # a connection may have broken after it was moved
            found = shell.look([kept, aside])
            return next((file for file in (kept, aside) if found[file].stamp is not None), "")

        return self._ask("removing", path, work)

    def move_new(self, old: str, new: str) -> bool:
        """See :class:`Site`."""
        fsync = self.policy.fsync
        return self._ask("renaming", old, lambda shell: survey.move_new(shell, old, new, fsync))

    @property
    def eyes(self) -> FarEyes:
        """See :class:`Site`."""
        return FarEyes(self.root, self.store)

    def shelf(self, path: str) -> Shelf:
        """See :class:`Site`."""
        return self._ask("looking at", os.path.dirname(path), lambda shell: FarShelf(shell, path))

    def clock(self) -> float:
        """See :class:`Site`; this host's clock if nothing can be written there."""

        def ask(shell: Shell) -> float:
            if not survey.exists(shell, self.root):
                # who only looks makes no directory
                return time.time()
            with contextlib.suppress(PoolUnreachable, SpaceMissing):
                shell.prepare(os.path.join(self.root, "x"), fsync=False)
                return shell.clock(self.root) / 1e9
            return time.time()

        return self._ask("asking for the clock of", self.root, ask)

    @property
    def hands(self) -> FarHands:
        """See :class:`Site`."""
        return FarHands(self.root, self.store)

    @contextlib.contextmanager
    def _titled(self) -> Iterator[None]:
        """Name the host in a refusal, whose text begins with the file."""
        try:
            yield
        except StateNeeded as error:
            raise StateNeeded(self.title(str(error))) from error


def _entries(found: Mapping[str, Status]) -> list[Entry]:
    """Return plain files as a listing shows them, sorted by path."""
    return [
        Entry(
            path,
            status.stamp,
            status.allocated,
            status.device,
            S_IMODE(status.mode),
            links=status.links,
        )
        for path, status in sorted(found.items())
        if S_ISREG(status.mode)
    ]


def _entry(look: Look) -> Entry:
    link = look.real if look.real != look.path else ""
    return Entry(look.path, look.stamp, look.allocated, look.device, look.mode, link, look.links)
