"""Files and records put among the states by their keeper, in an order that survives any cut."""

import logging
import os
from dataclasses import replace

from avocado_pool_plugin.core import durable, layout, records
from avocado_pool_plugin.core.errors import PoolError, is_of_space
from avocado_pool_plugin.core.records import Record, Stamp
from avocado_pool_plugin.upkeep.site import Site
from avocado_pool_plugin.upkeep.trashcan import RECORD

LOG = logging.getLogger("avocado." + __name__)

#: Seconds after which a writer that did not commit is taken for dead.
_STALE = 3600.0


def loosened(text: bytes) -> bytes:
    """
    Return a stored record for a file that is moved: it trusts the stamp of the making alone.

    A move changes the ctime, and nothing else would tell that the content is the one that was made.
    """
    record = records.decode(text)
    return text if record is None else records.encode(replace(record, stamp=None))


def put_back(site: Site, kept: str, path: str, record: bytes | None) -> bool:
    """
    Move a file of ours to its place, unless there is one; its record is there before it is.

    Killed at any moment, it is where it was, or whole in its place.

    :param kept: where it is; its record may be beside it
    :param record: as it is to be stored, None if nothing is known of the file
    :returns: whether it is in its place
    :raises PoolError: the record can't be written, or the file not moved
    """
    stamp = site.eyes.stamps([kept]).get(kept)
    # beside that of a writer who may come meanwhile, not in its place
    pending = _pending(site, path, record) if record else ""
    if not _moved(site, kept, path, stamp):
        site.drop([pending] if pending else [])
        return False
    if record:
        _commit(site, path, record, stamp, pending)
    site.drop([kept + RECORD])
    return True


def write_record(site: Site, path: str, record: Record, stamp: Stamp) -> None:
    """
    Write the record of a file that is in place, unless it is another one by now.

    :param stamp: of the file that the record is of
    """
    text = records.encode(record)
    _commit(site, path, text, stamp, _pending(site, path, text))


def _pending(site: Site, path: str, record: bytes) -> str:
    name = layout.pending_prefix(path) + durable.new_token()
    site.write(name, record)
    return name


def _moved(site: Site, kept: str, path: str, stamp: Stamp | None) -> bool:
    if site.move_new(kept, path):
        return True
    # it may have been done, and the answer lost with the connection
    return kept not in site.eyes.stamps([kept]) and _is(site, path, stamp)


def _is(site: Site, path: str, stamp: Stamp | None) -> bool:
    now = site.eyes.stamps([path]).get(path)
    return now is not None and stamp is not None and now.same_file(stamp)


def _commit(site: Site, path: str, record: bytes, stamp: Stamp | None, pending: str) -> None:
    """Commit a record as each writer does, see core/place.py: it heeds those who heed no lock."""
    if _is(site, path, stamp):
        try:
            site.write(layout.record_path(path), record)
        except PoolError as error:
            if not is_of_space(error):
                raise
            LOG.warning("the record of %s stays a pending one: %s", site.title(path), error)
            return
        if _has_writers(site, path, record):
            return  # ours has to stay findable
    site.drop([pending])


def _has_writers(site: Site, path: str, record: bytes) -> bool:
    """Tell whether somebody is about to write another record than this one."""
    prefix = layout.pending_prefix(path)
    found = {
        entry.path: entry.stamp.mtime_ns / 1e9
        for entry in site.ours(os.path.dirname(prefix))
        if entry.stamp and durable.is_token(entry.path.removeprefix(prefix))
    }
    others = [name for name, text in site.read(found).items() if text != record]
    return bool(others) and site.clock() - max(found[name] for name in others) < _STALE
