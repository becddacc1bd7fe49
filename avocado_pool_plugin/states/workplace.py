"""A VM's working image and the directory of its states: what all work on the two needs."""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from avocado_pool_plugin import qemu
from avocado_pool_plugin.core import chain, durable, knowledge, pins, users
from avocado_pool_plugin.core.dependents import states_on
from avocado_pool_plugin.core.errors import ImageInUse, PoolError
from avocado_pool_plugin.core.names import IMAGE_SUFFIX, check_name
from avocado_pool_plugin.core.place import new_info
from avocado_pool_plugin.core.policy import Policy
from avocado_pool_plugin.core.qcow2 import in_use, read_header
from avocado_pool_plugin.core.records import FileInfo
from avocado_pool_plugin.states import recipes

if TYPE_CHECKING:
    from avocado_pool_plugin.states.farhomes import FarHome


@dataclass(frozen=True)
class Workplace:
    """
    A VM's working image and its states in the local cache.

    :param home: directory of the states, ``<cache>/<object_id>/<image>``
    :param image: the VM's working image
    :param title: what the image is called in messages, such as ``vm1/image1``
    :param policy: how careful and patient to be
    :param seen_dir: where knowledge about files outside of caches is kept
    :param pools: directories of the same image's states in pools that a change is to reach and
        that can be looked into
    :param far: the same for pools on other hosts
    :param test: name of the test that works on it, empty if it is none
    :param parts: what that test knows of the recipe of states that it makes, None for nothing
    :param seconds: for how long it has been at work on what it makes a state of, 0 if not known
    """

    home: str
    image: str
    title: str
    policy: Policy
    seen_dir: str
    pools: tuple[str, ...] = ()
    far: "tuple[FarHome, ...]" = ()
    test: str = ""
    parts: Mapping[str, str] | None = None
    seconds: float = 0.0

    @property
    def root(self) -> str:
        """The cache."""
        return os.path.dirname(os.path.dirname(self.home))

    def file_of(self, state: str) -> str:
        """
        Return the file of a state.

        :raises NameRefused: it could not be a file name
        """
        return chain.state_file(self.home, check_name("state", state))

    def state_of(self, path: str) -> str:
        """Return the name of the state whose file it is."""
        return os.path.basename(path).removesuffix(IMAGE_SUFFIX)

    def needed_in_pools(self, path: str, along: str = "") -> list[str]:
        """
        Return what stands on a state in the pools that a change is to reach.

        :param path: the state's file in the cache
        :param along: vm state whose RAM file does not count
        """
        name = os.path.basename(path)
        copies = [os.path.join(pool, name) for pool in self.pools]
        here = [
            top for copy in copies if os.path.isfile(copy) for top in states_on(copy, along=along)
        ]
        return here + [top for home in self.far for top in home.on(name, along)]

    def pinned(self, state: str) -> contextlib.AbstractContextManager[pins.Held]:
        """Keep a state with all that it stands on in the cache as long as the body runs."""
        files: list[str] = []
        with contextlib.suppress(PoolError):  # what is wrong with it is told by who uses it
            for name in chain.walk(state, chain.parent_in(self.home)):
                files.append(os.path.relpath(self.file_of(name), self.root))
        return pins.hold(self.root, files, by=f"test {self.test}" if self.test else "")

    def require_closed(self) -> None:
        """
        Make sure that nobody uses the image.

        :raises ImageInUse: a QEMU of this host has it open
        """
        if in_use(self.image):
            raise ImageInUse(
                f"image {self.image} of {self.title} is open in a running QEMU; shut that VM down "
                f"before its states are got or set"
            )

    def fresh_overlay(self, path: str) -> None:
        """Put an empty image that stands on a state's file in place of the VM's image."""
        durable.make_dirs(os.path.dirname(self.image), self.policy.fsync)
        with durable.new_part(self.image, fsync=False) as part:
            qemu.create_overlay(part, path)
            # cut between the two below, an image that is not registered beats a wrong entry
            users.unregister(path, self.image)
            os.rename(part, self.image)
            self.register(path, self.image)

    def register(self, path: str, fresh: str | None = None) -> None:
        """
        Note that the image stands on a state's file.

        :param fresh: file of the image if nothing was written on it yet
        """
        known = knowledge.peek(path, self.seen_dir)
        users.register(path, self.image, known.info.generation if known else "", fresh)

    def info_on(self, parent: str) -> FileInfo:
        """Return the info of content that is made now on a state (empty for none)."""
        known = knowledge.peek(self.file_of(parent), self.seen_dir) if parent else None
        info = known.info if known else None
        recipe = recipes.complete(self.parts, parent, info)
        return new_info(
            0,
            parent=parent,
            parent_info=info,
            test=self.test,
            recipe=recipe,
            seconds=self.seconds,
        )

    def stands_on(self, path: str) -> bool:
        """Tell whether the image's backing file is a state's file."""
        return os.path.isfile(self.image) and backing_path(self.image) == os.path.realpath(path)


def backing_path(image: str) -> str:
    """Return where an image's backing file really is, empty if it has none."""
    name = read_header(image).backing
    return os.path.realpath(os.path.join(os.path.dirname(image), name)) if name else ""


def backing_name(parent: str) -> str:
    """Return the backing name of a state that stands on another one (empty for none)."""
    return parent + IMAGE_SUFFIX if parent else ""


def name_parent(path: str, parent: str) -> None:
    """Make a file beside or on its way to its state name its parent by a relative name."""
    if read_header(path).backing != backing_name(parent):
        qemu.rename_backing(path, backing_name(parent))
