"""A cache or pool in a directory of this host, network file systems included; see site.py."""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping

from avocado_pool_plugin.core import (
    chain,
    dependents,
    durable,
    knowledge,
    layout,
    resume,
    trash,
)
from avocado_pool_plugin.core.chain import Backing
from avocado_pool_plugin.core.dependents import Shelf
from avocado_pool_plugin.core.digest import ALGORITHM, Progress
from avocado_pool_plugin.core.errors import (
    FileChanging,
    ImageRefused,
    PoolError,
    PoolUnreachable,
    StateMissing,
    StateNeeded,
    is_of_space,
    unreachable,
)
from avocado_pool_plugin.core.local import LocalStore
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.core.names import IMAGE_SUFFIX
from avocado_pool_plugin.core.qcow2 import check_movable, read_header
from avocado_pool_plugin.core.records import FileInfo, Stamp
from avocado_pool_plugin.upkeep.eyes import LocalEyes
from avocado_pool_plugin.upkeep.hands import LocalHands
from avocado_pool_plugin.upkeep.listing import (
    entry_of,
    is_directory,
    is_home,
    leads_to_directory,
    listed,
)
from avocado_pool_plugin.upkeep.naming import is_root_image, state_at
from avocado_pool_plugin.upkeep.site import Entry, Item


class LocalSite:
    """
    A directory of this host; see :class:`~avocado_pool_plugin.upkeep.site.Site`.

    :param place: where
    :param store: for the files in it
    """

    def __init__(self, place: Location, store: LocalStore) -> None:
        self.place = place
        self.store = store
        self.policy = store.policy

    @property
    def root(self) -> str:
        """See :class:`Site`."""
        return self.place.path

    def title(self, path: str) -> str:
        """See :class:`Site`."""
        return path

    def exists(self) -> bool:
        """See :class:`Site`."""
        return os.path.isdir(self.root)

    def items(self, below: str = "", known: bool = False) -> list[Item]:
        """See :class:`Site`."""
        found = (self._item(file, known) for file in self._files(below))
        return sorted((item for item in found if item), key=lambda item: item.path)

    def _start(self, below: str) -> tuple[int, list[str]]:
        """Return how deep to begin, and in which directories."""
        if os.path.exists(self.root) and not os.path.isdir(self.root):
            raise PoolUnreachable(
                f"{self.root} can't be listed: it is no directory; correct the location"
            )
        depth = below.count("/") + 1 if below else 0
        return depth, [os.path.join(self.root, below) if below else self.root]

    def _files(self, below: str) -> Iterator[os.DirEntry[str]]:
        """Yield all that is no directory and may be a state or a root image by where it is."""
        depth, homes = self._start(below)
        while homes and depth < 3:
            inner = []
            for entry in (entry for home in homes for entry in listed(home)):
                if layout.is_ours(entry.name):
                    continue
                if leads_to_directory(entry):
                    inner.append(entry.path)
                elif depth:
                    yield entry
            homes, depth = inner, depth + 1

    def _item(self, file: os.DirEntry[str], known: bool) -> Item | None:
        state = state_at(self.root, file.path)
        if state is None and not is_root_image(self.root, file.path):
            return None
        entry = entry_of(file)
        if entry is None:
            return None
        parent = problem = ""
        relative = True
        if entry.stamp is None:
            problem = f"leads to {entry.link}, which does not exist"
        elif file.name.endswith(IMAGE_SUFFIX):
            try:
                backing = chain.backing_of(file.path)
                parent, relative = backing.state, backing.relative or not backing.state
                problem = f"stands on {backing.outside}" if backing.outside else ""
            except FileNotFoundError:
                return None
            except (ImageRefused, PoolUnreachable) as error:
                problem = str(error)
        peek = None
        if known and entry.stamp is not None:
            where = entry.link or file.path
            peek = knowledge.known_as(where, entry.stamp, self.store.seen_dir)
        return Item(state, entry, parent, problem, peek, relative)

    def notes(self, below: str = "") -> list[Entry]:
        """See :class:`Site`."""
        found: list[Entry] = []
        depth, homes = self._start(below)
        for level in range(depth, 3):
            inner = []
            for home in homes:
                found += self._notes_in(os.path.join(home, layout.META))
                if level < 2:
                    inner += [entry.path for entry in listed(home) if is_home(entry)]
            homes = inner
        return sorted(found, key=lambda entry: entry.path)

    def _notes_in(self, directory: str) -> Iterator[Entry]:
        for file in listed(directory):
            if is_directory(file):
                yield from self._notes_in(file.path)
                continue
            entry = entry_of(file)
            if entry is not None:
                yield entry

    def ours(self, *directories: str) -> list[Entry]:
        """See :class:`Site`."""
        found = (entry_of(file) for directory in directories for file in listed(directory))
        return sorted((entry for entry in found if entry), key=lambda entry: entry.path)

    def read(self, paths: Iterable[str]) -> Mapping[str, bytes]:
        """See :class:`Site`."""
        found = {}
        for path in paths:
            try:
                with open(path, "rb") as file:
                    found[path] = file.read()
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise unreachable(path, error) from error
        return found

    def write(self, path: str, data: bytes) -> None:
        """See :class:`Site`."""
        with durable.typed_failures(path):
            durable.make_like_parent(os.path.dirname(path), fsync=False)
            durable.write_whole(path, data, self.policy.fsync)

    def drop(self, paths: Iterable[str]) -> None:
        """See :class:`Site`."""
        for path in paths:
            with durable.typed_failures(path):
                durable.unlink(path)

    def drop_idle(self, paths: Iterable[str]) -> list[str]:
        """See :class:`Site`."""
        removed = []
        for path in paths:
            with durable.typed_failures(path):
                if resume.remove_idle(path):
                    removed.append(path)
        return removed

    def backing(self, path: str, home: str) -> Backing:
        """See :class:`Site`."""
        place = os.path.join(home, os.path.basename(path))
        try:
            header = read_header(path)
        except FileNotFoundError:
            raise StateMissing(f"{path} is gone meanwhile; look again what is there") from None
        check_movable(path, header)
        return chain.named_backing(header, place, home)

    def digest(
        self, path: str, wanted: FileInfo, progress: Progress | None = None
    ) -> tuple[str, Stamp]:
        """See :class:`Site`."""
        known = (one.partition(":")[0] for one in (wanted.digest, *wanted.also) if one)
        found = knowledge.read_digest(path, progress, next(known, ALGORITHM))
        if found is not None:
            return found
        if not os.path.exists(path):
            raise StateMissing(f"{path} is gone meanwhile; look again what is there")
        raise FileChanging(f"{path} is being written to; wait until that is done")

    def evict(self, path: str) -> str:
        """See :class:`Site`."""
        if not os.path.lexists(path):
            return ""
        if os.path.islink(path):
            raise StateNeeded(f"{path} is a symlink, there is nothing to gain")
        dependents.refuse_used(path)
        dependents.check_replace(path, None, self.store.guard)
        try:
            with durable.typed_failures(path):
                return trash.throw(path, self.policy.fsync)
        except PoolError as error:
            if not is_of_space(error) or not os.path.lexists(path):
                raise
        aside = layout.part_path(path, durable.new_token())
        with durable.typed_failures(path):
            os.rename(path, aside)
            trash.forget(path)
        return aside

    def move_new(self, old: str, new: str) -> bool:
        """See :class:`Site`."""
        with durable.typed_failures(new):
            try:
                os.link(old, new, follow_symlinks=False)
                os.unlink(old)
            except FileExistsError:
                return False
            except OSError:
                # no hard links here, or none to files of other users
                if os.path.lexists(new):
                    return False
                os.rename(old, new)
            if self.policy.fsync:
                durable.sync_dir(os.path.dirname(new))
        return True

    @property
    def eyes(self) -> LocalEyes:
        """See :class:`Site`."""
        return LocalEyes(self.root, self.store)

    def shelf(self, path: str) -> Shelf:
        """See :class:`Site`."""
        return dependents.LOCAL

    def clock(self) -> float:
        """See :class:`Site`; this host's clock if nothing can be written there."""
        if not self.exists():
            # who only looks makes no directory
            return time.time()
        with contextlib.suppress(OSError, PoolUnreachable):
            meta = durable.make_meta(os.path.join(self.root, "x"), fsync=False)
            return durable.clock(meta) / 1e9
        return time.time()

    @property
    def hands(self) -> LocalHands:
        """See :class:`Site`."""
        return LocalHands(self.root, self.store)
