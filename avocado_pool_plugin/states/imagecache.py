"""
The states of one image in the local cache: get, set and unset, with the VM's working image.

Nothing here knows of test params or pools. The order of steps, and what a cut between any two of
them leaves, is what matters (docs/decisions/0003-set-moves-the-image.md).
"""

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import replace

from avocado_pool_plugin import qemu
from avocado_pool_plugin.core import (
    chain,
    durable,
    knowledge,
    layout,
    locks,
    pins,
    trash,
    used,
    users,
)
from avocado_pool_plugin.core.copy import allocated, can_clone, copy_file, require_space
from avocado_pool_plugin.core.dependents import Guard, check_replace
from avocado_pool_plugin.core.errors import (
    ChainBroken,
    ImageRefused,
    StateMissing,
    StateNeeded,
)
from avocado_pool_plugin.core.names import IMAGE_SUFFIX
from avocado_pool_plugin.core.place import place
from avocado_pool_plugin.core.qcow2 import Header, check_movable, in_use, read_header
from avocado_pool_plugin.core.records import FileInfo
from avocado_pool_plugin.states import bases, keeping, moves
from avocado_pool_plugin.states.workplace import Workplace, backing_path, name_parent

LOG = logging.getLogger("avocado." + __name__)


class ImageCache(Workplace):
    """The verbs on the states of one image in the local cache; see :class:`Workplace`."""

    def recover(self) -> list[str]:
        """Complete what a killed process began; return what was done, in words."""
        from avocado_pool_plugin.states import saving  # it works with this class

        with durable.typed_failures(self.home):
            return [*moves.recover(self), *saving.recover(self)]

    def show(self) -> list[str]:
        """Return the names of the states."""
        self.recover()
        return chain.states_in(self.home)

    # -- get ---------------------------------------------------------------------------------

    def get(self, state: str) -> None:
        """
        Make the VM's image a fresh overlay on a state; what was in the image is gone.

        :raises StateMissing: the state or one that it stands on is not in the cache
        :raises FileCorrupt: a file of its chain is not what was recorded
        :raises ImageInUse: a QEMU has the image open
        """
        self.recover()
        path = self.file_of(state)
        with durable.typed_failures(path), self.pinned(state):
            if pins.is_absent(path, self.policy.timeout):
                raise StateMissing(f"state {state!r} of {self.title} is not in the cache ({path})")
            self.require_closed()
            with locks.hold(path, self.policy.timeout):
                names = chain.verify(self.home, state, self.policy, self.seen_dir)
                self.fresh_overlay(path)
            for name in names:
                used.touch(self.file_of(name))

    # -- set ---------------------------------------------------------------------------------

    def set(self, state: str) -> bool:
        """
        Make the VM's image a state, and the VM's image a fresh overlay on it.

        :returns: False if there is another such state that others stand on, which was kept
        :raises StateMissing: there is no image
        :raises ImageRefused: the image can't be a state
        :raises ImageInUse: a QEMU has the image open
        :raises StateNeeded: a QEMU has an overlay on the old state open
        :raises ChainBroken: the image stands on something else than when it was made
        """
        self.recover()
        path = self.file_of(state)
        header = self.usable_header()
        self.require_closed()
        durable.make_meta(path, self.policy.fsync)
        started = time.monotonic()
        with durable.typed_failures(path), locks.hold(path, self.policy.timeout):
            parent = self.bring_parent(header)
            info = self._info_of_image(parent)
            below = list(chain.walk(parent, chain.parent_in(self.home))) if parent else []
            needed_by = keeping.needed_by(self, path)
            if state in below:
                done = self._refine(path, header, below, needed_by)
            elif needed_by:
                done = self._repair(path, info, needed_by)
            else:
                done = self._become(path, header, info)
        if done:
            LOG.debug("%s of %s: %s in %.2f s", path, self.title, done, time.monotonic() - started)
        return bool(done)

    def usable_header(self) -> Header:
        """
        Return the header of the VM's image.

        :raises StateMissing: there is no image
        :raises ImageRefused: the image can't be a state
        """
        if not os.path.isfile(self.image):
            raise StateMissing(
                f"image {self.image} of {self.title} does not exist, there is nothing to save"
            )
        header = read_header(self.image)
        check_movable(self.image, header)
        return header

    def bring_parent(self, header: Header) -> str:
        """
        Return the state that the image stands on; one outside of the cache is brought in.

        :raises ChainBroken: the image stands on something else than when it was made
        """
        backing = chain.named_backing(header, self.image, self.home)
        if backing.outside:
            return bases.bring_in(
                backing.outside, header.backing_format, self.home, self.policy, self.seen_dir
            )
        if not backing.state:
            return ""
        path = self.file_of(backing.state)
        if not self.stands_on(path):
            above = os.path.dirname(os.path.join(os.path.dirname(self.image), header.backing))
            self._check_unchanged(chain.state_file(above, backing.state))
            bases.bring_chain(above, backing.state, self.home, self.policy)
        chain.verify(self.home, backing.state, self.policy, self.seen_dir)
        self._check_unchanged(path)
        return backing.state

    def _check_unchanged(self, path: str) -> None:
        """Make sure that the state under the image is the one that the image was made on."""
        user, known = users.registered(path, self.image), knowledge.peek(path, self.seen_dir)
        if user is None or known is None or not user.generation:
            return
        if known.info.generation not in (user.generation, user.reads_on):
            raise ChainBroken(
                f"image {self.image} of {self.title} was made on another version of {path} than "
                f"the one there now, its content is not usable; get the state and run again"
            )

    def _info_of_image(self, parent: str) -> FileInfo:
        """Return the info of the image, on what is its parent now, whatever comes in its place."""
        info = self.info_on(parent)
        if parent:
            self._check_unchanged(self.file_of(parent))
        return info

    def _become(self, path: str, header: Header, info: FileInfo) -> str:
        """Make the image the state: by rename, or by copy from elsewhere or with snapshots."""
        if self.can_move(header) and moves.image_to_state(self, path, header, info):
            self.clear_away(path)
            return "image moved"
        with self.copied(path, info.parent) as (part, digest):
            place(part, path, replace(info, digest=digest), self.policy)
        if header.snapshots:
            LOG.info("%s keeps its internal snapshots, and so its content", self.image)
        else:
            self.fresh_overlay(path)
        self.clear_away(path)
        return "image copied"

    def can_move(self, header: Header) -> bool:
        """Tell whether the image's file itself can become the state."""
        image = os.stat(self.image)
        return (
            not header.snapshots
            and not os.path.islink(self.image)
            and image.st_nlink == 1
            and image.st_dev == os.stat(os.path.join(self.home, layout.META)).st_dev
        )

    @contextlib.contextmanager
    def copied(self, path: str, parent: str) -> Iterator[tuple[str, str | None]]:
        """Give a copy of the image on its way to be a state, and its digest if that is known."""
        if not can_clone(self.image, path):
            require_space(self.home, allocated(self.image), f"state {path}")
        with durable.new_part(path, self.policy.fsync) as part:
            digest: str | None = copy_file(self.image, part).digest
            before = read_header(part)
            name_parent(part, parent)
            yield part, digest if read_header(part) == before else None

    def clear_away(self, path: str) -> None:
        """
        Send what stood on the old state to the trash, if that was asked for.

        It comes last, when nothing can fail any more; that nothing is open was made sure before.
        """
        if self.policy.cascade:
            check_replace(path, None, Guard(own=self.image, cascade=True))

    def _repair(self, path: str, info: FileInfo, needed_by: list[str]) -> str:
        """Set a state that others stand on: only content that it should have anyway."""
        wanted = keeping.lost(self, path)
        if wanted is None:
            return keeping.kept(self, path, needed_by)
        with self.copied(path, info.parent) as (part, _):
            found = knowledge.read_digest(part, None)
            if found is None or found[0] != wanted:
                return keeping.kept(self, path, needed_by)
            place(part, path, info, self.policy)
        return "repaired"

    def _refine(self, path: str, header: Header, below: list[str], needed_by: list[str]) -> str:
        """Set a state that the image stands on: the content of both becomes the new state."""
        if needed_by:
            return keeping.kept(self, path, needed_by)
        if header.snapshots:
            raise ImageRefused(
                f"image {self.image} holds internal snapshots that stand on {path}, setting that "
                f"would damage them; delete them or set a state of another name"
            )
        self.merge(path, below)
        self.fresh_overlay(path)
        self.clear_away(path)
        return "image merged"

    def merge(self, path: str, below: list[str], generation: str = "") -> None:
        """
        Make a state of the content of the image and of the state of that name under it.

        The image goes on reading the same.

        :param below: the states that the image stands on, nearest first
        :param generation: of the new state, default: a random one
        """
        merged = below[: below.index(os.path.basename(path).removesuffix(IMAGE_SUFFIX)) + 1]
        parent = below[len(merged)] if len(merged) < len(below) else ""
        files = [self.image, *map(self.file_of, merged)]
        require_space(self.home, sum(map(allocated, files)), f"state {path}")
        info = self.info_on(parent)
        info = replace(info, generation=generation or info.generation)
        with durable.new_part(path, self.policy.fsync) as part:
            self._copy_onto(part, self.file_of(parent) if parent else "")
            name_parent(part, parent)
            # until it is made anew, the image reads the same on the new state as on the old one
            users.expect(path, self.image, info.generation)
            place(part, path, info, self.policy)

    # -- unset -------------------------------------------------------------------------------

    def unset(self, state: str) -> None:
        """
        Remove a state; an image that stands on it takes its content over.

        :raises StateNeeded: states or open overlays stand on it
        """
        self.recover()
        path = self.file_of(state)
        with durable.typed_failures(path), locks.hold(path, self.policy.timeout):
            if not os.path.lexists(path):
                return
            self._refuse_needed_elsewhere(path)
            own = self.stands_on(path)
            if own and in_use(self.image):
                raise StateNeeded(
                    f"{path} can't be removed, image {self.image} stands on it and is open in a "
                    f"running QEMU; shut that VM down first"
                )
            check_replace(path, None, Guard(own=self.image, cascade=self.policy.cascade))
            if own:
                self._require_takeable(path)
                chain.verify(self.home, state, self.policy, self.seen_dir)
                self._check_unchanged(path)
            if own and self._can_give(path) and moves.state_to_image(self, path):
                return
            if own:
                self._take_over(path)
            # without locks somebody else may be quicker
            with contextlib.suppress(FileNotFoundError):
                trash.throw(path, self.policy.fsync)

    def _refuse_needed_elsewhere(self, path: str) -> None:
        """Make sure that the removal from a pool, which comes later, will not be refused."""
        tops = [] if self.policy.cascade else self.needed_in_pools(path)
        if tops:
            raise StateNeeded(
                f"{path} is not removed, in the pool others stand on it: {', '.join(tops)}; "
                f"remove these first, or have them removed along (unset_cascade=yes)"
            )

    def _require_takeable(self, path: str) -> None:
        """Make sure that the image can take over the content of the state under it."""
        if read_header(self.image).snapshots:
            raise StateNeeded(
                f"{path} can't be removed, image {self.image} holds internal snapshots that stand "
                f"on it; delete them first"
            )

    def _can_give(self, path: str) -> bool:
        """Tell whether the state's file itself can become the image: nothing was written on it."""
        user, state = users.registered(path, self.image), os.stat(path)
        return (
            user is not None
            and user.untouched
            and not os.path.islink(path)
            and state.st_nlink == 1
            and state.st_dev == os.stat(self.image).st_dev
        )

    def _take_over(self, path: str) -> None:
        """Write the content of the state that is about to go into the image on it."""
        parent = chain.backing_of(path).state
        directory, needed = os.path.dirname(self.image), allocated(path) + allocated(self.image)
        require_space(directory, needed, f"image {self.image} with the content of {path}")
        with durable.new_part(self.image, self.policy.fsync) as part:
            self._copy_onto(part, self.file_of(parent) if parent else "")
            if self.policy.fsync:
                durable.sync_file(part)
            os.rename(part, self.image)
        if parent:
            self.register(self.file_of(parent))

    def _copy_onto(self, part: str, backing: str) -> None:
        """Make a copy of the image that stands on another file, with the content between."""
        copy_file(self.image, part)
        below = read_header(part).backing
        if not os.path.isabs(below):  # it is relative to where the image is
            qemu.rename_backing(part, backing_path(self.image))
        qemu.move_content(part, backing)
