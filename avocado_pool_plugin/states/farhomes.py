"""An image's states in pools on other hosts, looked at before those of the cache are changed."""

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from avocado_pool_plugin.core import knowledge
from avocado_pool_plugin.core.dependents import states_on
from avocado_pool_plugin.core.errors import PoolError
from avocado_pool_plugin.core.evidence import Peek
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.states import telling

if TYPE_CHECKING:
    from avocado_pool_plugin.ssh.view import View

LOG = logging.getLogger("avocado." + __name__)


@dataclass(frozen=True)
class FarHome:
    """
    The directory of an image's states in a pool on another host.

    One that can't be looked into has no states: what is to become of them there will tell why.

    :param mirror: location of the pool
    :param path: of the directory over there
    :param view: of the host
    """

    mirror: str
    path: str
    view: "View"

    def has(self, name: str) -> bool:
        """Tell whether there is a state's file of that name."""
        return self._peek(name) is not None

    def on(self, name: str, along: str = "") -> list[str]:
        """
        Return the locations of all files that stand on a state, none if it is not there.

        :param along: vm state whose RAM file does not count
        """
        from avocado_pool_plugin.ssh.shelf import FarShelf

        if not self.has(name):
            return []
        file = os.path.join(self.path, name)
        try:
            with self.view.session.shell() as shell:
                found = states_on(file, along=along, shelf=FarShelf(shell, file))
        except PoolError as error:
            self._fails(error)
            return []
        return [self.view.title(top) for top in found]

    def equals(self, name: str, local: str) -> bool:
        """Tell whether a state is known to have the content of a file of this host."""
        there, mine = self._peek(name), knowledge.peek(local, self.view.seen_dir)
        if there is None or mine is None:
            return False
        generation = there.info.generation
        same = generation != "" and generation == mine.info.generation
        return there.fresh and mine.fresh and (same or there.info.same_content(mine.info))

    def _peek(self, name: str) -> Peek | None:
        try:
            return self.view.peek(os.path.join(self.path, name))
        except PoolError as error:
            self._fails(error)
            return None

    def _fails(self, error: PoolError) -> None:
        LOG.debug("%s can't be looked into: %s", self.mirror, error)
        telling.keep_silence(self.mirror, error)


def far_homes(
    places: Iterable[Location], path: str, params: Any, ops: Any, seen_dir: str
) -> tuple[FarHome, ...]:
    """
    Return the directories of an image's states in the pools that are on other hosts.

    :param places: locations of pools
    :param path: of the directory, below that of a pool
    :param params: of the image
    :param ops: what moves its files; hosts that it reaches in a way of its own are left out
    :param seen_dir: where this host keeps what it knows of files that it can't write beside
    """
    remote = [place for place in places if place.remote]
    if not remote or not getattr(ops, "moves_remotely", lambda: False)():
        return ()
    from avocado_pool_plugin.ssh.view import View

    return tuple(
        FarHome(
            str(place),
            os.path.join(place.path, path),
            View(ops.get_session(place.label, params.object_params(place.label)), seen_dir),
        )
        for place in remote
    )
