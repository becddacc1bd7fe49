"""What the files of a cache or pool take, and what gets free when one of them goes."""

from collections import Counter

from avocado_pool_plugin.upkeep.gc.facts import Facts
from avocado_pool_plugin.upkeep.site import Entry

_File = tuple[int, int]


class Ledger:
    """
    The files of a cache or pool; a file with several names counts once.

    :ivar total: bytes of disk that those take which are left
    """

    def __init__(self, facts: Facts) -> None:
        self._files = {entry.path: entry for entry in facts.counted()}
        self._gone: Counter[_File] = Counter()
        self._removed: set[str] = set()
        whole = {_file(entry): entry.allocated for entry in self._files.values()}
        self.total = sum(whole.values())

    def worth(self, path: str) -> int:
        """Return how many bytes get free if a file goes next: none if it has another name."""
        entry = self._files.get(path)
        if entry is None or path in self._removed:
            return 0
        return entry.allocated if entry.links - self._gone[_file(entry)] <= 1 else 0

    def remove(self, path: str) -> int:
        """Note that a file went; return how many bytes that freed."""
        freed = self.worth(path)
        if path in self._files and path not in self._removed:
            self._removed.add(path)
            self._gone[_file(self._files[path])] += 1
        self.total -= freed
        return freed


def _file(entry: Entry) -> _File:
    return entry.device, entry.stamp.inode if entry.stamp else 0
