"""One file between the cache and a pool, and what is told of it."""

import itertools
import logging
import os

from avocado_pool_plugin.core.errors import ChainBroken, FileCorrupt
from avocado_pool_plugin.core.names import VM_SUFFIX
from avocado_pool_plugin.core.progress import reported
from avocado_pool_plugin.core.store import Moved, Store
from avocado_pool_plugin.states import report, telling

LOG = logging.getLogger("avocado." + __name__)


def compare(store: Store, path: str, cache_path: str) -> bool:
    """Tell whether a store has the content of a cached file; a corrupt one is another."""
    try:
        equal = store.equal(cache_path, path)
    except FileCorrupt as error:
        telling.warn(error)
        return False
    if equal:
        store.used(path)
    return equal


def check_parents(store: Store, pairs: list[tuple[str, str]]) -> None:
    """
    Make sure that publishing a state does not replace what it stands on in the pool.

    :param pairs: path in the cache and in the store of each file, parents first
    :raises ChainBroken: it would
    """
    if store.policy.cascade:
        return
    for (cache_path, pool_path), (_, above) in itertools.pairwise(pairs):
        if os.path.dirname(pool_path) != os.path.dirname(above):
            continue  # the next is of another image, so this one is the state itself
        try:
            another = store.has(pool_path) and not store.equal(cache_path, pool_path)
        except FileCorrupt as error:
            telling.warn(error)
            continue
        if another:
            raise ChainBroken(
                f"{above} can't be published, it stands on {cache_path} and the pool has another "
                f"{pool_path}; get that one and run again, or replace it with set_cascade=yes"
            )


def fetch(store: Store, path: str, cache_path: str, pool_path: str) -> Moved:
    """
    Make a cached file equal to a store's; errors of :meth:`Store.fetch`.

    :param path: in the store
    :param pool_path: its location, for people
    """
    with reported("fetching", pool_path, lambda: store.allocated(path)) as progress:
        moved = store.fetch(path, cache_path, progress)
    _report("fetched", cache_path, moved, f"from {pool_path}, {moved.action}")
    return moved


def publish(store: Store, path: str, cache_path: str, pool_path: str) -> Moved:
    """Make a store's file equal to a cached one; see :func:`fetch`."""
    with reported("publishing", cache_path) as progress:
        moved = store.publish(cache_path, path, progress)
    _report("published", path, moved, f"to {pool_path}, {moved.action}")
    return moved


def _report(verb: str, path: str, moved: Moved, where: str) -> None:
    if not moved.changed:
        LOG.debug("%s is there already, nothing to copy", path)
        return
    directory, name = os.path.split(path)
    above, image = os.path.split(directory)
    owner = image if name.endswith(VM_SUFFIX) else f"{os.path.basename(above)}/{image}"
    state = os.path.splitext(name)[0]
    report.record(report.Event(verb, state, owner, moved.size, moved.seconds, where))
