"""
Whether a state is kept although an image was to become it, as others stand on what it is now.

The documented rule: equal content is nothing to do; else the old state stays, unless it is corrupt
and the image is what it should be.
"""

import logging
import os

from avocado_pool_plugin import qemu
from avocado_pool_plugin.core import knowledge, users
from avocado_pool_plugin.core.dependents import refuse_open, states_on
from avocado_pool_plugin.core.errors import FileCorrupt, ToolFailed
from avocado_pool_plugin.states import intents
from avocado_pool_plugin.states.workplace import Workplace

LOG = logging.getLogger("avocado." + __name__)


def needed_by(work: Workplace, path: str) -> list[str]:
    """
    Return what keeps a state from being replaced, in words; nothing does if it is to cascade.

    :raises StateNeeded: it would be replaced, and is open
    """
    # an image becomes a state and the other way round meanwhile: it is seen on one of its ways
    others = [*_overlays(work, path), *_on_their_way(work, path)]
    here = states_on(path) if os.path.isfile(path) else []
    others += [*_on_their_way(work, path), *_overlays(work, path)]
    tops = here if work.policy.cascade else [*here, *work.needed_in_pools(path)]
    if not tops or work.policy.cascade:
        refuse_open([path, *states_on(path)], work.image)
    if work.policy.cascade or not (tops or _copies(work, path)):
        return []
    return list(dict.fromkeys([*tops, *others]))


def _overlays(work: Workplace, path: str) -> list[str]:
    """Return the working images of others that stand on a state, in words."""
    return [str(user) for user in users.users_of(path, work.image)]


def _on_their_way(work: Workplace, path: str) -> list[str]:
    """Return images of others on a state that are neither in their place nor states yet."""
    name = os.path.basename(path)
    return [
        f"image {note['image']}, of which {note['state']} is being set or unset"
        for note in intents.noted(work.home)
        if os.path.basename(note.get("backing", "")) == name and note["image"] != work.image
    ]


def _copies(work: Workplace, path: str) -> list[str]:
    """Return a state's files, in the cache and in pools that can be looked into."""
    files = [path, *(os.path.join(pool, os.path.basename(path)) for pool in work.pools)]
    return [file for file in files if os.path.isfile(file)]


def _known_far(work: Workplace, path: str) -> bool:
    """Tell whether pools on other hosts have the cached content of a state, or nothing."""
    name = os.path.basename(path)
    return all(home.equals(name, path) or not home.has(name) for home in work.far)


def lost(work: Workplace, path: str) -> str | None:
    """Return the digest of what a corrupt state was, None if it is not corrupt or unknown."""
    try:
        knowledge.identify(path, work.policy, work.seen_dir)
    except FileCorrupt as error:
        return error.expected
    return None


def _same(image: str, copy: str) -> bool | None:
    """Tell whether an image and a state have the same content, None if the state is gone by now."""
    try:
        return qemu.same_guest_content(image, copy)
    except ToolFailed:
        if os.path.exists(copy):
            raise
        return None


def kept(work: Workplace, path: str, needed: list[str]) -> str:
    """
    Say why a state is not replaced by the image.

    :param needed: what stands on it, in words
    :returns: empty if the cache has no such content now: the state is another one, or is only in
        the pool, where it needs not be published to
    """
    compared = {copy: _same(work.image, copy) for copy in _copies(work, path)}
    copies = [copy for copy, same in compared.items() if same is not None]
    if copies and all(map(compared.get, copies)) and _known_far(work, path):
        LOG.info("%s of %s has this content already, nothing to do", copies[0], work.title)
        return "same content" if path in copies else ""
    LOG.warning(
        "%s of %s is kept as it is, others stand on it: %s; set_cascade=yes replaces it and "
        "sends them to the trash",
        *(path, work.title, ", ".join(needed)),
    )
    return ""
