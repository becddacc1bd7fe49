"""How often a file that others may change or replace is read again."""

from avocado_pool_plugin.core.errors import FileChanging
from avocado_pool_plugin.core.records import Stamp

#: Attempts at one file, which somebody writes to, and at files that replace each other: whoever
#: does that comes to an end.
_AT_ONE, _AT_ALL = 5, 100


class Attempts:
    """
    Attempts at what is in one place.

    :param path: the place
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._inode = 0
        self._at_one = self._at_all = 0

    def count(self, stamp: Stamp) -> None:
        """
        Count an attempt at a file that was looked at just now.

        :raises FileChanging: it was one too many
        """
        self._at_one = 1 if stamp.inode != self._inode else self._at_one + 1
        self._at_all += 1
        self._inode = stamp.inode
        if self._at_one > _AT_ONE or self._at_all > _AT_ALL:
            raise FileChanging(f"{self._path} is being written to; wait until that is done")
