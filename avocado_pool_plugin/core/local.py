"""The store in a local directory, network file systems included; see store.py for the contract."""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from avocado_pool_plugin.core import (
    chain,
    durable,
    knowledge,
    layout,
    locks,
    pins,
    trash,
    used,
    vmstate,
)
from avocado_pool_plugin.core.attempts import Attempts
from avocado_pool_plugin.core.copy import Copied, allocated, can_clone, copy_file, require_space
from avocado_pool_plugin.core.dependents import Guard, check_replace, had_beside
from avocado_pool_plugin.core.digest import Progress
from avocado_pool_plugin.core.errors import (
    FileChanging,
    FileCorrupt,
    ImageInUse,
    StateMissing,
    no_use,
    unreachable,
)
from avocado_pool_plugin.core.evidence import Peek
from avocado_pool_plugin.core.names import IMAGE_SUFFIX
from avocado_pool_plugin.core.place import new_info, place, place_working
from avocado_pool_plugin.core.policy import Policy
from avocado_pool_plugin.core.progress import data_size
from avocado_pool_plugin.core.qcow2 import check_movable, in_use, read_header
from avocado_pool_plugin.core.records import FileInfo
from avocado_pool_plugin.core.store import Moved

LOG = logging.getLogger("avocado." + __name__)

#: Writes a relative backing name into an image: path of the image, name of the backing file.
Rename = Callable[[str, str], None]


class LocalStore:
    """
    Local directories, network file systems included.

    :param policy: how careful and patient to be
    :param rename: writes relative backing names into copies of files that hold absolute ones
    :param seen_dir: where knowledge about files in read-only directories is kept
    :param guard: what the caller knows about overlays and states that may go along
    """

    def __init__(
        self,
        policy: Policy,
        rename: Rename,
        seen_dir: str | None = None,
        guard: Guard | None = None,
    ) -> None:
        self.policy = policy
        self.rename = rename
        self.seen_dir = seen_dir
        self.guard = guard or Guard(cascade=policy.cascade)

    def working(self, path: str) -> bool:
        """Tell whether a file is a VM's working image: it may change, so nothing is recorded."""
        ours = os.path.basename(os.path.dirname(path)) == layout.META
        return ours or (self.guard.own is not None and os.path.abspath(path) == self.guard.own)

    def names(self, directory: str) -> list[str]:
        """See :meth:`Store.names`."""
        try:
            return sorted(name for name in os.listdir(directory) if not layout.is_ours(name))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise no_use(error)(
                f"{directory} can't be listed: {error.strerror}; check that it is mounted and "
                f"readable"
            ) from error

    def has(self, path: str) -> bool:
        """See :meth:`Store.has`."""
        try:
            os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise unreachable(path, error) from error
        return True

    def allocated(self, path: str) -> int:
        """See :meth:`Store.allocated`."""
        return data_size(path)

    def info(self, path: str, progress: Progress | None = None) -> FileInfo | None:
        """See :meth:`Store.info`."""
        if self.working(path):
            return knowledge.identify_working(path, self.seen_dir)
        return knowledge.identify(path, self.policy, self.seen_dir, progress)

    def parent(self, path: str) -> str:
        """See :meth:`Store.parent`."""
        name = os.path.basename(path).removesuffix(IMAGE_SUFFIX)
        return chain.parent_in(os.path.dirname(path))(name)

    def equal(self, local: str, path: str) -> bool:
        """See :meth:`Store.equal`."""
        mine, there = self.info(local), self.info(path)
        return bool(mine and there and mine.same_content(there))

    def lock(self, path: str, timeout: float) -> contextlib.AbstractContextManager[None]:
        """See :meth:`Store.lock`."""
        return locks.hold(path, timeout)

    def fetch(self, path: str, local: str, progress: Progress | None = None) -> Moved:
        """See :meth:`Store.fetch`. One download of a file serves all of this host who wait."""
        started = time.monotonic()
        with locks.hold(local, self.policy.timeout):
            same = self._same(path, local)
            if same:
                self.used(path, local)
                return Moved("kept", same.size)
            if self.working(local) and in_use(local):
                raise ImageInUse(
                    f"image {local} can't be replaced, a running QEMU has it open; end it first"
                )
            with self._copy(path, local, progress) as (part, info, cloned):
                self.put(part, local, info, replace(self.guard, elsewhere=had_beside(path)))
            self.used(path, local)
        return Moved("cloned" if cloned else "copied", info.size, time.monotonic() - started)

    def publish(self, local: str, path: str, progress: Progress | None = None) -> Moved:
        """See :meth:`Store.publish`. The pool's lock is not held while content is copied."""
        started = time.monotonic()
        same = self._same(local, path)
        if same and made_alike(same, self.info(path)):
            return Moved("kept", same.size)
        with (
            self._copy(local, path, progress) as (part, info, cloned),
            locks.hold(path, self.policy.timeout),
        ):
            there = self.usable(path)
            if there and there.same_content(info) and made_alike(info, there):
                return Moved("kept", info.size)
            self.put(part, path, info, self.guard)
            self.used(path)
        return Moved("cloned" if cloned else "copied", info.size, time.monotonic() - started)

    def used(self, *paths: str) -> None:
        """See :meth:`Store.used`; of a VM's working image nothing is noted."""
        for path in paths:
            if not self.working(path):
                used.touch(path)

    def remove(self, path: str) -> None:
        """See :meth:`Store.remove`."""
        with locks.hold(path, self.policy.timeout):
            if os.path.lexists(path):
                check_replace(path, None, self.guard)
                # without locks somebody else may be quicker
                with durable.typed_failures(path), contextlib.suppress(FileNotFoundError):
                    trash.throw(path, self.policy.fsync)

    def usable(self, path: str) -> FileInfo | None:
        """Return what a file is that may be replaced; a corrupt one counts as absent."""
        try:
            return self.info(path)
        except FileCorrupt as error:
            LOG.warning("%s", error)
            return None

    def _same(self, source: str, target: str) -> FileInfo | None:
        """
        Return what the source is if the target is a true copy of it already, else None.

        :raises FileCorrupt: the source is not what was recorded
        """
        if os.path.islink(target) or not os.path.exists(target) or chain.leads_away(target):
            return None
        mine, there = self.info(source), self.usable(target)
        return mine if mine and there and mine.same_content(there) else None

    @contextlib.contextmanager
    def _copy(
        self, source: str, target: str, progress: Progress | None
    ) -> Iterator[tuple[str, FileInfo, bool]]:
        """Give a verified copy of a file, ready to be put at ``target``, and what it is."""
        self._peek(source)
        with durable.new_part(target, self.policy.fsync) as part:
            self._require_space(source, target)
            source = knowledge.resolve(source)
            copied, info = self.copy_whole(source, part, progress)
            if source.endswith(IMAGE_SUFFIX):
                info = self._at_home(source, part, target, info)
            elif info.passport:
                info = replace(info, passport=vmstate.moved(source, target, info.passport))
            yield part, info, copied.cloned

    def _peek(self, source: str) -> Peek:
        known = knowledge.peek(source, self.seen_dir)
        if known is None and not pins.is_absent(source, self.policy.timeout):
            known = knowledge.peek(source, self.seen_dir)
        if known is None:
            raise StateMissing(f"{source} does not exist; set the state first or look elsewhere")
        return known

    def copy_whole(
        self, source: str, part: str, progress: Progress | None
    ) -> tuple[Copied, FileInfo]:
        """Copy a file, which may be replaced meanwhile by writers; return what it is."""
        attempts = Attempts(source)
        while True:
            known = self._peek(source)
            attempts.count(known.stamp)
            trusted = None
            if known.fresh and known.info.digest and self.policy.verify != "always":
                trusted = (known.stamp, known.info.digest)
            try:
                copied = copy_file(source, part, trusted, progress)
                return copied, self.verified(source, copied)
            except FileChanging:
                durable.unlink(part)
            except FileNotFoundError:
                durable.unlink(part)
                if os.path.lexists(source):
                    raise

    def _require_space(self, source: str, target: str) -> None:
        directory = layout.meta_dir(target)
        try:
            near = os.stat(directory).st_dev == os.stat(source).st_dev
            if not (near and can_clone(source, target)):
                require_space(directory, allocated(source), f"a copy of {source}")
        except FileNotFoundError:
            self._peek(source)  # removed meanwhile; it may be back

    def verified(self, source: str, copied: Copied) -> FileInfo:
        """Return what was copied, after comparing it with the source's record."""
        if self.working(source):
            return replace(new_info(copied.stamp.size), digest=copied.digest)
        known = knowledge.peek(source, self.seen_dir)
        fresh = known and known.fresh and known.stamp == copied.stamp
        if known and fresh and known.info.digest == copied.digest:
            return known.info
        info = knowledge.judge(source, copied.digest, copied.stamp, self.seen_dir)
        if info is None:
            # where times are coarse, a file that replaces another one may have its stamp
            as_was = known is not None and known.info.digest == copied.digest
            if as_was or self._peek(source).stamp != copied.stamp:
                raise FileChanging(f"{source} was replaced while it was copied")
            raise knowledge.corrupt(source, known.info.digest if known else None, copied.digest)
        return info

    def _at_home(self, source: str, part: str, target: str, info: FileInfo) -> FileInfo:
        """
        Fit a copy to where it will be: a relative backing name, and on the parent it was made on.

        :raises ChainBroken: another parent is beside the target
        """
        info = self.made_relative(source, part, info)
        if not info.parent:
            return info
        beside = (_beside(path, info.parent) for path in (source, target))
        return chain.on_parent(source, target, info, *beside)

    def made_relative(self, source: str, part: str, info: FileInfo) -> FileInfo:
        """
        Let a copy name the state it stands on without a directory, and return what it is then.

        :raises ImageRefused: its content is not all in files that can be states
        """
        # of the copy: the source may be another file by now
        header = read_header(part)
        check_movable(source, header)
        backing = chain.named_backing(header, source, os.path.dirname(source))
        info = replace(info, parent=backing.state)
        if backing.state and not backing.relative:
            self.rename(part, backing.state + IMAGE_SUFFIX)
            found = knowledge.read_digest(part, None)
            made = found[0] if found else None
            info = replace(info, digest=made, source_digest=info.digest, also=())
        return info

    def put(self, part: str, path: str, info: FileInfo, guard: Guard) -> None:
        """Put a verified copy in place, after what stands on the old file was considered."""
        if self.working(path):
            place_working(part, path, self.policy)
            return
        if os.path.lexists(path):
            check_replace(path, info, guard)
        place(part, path, info, self.policy)


def made_alike(mine: FileInfo | None, there: FileInfo | None) -> bool:
    """
    Tell whether a pool's file needs no new record for how it was made, its content being equal.

    With the old one, whoever comes next would take it for made by an outdated recipe.
    """
    return mine is None or there is None or mine.recipe in (None, there.recipe)


def _beside(path: str, name: str) -> FileInfo | None:
    """Return what is known of a state in a file's directory."""
    known = knowledge.peek(chain.state_file(os.path.dirname(path), name))
    return known.info if known else None
