"""Cached states that local hooks of other packages write, which know nothing of records."""

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import Any

from avocado_pool_plugin import params as settings
from avocado_pool_plugin.core import records
from avocado_pool_plugin.core.errors import PoolUnreachable
from avocado_pool_plugin.core.names import State
from avocado_pool_plugin.core.records import Stamp
from avocado_pool_plugin.states import images

LOG = logging.getLogger("avocado." + __name__)


@contextlib.contextmanager
def noticed(do: str, params: Any) -> Iterator[None]:
    """
    Forget what was recorded of a state's files that the body changes without recording it.

    What a set writes is the state by definition. By the record of the old one it would be corrupt;
    without a record it is recorded as found. One that is pending speaks for what was written.

    :param do: the verb of the body, set or unset
    """
    before = {path: (_stamp(path), _recorded(path)) for path in _files(params, f"{do}_state")}
    yield
    for path, (stamp, generations) in before.items():
        if not generations or generations != _recorded(path):
            continue
        now = _stamp(path)
        if stamp is None or now is None or not now.same_file(stamp):
            LOG.debug("%s was changed and its record was not: the record goes", path)
            records.drop_records(path)


def _files(params: Any, key: str) -> list[str]:
    """Return the files that a state may have in the cache."""
    cache = settings.cache_dir(params)
    found = [images.state_path(cache, own, params[key]) for own in images.image_params(params)]
    if params.get("object_id") or params.get("vms"):
        found.append(os.path.join(cache, State(images.object_id(params), None, params[key]).path))
    return found


def _stamp(path: str) -> Stamp | None:
    try:
        return Stamp.of(os.lstat(path))
    except OSError:
        return None


def _recorded(path: str) -> set[str]:
    """Return what the records of a file say that it is; one may still have to be committed."""
    try:
        return {record.info.generation for record in records.read_candidates(path)}
    except PoolUnreachable as error:
        LOG.debug("records of %s stay as they are: %s", path, error)
        return set()
