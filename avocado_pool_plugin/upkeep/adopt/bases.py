"""Backing files that are no states, brought into chains of a place on this host."""

import contextlib
import os
from collections.abc import Callable
from dataclasses import replace

from avocado_pool_plugin import qemu
from avocado_pool_plugin.core import chain, durable, knowledge
from avocado_pool_plugin.core.copy import allocated, can_clone, require_space
from avocado_pool_plugin.core.digest import Progress
from avocado_pool_plugin.core.errors import FileChanging
from avocado_pool_plugin.core.local import LocalStore
from avocado_pool_plugin.core.names import IMAGE_SUFFIX
from avocado_pool_plugin.core.place import place
from avocado_pool_plugin.core.records import FileInfo, Stamp
from avocado_pool_plugin.upkeep.adopt.act import changed

#: Makes a base image a state: its path, its format or nothing, the directory of states; returns
#: the state's name.
Bring = Callable[[str, str, str], str]


class LocalBases:
    """
    Brings them in by copies: of the base, and of the state whose header tells another format then.

    :param store: of the place
    :param bring: makes a base image a state
    """

    def __init__(self, store: LocalStore, bring: Bring) -> None:
        self._store = store
        self._bring = bring

    def size(self, path: str) -> int | None:
        """See ``steps.Bases``."""
        with contextlib.suppress(OSError):  # gone just now
            return allocated(path) if os.path.isfile(path) else None
        return None

    def move(
        self, path: str, outside: str, image_format: str, progress: Progress | None = None
    ) -> FileInfo:
        """See ``steps.Bases``."""
        with durable.typed_failures(path):
            return self._move(path, outside, image_format, progress)

    def _move(
        self, path: str, outside: str, image_format: str, progress: Progress | None
    ) -> FileInfo:
        name = self._bring(outside, image_format, os.path.dirname(path))
        if not can_clone(path, path):
            require_space(os.path.dirname(path), allocated(path), f"a copy of {path}")
        below = knowledge.peek(chain.state_file(os.path.dirname(path), name))
        with durable.new_part(path, self._store.policy.fsync) as part:
            copied, info = self._store.copy_whole(path, part, progress)
            qemu.rename_backing(part, name + IMAGE_SUFFIX)
            found = knowledge.read_digest(part, None)
            assert found
            info = replace(
                changed(info, found[0]),
                parent=name,
                parent_digest=below.info.digest if below else None,
                parent_generation=below.info.generation if below else "",
            )
            with self._store.lock(path, self._store.policy.timeout):
                if Stamp.of(os.stat(path)) != copied.stamp:
                    raise FileChanging(f"{path} was replaced meanwhile; try again")
                return place(part, path, info, self._store.policy)
