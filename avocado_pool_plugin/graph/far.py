"""What a plan reads of files on another host; loaded only if a pool is there."""

import os
from collections.abc import Iterable, Iterator

from avocado_pool_plugin.core.chain import Backing
from avocado_pool_plugin.core.policy import Policy
from avocado_pool_plugin.core.records import FileInfo
from avocado_pool_plugin.ssh.judge import Judge
from avocado_pool_plugin.ssh.looks import Look
from avocado_pool_plugin.states.far import FarFiles


class There:
    """
    Reads files of another host; see :class:`readers.Reader`.

    :param far: the host's files
    :param directory: of the pool
    :param policy: whether content is read that nothing speaks against
    :param ahead: paths in the pool that may be asked for, to be looked at in few round trips
    """

    def __init__(
        self, far: FarFiles, directory: str, policy: Policy, ahead: Iterable[str] = ()
    ) -> None:
        self.root = far.view.away(directory)
        self._far, self._directory, self._ahead = far, directory, ahead
        self._judge = Judge(far.view, policy)

    def _path(self, path: str) -> str:
        return os.path.join(self._directory, path)

    def _look(self, path: str) -> Look:
        return self._far.look(self._path(path), self._later())

    def _later(self) -> Iterator[str]:
        return map(self._path, self._ahead)

    def backing(self, path: str) -> Backing:
        """See :meth:`Reader.backing`."""
        if self._look(path).stamp is None:
            raise FileNotFoundError(path)
        return self._far.backing(self._path(path))

    def leads_away(self, path: str) -> bool:
        """Return False: nothing is used where it is on another host."""
        return False

    def believe(self, path: str) -> FileInfo | None:
        """See :meth:`Reader.believe`."""
        return self._judge.believe(self._look(path))

    def allocated(self, path: str) -> int:
        """See :meth:`Reader.allocated`."""
        return self._look(path).allocated
