"""A pool in a local directory whose states are symlinked instead of copied."""

import logging
import os
import time
from dataclasses import replace

from avocado_pool_plugin.core import durable, knowledge, locks, users
from avocado_pool_plugin.core.chain import backing_of
from avocado_pool_plugin.core.dependents import check_replace, had_beside
from avocado_pool_plugin.core.digest import Progress
from avocado_pool_plugin.core.errors import LinkRefused, PoolError, StateMissing
from avocado_pool_plugin.core.local import LocalStore
from avocado_pool_plugin.core.names import IMAGE_SUFFIX
from avocado_pool_plugin.core.store import Moved

LOG = logging.getLogger("avocado." + __name__)


class LinkStore(LocalStore):
    """
    Like a local directory, but a fetch makes a symlink.

    Real files in the cache are never destroyed for a link, nor is a link replaced that other states
    in the cache stand on; and a link is never sent.
    """

    def fetch(self, path: str, local: str, progress: Progress | None = None) -> Moved:
        """
        See :meth:`Store.fetch`; no content is copied, so there is no progress.

        :raises LinkRefused: ``local`` is a differing file of its own
        """
        started = time.monotonic()
        with locks.hold(local, self.policy.timeout), durable.typed_failures(local):
            if self.linkable(path, local):
                self.used(path)
                self.note_link(path, local)
                return Moved("kept", os.path.getsize(path))
            self._make_way(path, local)
            with durable.new_part(local, self.policy.fsync) as part:
                os.symlink(path, part)
                os.rename(part, local)
            self.used(path)
            self.note_link(path, local)
        return Moved("linked", os.path.getsize(path), time.monotonic() - started)

    def _make_way(self, path: str, local: str) -> None:
        """Consider what stands on other content that a symlink leads to until now."""
        here, there = self.usable(local), self.info(path)
        if here and there and not here.same_content(there):
            guard = replace(self.guard, elsewhere=had_beside(path))
            check_replace(local, there, guard)

    def note_link(self, path: str, local: str) -> None:
        """Note in the pool that a symlink leads to its file, if one does."""
        if not os.path.islink(local):
            return

        def generation() -> str:
            known = knowledge.peek(path, self.seen_dir)
            return known.info.generation if known else ""

        try:
            users.register_link(path, local, generation)
        except (OSError, PoolError) as error:
            LOG.debug("that %s leads to %s can't be noted: %s", local, path, error)

    def linkable(self, path: str, local: str) -> bool:
        """
        Tell whether ``local`` is that file already; False means a link can be made.

        :raises StateMissing: there is no such file in the pool
        :raises LinkRefused: a link would destroy different data, or not work
        """
        there = self.info(path)
        if there is None:
            raise StateMissing(f"{path} does not exist; set the state first or look elsewhere")
        if path.endswith(IMAGE_SUFFIX) and not backing_of(path).relative:
            raise LinkRefused(
                f"{path} names its backing file by an absolute path and so can't be linked; use "
                f"the pool without ';', or set the state again"
            )
        if os.path.islink(local):
            return os.path.realpath(local) == os.path.realpath(path)
        here = self.info(local)
        if here is not None and not here.same_content(there):
            raise LinkRefused(
                f"{local} is a file of its own and differs from {path}; remove it to link instead"
            )
        return here is not None

    def publish(self, local: str, path: str, progress: Progress | None = None) -> Moved:
        """See :meth:`Store.publish`; raises ``LinkRefused`` for a link."""
        if os.path.islink(local):
            raise LinkRefused(
                f"{local} is a symlink to {os.path.realpath(local)}; only real files can be sent "
                f"to a link location"
            )
        return super().publish(local, path, progress)
