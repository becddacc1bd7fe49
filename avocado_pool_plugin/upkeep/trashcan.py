"""What was thrown away in a cache or pool: what it is, back to its place, or gone for good."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from avocado_pool_plugin.core import layout, records
from avocado_pool_plugin.core.names import State
from avocado_pool_plugin.core.records import Record
from avocado_pool_plugin.upkeep.naming import state_at
from avocado_pool_plugin.upkeep.site import Entry, Item, Site

#: When it was thrown away, what tells it from all others, the name that it had.
_NAME = re.compile(r"(\d{1,12})-([0-9a-f]{16})-(.+)", re.DOTALL)
#: What the name of a record in the trash has behind that of its file.
RECORD = ".json"


@dataclass(frozen=True)
class Thrown:
    """
    A file in the trash, or in the quarantine for damaged ones.

    :param entry: the file
    :param original: the path that it had
    :param state: which state it was, None for a root image
    :param thrown_at: when, in seconds since 1970
    :param id: tells it from all others
    :param record: what it must contain, None if that is not known
    :param quarantined: whether it is there because it was found damaged
    """

    entry: Entry
    original: str
    state: State | None
    thrown_at: float
    id: str
    record: Record | None = None
    quarantined: bool = False

    @property
    def path(self) -> str:
        """Where it is."""
        return self.entry.path

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self.entry.allocated

    @property
    def title(self) -> str:
        """What users call it."""
        return Item(self.state, replace(self.entry, path=self.original)).title


def contents(site: Site, notes: Iterable[Entry] | None = None) -> list[Thrown]:
    """
    Return all that is in the trash and in the quarantine, the oldest first.

    :param notes: of ``Site.notes`` if they are known
    :raises PoolUnreachable: it can't be listed or read
    """
    known = {entry.path: entry for entry in (site.notes() if notes is None else notes)}
    files = [path for path in known if _is_file(path)]
    texts = site.read(path for file in files for path in _records_of(file) if path in known)
    found = [_thrown(site.root, known[file], texts) for file in files]
    return sorted(found, key=_age)


def _age(thrown: Thrown) -> tuple[float, int, str]:
    # names have whole seconds only, and a rename changes the ctime
    stamp = thrown.entry.stamp
    return thrown.thrown_at, stamp.ctime_ns if stamp else 0, thrown.id


def orphans(notes: Iterable[Entry]) -> list[Entry]:
    """Return the records of files that are no longer in the trash."""
    known = {entry.path: entry for entry in notes}
    return [
        entry
        for path, entry in known.items()
        if _place(path) and path.endswith(RECORD) and path.removesuffix(RECORD) not in known
    ]


def _place(path: str) -> str:
    """Return in which of our directories a thrown file or its record is, empty for none."""
    directory, name = os.path.split(path)
    above, place = os.path.split(directory)
    right = place in (layout.TRASH, layout.QUARANTINE) and os.path.basename(above) == layout.META
    return place if right and _NAME.fullmatch(name) else ""


def _is_file(path: str) -> bool:
    return not path.endswith(RECORD) and bool(_place(path))


def _original(path: str) -> str:
    directory, name = os.path.split(path)
    home = os.path.dirname(os.path.dirname(directory))
    return os.path.join(home, name.split("-", 2)[2])


def _records_of(path: str) -> tuple[str, str]:
    """Return where the record of a thrown file may be: with it, else where a killed one left it."""
    return path + RECORD, layout.record_path(_original(path))


def _thrown(root: str, entry: Entry, texts: Mapping[str, bytes]) -> Thrown:
    thrown_at, token, _ = os.path.basename(entry.path).split("-", 2)
    original = _original(entry.path)
    return Thrown(
        entry,
        original,
        state_at(root, original),
        float(thrown_at),
        token,
        _record(entry, texts),
        _place(entry.path) == layout.QUARANTINE,
    )


def _record(entry: Entry, texts: Mapping[str, bytes]) -> Record | None:
    with_it, left = _records_of(entry.path)
    for path in (with_it, left):
        found = records.decode(texts[path]) if path in texts else None
        if found and (path == with_it or (entry.stamp and found.made_as.same_file(entry.stamp))):
            return found
    return None


# -- for good ----------------------------------------------------------------------------------


def freed(entries: Iterable[Entry]) -> int:
    """
    Return how many bytes get free when files are removed.

    What a file takes gets free with the last of its names.
    """
    known = [entry for entry in entries if entry.stamp is not None and not entry.link]
    removed = Counter(_inode(entry) for entry in known)
    files = {_inode(entry): entry for entry in known}
    return sum(entry.allocated for key, entry in files.items() if removed[key] >= entry.links)


def _inode(entry: Entry) -> tuple[int, int]:
    assert entry.stamp is not None
    return entry.device, entry.stamp.inode


def empty(site: Site, thrown: Iterable[Thrown]) -> None:
    """
    Remove files from the trash for good, each before its record.

    :raises PoolUnreachable: one can't be removed
    """
    gone = list(thrown)
    paths = (path for one in gone for path in (one.path, one.path + RECORD))
    site.drop(list(paths))
