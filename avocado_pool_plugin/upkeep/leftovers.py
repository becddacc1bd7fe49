"""
Temporary files that killed operations left in a cache or pool.

Not every old temporary file is one. Between a note of what is about to happen to an image and the
end of that, a temporary file may be all there is of the image. So one that any note names stays,
whichever version wrote the note.
"""

import os
import re
from collections.abc import Iterable

from avocado_pool_plugin.core import layout
from avocado_pool_plugin.core.names import IMAGE_SUFFIX
from avocado_pool_plugin.core.resume import KEEP
from avocado_pool_plugin.upkeep.site import Entry, Site

#: How names end: what is random in them, and the kind; hosts count up behind the random part.
_TEMPORARY = re.compile(r"([0-9a-f]{16})[0-9]*(?:\.resume)?\.(?:part|tmp)$")
#: Directories of ours that hold no temporary file of an operation on states.
_OTHERS = frozenset({layout.TRASH, layout.QUARANTINE})


def leftovers(site: Site, notes: Iterable[Entry], now: float) -> list[Entry]:
    """
    Return the temporary files of operations that are over.

    Whoever removes them does so by ``Site.drop_idle``: a transfer may go on with one at any time.

    :param notes: of ``Site.notes``
    :param now: of ``Site.clock``
    :raises PoolUnreachable: what is about to happen to images can't be read
    """
    old = [(entry, token) for entry in notes if (token := _left(site.root, entry, now))]
    if not old:
        return []
    told = _told(site)
    return [entry for entry, token in old if token not in told]


def _left(root: str, entry: Entry, now: float) -> str:
    """Return what is random in the name of an old temporary file, empty for any other file."""
    found = _TEMPORARY.search(entry.path)
    if not found or entry.stamp is None or entry.link or not _is_ours(root, entry.path):
        return ""
    # writing changes one of the two, a rename the other
    changed = max(entry.stamp.mtime_ns, entry.stamp.ctime_ns) / 1e9
    return found.group(1) if now - changed > KEEP else ""


def _is_ours(root: str, path: str) -> bool:
    """
    Tell whether a temporary file can't be but one of ours for states.

    Beside root images it may have been an image that vms run on, with the note about it elsewhere.
    """
    home, _, inner = path.rpartition(f"/{layout.META}/")
    if inner.partition("/")[0] in _OTHERS:
        return False
    image = f"{IMAGE_SUFFIX}." in inner and not inner.endswith((f".resume{layout.PART}", ".tmp"))
    return not image or home[len(root) :].count("/") == 2


def _told(site: Site) -> str:
    """
    Return all that notes say of what is about to happen to images, in a form to be searched.

    The random part of a name is the same in every text and under every mount point. A note is
    written before anything is moved, so looking for notes last misses none.
    """
    paths = [entry.path for entry in site.notes() if _is_intent(entry.path)]
    texts = site.read(paths)
    return "\n".join([*paths, *(text.decode("utf-8", "replace") for text in texts.values())])


def _is_intent(path: str) -> bool:
    """Tell whether a file is a note; one that was not written to its end tells of nothing."""
    return os.path.basename(os.path.dirname(path)) == layout.INTENTS and not path.endswith(".tmp")
