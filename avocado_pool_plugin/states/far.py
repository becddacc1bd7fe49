"""Looking at the files of remote pools: each once, and many of them in one round trip."""

import itertools
from collections.abc import Iterable
from typing import Any

from avocado_pool_plugin import params as settings
from avocado_pool_plugin.core.chain import Backing
from avocado_pool_plugin.core.errors import (
    HostUnreachable,
    LoginRefused,
    PoolSilent,
    PoolUnreachable,
)
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.ssh import session
from avocado_pool_plugin.ssh.looks import Look, backing_of, backing_path, is_speakable
from avocado_pool_plugin.ssh.shell import Shell
from avocado_pool_plugin.ssh.view import View

#: Files that are looked at in one round trip.
BATCH = 256


class FarFiles:
    """
    Files of a host, each looked at once.

    A host that could not be reached is not tried again.

    :param view: of the host
    """

    def __init__(self, view: View) -> None:
        self.view = view
        self._looks: dict[str, Look] = {}
        self._failed: PoolUnreachable | None = None
        self._batch = BATCH

    @classmethod
    def at(cls, place: Location, params: Any, seen_dir: str | None = None) -> "FarFiles":
        """
        Return the files of a location's host; nothing is connected yet.

        :param params: as the location's label sees them
        :param seen_dir: where this host keeps what it knows of files that it can't write beside
        :raises SettingRefused: a param makes no sense
        """
        return cls(View(session.of(settings.host(place.label, params)), seen_dir))

    def names(self, directory: str) -> list[str]:
        """
        Return the names in a directory but those that no shell can be told; none if it is absent.

        :raises PoolUnreachable: it can't be listed
        """
        return [name for name in self.view.names(directory) if is_speakable(name)]

    def look(self, path: str, ahead: Iterable[str] = ()) -> Look:
        """
        Return what lies over there about a file.

        :param ahead: files that may be asked for later; they are looked at along, and what these
            images stand on
        :raises PoolUnreachable: it is neither there nor absent
        """
        if path not in self._looks:
            if self._failed:
                raise self._failed
            later = (other for other in ahead if other != path and other not in self._looks)
            self._looks.update(self._ask([path, *itertools.islice(later, self._batch - 1)]))
        return self._looks[path]

    def backing(self, path: str) -> Backing:
        """
        Return what an image that was looked at stands on.

        :raises ImageRefused: its backing is not a plain file, or it is no QCOW2 image
        """
        return backing_of(self.look(path), self.view.title(path))

    def _ask(self, paths: list[str]) -> dict[str, Look]:
        def look(shell: Shell) -> dict[str, Look]:
            found = shell.look(paths)
            below = set(map(backing_path, found.values())) - {"", *found, *self._looks}
            # to follow chains over there takes programs for each file, to look takes none
            return {**found, **shell.look(sorted(below), chain=True)}

        try:
            return self.view.ask("looking at", paths, look)
        except (HostUnreachable, LoginRefused, PoolSilent) as error:
            self._failed = error
            raise
        except PoolUnreachable:
            if len(paths) == 1:
                raise
        # one of them can't be read, which is no reason to do without the others
        self._batch = 1
        return self._ask(paths[:1])
