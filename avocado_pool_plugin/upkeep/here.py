"""A cache or pool in a directory of this host, network file systems included; see site.py."""

import contextlib
import os
import stat as statmod
import time
from collections.abc import Iterable, Iterator, Mapping

from avocado_pool_plugin.core import chain, dependents, durable, knowledge, layout
from avocado_pool_plugin.core.dependents import Shelf
from avocado_pool_plugin.core.errors import ImageRefused, PoolUnreachable, no_use, unreachable
from avocado_pool_plugin.core.local import LocalStore
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.core.names import IMAGE_SUFFIX
from avocado_pool_plugin.core.records import Stamp
from avocado_pool_plugin.upkeep.naming import is_root_image, state_at
from avocado_pool_plugin.upkeep.site import Entry, Item

_BLOCK = 512


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

    def items(self, below: str = "", known: bool = False) -> list[Item]:
        """See :class:`Site`."""
        found = (self._item(file, known) for file in self._files(below))
        return sorted((item for item in found if item), key=lambda item: item.path)

    def _files(self, below: str) -> Iterator[os.DirEntry[str]]:
        """Yield all that is no directory and may be a state or a root image by where it is."""
        depth = below.count("/") + 1 if below else 0
        homes = [os.path.join(self.root, below)] if below else [self.root]
        while homes and depth < 3:
            inner = []
            for entry in (entry for home in homes for entry in _listed(home)):
                if layout.is_ours(entry.name):
                    continue
                if entry.is_dir():
                    inner.append(entry.path)
                elif depth:
                    yield entry
            homes, depth = inner, depth + 1

    def _item(self, file: os.DirEntry[str], known: bool) -> Item | None:
        state = state_at(self.root, file.path)
        if state is None and not is_root_image(self.root, file.path):
            return None
        entry = _entry(file)
        if entry is None:
            return None
        parent = problem = ""
        if entry.stamp is None:
            problem = f"leads to {entry.link}, which does not exist"
        elif file.name.endswith(IMAGE_SUFFIX):
            try:
                backing = chain.backing_of(file.path)
                parent = backing.state
                problem = f"stands on {backing.outside}" if backing.outside else ""
            except FileNotFoundError:
                return None
            except (ImageRefused, PoolUnreachable) as error:
                problem = str(error)
        peek = knowledge.peek(file.path, self.store.seen_dir) if known and entry.stamp else None
        return Item(state, entry, parent, problem, peek)

    def notes(self) -> list[Entry]:
        """See :class:`Site`."""
        found: list[Entry] = []
        homes = [self.root]
        for _ in range(3):
            inner = []
            for home in homes:
                found += self._notes_in(os.path.join(home, layout.META))
                inner += [entry.path for entry in _listed(home) if _is_home(entry)]
            homes = inner
        return sorted(found, key=lambda entry: entry.path)

    def _notes_in(self, directory: str) -> Iterator[Entry]:
        for file in _listed(directory):
            if file.is_dir(follow_symlinks=False):
                yield from self._notes_in(file.path)
                continue
            entry = _entry(file)
            if entry is not None:
                yield entry

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

    def shelf(self, path: str) -> Shelf:
        """See :class:`Site`."""
        return dependents.LOCAL

    def clock(self) -> float:
        """See :class:`Site`; this host's clock if nothing can be written there."""
        with contextlib.suppress(OSError, PoolUnreachable):
            meta = durable.make_meta(os.path.join(self.root, "x"), fsync=False)
            return durable.clock(meta) / 1e9
        return time.time()

    def free(self) -> int:
        """See :class:`Site`."""
        directory = self.root
        while not os.path.isdir(directory):
            directory = os.path.dirname(directory)
        found = os.statvfs(directory)
        return found.f_bavail * found.f_frsize

    def kernel_locks(self) -> str:
        """See :class:`Site`."""
        try:
            with open("/proc/locks", encoding="ascii", errors="replace") as file:
                return file.read()
        except OSError:
            return ""


def _listed(directory: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise no_use(error)(
            f"{directory} can't be listed: {error.strerror}; check that it is mounted and readable"
        ) from error


def _is_home(entry: os.DirEntry[str]) -> bool:
    return not layout.is_ours(entry.name) and entry.is_dir()


def _entry(file: os.DirEntry[str]) -> Entry | None:
    """Return what a listing shows of a file, None if it is gone or none."""
    link = os.path.realpath(file.path) if file.is_symlink() else ""
    try:
        found = file.stat()
    except FileNotFoundError:
        return Entry(file.path, None, link=link) if link else None
    except OSError as error:
        raise unreachable(file.path, error) from error
    if not statmod.S_ISREG(found.st_mode):
        return None
    return Entry(
        file.path,
        Stamp.of(found),
        found.st_blocks * _BLOCK,
        found.st_dev,
        statmod.S_IMODE(found.st_mode),
        link,
    )
