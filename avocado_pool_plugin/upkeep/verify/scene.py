"""All that can be seen of a place without reading content, taken at about the same moment."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from avocado_pool_plugin.core import layout, records, typed
from avocado_pool_plugin.core.names import IMAGE_SUFFIX, VM_SUFFIX
from avocado_pool_plugin.core.records import Record
from avocado_pool_plugin.upkeep.naming import state_at
from avocado_pool_plugin.upkeep.site import Entry, Item, Site

#: The record of a writer of some file that did not commit.
_PENDING = re.compile(r"(.+)\.next-[0-9a-f]{16}")
#: Seconds after which such a writer is taken for dead.
_STALE = 3600.0


@dataclass(frozen=True)
class Scene:
    """
    What there is.

    :param root: directory of the place
    :param items: its files by path
    :param texts: records as they are stored, by the path of the state; of those that have one
    :param pending: records of writers that died, by the path of the state
    :param strays: what is no file where a state would be
    :param quarantined: corrupt files that were put aside
    """

    root: str
    items: Mapping[str, Item]
    texts: Mapping[str, bytes]
    pending: Mapping[str, tuple[str, ...]]
    strays: tuple[str, ...]
    quarantined: tuple[str, ...]

    def record(self, path: str) -> Record | None:
        """Return the record of a file, None if it has none that is sound."""
        text = self.texts.get(path)
        return records.decode(text) if text is not None else None

    def damaged(self, path: str) -> bool:
        """Tell whether the record of a file is damaged; one of a later version of this is not."""
        text = self.texts.get(path)
        return text is not None and (records.damaged(text) or _is_ours(text))

    def later(self, path: str) -> bool:
        """Tell whether the record of a file is one of a later version of this package."""
        text = self.texts.get(path)
        return text is not None and self.record(path) is None and not self.damaged(path)

    def parent(self, item: Item, trusted: bool = True) -> str:
        """
        Return the file that an image state stands on, empty for none.

        :param trusted: whether what its header says counts, not what its record says
        """
        record = None if trusted else self.record(item.path)
        name = item.parent if trusted else record.info.parent if record else ""
        return os.path.join(os.path.dirname(item.path), name + IMAGE_SUFFIX) if name else ""

    def title(self, path: str) -> str:
        """Return what users call a state by its file."""
        return title_of(self.root, path)


def title_of(root: str, path: str) -> str:
    """Return what users call a state by its file, which need not exist."""
    name = os.path.relpath(path, root)
    if state_at(root, path) is None:
        return name
    return name.removesuffix(IMAGE_SUFFIX if name.endswith(IMAGE_SUFFIX) else VM_SUFFIX)


def _is_ours(text: bytes) -> bool:
    """Tell whether a record that says it is of a later version is one of ours, but for a bit."""
    try:
        number = str(typed.mapping(text)["format"])
    except (ValueError, KeyError):
        return False
    ours = re.sub(rb'("format": )[^,\n]*', rb"\g<1>1", text)
    return number != "1" and records.decode(ours) is not None


def look(site: Site, below: str = "") -> Scene:
    """
    Look at a place.

    :param below: an object id, or one with an image, for a part of it
    """
    items = {item.path: item for item in site.items(below, known=True)}
    notes = site.notes(below)
    where = {path: layout.record_path(item.entry.link or path) for path, item in items.items()}
    there = {note.path for note in notes}
    wanted = [at for path, at in where.items() if at in there or items[path].entry.link]
    texts = site.read(wanted)
    return Scene(
        site.root,
        items,
        {path: texts[at] for path, at in where.items() if at in texts},
        _pending(site, notes),
        tuple(site.eyes.strays(below)),
        tuple(note.path for note in notes if _is_quarantined(note.path)),
    )


def _is_quarantined(path: str) -> bool:
    above, name = os.path.split(path)
    return os.path.basename(above) == layout.QUARANTINE and not name.endswith((".json", ".tmp"))


def _pending(site: Site, notes: list[Entry]) -> dict[str, tuple[str, ...]]:
    """Return the records of writers that did not commit, and don't any more."""
    found: dict[str, list[Entry]] = {}
    for note in notes:
        meta, name = os.path.split(note.path)
        match = _PENDING.fullmatch(name)
        if not match or os.path.basename(meta) != layout.META:
            continue
        path = os.path.join(os.path.dirname(meta), match[1])
        if state_at(site.root, path) is not None:
            found.setdefault(path, []).append(note)
    if not found:
        return {}
    old = site.clock() - _STALE
    dead = {
        path: tuple(note.path for note in entries if note.stamp and note.stamp.mtime_ns / 1e9 < old)
        for path, entries in found.items()
    }
    return {path: names for path, names in dead.items() if names}
