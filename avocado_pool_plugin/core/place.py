"""Putting a finished file in its place, with its record, in an order that survives any cut."""

import contextlib
import logging
import os
import socket
import time
from dataclasses import replace

from avocado_pool_plugin.core import durable, knowledge, records, trash
from avocado_pool_plugin.core.policy import Policy
from avocado_pool_plugin.core.recipe import Recipe
from avocado_pool_plugin.core.records import FileInfo, Record, Stamp

LOG = logging.getLogger("avocado." + __name__)

#: Records of other writers that never committed are dropped when this old, in nanoseconds.
_STALE = 3600 * 10**9


def new_info(
    size: int,
    *,
    parent: str = "",
    parent_info: FileInfo | None = None,
    test: str = "",
    recipe: Recipe | None = None,
    seconds: float = 0.0,
) -> FileInfo:
    """
    Return the info of content made just now, with a generation of its own.

    :param test: name of the test that made it, empty if it was none
    :param seconds: how long that took, 0 if it is not known
    """
    by = f"host {socket.gethostname()}, process {os.getpid()}"
    return FileInfo(
        size=size,
        parent=parent,
        parent_digest=parent_info.digest if parent_info else None,
        parent_generation=parent_info.generation if parent_info else "",
        generation=durable.new_token(),
        recipe=recipe,
        made=time.time(),
        made_by=f"{by}, test {test}" if test else by,
        seconds=round(seconds, 3),
    )


def place(part: str, path: str, info: FileInfo, policy: Policy) -> FileInfo:
    """
    Make a finished temporary file the visible one, and what it replaces go to the trash.

    Order: content on disk, pending record, rename, committed record. A reader or a later run finds
    the old file with the old record, or the new file with the pending or committed one.

    :param part: the file, in the ``.pool`` directory beside ``path``
    """
    _finish(part, policy.fsync)
    made_as = Stamp.of(os.stat(part))
    info = replace(info, size=made_as.size)
    record = Record(info, made_as)
    pending = records.write_pending(path, record, policy.fsync)
    loosened = None
    if os.path.lexists(path) and not os.path.islink(path):
        loosened = _loosen(path, policy.fsync)
        kept = trash.supersede(part, path)
        LOG.debug("%s was replaced, what it was is kept as %s", path, kept)
    else:
        os.rename(part, path)
    if loosened:
        durable.unlink(loosened)
    if policy.fsync:
        durable.sync_dir(os.path.dirname(path))
    try:
        commit(path, record, pending, policy.fsync)
    except OSError as error:
        # whole and in place it is, and the pending record speaks for it: no reason to fail
        LOG.warning("the record of %s stays a pending one: %s", path, error)
    return info


def place_working(part: str, path: str, policy: Policy) -> None:
    """Make a finished temporary file the visible working image of a VM: writable, no record."""
    if policy.fsync:
        durable.sync_file(part)
    os.rename(part, path)
    if policy.fsync:
        durable.sync_dir(os.path.dirname(path))


def _loosen(path: str, fsync: bool) -> str | None:
    """
    Let a file stay good whose stamp alone is known, although it gets a second name in the trash.

    That changes its ctime, and nothing else would tell that the content is the one that was made.
    """
    record = records.read_record(path)
    if record is None or record.info.digest or record.stamp is None:
        return None
    known = knowledge.peek(path)
    if known is None or known.stamp != record.stamp:
        return None
    return records.write_pending(path, replace(record, stamp=None), fsync)


def _finish(part: str, fsync: bool) -> None:
    """Make a file read-only for all the umask lets read it, and its content durable."""
    fd = os.open(part, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fchmod(fd, os.fstat(fd).st_mode & 0o444)
        if fsync:
            os.fsync(fd)
    finally:
        os.close(fd)


def commit(path: str, record: Record, pending: str, fsync: bool) -> None:
    """Write the record of a file that is in place and drop the pending one, unless others write."""
    stamp = knowledge.wait_trusted(path)
    if not _is(path, record):
        durable.unlink(pending)  # another writer came after us, its record counts
        return
    records.write_record(path, replace(record, stamp=stamp), fsync)
    others = [name for name in records.pending_names(path) if name != pending]
    if others:
        # one of them may still write its record over ours, or ours went over its record just now:
        # ours has to stay findable, and so that it sees others, also if its file is there by now
        _drop_stale(others)
        return
    durable.unlink(pending)


def _is(path: str, record: Record) -> bool:
    with contextlib.suppress(OSError):
        return record.made_as.same_file(Stamp.of(os.stat(path)))
    return False


def _drop_stale(names: list[str]) -> None:
    for name in names:
        with contextlib.suppress(OSError):
            if time.time_ns() - os.stat(name).st_mtime_ns > _STALE:
                os.unlink(name)
